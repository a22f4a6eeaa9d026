//! The table of handlers, and the checks of their types.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};

use super::ir::{Handler, Handlers, Kind, Stranger};

/// The registration of handlers that are right.
pub(crate) fn table(handlers: &Handlers) -> TokenStream {
    let Handlers { runtime, model, cfgs, .. } = handlers;
    let entries = handlers.handlers.iter().map(|handler| entry(handlers, handler));
    // Named once each, they leave nothing to the base.
    let is_complete = handlers.handlers.len() == 5 && handlers.handlers.iter().all(|handler| handler.cfgs.is_empty());
    let base = match (is_complete, handlers.crud) {
        (true, _) => quote!(),
        (false, true) => quote!(..#runtime::HandlerTable::plain::<#model>()),
        (false, false) => quote!(..#runtime::HandlerTable::NONE),
    };
    let table = quote!(#runtime::HandlerTable { #(#entries,)* #base });
    let register = quote_spanned!(handlers.place=> #runtime::HandlerRegistration::of::<#model>(#table));
    let checks = checks(handlers);
    quote! {
        #(#cfgs)*
        const _: () = {
            #runtime::inventory::submit! { #register }
        };
        #checks
    }
}

/// The checks of what is no handler.
pub(crate) fn checks(handlers: &Handlers) -> TokenStream {
    let Handlers { runtime, cfgs, .. } = handlers;
    let checks = handlers.strangers.iter().map(|stranger| {
        let Stranger { ident, cfgs: own_cfgs, first_parameter, message } = stranger;
        let check = quote_spanned! {ident.span()=>
            ::core::assert!(!<#runtime::IsContext<#first_parameter>>::YES, #message)
        };
        quote! {
            #(#cfgs)*
            #(#own_cfgs)*
            const _: () = {
                use #runtime::NotContext as _;
                #check;
            };
        }
    });
    quote!(#(#checks)*)
}

/// The entry of one handler: it decodes, calls the user's function and encodes. The types that the user wrote go through
/// traits, which report those that are wrong.
fn entry(handlers: &Handlers, handler: &Handler) -> TokenStream {
    let Handlers { runtime, model, .. } = handlers;
    let Handler { kind, cfgs, ident, parameters, output } = handler;
    let name = format_ident!("{}", kind.name());
    let mut arguments = parameters.iter().zip(given(*kind)).map(|(ty, (check, value))| match check {
        "context_parameter" => quote!(#runtime::context_parameter::<#ty>()(#value)),
        _ => {
            let check = Ident::new(check, proc_macro2::Span::call_site());
            quote!(#runtime::#check::<#model, #ty>()(#value))
        }
    });
    let arguments: Vec<_> = arguments.by_ref().collect();
    let call = quote_spanned!(ident.span()=> <#model>::#ident(#(#arguments),*));
    let call = quote!(#runtime::send(#call).await);
    match kind {
        Kind::Create => quote! {
            #(#cfgs)*
            #name: ::core::option::Option::Some(|context, input| #runtime::Box::pin(async move {
                let draft = input.draft::<#model>()?;
                input.row::<#model>(&#runtime::row_result::<#model, #output>()(#call)?)
            }))
        },
        Kind::Update => quote! {
            #(#cfgs)*
            #name: ::core::option::Option::Some(|context, input| #runtime::Box::pin(async move {
                let (current, next) = input.rows::<#model>()?;
                input.row::<#model>(&#runtime::row_result::<#model, #output>()(#call)?)
            }))
        },
        Kind::Delete => quote! {
            #(#cfgs)*
            #name: ::core::option::Option::Some(|context, input| #runtime::Box::pin(async move {
                let current = input.current::<#model>()?;
                #runtime::unit_result::<#output>()(#call)
            }))
        },
        Kind::Read => quote! {
            #(#cfgs)*
            #name: ::core::option::Option::Some(|context| #runtime::Box::pin(async move {
                #runtime::filter_result::<#model, #output>()(#call).map(#runtime::scope::<#model>)
            }))
        },
        Kind::ReadAll => quote! {
            #(#cfgs)*
            #name: ::core::option::Option::Some(|context| #runtime::Box::pin(async move {
                let query = #runtime::query::<#model>();
                #runtime::query_result::<#model, #output>()(#call).map(#runtime::shaped::<#model>)
            }))
        },
    }
}

/// What each parameter is given, and what checks its type.
fn given(kind: Kind) -> Vec<(&'static str, TokenStream)> {
    let context = ("context_parameter", quote!(context));
    let current = ("current_parameter", quote!(&current));
    match kind {
        Kind::Create => vec![context, ("row_parameter", quote!(draft))],
        Kind::Update => vec![context, current, ("row_parameter", quote!(next))],
        Kind::Delete => vec![context, current],
        Kind::Read => vec![context],
        Kind::ReadAll => vec![context, ("query_parameter", quote!(query))],
    }
}
