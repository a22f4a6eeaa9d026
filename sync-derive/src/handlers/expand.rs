//! The table of handlers, and the checks of their types.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};

use super::{
    action::Action,
    ir::{Handler, Kind, Stranger, Table},
};
use crate::tokens;

/// The registration of handlers that are right.
pub(crate) fn table(table: &Table) -> TokenStream {
    let Table { runtime, model, cfgs, .. } = table;
    let entries = table.handlers.iter().map(|handler| entry(table, handler));
    // Named once each, they leave nothing to the base.
    let is_complete =
        table.handlers.len() == 5 && table.handlers.iter().all(|handler| handler.cfgs.is_empty());
    let actions = actions(table, is_complete);
    let base = match (is_complete, table.crud) {
        (true, _) => quote!(),
        (false, true) => quote!(..#runtime::HandlerTable::plain::<#model>()),
        (false, false) => quote!(..#runtime::HandlerTable::NONE),
    };
    let entries = quote!(#runtime::HandlerTable { #(#entries,)* #actions #base });
    let place = tokens::at(table.place, runtime);
    let register = quote_spanned!(table.place=> #place::HandlerRegistration::of::<#model>(#entries));
    let (checks, parts) = (checks(table), parts(table));
    let probes = (!table.actions.is_empty()).then(|| {
        quote! {
            #[allow(unused_imports)]
            use #runtime::{NotSyncResult as _, NotSyncType as _};
        }
    });
    quote! {
        #(#cfgs)*
        const _: () = {
            #probes
            // A constant, since code within the macro call would not be readable when it is expanded.
            const __REGISTRATION: #runtime::HandlerRegistration = #register;
            #runtime::inventory::submit! { __REGISTRATION }
        };
        #checks
        #parts
    }
}

/// The checks that nothing which clients may not see or set is within what an action takes and returns.
fn parts(table: &Table) -> TokenStream {
    let Table { runtime, cfgs, .. } = table;
    let checks = table.actions.iter().flat_map(|action| {
        let cfgs = &action.cfgs;
        action.parts.iter().map(move |part| {
            let span = tokens::first_span(part);
            let runtime = tokens::at(span, runtime);
            quote_spanned! {span=>
                #(#cfgs)*
                const _: () = <#runtime::Guarded<{ <#runtime::IsGuarded<#part>>::YES }> as #runtime::PartOfAction<#part>>::MAY_BE;
            }
        })
    });
    let checks: Vec<_> = checks.collect();
    if checks.is_empty() {
        return TokenStream::new();
    }
    quote! {
        #(#cfgs)*
        const _: () = {
            #[allow(unused_imports)]
            use #runtime::NotGuarded as _;
            #(#checks)*
        };
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

/// The field of the actions; where there are none it is left to the base, if there is one.
fn actions(table: &Table, is_complete: bool) -> TokenStream {
    if table.actions.is_empty() && !is_complete {
        return TokenStream::new();
    }
    let actions = table.actions.iter().map(|action| self::action(table, action));
    quote!(actions: &[#(#actions,)*],)
}

/// An action: it reads its arguments, calls the user's function and writes the result. The types that the user wrote go through traits, which
/// report those that are wrong.
fn action(table: &Table, action: &Action) -> TokenStream {
    let Action { ident, name, doc, cfgs, context, arguments, output, parts: _ } = action;
    let span = ident.span();
    let (runtime, model) = (tokens::at(span, &table.runtime), &table.model);
    let names: Vec<_> = arguments.iter().map(|argument| &argument.name).collect();
    let types: Vec<_> = arguments.iter().map(|argument| &argument.ty).collect();
    let texts = types.iter().map(tokens::compact);
    let variables: Vec<_> =
        (0..arguments.len()).map(|number| Ident::new(&format!("argument_{number}"), span)).collect();
    let read = (!arguments.is_empty()).then(|| quote_spanned!(span=> mut));
    let result = tokens::compact(output);
    quote_spanned! {span=>
        #(#cfgs)*
        #runtime::Action {
            name: #name,
            doc: #doc,
            arguments: &[#(#runtime::Argument {
                name: #names,
                ty: #runtime::FieldType::probed(<#runtime::IsSyncType<#types>>::DESCRIBE, #texts),
            }),*],
            result: #runtime::FieldType::probed(<#runtime::IsSyncResult<#output>>::DESCRIBE, #result),
            run: |context, input| #runtime::Box::pin(async move {
                let #read arguments = input.arguments(&[#(#names),*])?;
                #(let #variables = #runtime::action_argument::<#types>()(&mut arguments);)*
                arguments.check()?;
                #runtime::action_result::<#output>()(
                    #runtime::send(<#model>::#ident(
                        #runtime::context_parameter::<#model, #context>()(context),
                        #(#runtime::given(#variables)?),*
                    ))
                    .await
                )
            }),
        }
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
