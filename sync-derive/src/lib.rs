//! The macros of `sync-core`.

mod errors;
mod handlers;
mod model;
mod runtime;
mod suggest;
mod tokens;

use proc_macro::TokenStream;

/// Makes a struct a model.
#[proc_macro_derive(SyncedModel, attributes(sync))]
pub fn synced_model(input: TokenStream) -> TokenStream {
    model::derive(input.into()).into()
}

/// Makes an impl the handlers of a model.
#[proc_macro_attribute]
pub fn sync_handlers(arguments: TokenStream, item: TokenStream) -> TokenStream {
    handlers::attribute(arguments.into(), item.into()).into()
}
