//! `#[derive(SyncedModel)]`: the struct's tokens become a [`Model`], and that becomes code.

mod case;
mod constants;
mod copies;
mod expand;
mod ir;
mod serde_attributes;
mod sync_attributes;

use proc_macro2::TokenStream;
use quote::quote;
use syn::DeriveInput;

use self::ir::Model;
use crate::errors::Errors;

/// The code for `input`, or all that is wrong with it.
pub(crate) fn derive(input: TokenStream) -> TokenStream {
    let input: DeriveInput = match syn::parse2(input) {
        Ok(input) => input,
        Err(error) => return error.to_compile_error(),
    };
    let mut errors = Errors::default();
    let model = Model::of(&input, &mut errors);
    if errors.is_empty() {
        return expand::model(&model);
    }
    // With a stub, the rest of the user's crate has no errors that follow from these.
    let is_possible = input.generics.params.is_empty() && !matches!(input.data, syn::Data::Union(_));
    let stub = is_possible.then(|| expand::stub(&model));
    quote!(#errors #stub)
}
