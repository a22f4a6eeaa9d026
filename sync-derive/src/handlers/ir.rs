//! The handlers of an impl. That they can be built is the proof that they have the right form; their types are left to
//! the compiler.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens as _, quote};
use syn::{
    Attribute, FnArg, GenericParam, Ident, ImplItem, ImplItemFn, ItemImpl, ReturnType, Signature, Type,
    ext::IdentExt as _, spanned::Spanned as _,
};

use super::{action::Action, arguments::Arguments};
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
    /// Each name once, or several times with other `#[cfg]`s.
    pub(crate) actions: Vec<Action>,
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
    /// If one of these is `&Context`, it does.
    pub(crate) contexts: Vec<TokenStream>,
    pub(crate) message: String,
    /// What was meant, beside the name.
    pub(crate) label: String,
    /// Its name or its tokens alone show that a handler was meant.
    is_misspelt: bool,
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
            actions: Vec::new(),
            strangers: Vec::new(),
        };
        if item.trait_.is_some() || !item.generics.params.is_empty() {
            return result;
        }
        for item in &item.items {
            match item {
                ImplItem::Fn(function) => result.add(function, errors),
                ImplItem::Macro(call) => errors.on(
                    call,
                    "a handler that a macro writes here would not be seen, and be refused to clients: write it out, or put the \
                     macro in an impl without `#[sync_handlers]`",
                ),
                _ => {}
            }
        }
        if let Some(twin) = item.attrs.iter().find(|attribute| is_twin(attribute)) {
            errors.on(twin, "`#[sync_handlers]` is written twice: remove one");
        }
        result.check_read(errors);
        result.check_empty(item, errors);
        result
    }

    fn add(&mut self, function: &ImplItemFn, errors: &mut Errors) {
        if function.attrs.iter().any(is_action) {
            let Some(action) = Action::of(function, &self.model, errors) else { return };
            let is_same = |other: &&Action| {
                other.name == action.name && (other.cfgs.is_empty() || action.cfgs.is_empty())
            };
            if self.actions.iter().any(|other| is_same(&other)) {
                errors.on(
                    &action.ident,
                    format!("the action `{}` is written twice: a model has one of each name", action.name),
                );
            }
            return self.actions.push(action);
        }
        let Some(kind) = Kind::of(&function.sig.ident) else {
            self.strangers.extend(Stranger::of(function, &self.model));
            return;
        };
        let handler = Handler::of(kind, function, &self.model, errors);
        let is_same =
            |other: &&Handler| other.kind == kind && (other.cfgs.is_empty() || handler.cfgs.is_empty());
        if self.handlers.iter().any(|other| is_same(&other)) {
            errors.on(
                &handler.ident,
                format!("`{}` is written twice: a model has one handler of each name", kind.name()),
            );
        }
        self.handlers.push(handler);
    }

    /// What clients may touch is what they may see.
    fn check_read(&self, errors: &mut Errors) {
        if self.crud || self.handlers.iter().any(|handler| handler.kind == Kind::Read) {
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

    /// Without a handler the impl says nothing.
    fn check_empty(&self, item: &ItemImpl, errors: &mut Errors) {
        let has_none = self.handlers.is_empty()
            && self.actions.is_empty()
            && !self.strangers.iter().any(|stranger| stranger.is_misspelt);
        if has_none && !self.crud && errors.is_empty() {
            errors.on(
                &item.self_ty,
                format!(
                    "no handler is declared here, so clients could do nothing: write one, such as `{}`, or open `create`, \
                     `update`, `delete` and `read` with `#[sync_handlers(crud)]`; a model that clients shall not know needs no \
                     `#[sync_handlers]`",
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
        let FnArg::Typed(parameter) = signature.inputs.first()? else { return None };
        let first = parameter.ty.to_token_stream();
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
        // Nobody has a `Context` to give away: by value or `&mut`, a `&Context` was meant.
        let borrowed = match &*parameter.ty {
            Type::Reference(reference) if reference.mutability.is_none() => None,
            Type::Reference(reference) => Some(&reference.elem),
            _ => Some(&parameter.ty),
        };
        let contexts = borrowed.map(|ty| quote!(&#ty)).into_iter().chain([first.clone()]);
        let name = signature.ident.unraw().to_string();
        let near = suggest::nearest(&name, &Kind::NAMES);
        Some(Self {
            ident: signature.ident.clone(),
            cfgs: cfgs(&function.attrs),
            contexts: contexts.map(|ty| outside(ty, signature, model)).collect(),
            message: format!("`{name}` takes a `&Context` but is no handler"),
            label: match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "handlers are called {}; any other call is marked `#[action]`",
                    suggest::list(&Kind::NAMES, "or")
                ),
            },
            is_misspelt: near.is_some() || mentions(&first, &["Context".to_owned()]),
        })
    }
}

impl Kind {
    pub(crate) const NAMES: [&str; 5] = ["create", "update", "delete", "read", "read_all"];

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

/// Whether it is `#[action]`.
pub(crate) fn is_action(attribute: &Attribute) -> bool {
    is_called(attribute, "action")
}

/// Whether it is another `#[sync_handlers]`.
pub(crate) fn is_twin(attribute: &Attribute) -> bool {
    is_called(attribute, "sync_handlers")
}

/// Whether it is of that name, by any path.
fn is_called(attribute: &Attribute, name: &str) -> bool {
    attribute.path().segments.last().is_some_and(|segment| segment.ident == name)
}

pub(super) fn cfgs(attributes: &[Attribute]) -> Vec<Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).cloned().collect()
}

/// The type of a parameter that is not `self`.
pub(super) fn ty(parameter: &FnArg) -> Option<TokenStream> {
    match parameter {
        FnArg::Typed(parameter) => Some(parameter.ty.to_token_stream()),
        FnArg::Receiver(_) => None,
    }
}

/// A type of the function, as it can stand outside of the impl.
pub(super) fn outside(ty: TokenStream, signature: &Signature, model: &TokenStream) -> TokenStream {
    let lifetimes: Vec<_> =
        signature.generics.lifetimes().map(|parameter| &parameter.lifetime.ident).collect();
    tokens::without_lifetimes(tokens::without_self(ty, model), &lifetimes)
}

pub(super) fn mentions(tokens: &TokenStream, words: &[String]) -> bool {
    tokens.clone().into_iter().any(|tree| match tree {
        TokenTree::Ident(ident) => words.iter().any(|word| ident == word),
        TokenTree::Group(group) => mentions(&group.stream(), words),
        _ => false,
    })
}
