//! `#[derive(SyncedModel)]`: the struct's tokens become a [`Model`], and that becomes code.

pub(crate) mod case;
mod constants;
mod copies;
mod expand;
pub(crate) mod field_type;
mod ir;
pub(crate) mod serde_attributes;
pub(crate) mod sync_attributes;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput};

use self::ir::Model;
pub(crate) use self::ir::parts;
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
    let stub = input.generics.params.is_empty().then(|| expand::stub(&model, has_serde(&input)));
    quote!(#errors #stub)
}

/// Whether serde's own derives can have worked.
fn has_serde(input: &DeriveInput) -> bool {
    let refused = ["remote", "untagged"];
    let entries = serde_attributes::entries(&input.attrs);
    !matches!(input.data, Data::Union(_))
        && !entries.iter().any(|entry| refused.contains(&serde_attributes::word(entry).as_str()))
}
