//! `#[sync_handlers]`: the impl stays as it is, and a table of its handlers is registered beside it.

mod action;
mod arguments;
mod expand;
mod ir;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{ImplItem, Item, ItemImpl, parse_quote};

use self::ir::Table;
use crate::errors::Errors;

/// The code for `item` under `#[sync_handlers(arguments)]`, or all that is wrong with it.
pub(crate) fn attribute(arguments: TokenStream, item: &TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let mut implementation = match syn::parse2(item.clone()) {
        Ok(Item::Impl(implementation)) => implementation,
        Ok(_) => {
            errors.on(item, "`#[sync_handlers]` goes on the impl of a model: `impl Todo { ... }`");
            return quote!(#errors #item);
        }
        Err(error) => {
            let error = error.to_compile_error();
            return quote!(#error #item);
        }
    };
    let arguments = arguments::Arguments::of(arguments, &mut errors);
    let table = Table::of(arguments, &implementation, &mut errors);
    if errors.is_empty() {
        silence(&mut implementation);
        let table = expand::table(&table);
        return quote!(#implementation #table);
    }
    // What is reported is taken away: the compiler does not miss a macro `action` as well, and a twin says nothing more.
    implementation.attrs.retain(|attribute| !ir::is_twin(attribute));
    for item in &mut implementation.items {
        if let ImplItem::Fn(function) = item {
            function.attrs.retain(|attribute| !ir::is_action(attribute));
        }
    }
    let checks = expand::checks(&table);
    quote!(#errors #implementation #checks)
}

/// That a handler is async without waiting for anything, and an action owns its arguments, is our wish and not the user's oversight.
fn silence(implementation: &mut ItemImpl) {
    for item in &mut implementation.items {
        let ImplItem::Fn(function) = item else { continue };
        if function.attrs.iter().any(ir::is_action) {
            function.attrs.retain(|attribute| !ir::is_action(attribute));
            function.attrs.push(parse_quote!(#[allow(clippy::unused_async, clippy::needless_pass_by_value)]));
        } else if ir::Kind::of(&function.sig.ident).is_some() {
            function.attrs.push(parse_quote!(#[allow(clippy::unused_async)]));
        }
    }
}
