//! The path of the crate that generated code calls.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Expr, ExprLit, Lit, LitStr, MetaNameValue, Path};

use crate::errors::Errors;

/// `sync_core`, or what `crate = "..."` names instead of it. As tokens it is the crate's `__private` module.
#[derive(Default)]
pub(crate) struct Runtime(Option<Path>);

impl Runtime {
    /// The crate of `crate = "..."`.
    pub(crate) fn from_attribute(attribute: &MetaNameValue, errors: &mut Errors) -> Self {
        let path = string(&attribute.value).map(|text| text.parse_with(Path::parse_mod_style));
        if let Some(Ok(path)) = path {
            return Self(Some(path));
        }
        errors.on(&attribute.value, "write the path of the crate as a string: `crate = \"::sync_core\"`");
        Self::default()
    }

    /// The path of `item` in it, as serde's attributes take paths.
    pub(crate) fn text(&self, item: &str) -> String {
        format!("{}::{item}", quote!(#self)).replace(' ', "")
    }
}

impl ToTokens for Runtime {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.extend(match &self.0 {
            Some(path) => quote!(#path::__private),
            None => quote!(::sync_core::__private),
        });
    }
}

/// The value of an attribute if it is a string.
pub(crate) fn string(value: &Expr) -> Option<&LitStr> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text),
        // What a `macro_rules!` put in with `$name:expr` or `$name:literal`.
        Expr::Group(group) => string(&group.expr),
        _ => None,
    }
}
