//! What a field is to TypeScript.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{LitStr, Type};

use crate::{runtime::Runtime, tokens};

/// From where it is known what a field is in JSON.
pub(crate) enum FieldType {
    /// `#[sync(ts = "...")]`
    Verbatim(LitStr),
    /// From its type.
    Own,
    /// `#[serde(with = "sync_core::integer_string")]`
    IntegerString,
    /// From nowhere: serde asks another function.
    Custom,
}

impl FieldType {
    /// That of a field with this override and serde's `with`.
    pub(crate) fn of(ts: Option<LitStr>, with: Option<&LitStr>, runtime: &Runtime) -> Self {
        match (ts, with) {
            (Some(ts), _) => Self::Verbatim(ts),
            (None, None) => Self::Own,
            (None, Some(with)) if runtime.is_item(&with.value(), "integer_string") => Self::IntegerString,
            (None, Some(_)) => Self::Custom,
        }
    }

    /// What describes a field of type `ty`; `None` where the type does.
    pub(crate) fn describe(&self, ty: &TokenStream, runtime: &Runtime) -> Option<TokenStream> {
        Some(match self {
            Self::Verbatim(ts) => quote!(#runtime::Type::Verbatim(#ts)),
            Self::Own => return None,
            Self::IntegerString => quote!(#runtime::describe_integer_string::<#ty>(types)),
            Self::Custom => quote!(#runtime::Type::Unknown),
        })
    }

    /// The same for the schema of a model, whose fields may be of any type.
    pub(crate) fn in_schema(&self, ty: &TokenStream, runtime: &Runtime) -> TokenStream {
        match self {
            Self::Verbatim(ts) => quote!(#runtime::FieldType::Known(|_| #runtime::Type::Verbatim(#ts))),
            Self::Own => {
                let text = tokens::compact(ty);
                quote!(#runtime::FieldType::probed(<#runtime::IsSyncType<#ty>>::DESCRIBE, #text))
            }
            Self::IntegerString => {
                quote!(#runtime::FieldType::Known(#runtime::describe_integer_string::<#ty>))
            }
            Self::Custom => quote!(#runtime::FieldType::Custom),
        }
    }
}

/// Whether serde reads it as `None` where it is missing.
pub(crate) fn is_option(ty: &Type) -> bool {
    match ty {
        Type::Path(path) => path.path.segments.last().is_some_and(|segment| segment.ident == "Option"),
        Type::Group(group) => is_option(&group.elem),
        _ => false,
    }
}
