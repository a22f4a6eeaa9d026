//! A model as the generated code needs it. That it can be built is the proof that the struct is one.

use std::collections::BTreeMap;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens as _, quote};
use syn::{
    Data, DeriveInput, Fields, GenericArgument, GenericParam, Ident, PathArguments, PathSegment, Type,
    Visibility, ext::IdentExt as _, spanned::Spanned as _,
};

use super::{
    field_type::{FieldType, is_option},
    serde_attributes, sync_attributes,
};
use crate::{docs, errors::Errors, runtime::Runtime, tokens};

/// The longest name of a model, so that stores can derive names of tables and indexes from it.
const NAME_LENGTH: usize = 48;

/// A struct that is a model.
pub(crate) struct Model {
    pub(crate) runtime: Runtime,
    pub(crate) ident: Ident,
    pub(crate) name: String,
    pub(crate) doc: String,
    pub(crate) serde: serde_attributes::ContainerAttributes,
    /// In their order; exactly one is the id.
    pub(crate) fields: Vec<Field>,
}

/// A field of a model.
pub(crate) struct Field {
    pub(crate) ident: Ident,
    pub(crate) visibility: Visibility,
    /// Without `Self`, so that it can stand in another struct.
    pub(crate) ty: TokenStream,
    /// The type and those within it of which serde writes values, likewise.
    pub(crate) parts: Vec<TokenStream>,
    /// The name of its constant.
    pub(crate) constant: Ident,
    /// Its name in JSON.
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) indexed: bool,
    pub(crate) doc: String,
    /// From where TypeScript knows what it is in JSON.
    pub(crate) json: FieldType,
    /// Whether a client may leave it out of a new row.
    pub(crate) insert: Insert,
    pub(crate) serde: serde_attributes::FieldAttributes,
}

/// Whether a client that sets a field has to send it in a new row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Insert {
    Optional,
    /// serde reads what is missing as null, where that is a value of the type.
    UnlessNullable,
    Always,
}

/// What a field is to clients and to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The row's id: clients see it, and may choose it when they create a row.
    Id,
    /// Clients see and set it.
    Client,
    /// Clients see it.
    ReadOnly,
    /// Clients do not know of it.
    ServerOnly,
    /// It is not stored at all.
    Skipped,
}

impl Model {
    /// The model that `input` is. If anything is reported to `errors`, what is returned is good for a stub only: it has
    /// no fields where they are not named, and maybe no id.
    pub(crate) fn of(input: &DeriveInput, errors: &mut Errors) -> Self {
        let attributes = sync_attributes::StructAttributes::of(&input.attrs, errors);
        let serde = serde_attributes::ContainerAttributes::of(&input.attrs, errors);
        let name = name(&input.ident, attributes.name, errors);
        check_generics(input, errors);

        let this = input.ident.to_token_stream();
        let fields: Vec<_> = named_fields(input, errors)
            .map(|field| (field, sync_attributes::FieldAttributes::of(&field.attrs, errors)))
            .collect();
        let has_names = matches!(&input.data, Data::Struct(data) if matches!(data.fields, Fields::Named(_)));
        let id = if has_names { find_id(&fields, &input.ident, errors) } else { None };
        let fields = fields
            .iter()
            .enumerate()
            .filter_map(|(index, (field, sync))| {
                Field::of(field, sync, id == Some(index), &this, &serde, &attributes.runtime, errors)
            })
            .collect();
        let doc = docs::of(&input.attrs);
        let model =
            Self { runtime: attributes.runtime, ident: input.ident.clone(), name, doc, serde, fields };
        model.check_names(errors);
        model
    }

    /// The id; `None` in a stub only.
    pub(crate) fn id(&self) -> Option<&Field> {
        self.fields.iter().find(|field| field.role == Role::Id)
    }

    /// No two fields have one name on the wire, or one constant.
    fn check_names(&self, errors: &mut Errors) {
        let mut names: BTreeMap<String, &Ident> = BTreeMap::new();
        let mut constants: BTreeMap<String, &Ident> = BTreeMap::new();
        for field in self.fields.iter().filter(|field| field.role != Role::Skipped) {
            let span = field.serde.rename.as_ref().map_or(field.ident.span(), syn::LitStr::span);
            let aliases = field.serde.aliases.iter().map(|alias| (alias.value(), alias.span()));
            for (name, span) in std::iter::once((field.name.clone(), span)).chain(aliases) {
                if let Some(other) = names.insert(name.clone(), &field.ident) {
                    let message = format!(
                        "`{other}` is called `{name}` in JSON, too: give one of the two another name"
                    );
                    errors.at(span, message);
                }
            }
            if let Some(other) = constants.insert(field.constant.to_string(), &field.ident) {
                let message = format!(
                    "the constant `{}` is that of the field `{other}`, too: rename one",
                    field.constant
                );
                errors.on(&field.ident, message);
            }
        }
    }
}

impl Field {
    fn of(
        field: &syn::Field,
        sync: &sync_attributes::FieldAttributes,
        is_id: bool,
        this: &TokenStream,
        container: &serde_attributes::ContainerAttributes,
        runtime: &Runtime,
        errors: &mut Errors,
    ) -> Option<Self> {
        let ident = field.ident.clone()?;
        let serde = serde_attributes::FieldAttributes::of(&field.attrs, errors);
        let own_name = ident.unraw().to_string();
        let name = match (&serde.rename, container.rename_all) {
            (Some(name), _) => name.value(),
            (None, Some(case)) => case.apply(&own_name),
            (None, None) => own_name.clone(),
        };
        if is_id || sync.index.is_some() {
            check_operator(&name, serde.rename.as_ref().map_or(ident.span(), syn::LitStr::span), errors);
        }
        if let (true, Some(span)) = (is_id, serde.unlike_type) {
            errors.at(
                span,
                "an id is written to JSON as its type is, since rows are found by it: remove this, or give the id a type of \
                 its own",
            );
        }
        if let Some(skip_if) = &serde.skip_if
            && !serde.skip
            && !serde.has_default
            && !container.has_default
            && (serde.has_reader || !is_option(&field.ty))
        {
            errors.on(
                skip_if,
                "a row could not be read again where this left the field out: add `default`, as in \
                 `#[serde(default, skip_serializing_if = \"...\")]`",
            );
        }
        Some(Self {
            constant: Ident::new(&own_name.to_uppercase(), ident.span()),
            visibility: field.vis.clone(),
            ty: tokens::without_self(&field.ty, this),
            parts: parts(&field.ty).into_iter().map(|part| tokens::without_self(part, this)).collect(),
            role: Role::of(is_id, &ident, sync, &serde, errors),
            indexed: is_id || sync.index.is_some(),
            doc: docs::of(&field.attrs),
            json: FieldType::of(sync.ts.clone(), serde.with.as_ref(), runtime),
            insert: match () {
                () if serde.has_default || container.has_default => Insert::Optional,
                () if serde.has_reader => Insert::Always,
                () if is_option(&field.ty) => Insert::Optional,
                () => Insert::UnlessNullable,
            },
            ident,
            name,
            serde,
        })
    }
}

impl Role {
    fn of(
        is_id: bool,
        ident: &Ident,
        sync: &sync_attributes::FieldAttributes,
        serde: &serde_attributes::FieldAttributes,
        errors: &mut Errors,
    ) -> Self {
        let access = [("server_only", sync.server_only), ("read_only", sync.read_only)];
        let access = access.into_iter().filter_map(|(word, span)| Some((word, span?)));
        if is_id {
            if serde.skip {
                errors.on(
                    ident,
                    "the id cannot be skipped: remove `skip`, or mark another field with `#[sync(id)]`",
                );
            }
            for (word, span) in access {
                let why = "clients name rows by it, and no update changes it";
                errors.at(
                    span,
                    format!(
                        "the id cannot be `{word}`: {why}; remove `{word}`, or mark another field as the id"
                    ),
                );
            }
            return Self::Id;
        }
        if serde.skip {
            let index = sync.index.map(|span| ("index", span));
            let ts = sync.ts.as_ref().map(|ts| ("ts", ts.span()));
            for (word, span) in access.chain(index).chain(ts) {
                errors.at(
                    span,
                    format!("`{word}` has no meaning for a field that serde skips: remove it, or `skip`"),
                );
            }
            return Self::Skipped;
        }
        if let (Some(ts), Some(_)) = (&sync.ts, sync.server_only) {
            errors.on(ts, "`ts` has no meaning for a field that clients do not see: remove it");
        }
        match (sync.server_only, sync.read_only) {
            (None, None) => Self::Client,
            (None, Some(_)) => Self::ReadOnly,
            (Some(_), None) => Self::ServerOnly,
            (Some(_), Some(span)) => {
                let message =
                    "`server_only` says already that clients do not set the field: remove `read_only`";
                errors.at(span, message);
                Self::ServerOnly
            }
        }
    }
}

/// Clients name a field in their conditions, beside the words that join conditions.
fn check_operator(name: &str, span: Span, errors: &mut Errors) {
    if ["and", "or", "not"].contains(&name) {
        errors.at(
            span,
            format!(
                "a field that filters may use cannot be called `{name}`, which joins conditions in a client's `where`: \
                 give it another name with `#[serde(rename = \"...\")]`"
            ),
        );
    }
}

/// The type, and what is in it as far as containers of the standard library and syntax tell.
pub(crate) fn parts(ty: &Type) -> Vec<&Type> {
    const CONTAINERS: [&str; 13] = [
        "Arc",
        "BTreeMap",
        "BTreeSet",
        "Box",
        "Cow",
        "HashMap",
        "HashSet",
        "LinkedList",
        "Option",
        "Rc",
        "Result",
        "Vec",
        "VecDeque",
    ];
    let inner: Vec<&Type> = match ty {
        Type::Array(array) => vec![&array.elem],
        Type::Group(group) => return parts(&group.elem),
        Type::Paren(paren) => return parts(&paren.elem),
        Type::Slice(slice) => vec![&slice.elem],
        Type::Tuple(tuple) => tuple.elems.iter().collect(),
        Type::Path(path) => match path.path.segments.last() {
            Some(PathSegment { ident, arguments: PathArguments::AngleBracketed(arguments) })
                if CONTAINERS.iter().any(|container| ident == container) =>
            {
                let types = arguments.args.iter().filter_map(|argument| match argument {
                    GenericArgument::Type(ty) => Some(ty),
                    _ => None,
                });
                types.collect()
            }
            _ => return vec![ty],
        },
        _ => return Vec::new(),
    };
    inner.into_iter().flat_map(parts).collect()
}

/// The place of the field that is marked `#[sync(id)]`, else of the one called `id`.
fn find_id(
    fields: &[(&syn::Field, sync_attributes::FieldAttributes)],
    model: &Ident,
    errors: &mut Errors,
) -> Option<usize> {
    let mut marked = fields.iter().enumerate().filter_map(|(index, (_, sync))| Some((index, sync.id?)));
    if let Some((first, _)) = marked.next() {
        for (_, span) in marked {
            errors.at(span, "a model has one id: remove `#[sync(id)]` from all fields but one");
        }
        return Some(first);
    }
    let called_id =
        |(field, _): &(&syn::Field, _)| field.ident.as_ref().is_some_and(|ident| ident.unraw() == "id");
    let found = fields.iter().position(called_id);
    if found.is_none() {
        errors.on(
            model,
            "a model needs an id: add a field `id: u64`, or mark the field that is the id with `#[sync(id)]`",
        );
    }
    found
}

fn name(ident: &Ident, given: Option<(String, Span)>, errors: &mut Errors) -> String {
    let is_given = given.is_some();
    let (name, span) = given.unwrap_or_else(|| (ident.unraw().to_string(), ident.span()));
    let hint = if is_given { "" } else { "; give the model another one with `#[sync(name = \"...\")]`" };
    let lower = name.to_ascii_lowercase();
    let mut letters = name.chars();
    if !letters.next().is_some_and(|first| first.is_ascii_alphabetic())
        || !letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    {
        errors.at(
            span,
            format!("a model's name is a letter followed by letters, digits and `_`, all ASCII{hint}"),
        );
    } else if name.len() > NAME_LENGTH {
        errors.at(
            span,
            format!("a model's name has at most {NAME_LENGTH} characters, not {}{hint}", name.len()),
        );
    } else if let Some(prefix) = ["sqlite_", "sync_"].into_iter().find(|prefix| lower.starts_with(prefix)) {
        errors.at(
            span,
            format!("a model's name cannot begin with `{prefix}`, which the stores use themselves{hint}"),
        );
    }
    name
}

fn check_generics(input: &DeriveInput, errors: &mut Errors) {
    for parameter in &input.generics.params {
        match parameter {
            GenericParam::Lifetime(_) => {
                errors.on(
                    parameter,
                    "a model owns its values: write `String` and the like, without a lifetime",
                );
            }
            GenericParam::Type(_) | GenericParam::Const(_) => {
                errors.on(
                    parameter,
                    "a model is one type of rows, without parameters: write a struct for each",
                );
            }
        }
    }
}

fn named_fields<'a>(
    input: &'a DeriveInput,
    errors: &mut Errors,
) -> impl Iterator<Item = &'a syn::Field> + use<'a> {
    const SHAPE: &str = "a model is a struct with named fields";
    let fields = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => Some(&fields.named),
            Fields::Unnamed(fields) => {
                errors.on(fields, format!("{SHAPE}: write `{{ id: u64, ... }}` instead of `( ... )`"));
                None
            }
            Fields::Unit => {
                errors
                    .on(&input.ident, format!("{SHAPE}: write `struct {} {{ id: u64, ... }}`", input.ident));
                None
            }
        },
        Data::Enum(data) => {
            errors.at(
                data.enum_token.span(),
                format!("{SHAPE}, not an enum: use the enum as the type of a field"),
            );
            None
        }
        Data::Union(data) => {
            errors.at(data.union_token.span(), format!("{SHAPE}, not a union"));
            None
        }
    };
    fields.into_iter().flatten()
}

/// The struct as text, for the schema's hash: it differs when what is stored may differ.
pub(crate) fn signature(model: &Model) -> String {
    let container = &model.serde.entries;
    let fields = model.fields.iter().map(|Field { ident, ty, serde, .. }| {
        let entries = &serde.entries;
        quote!(#[#(#entries),*] #ident: #ty,)
    });
    tokens::text(quote!(#[#(#container),*] #(#fields)*))
}
