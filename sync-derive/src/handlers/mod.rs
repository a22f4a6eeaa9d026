//! `#[sync_handlers]`: the impl stays as it is, and a table of its handlers is registered beside it.

mod arguments;
mod expand;
mod ir;

use proc_macro2::TokenStream;
use quote::{ToTokens as _, quote};
use syn::{ImplItem, Item};

use self::ir::Handlers;
use crate::errors::Errors;

/// The code for `item` under `#[sync_handlers(arguments)]`, or all that is wrong with it.
pub(crate) fn attribute(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let mut implementation = match syn::parse2(item.clone()) {
        Ok(Item::Impl(implementation)) => implementation,
        Ok(_) => {
            errors.on(&item, "`#[sync_handlers]` goes on the impl of a model: `impl Todo { ... }`");
            return quote!(#errors #item);
        }
        Err(error) => {
            let error = error.to_compile_error();
            return quote!(#error #item);
        }
    };
    let arguments = arguments::Arguments::of(arguments, &mut errors);
    let handlers = Handlers::of(arguments, &implementation, &mut errors);
    if errors.is_empty() {
        let table = expand::table(&handlers);
        return quote!(#implementation #table);
    }
    // It is reported; without it the compiler does not miss a macro of that name as well.
    for item in &mut implementation.items {
        if let ImplItem::Fn(function) = item {
            function.attrs.retain(|attribute| !ir::is_action(attribute));
        }
    }
    let checks = expand::checks(&handlers);
    let implementation = implementation.into_token_stream();
    quote!(#errors #implementation #checks)
}
