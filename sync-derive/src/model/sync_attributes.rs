//! `#[sync(...)]` on the struct and on its fields.

use proc_macro2::Span;
use syn::{
    Attribute, Ident, LitStr, Meta, MetaNameValue, Token, punctuated::Punctuated, spanned::Spanned as _,
};

use crate::{
    errors::Errors,
    runtime::{Runtime, string},
    suggest, tokens,
};

const ON_STRUCT: [&str; 2] = ["name", "crate"];
const ON_FIELD: [&str; 5] = ["id", "index", "read_only", "server_only", "ts"];
/// On a type that is no model.
const ON_TYPE: [&str; 3] = ["name", "ts", "crate"];
const ON_PART: [&str; 1] = ["ts"];
/// What people expect here and serde has.
const OF_SERDE: [&str; 9] = [
    "alias",
    "default",
    "deny_unknown_fields",
    "flatten",
    "rename",
    "rename_all",
    "skip",
    "skip_serializing_if",
    "with",
];

/// `#[sync(...)]` on the struct.
#[derive(Default)]
pub(crate) struct StructAttributes {
    /// The model's name, and where it stands.
    pub(crate) name: Option<(String, Span)>,
    pub(crate) runtime: Runtime,
}

impl StructAttributes {
    pub(crate) fn of(attributes: &[Attribute], errors: &mut Errors) -> Self {
        let mut result = Self::default();
        for (name, meta) in entries(attributes, "the struct", &ON_STRUCT, errors) {
            match (name.as_str(), &meta) {
                ("name", Meta::NameValue(value)) => result.name = model_name(value, errors),
                ("crate", _) => result.runtime = Runtime::from_attribute(&meta, errors),
                ("name", _) => errors.on(&meta, "write the model's name as a string: `name = \"Todo\"`"),
                (name, _) if ON_FIELD.contains(&name) => errors.on(
                    meta.path(),
                    format!("`{name}` is for a field: write `#[sync({name})]` on the field that it is about"),
                ),
                _ => unknown(&meta, &ON_STRUCT, errors),
            }
        }
        result
    }
}

/// `#[sync(...)]` on a type that is described to TypeScript.
#[derive(Default)]
pub(crate) struct TypeAttributes {
    /// Its name in TypeScript.
    pub(crate) name: Option<String>,
    /// What it is, in TypeScript.
    pub(crate) ts: Option<LitStr>,
    pub(crate) runtime: Runtime,
}

impl TypeAttributes {
    pub(crate) fn of(attributes: &[Attribute], errors: &mut Errors) -> Self {
        let mut result = Self::default();
        for (name, meta) in entries(attributes, "a type", &ON_TYPE, errors) {
            match name.as_str() {
                "name" => result.name = type_name(&meta, errors),
                "ts" => result.ts = typescript(&meta, errors),
                "crate" => result.runtime = Runtime::from_attribute(&meta, errors),
                _ => unknown(&meta, &ON_TYPE, errors),
            }
        }
        result
    }
}

/// The TypeScript of `#[sync(ts = "...")]` on a field or a variant of such a type.
pub(crate) fn type_of_part(attributes: &[Attribute], place: &str, errors: &mut Errors) -> Option<LitStr> {
    let mut result = None;
    for (name, meta) in entries(attributes, place, &ON_PART, errors) {
        match name.as_str() {
            "ts" => result = typescript(&meta, errors),
            name if ON_FIELD.contains(&name) => {
                // The struct may be a model as well, whose derive looks at it.
            }
            _ => unknown(&meta, &ON_PART, errors),
        }
    }
    result
}

/// `#[sync(...)]` on a field: where each word stands, if it does.
#[derive(Default)]
pub(crate) struct FieldAttributes {
    pub(crate) id: Option<Span>,
    pub(crate) index: Option<Span>,
    pub(crate) read_only: Option<Span>,
    pub(crate) server_only: Option<Span>,
    /// What it is, in TypeScript.
    pub(crate) ts: Option<LitStr>,
}

impl FieldAttributes {
    pub(crate) fn of(attributes: &[Attribute], errors: &mut Errors) -> Self {
        let mut result = Self::default();
        for (name, meta) in entries(attributes, "a field", &ON_FIELD, errors) {
            let word = match name.as_str() {
                "id" => &mut result.id,
                "index" => &mut result.index,
                "read_only" => &mut result.read_only,
                "server_only" => &mut result.server_only,
                "ts" => {
                    result.ts = typescript(&meta, errors);
                    continue;
                }
                name if ON_STRUCT.contains(&name) => {
                    errors.on(
                        meta.path(),
                        format!(
                            "`{name}` is for the struct: write `#[sync({name} = \"...\")]` above it{}",
                            match name {
                                "name" => "; a field is renamed with `#[serde(rename = \"...\")]`",
                                _ => "",
                            }
                        ),
                    );
                    continue;
                }
                _ => {
                    unknown(&meta, &ON_FIELD, errors);
                    continue;
                }
            };
            if !matches!(meta, Meta::Path(_)) {
                errors.on(&meta, format!("`{name}` takes no value: write `#[sync({name})]`"));
            }
            *word = Some(meta.span());
        }
        result
    }
}

/// What stands in all `#[sync(...)]`, each word once.
fn entries(
    attributes: &[Attribute],
    place: &str,
    known: &[&str],
    errors: &mut Errors,
) -> Vec<(String, Meta)> {
    let mut entries: Vec<(String, Meta)> = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("sync")) {
        let known = suggest::list(known, "and");
        let Meta::List(list) = &attribute.meta else {
            errors.on(
                &attribute.meta,
                format!("write `#[sync(...)]` with what it shall say: {place} knows {known}"),
            );
            continue;
        };
        let metas = match list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated) {
            Ok(metas) => metas,
            Err(error) => {
                errors.at(error.span(), format!("write words separated by commas: {place} knows {known}"));
                continue;
            }
        };
        if metas.is_empty() {
            errors.on(attribute, format!("`#[sync()]` says nothing: {place} knows {known}"));
        }
        for meta in metas {
            let name = meta.path().get_ident().map(Ident::to_string).unwrap_or_default();
            if !name.is_empty() && entries.iter().any(|(other, _)| *other == name) {
                errors.on(meta, format!("`{name}` is given twice: remove one"));
            } else {
                entries.push((name, meta));
            }
        }
    }
    entries
}

fn unknown(meta: &Meta, known: &[&str], errors: &mut Errors) {
    let name = tokens::text(meta.path());
    let list = suggest::list(known, "and");
    errors.on(
        meta.path(),
        match suggest::nearest(&name, known) {
            _ if OF_SERDE.contains(&name.as_str()) => {
                format!("`{name}` is serde's: write `#[serde({})]`", tokens::text(meta))
            }
            Some(near) => format!("unknown attribute `{name}`: did you mean `{near}`? Known here: {list}"),
            None => format!("unknown attribute `{name}`; known here: {list}"),
        },
    );
}

/// The value of `ts`.
fn typescript(meta: &Meta, errors: &mut Errors) -> Option<LitStr> {
    let text = match meta {
        Meta::NameValue(value) => string(&value.value).filter(|text| !text.value().trim().is_empty()),
        _ => None,
    };
    if text.is_none() {
        errors.on(meta, "write what it is in TypeScript as a string: `ts = \"string | null\"`");
    }
    text.cloned()
}

/// The value of `name` on a type.
fn type_name(meta: &Meta, errors: &mut Errors) -> Option<String> {
    let is_name = |name: &String| {
        let mut letters = name.chars();
        letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    };
    let text = match meta {
        Meta::NameValue(value) => string(&value.value).map(LitStr::value).filter(is_name),
        _ => None,
    };
    if text.is_none() {
        errors.on(
            meta,
            "write the name of the type in TypeScript, ASCII letters, digits and `_`: `name = \"Colour\"`",
        );
    }
    text
}

fn model_name(attribute: &MetaNameValue, errors: &mut Errors) -> Option<(String, Span)> {
    let text = string(&attribute.value);
    if text.is_none() {
        errors.on(&attribute.value, "write the model's name as a string: `name = \"Todo\"`");
    }
    text.map(|text| (text.value(), text.span()))
}
