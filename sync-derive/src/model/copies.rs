//! The copies of the struct, `#[serde(remote)]` of it, that write what clients see and read what they send.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::{LitStr, Meta, spanned::Spanned as _};

use super::{
    ir::{Field, Model, Role},
    serde_attributes::word,
};
use crate::tokens::first_span;

/// The copies and the calls to them.
pub(crate) struct Copies {
    /// `None` where nothing is `server_only`: the struct's own `Serialize` writes the same.
    pub(crate) wire: Option<TokenStream>,
    pub(crate) serialize: Option<TokenStream>,
    pub(crate) draft: TokenStream,
    pub(crate) deserialize: TokenStream,
}

impl Copies {
    pub(crate) fn of(model: &Model) -> Self {
        let is_all_visible = model.fields.iter().all(|field| field.role != Role::ServerOnly);
        Self {
            wire: (!is_all_visible).then(|| wire(model)),
            serialize: (!is_all_visible).then(|| quote!(__SyncWire::serialize(self, serializer))),
            draft: draft(model),
            deserialize: quote!(__SyncDraft::deserialize(deserializer)),
        }
    }
}

fn wire(model: &Model) -> TokenStream {
    const KEPT: [&str; 6] =
        ["rename", "skip", "skip_serializing", "skip_serializing_if", "serialize_with", "with"];
    let runtime = &model.runtime;
    let (remote, serde) = (remote(model), runtime.text("serde"));
    let container = keep(&model.serde.entries, &["rename_all"]);
    let visible = model.fields.iter().filter(|field| field.role != Role::ServerOnly);
    let fields = visible.map(|Field { ident, ty, serde, .. }| {
        let attribute = attribute(keep(&serde.entries, &KEPT));
        quote!(#attribute #ident: #ty,)
    });
    quote! {
        #[derive(#runtime::serde::Serialize)]
        #[serde(remote = #remote, crate = #serde, #(#container),*)]
        struct __SyncWire {
            #(#fields)*
        }
    }
}

fn draft(model: &Model) -> TokenStream {
    let runtime = &model.runtime;
    let (remote, serde) = (remote(model), runtime.text("serde"));
    let mut container: Vec<TokenStream> =
        keep(&model.serde.entries, &["rename_all", "expecting"]).map(|entry| quote!(#entry)).collect();
    container.extend(keep(&model.serde.entries, &["default"]).map(|entry| match entry {
        // Alone it would ask the copy, not the struct.
        Meta::Path(path) => {
            let default = format!("<{} as ::core::default::Default>::default", remote.value());
            let default = LitStr::new(&default, path.span());
            quote!(default = #default)
        }
        entry => quote!(#entry),
    }));
    let fields = model.fields.iter().map(|field| draft_field(model, field));
    quote! {
        #[derive(#runtime::serde::Deserialize)]
        #[serde(remote = #remote, crate = #serde, deny_unknown_fields, #(#container),*)]
        struct __SyncDraft {
            #(#fields)*
        }
    }
}

fn draft_field(model: &Model, field: &Field) -> TokenStream {
    const KEPT: [&str; 7] = ["rename", "alias", "default", "deserialize_with", "with", "borrow", "skip"];
    let Field { ident, ty, serde, role, .. } = field;
    let mut entries: Vec<TokenStream> = match role {
        Role::Id | Role::Client => keep(&serde.entries, &KEPT).map(|entry| quote!(#entry)).collect(),
        Role::ReadOnly | Role::ServerOnly | Role::Skipped => {
            let default = keep(&serde.entries, &["default"]).map(|entry| quote!(#entry));
            std::iter::once(quote!(skip_deserializing)).chain(default).collect()
        }
    };
    let is_optional = match role {
        Role::Id | Role::ReadOnly | Role::ServerOnly => true,
        // serde's derive on the struct itself asks for their defaults.
        Role::Client | Role::Skipped => false,
    };
    if is_optional && !serde.has_default && !model.serde.has_default {
        // On the field's type, where the compiler then says that it has no default.
        let default = if *role == Role::Id { "unsent_id" } else { "unsent" };
        let default = LitStr::new(&model.runtime.text(default), first_span(ty));
        entries.push(quote_spanned!(first_span(ty)=> default = #default));
    }
    let attribute = attribute(entries.iter());
    quote!(#attribute #ident: #ty,)
}

/// `#[serde(...)]` with these entries, if there are any.
fn attribute(entries: impl Iterator<Item = impl ToTokens>) -> Option<TokenStream> {
    let mut entries = entries.peekable();
    entries.peek()?;
    Some(quote!(#[serde(#(#entries),*)]))
}

/// Those `entries` that begin with one of `words`.
fn keep<'a>(entries: &'a [Meta], words: &'a [&str]) -> impl Iterator<Item = &'a Meta> {
    entries.iter().filter(|entry| words.contains(&word(entry).as_str()))
}

/// The struct's name, as serde's `remote` takes it.
fn remote(model: &Model) -> LitStr {
    LitStr::new(&model.ident.to_string(), model.ident.span())
}
