//! The table of handlers, and the checks of their types.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};

use super::ir::{Handler, Kind, Stranger, Table};
use crate::tokens;

/// The registration of handlers that are right.
pub(crate) fn table(table: &Table) -> TokenStream {
    let Table { runtime, model, cfgs, .. } = table;
    let entries = table.handlers.iter().map(|handler| entry(table, handler));
    // Named once each, they leave nothing to the base.
    let is_complete =
        table.handlers.len() == 5 && table.handlers.iter().all(|handler| handler.cfgs.is_empty());
    let base = match (is_complete, table.crud) {
        (true, _) => quote!(),
        (false, true) => quote!(..#runtime::HandlerTable::plain::<#model>()),
        (false, false) => quote!(..#runtime::HandlerTable::NONE),
    };
    let entries = quote!(#runtime::HandlerTable { #(#entries,)* #base });
    let place = tokens::at(table.place, runtime);
    let register = quote_spanned!(table.place=> #place::HandlerRegistration::of::<#model>(#entries));
    let checks = checks(table);
    quote! {
        #(#cfgs)*
        const _: () = {
            // A constant, since code within the macro call would not be readable when it is expanded.
            const __REGISTRATION: #runtime::HandlerRegistration = #register;
            #runtime::inventory::submit! { __REGISTRATION }
        };
        #checks
    }
}

/// The checks of what is no handler: each asks a trait that is there for its message, and that nothing has which takes a
/// `&Context`.
pub(crate) fn checks(table: &Table) -> TokenStream {
    let Table { runtime, cfgs, .. } = table;
    let checks = table.strangers.iter().map(|stranger| {
        let Stranger { ident, cfgs: own_cfgs, contexts, message, label, .. } = stranger;
        let check = quote_spanned! {ident.span()=> <[(); TAKES_CONTEXT] as BesideHandlers>::MAY_STAND };
        quote! {
            #(#cfgs)*
            #(#own_cfgs)*
            const _: () = {
                use #runtime::NotContext as _;
                const TAKES_CONTEXT: usize = (#(<#runtime::IsContext<#contexts>>::YES)||*) as usize;
                #[diagnostic::on_unimplemented(
                    message = #message,
                    label = #label,
                    note = "a helper that takes a `&Context` goes in an impl without `#[sync_handlers]`",
                )]
                trait BesideHandlers {
                    const MAY_STAND: () = ();
                }
                #[diagnostic::do_not_recommend]
                impl BesideHandlers for [(); 0] {}
                #check
            };
        }
    });
    quote!(#(#checks)*)
}

/// The entry of one handler: it decodes, calls the user's function and encodes. The types that the user wrote go through
/// traits, which report those that are wrong.
fn entry(table: &Table, handler: &Handler) -> TokenStream {
    let Handler { kind, cfgs, ident, parameters, output } = handler;
    // All of it on the function's name: a future that is not `Send` is reported there, and once.
    let span = ident.span();
    let (runtime, model) = (tokens::at(span, &table.runtime), &table.model);
    let name = Ident::new(kind.name(), span);
    let arguments = parameters.iter().zip(given(*kind, span)).map(|(ty, (check, value))| {
        let check = Ident::new(check, span);
        quote_spanned!(span=> #runtime::#check::<#model, #ty>()(#value))
    });
    let call = quote_spanned!(span=> #runtime::send(<#model>::#ident(#(#arguments),*)).await);
    let parameters = match kind {
        Kind::Create | Kind::Update | Kind::Delete => quote_spanned!(span=> context, input),
        Kind::Read | Kind::ReadAll => quote_spanned!(span=> context),
    };
    let body = match kind {
        Kind::Create => quote_spanned! {span=>
            let draft = input.draft::<#model>()?;
            input.row::<#model>(&#runtime::row_result::<#model, #output>()(#call)?)
        },
        Kind::Update => quote_spanned! {span=>
            let (current, next) = input.rows::<#model>()?;
            input.row::<#model>(&#runtime::row_result::<#model, #output>()(#call)?)
        },
        Kind::Delete => quote_spanned! {span=>
            let current = input.current::<#model>()?;
            #runtime::unit_result::<#output>()(#call)
        },
        Kind::Read => quote_spanned! {span=>
            #runtime::filter_result::<#model, #output>()(#call).map(#runtime::scope)
        },
        Kind::ReadAll => quote_spanned! {span=>
            let query = #runtime::query::<#model>();
            #runtime::query_result::<#model, #output>()(#call).map(#runtime::shaped)
        },
    };
    quote_spanned! {span=>
        #(#cfgs)*
        #name: ::core::option::Option::Some(|#parameters| #runtime::Box::pin(async move { #body }))
    }
}

/// What each parameter is given, and what checks its type.
fn given(kind: Kind, span: Span) -> Vec<(&'static str, TokenStream)> {
    let context = ("context_parameter", quote_spanned!(span=> context));
    let current = ("current_parameter", quote_spanned!(span=> &current));
    match kind {
        Kind::Create => vec![context, ("row_parameter", quote_spanned!(span=> draft))],
        Kind::Update => vec![context, current, ("row_parameter", quote_spanned!(span=> next))],
        Kind::Delete => vec![context, current],
        Kind::Read => vec![context],
        Kind::ReadAll => vec![context, ("query_parameter", quote_spanned!(span=> query))],
    }
}
