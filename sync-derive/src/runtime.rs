//! The path of the crate that generated code calls.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Expr, ExprLit, Lit, LitStr, Meta, Path};

use crate::errors::Errors;

/// `sync_core`, or what `crate = "..."` names instead of it. As tokens it is the crate's `__private` module.
#[derive(Default)]
pub(crate) struct Runtime(Option<Path>);

impl Runtime {
    /// The crate of `crate = "..."`.
    pub(crate) fn from_attribute(attribute: &Meta, errors: &mut Errors) -> Self {
        let text = attribute.require_name_value().ok().and_then(|attribute| string(&attribute.value));
        let path = text.and_then(|text| text.parse_with(Path::parse_mod_style).ok());
        if path.is_none() {
            errors.on(attribute, "write the path of the crate as a string: `crate = \"::sync_core\"`");
        }
        Self(path)
    }

    /// Whether `path` is the crate's public item of that name, written in full.
    pub(crate) fn is_item(&self, path: &str, item: &str) -> bool {
        let path: String = path.split_whitespace().collect();
        let own = self.0.as_ref().map_or_else(|| quote!(sync_core), Path::to_token_stream);
        let own = own.to_string().replace(' ', "");
        let full = |path: &str| path.trim_start_matches("::").to_owned();
        full(&path) == full(&format!("{own}::{item}"))
    }

    /// The path of `item` in it, as serde's attributes take paths.
    pub(crate) fn text(&self, item: &str) -> String {
        format!("{}::{item}", quote!(#self)).replace(' ', "")
    }
}

impl ToTokens for Runtime {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let path = self.0.as_ref().map_or_else(|| quote!(::sync_core), Path::to_token_stream);
        tokens.extend(quote!(#path::__private));
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
