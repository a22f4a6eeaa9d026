//! What stands in the brackets of `#[sync_handlers(...)]`.

use proc_macro2::TokenStream;
use syn::{Ident, Meta, Token, parse::Parser as _, punctuated::Punctuated};

use super::ir::Kind;
use crate::{errors::Errors, runtime::Runtime, suggest, tokens};

const KNOWN: [&str; 2] = ["crud", "crate"];

/// The arguments of `#[sync_handlers]`.
#[derive(Default)]
pub(crate) struct Arguments {
    /// What the impl does not write has its plain behaviour.
    pub(crate) crud: bool,
    pub(crate) runtime: Runtime,
}

impl Arguments {
    pub(crate) fn of(tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut result = Self::default();
        let metas = match Punctuated::<Meta, Token![,]>::parse_terminated.parse2(tokens) {
            Ok(metas) => metas,
            Err(error) => {
                errors.at(error.span(), format!("`#[sync_handlers]` takes {}", suggest::list(&KNOWN, "and")));
                return result;
            }
        };
        let mut seen: Vec<String> = Vec::new();
        for meta in metas {
            let name = meta.path().get_ident().map(Ident::to_string).unwrap_or_default();
            if seen.contains(&name) {
                errors.on(&meta, format!("`{name}` is given twice: remove one"));
                continue;
            }
            match (name.as_str(), &meta) {
                ("crud", Meta::Path(_)) => result.crud = true,
                ("crud", _) => {
                    errors.on(&meta, "`crud` takes no value: write `#[sync_handlers(crud)]`");
                    result.crud = true;
                }
                ("crate", _) => result.runtime = Runtime::from_attribute(&meta, errors),
                _ => unknown(&meta, errors),
            }
            seen.push(name);
        }
        result
    }
}

fn unknown(meta: &Meta, errors: &mut Errors) {
    let name = tokens::text(meta.path());
    let list = suggest::list(&KNOWN, "and");
    errors.on(
        meta.path(),
        match suggest::nearest(&name, &KNOWN) {
            _ if Kind::NAMES.contains(&name.as_str()) => format!(
                "`{name}` is opened by writing it: `async fn {name}(ctx: &Context, ...)` in the impl; `crud` opens `create`, \
                 `update`, `delete` and `read`"
            ),
            Some(near) => format!("unknown argument `{name}`: did you mean `{near}`? Known here: {list}"),
            None => format!("unknown argument `{name}`; known here: {list}"),
        },
    );
}
