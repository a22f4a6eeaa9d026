//! The handlers of an impl. That they can be built is the proof that they have the right form; their types are left to
//! the compiler.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens as _;
use syn::{
    Attribute, FnArg, GenericParam, Ident, ImplItem, ImplItemFn, ItemImpl, ReturnType, Signature,
    ext::IdentExt as _, spanned::Spanned as _,
};

use super::arguments::Arguments;
use crate::{errors::Errors, runtime::Runtime, suggest, tokens};

/// What is to be registered for an impl.
pub(crate) struct Table {
    pub(crate) runtime: Runtime,
    pub(crate) crud: bool,
    /// The impl's `impl`: the place that is reported for the handlers.
    pub(crate) place: Span,
    /// The model.
    pub(crate) model: TokenStream,
    pub(crate) cfgs: Vec<Attribute>,
    /// Each kind once, or several times with other `#[cfg]`s.
    pub(crate) handlers: Vec<Handler>,
    pub(crate) strangers: Vec<Stranger>,
}

/// A handler. Its types stand in code outside of the impl: without `Self` and named lifetimes.
pub(crate) struct Handler {
    pub(crate) kind: Kind,
    pub(crate) ident: Ident,
    pub(crate) cfgs: Vec<Attribute>,
    /// As many as the kind has.
    pub(crate) parameters: Vec<TokenStream>,
    pub(crate) output: TokenStream,
}

/// An `async fn` of another name, which is a mistake if it takes a `&Context` first.
pub(crate) struct Stranger {
    pub(crate) ident: Ident,
    pub(crate) cfgs: Vec<Attribute>,
    pub(crate) first_parameter: TokenStream,
    pub(crate) message: String,
}

/// What a handler decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Create,
    Update,
    Delete,
    Read,
    ReadAll,
}

impl Table {
    /// The handlers of `item`. Only good for their [`Stranger`]s if anything is reported to `errors`.
    pub(crate) fn of(arguments: Arguments, item: &ItemImpl, errors: &mut Errors) -> Self {
        let Arguments { crud, runtime } = arguments;
        if let Some((path, _)) = &item.trait_ {
            let ty = tokens::text(&item.self_ty);
            errors.on(
                path,
                format!("`#[sync_handlers]` goes on the model's own impl: write `impl {ty} {{ ... }}`"),
            );
        }
        for parameter in &item.generics.params {
            errors.on(parameter, "a model has no parameters: write an impl without them, for one type");
        }
        let mut result = Self {
            runtime,
            crud,
            place: item.impl_token.span(),
            model: item.self_ty.to_token_stream(),
            cfgs: cfgs(&item.attrs),
            handlers: Vec::new(),
            strangers: Vec::new(),
        };
        let is_strange = item.trait_.is_some() || !item.generics.params.is_empty();
        for item in &item.items {
            match item {
                ImplItem::Fn(function) if !is_strange => result.add(function, errors),
                _ => {}
            }
        }
        result.check_read(&item.items, errors);
        result
    }

    fn add(&mut self, function: &ImplItemFn, errors: &mut Errors) {
        if let Some(action) = function.attrs.iter().find(|attribute| is_action(attribute)) {
            return errors.on(
                action,
                "`#[action]` comes with a later release: until then let clients `create` or `update` a row that asks for \
                 it, and remove the attribute",
            );
        }
        let Some(kind) = Kind::of(&function.sig.ident) else {
            self.strangers.extend(Stranger::of(function, &self.model));
            return;
        };
        let handler = Handler::of(kind, function, &self.model, errors);
        let is_twin =
            |other: &&Handler| other.kind == kind && (other.cfgs.is_empty() || handler.cfgs.is_empty());
        if self.handlers.iter().any(|other| is_twin(&other)) {
            errors.on(
                &handler.ident,
                format!("`{}` is written twice: a model has one handler of each name", kind.name()),
            );
        }
        self.handlers.push(handler);
    }

    /// What clients may touch is what they may see.
    fn check_read(&self, items: &[ImplItem], errors: &mut Errors) {
        let has_read = self.handlers.iter().any(|handler| handler.kind == Kind::Read);
        if has_read || self.crud || items.is_empty() {
            return;
        }
        for handler in &self.handlers {
            let name = handler.kind.name();
            let touched = match handler.kind {
                Kind::Update | Kind::Delete => "which rows a client may see, and only those can it touch",
                Kind::ReadAll => "which rows a client may see, and `read_all` can only narrow them",
                Kind::Create | Kind::Read => continue,
            };
            errors.on(
                &handler.ident,
                format!(
                    "`{name}` needs a `read` handler beside it: `read` decides {touched}; write `{}`",
                    Kind::Read.signature(&tokens::text(&self.model)),
                ),
            );
        }
    }
}

impl Handler {
    fn of(kind: Kind, function: &ImplItemFn, model: &TokenStream, errors: &mut Errors) -> Self {
        let signature = &function.sig;
        kind.check(signature, &tokens::text(model), errors);
        let outside = |tokens: TokenStream| outside(tokens, signature, model);
        Self {
            kind,
            ident: signature.ident.clone(),
            cfgs: cfgs(&function.attrs),
            parameters: signature.inputs.iter().filter_map(ty).map(outside).collect(),
            output: match &signature.output {
                ReturnType::Default => TokenStream::new(),
                ReturnType::Type(_, output) => outside(output.to_token_stream()),
            },
        }
    }
}

impl Stranger {
    fn of(function: &ImplItemFn, model: &TokenStream) -> Option<Self> {
        let signature = &function.sig;
        signature.asyncness?;
        let first = signature.inputs.first().and_then(ty)?;
        // Types of which the compiler can be asked only within the function.
        let mut inner: Vec<String> = vec!["impl".to_owned()];
        inner.extend(signature.generics.params.iter().filter_map(|parameter| match parameter {
            GenericParam::Type(parameter) => Some(parameter.ident.to_string()),
            GenericParam::Const(parameter) => Some(parameter.ident.to_string()),
            GenericParam::Lifetime(_) => None,
        }));
        if mentions(&first, &inner) {
            return None;
        }
        let name = signature.ident.unraw().to_string();
        let meant = match suggest::nearest(&name, &Kind::NAMES) {
            Some(near) => format!("did you mean `{near}`? A helper"),
            None => format!("handlers are called {}; a helper", suggest::list(&Kind::NAMES, "or")),
        };
        Some(Self {
            ident: signature.ident.clone(),
            cfgs: cfgs(&function.attrs),
            first_parameter: outside(first, signature, model),
            message: format!(
                "`{name}` takes a `&Context` but is no handler: {meant} goes in an impl without `#[sync_handlers]`"
            ),
        })
    }
}

impl Kind {
    const NAMES: [&str; 5] = ["create", "update", "delete", "read", "read_all"];

    /// What a function of that name decides.
    pub(crate) fn of(ident: &Ident) -> Option<Self> {
        Some(match ident.unraw().to_string().as_str() {
            "create" => Self::Create,
            "update" => Self::Update,
            "delete" => Self::Delete,
            "read" => Self::Read,
            "read_all" => Self::ReadAll,
            _ => return None,
        })
    }

    /// What its function is called, and its place in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Read => "read",
            Self::ReadAll => "read_all",
        }
    }

    fn parameters(self, model: &str) -> Vec<String> {
        let more = match self {
            Self::Create => vec![format!("draft: {model}")],
            Self::Update => vec![format!("current: &{model}"), format!("next: {model}")],
            Self::Delete => vec![format!("current: &{model}")],
            Self::Read => Vec::new(),
            Self::ReadAll => vec![format!("query: Query<{model}>")],
        };
        std::iter::once("ctx: &Context".to_owned()).chain(more).collect()
    }

    fn output(self, model: &str) -> String {
        match self {
            Self::Create | Self::Update => format!("Result<{model}>"),
            Self::Delete => "Result<()>".to_owned(),
            Self::Read => format!("Result<Filter<{model}>>"),
            Self::ReadAll => format!("Result<Query<{model}>>"),
        }
    }

    fn signature(self, model: &str) -> String {
        let parameters = self.parameters(model).join(", ");
        format!("async fn {}({parameters}) -> {}", self.name(), self.output(model))
    }

    /// Reports what the tokens alone show to be wrong.
    fn check(self, signature: &Signature, model: &str, errors: &mut Errors) {
        let name = self.name();
        let right = self.signature(model);
        if signature.asyncness.is_none() {
            let message = format!(
                "the handler `{name}` must be async: write `{right}`; a function of that name that is no handler goes in an \
                 impl without `#[sync_handlers]`"
            );
            return errors.on(signature.fn_token, message);
        }
        if signature.constness.is_some()
            || signature.abi.is_some()
            || !matches!(signature.safety, syn::Safety::Default)
        {
            errors.on(&signature.ident, format!("a handler is a plain function: write `{right}`"));
        }
        for parameter in &signature.generics.params {
            if !matches!(parameter, GenericParam::Lifetime(_)) {
                errors.on(parameter, format!("a handler has no parameters of type: write `{right}`"));
            }
        }
        if let Some(receiver) = signature.receiver() {
            let message =
                format!("a handler has no `self`, since it is asked before there is a row: write `{right}`");
            return errors.on(receiver, message);
        }
        self.check_parameters(signature, model, errors);
        if matches!(signature.output, ReturnType::Default) {
            errors.on(
                &signature.ident,
                format!("`{name}` must return `{}`: write `{right}`", self.output(model)),
            );
        }
    }

    fn check_parameters(self, signature: &Signature, model: &str, errors: &mut Errors) {
        let (name, right) = (self.name(), self.signature(model));
        for parameter in &signature.inputs {
            if ty(parameter).is_some_and(|ty| mentions(&ty, &["impl".to_owned()])) {
                errors.on(parameter, format!("a handler's parameters have plain types: write `{right}`"));
            }
        }
        let expected = self.parameters(model);
        let given = signature.inputs.len();
        if given != expected.len() {
            let s = if expected.len() == 1 { "" } else { "s" };
            let message =
                format!("`{name}` takes {} parameter{s}, not {given}: write `{right}`", expected.len());
            match signature.inputs.iter().nth(expected.len()) {
                Some(extra) => errors.on(extra, message),
                None => errors.on(&signature.ident, message),
            }
        }
    }
}

/// Whether it is `#[action]`, by any path.
pub(crate) fn is_action(attribute: &Attribute) -> bool {
    attribute.path().segments.last().is_some_and(|segment| segment.ident == "action")
}

fn cfgs(attributes: &[Attribute]) -> Vec<Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).cloned().collect()
}

/// The type of a parameter that is not `self`.
fn ty(parameter: &FnArg) -> Option<TokenStream> {
    match parameter {
        FnArg::Typed(parameter) => Some(parameter.ty.to_token_stream()),
        FnArg::Receiver(_) => None,
    }
}

/// A type of the function, as it can stand outside of the impl.
fn outside(ty: TokenStream, signature: &Signature, model: &TokenStream) -> TokenStream {
    let lifetimes: Vec<_> =
        signature.generics.lifetimes().map(|parameter| &parameter.lifetime.ident).collect();
    tokens::without_lifetimes(tokens::without_self(ty, model), &lifetimes)
}

fn mentions(tokens: &TokenStream, words: &[String]) -> bool {
    tokens.clone().into_iter().any(|tree| match tree {
        TokenTree::Ident(ident) => words.iter().any(|word| ident == word),
        TokenTree::Group(group) => mentions(&group.stream(), words),
        _ => false,
    })
}
