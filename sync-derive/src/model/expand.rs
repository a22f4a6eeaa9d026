//! The code of a model.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};

use super::{
    constants,
    copies::Copies,
    ir::{Field, Insert, Model, Role, signature},
};
use crate::tokens;

/// The code of a model that is right.
pub(crate) fn model(model: &Model) -> TokenStream {
    let Model { runtime, ident, .. } = model;
    let Copies { wire, serialize, draft, deserialize } = Copies::of(model);
    let implementation = implementation(model, &Methods { serialize, deserialize });
    let constants = constants::all(model);
    let parts = parts(model);
    let allowed = allowed();
    // The place that is reported for the model is that of its name.
    let place = tokens::at(ident.span(), runtime);
    let register = quote_spanned!(ident.span()=> #place::ModelRegistration::of::<#ident>());
    quote! {
        #allowed
        const _: () = {
            #wire
            #draft
            #implementation
            #constants
            #parts
            #runtime::inventory::submit! { #register }
        };
    }
}

/// What stands for a model that has mistakes, so that the code around it compiles; without the trait where the struct
/// lacks what that needs.
pub(crate) fn stub(model: &Model, with_trait: bool) -> TokenStream {
    let serialize = quote!({
        let _ = serializer;
        loop {}
    });
    let deserialize = quote!({
        let _ = deserializer;
        loop {}
    });
    let methods = Methods { serialize: Some(serialize), deserialize };
    let implementation = with_trait.then(|| implementation(model, &methods));
    let constants = constants::all(model);
    let allowed = allowed();
    quote! {
        #allowed
        const _: () = {
            #implementation
            #constants
        };
    }
}

/// The checks that nothing which clients may not see is within what they see.
fn parts(model: &Model) -> TokenStream {
    let runtime = &model.runtime;
    let seen = |field: &&Field| match field.role {
        Role::Id | Role::Client | Role::ReadOnly => field.serde.serialize_with.is_none(),
        Role::ServerOnly | Role::Skipped => false,
    };
    let checks = model.fields.iter().filter(seen).flat_map(|field| &field.parts).map(|part| {
        let runtime = tokens::at(tokens::first_span(part), runtime);
        quote_spanned! {tokens::first_span(part)=>
            let () = <#runtime::Guarded<{ <#runtime::IsGuarded<#part>>::YES }> as #runtime::PartOfRow<#part>>::MAY_BE;
        }
    });
    quote! {
        const _: () = {
            use #runtime::NotGuarded as _;
            #(#checks)*
        };
    }
}

/// The bodies that differ.
struct Methods {
    /// `None` where clients see all that is stored.
    serialize: Option<TokenStream>,
    deserialize: TokenStream,
}

/// What the struct's own names may cause, for which it can have an `allow` of its own, and constants that nobody uses.
fn allowed() -> TokenStream {
    quote!(#[allow(dead_code, deprecated, non_snake_case, unreachable_pub)])
}

fn implementation(model: &Model, methods: &Methods) -> TokenStream {
    let Model { runtime, ident, name, doc, .. } = model;
    let id = model.id();
    let id_type = id.map_or_else(|| quote!(u64), |id| id.ty.clone());
    let id_name = id.map_or("id", |id| id.name.as_str());
    let (get_id, set_id) = match id.map(|id| &id.ident) {
        Some(id) => (quote!(&self.#id), quote!(self.#id = id)),
        None => (quote!(loop {}), quote!(let _ = id)),
    };
    let kept = |role| matches!(role, Role::Id | Role::ReadOnly | Role::ServerOnly);
    let kept = model.fields.iter().filter(|field| kept(field.role));
    let keep =
        kept.map(|Field { ident, .. }| quote!(self.#ident = ::core::clone::Clone::clone(&current.#ident);));
    let fields =
        model.fields.iter().filter(|field| field.role != Role::Skipped).map(|field| schema(model, field));
    // Only in a stub.
    let unused = id.is_none().then(|| quote!(let _ = current;));
    let signature = signature(model);
    let serialize = methods.serialize.as_ref().map(|body| {
        quote! {
            fn __serialize_wire<__S: #runtime::serde::Serializer>(
                &self,
                serializer: __S,
            ) -> ::core::result::Result<__S::Ok, __S::Error> {
                #body
            }
        }
    });
    let deserialize = &methods.deserialize;
    quote! {
        #[allow(unused_imports)]
        use #runtime::NotSyncType as _;
        #[automatically_derived]
        impl #runtime::SyncedModel for #ident {
            type Id = #id_type;
            const NAME: &'static str = #name;
            const __SCHEMA: &'static #runtime::Schema = &#runtime::Schema {
                doc: #doc,
                id: #id_name,
                fields: &[#(#fields),*],
                signature: #signature,
            };
            fn __id(&self) -> &#id_type {
                #get_id
            }
            fn __set_id(&mut self, id: #id_type) {
                #set_id;
            }
            #serialize
            fn __deserialize_draft<'de, __D: #runtime::serde::Deserializer<'de>>(
                deserializer: __D,
            ) -> ::core::result::Result<Self, __D::Error> {
                #deserialize
            }
            fn __keep_server_fields(&mut self, current: &Self) {
                #unused
                #(#keep)*
            }
        }
    }
}

fn schema(model: &Model, field: &Field) -> TokenStream {
    let runtime = &model.runtime;
    let Field { name, indexed, doc, .. } = field;
    let ty = field.json.in_schema(&field.ty, runtime);
    let may_be_left_out = field.serde.skip_if.is_some();
    let insert = match field.insert {
        Insert::Optional => quote!(Optional),
        Insert::UnlessNullable => quote!(UnlessNullable),
        Insert::Always => quote!(Always),
    };
    let aliases = &field.serde.aliases;
    let access = match field.role {
        Role::Id | Role::Client | Role::Skipped => quote!(Client),
        Role::ReadOnly => quote!(ReadOnly),
        Role::ServerOnly => quote!(ServerOnly),
    };
    quote! {
        #runtime::FieldSchema {
            name: #name,
            aliases: &[#(#aliases),*],
            access: #runtime::Access::#access,
            indexed: #indexed,
            doc: #doc,
            ty: #ty,
            may_be_left_out: #may_be_left_out,
            insert: #runtime::Presence::#insert,
        }
    }
}
