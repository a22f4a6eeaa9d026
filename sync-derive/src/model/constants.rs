//! The typed constants of a model's fields.

use std::collections::BTreeSet;

use proc_macro2::TokenStream;
use quote::quote;

use super::ir::{Field, Model, Role};

/// `Todo::TITLE` and its like, with the visibility of their fields.
pub(crate) fn all(model: &Model) -> TokenStream {
    let ident = &model.ident;
    let fields = model.fields.iter().filter(|field| field.role != Role::Skipped);
    // In a stub, two fields may have one.
    let mut names = BTreeSet::new();
    let constants = fields.filter(|field| names.insert(&field.constant)).map(|field| constant(model, field));
    quote! {
        #[automatically_derived]
        impl #ident {
            #(#constants)*
        }
    }
}

fn constant(model: &Model, field: &Field) -> TokenStream {
    let runtime = &model.runtime;
    let Field { visibility, constant, name, ty, .. } = field;
    let doc = format!("The field `{name}`.");
    let kind = if field.indexed { quote!(Indexed) } else { quote!(NotIndexed) };
    let encoder = if field.indexed { encoder(model, field) } else { quote!(#runtime::encode_never) };
    quote! {
        #[doc = #doc]
        #visibility const #constant: #runtime::Field<Self, #ty, #runtime::#kind> =
            #runtime::Field::__new(#name, #encoder);
    }
}

/// The function that makes of a value what filters compare: what serde writes for it.
fn encoder(model: &Model, field: &Field) -> TokenStream {
    let (runtime, ty) = (&model.runtime, &field.ty);
    let encoder = match &field.serde.serialize_with {
        None => quote!(#runtime::encode_plain),
        Some(function) => {
            quote!(|value: &#ty| #runtime::encoded(#function(value, #runtime::ValueSerializer)))
        }
    };
    match &field.serde.skip_if {
        None => encoder,
        Some(skip) => quote!(|value: &#ty| #runtime::encode_unless(#skip(value), value, #encoder)),
    }
}
