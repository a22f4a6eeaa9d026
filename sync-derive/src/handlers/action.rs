//! The actions of an impl: calls by name, with arguments of their own.

use proc_macro2::TokenStream;
use quote::ToTokens as _;
use syn::{
    Attribute, FnArg, GenericParam, Ident, ImplItemFn, Meta, Pat, ReturnType, Signature, Type,
    ext::IdentExt as _,
};

use super::ir::{self, Kind};
use crate::{docs, errors::Errors, model::parts, tokens};

/// The longest name that an action or an argument may have, as a model's.
const MAX_NAME: usize = 48;

/// An action. Its types stand in code outside of the impl: without `Self` and named lifetimes.
pub(crate) struct Action {
    pub(crate) ident: Ident,
    /// What clients call it.
    pub(crate) name: String,
    pub(crate) doc: String,
    pub(crate) cfgs: Vec<Attribute>,
    /// The type of the first parameter.
    pub(crate) context: TokenStream,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) output: TokenStream,
    /// The types that travel, as far as they can be told: none may be a model whose fields are not all for clients.
    pub(crate) parts: Vec<TokenStream>,
}

/// An argument of an action.
pub(crate) struct Argument {
    /// What clients call it.
    pub(crate) name: String,
    pub(crate) ty: TokenStream,
}

impl Action {
    /// The action of a function that is marked as one; what is wrong with it is reported.
    pub(super) fn of(function: &ImplItemFn, model: &TokenStream, errors: &mut Errors) -> Option<Self> {
        let signature = &function.sig;
        let mut marks = function.attrs.iter().filter(|attribute| ir::is_action(attribute));
        if let Some(mark) = marks.next().filter(|mark| !matches!(mark.meta, Meta::Path(_))) {
            errors.on(mark, "`#[action]` takes nothing: its name and its arguments are the function's");
        }
        if let Some(twin) = marks.next() {
            errors.on(twin, "`#[action]` is written twice: remove one");
        }
        let name = signature.ident.unraw().to_string();
        if Kind::of(&signature.ident).is_some() {
            let message = format!(
                "`{name}` is the name of a handler, and clients have a method for it: give the action another name, or remove \
                 `#[action]`"
            );
            errors.on(&signature.ident, message);
        }
        if name.len() > MAX_NAME {
            errors.on(&signature.ident, format!("the name of an action has at most {MAX_NAME} bytes"));
        }
        if !check(signature, &name, errors) {
            return None;
        }
        let outside = |tokens: TokenStream| ir::outside(tokens, signature, model);
        let mut inputs = signature.inputs.iter();
        let context = inputs.next().and_then(ir::ty).map(outside)?;
        let arguments: Vec<_> = inputs.filter_map(|input| Argument::of(input, &outside, errors)).collect();
        let ReturnType::Type(_, output) = &signature.output else { return None };
        let travelling = signature.inputs.iter().skip(1).filter_map(|input| match input {
            FnArg::Typed(parameter) => Some(&*parameter.ty),
            FnArg::Receiver(_) => None,
        });
        let parts = travelling.chain([&**output]).flat_map(parts);
        Some(Self {
            parts: parts.map(|part| outside(part.to_token_stream())).collect(),
            ident: signature.ident.clone(),
            name,
            doc: docs::of(&function.attrs),
            cfgs: ir::cfgs(&function.attrs),
            context,
            arguments,
            output: outside(output.to_token_stream()),
        })
    }
}

/// Reports what the tokens of a signature show to be wrong. Whether it can be called at all.
fn check(signature: &Signature, name: &str, errors: &mut Errors) -> bool {
    let right = format!("async fn {name}(ctx: &Context, ...) -> Result<...>");
    let mut is_right = true;
    let mut refuse = |errors: &mut Errors, tokens: TokenStream, message: String| {
        errors.on(tokens, message);
        is_right = false;
    };
    if signature.asyncness.is_none() {
        refuse(
            errors,
            signature.fn_token.to_token_stream(),
            format!("the action `{name}` must be async: write `{right}`"),
        );
    }
    if signature.constness.is_some()
        || signature.abi.is_some()
        || !matches!(signature.safety, syn::Safety::Default)
    {
        refuse(
            errors,
            signature.ident.to_token_stream(),
            format!("an action is a plain function: write `{right}`"),
        );
    }
    for parameter in &signature.generics.params {
        if !matches!(parameter, GenericParam::Lifetime(_)) {
            let message = "an action has no parameters of type, since a client could not say which: write the types out";
            refuse(errors, parameter.to_token_stream(), message.to_owned());
        }
    }
    if let Some(receiver) = signature.receiver() {
        let message = format!("an action has no `self`, since it is not called on a row: write `{right}`");
        refuse(errors, receiver.to_token_stream(), message);
    } else if signature.inputs.is_empty() {
        let message = format!("the first parameter of an action is `ctx: &Context`: write `{right}`");
        refuse(errors, signature.ident.to_token_stream(), message);
    }
    if matches!(signature.output, ReturnType::Default) {
        let message =
            format!("the action `{name}` must return a `Result`: write `{right}`, or `-> Result<()>`");
        refuse(errors, signature.ident.to_token_stream(), message);
    }
    is_right
}

impl Argument {
    fn of(input: &FnArg, outside: &impl Fn(TokenStream) -> TokenStream, errors: &mut Errors) -> Option<Self> {
        let FnArg::Typed(parameter) = input else { return None };
        let ty = parameter.ty.to_token_stream();
        if ir::mentions(&ty, &["impl".to_owned()]) {
            errors.on(
                &parameter.ty,
                "an argument of an action has a plain type, which its JSON is read as: write it out",
            );
            return None;
        }
        if let Type::Reference(reference) = &*parameter.ty {
            let text = tokens::compact(&reference.elem);
            let owned = match text.as_str() {
                "str" => "String".to_owned(),
                _ => match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
                    Some(item) => format!("Vec<{item}>"),
                    None => text.clone(),
                },
            };
            let message = format!(
                "an argument of an action is read from a message and has nobody to borrow from: write `{owned}`"
            );
            errors.on(&parameter.ty, message);
            return None;
        }
        let name = match &*parameter.pat {
            Pat::Ident(pattern) if pattern.subpat.is_none() && pattern.by_ref.is_none() => {
                pattern.ident.unraw().to_string()
            }
            pattern => {
                let message = "an argument of an action goes by its name: write one here, and take it apart in the body";
                errors.on(pattern, message);
                return None;
            }
        };
        if name.len() > MAX_NAME {
            errors.on(&parameter.pat, format!("the name of an argument has at most {MAX_NAME} bytes"));
        }
        Some(Self { name, ty: outside(ty) })
    }
}
