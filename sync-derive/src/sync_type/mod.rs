//! `#[derive(SyncType)]`: what serde makes of a type, told to TypeScript.

mod expand;
mod ir;
mod serde_attributes;

use proc_macro2::TokenStream;
use quote::quote;
use syn::DeriveInput;

use self::ir::DescribedType;
use crate::errors::Errors;

/// The code for `input`, or all that is wrong with it.
pub(crate) fn derive(input: TokenStream) -> TokenStream {
    let input: DeriveInput = match syn::parse2(input) {
        Ok(input) => input,
        Err(error) => return error.to_compile_error(),
    };
    let mut errors = Errors::default();
    let described = DescribedType::of(&input, &mut errors);
    let code = expand::described(&described);
    // It implements the trait in any case, so that the rest of the user's crate has no errors that follow from these.
    quote!(#errors #code)
}
