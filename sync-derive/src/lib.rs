//! The macros of `sync-core`.
use proc_macro::TokenStream;

/// x
#[proc_macro_derive(SyncedModel, attributes(sync))]
pub fn synced_model(_: TokenStream) -> TokenStream { TokenStream::new() }

/// x
#[proc_macro_attribute]
pub fn sync_handlers(_: TokenStream, item: TokenStream) -> TokenStream { item }
