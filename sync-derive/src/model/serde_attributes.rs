//! `#[serde(...)]`: the names on the wire come from it, and the copies of the struct repeat it.
//!
//! What is not serde either is left to serde's own derive, which reports it.

use proc_macro2::Span;
use syn::{
    Attribute, Expr, ExprPath, Ident, LitStr, Meta, MetaNameValue, Token, punctuated::Punctuated,
    spanned::Spanned as _,
};

use super::case::Case;
use crate::{errors::Errors, runtime::string};

/// `#[serde(...)]` on the struct.
#[derive(Default)]
pub(crate) struct ContainerAttributes {
    pub(crate) entries: Vec<Meta>,
    pub(crate) rename_all: Option<Case>,
    pub(crate) has_default: bool,
}

impl ContainerAttributes {
    pub(crate) fn of(attributes: &[Attribute], errors: &mut Errors) -> Self {
        let entries = entries(attributes);
        let mut result = Self::default();
        for entry in &entries {
            let word = word(entry);
            match word.as_str() {
                "rename_all" => result.rename_all = both_ways(entry, errors).as_ref().and_then(Case::of),
                "default" => result.has_default = true,
                "tag" | "content" | "untagged" | "transparent" => {
                    refuse(
                        entry,
                        &word,
                        "a row is a JSON object of the struct's fields, all of them",
                        errors,
                    );
                }
                "from" | "try_from" | "into" | "remote" => {
                    refuse(
                        entry,
                        &word,
                        "what a client may see and send is told by the struct's own fields",
                        errors,
                    );
                }
                _ => {}
            }
        }
        result.entries = entries;
        if result.rename_all.is_none() {
            // serde reports it on the struct, and need not on the copies.
            result.entries.retain(|entry| word(entry) != "rename_all");
        }
        result
    }
}

/// `#[serde(...)]` on a field.
#[derive(Default)]
pub(crate) struct FieldAttributes {
    pub(crate) entries: Vec<Meta>,
    pub(crate) rename: Option<LitStr>,
    pub(crate) aliases: Vec<LitStr>,
    pub(crate) has_default: bool,
    /// `skip`, or both halves of it.
    pub(crate) skip: bool,
    /// The function of `with` or `serialize_with`.
    pub(crate) serialize_with: Option<ExprPath>,
    /// The function of `skip_serializing_if`.
    pub(crate) skip_if: Option<ExprPath>,
    /// The text of `with`, or of a half of it.
    pub(crate) with: Option<LitStr>,
    /// serde asks this and not the type to read the field.
    pub(crate) has_reader: bool,
    /// What makes the JSON differ from the type's own.
    pub(crate) unlike_type: Option<Span>,
}

impl FieldAttributes {
    pub(crate) fn of(attributes: &[Attribute], errors: &mut Errors) -> Self {
        let mut result = Self { entries: entries(attributes), ..Self::default() };
        let (mut skip_reading, mut skip_writing) = (None, None);
        for entry in &result.entries {
            match word(entry).as_str() {
                "rename" => result.rename = both_ways(entry, errors),
                "alias" => result.aliases.extend(text(entry)),
                "default" => result.has_default = true,
                "skip" => result.skip = true,
                "skip_serializing" => skip_writing = Some(entry.span()),
                "skip_deserializing" => skip_reading = Some(entry.span()),
                "skip_serializing_if" => {
                    result.skip_if = path(entry);
                    result.unlike_type = Some(entry.span());
                }
                "with" => {
                    result.with = text(entry);
                    result.serialize_with = path(entry).map(|mut module| {
                        module.path.segments.push(Ident::new("serialize", module.span()).into());
                        module
                    });
                    result.has_reader = true;
                    result.unlike_type = Some(entry.span());
                }
                "serialize_with" => {
                    result.with = text(entry);
                    result.serialize_with = path(entry);
                    result.unlike_type = Some(entry.span());
                }
                "deserialize_with" => {
                    result.with = text(entry);
                    result.has_reader = true;
                    result.unlike_type = Some(entry.span());
                }
                "flatten" => errors.on(
                    entry,
                    "a model cannot have a flattened field, since its names are not known here: write its fields into the \
                     struct, or keep it as one nested object",
                ),
                _ => {}
            }
        }
        match (skip_writing, skip_reading) {
            (Some(_), Some(_)) => result.skip = true,
            (Some(span), None) | (None, Some(span)) if !result.skip => errors.at(
                span,
                "the field would be lost when a row is stored and read again: write `skip` if it shall not be stored; \
                 `#[sync(server_only)]` keeps it from clients, `#[sync(read_only)]` shows it to them",
            ),
            _ => {}
        }
        result
    }
}

/// The word that an entry begins with.
pub(crate) fn word(entry: &Meta) -> String {
    entry.path().get_ident().map(Ident::to_string).unwrap_or_default()
}

/// What stands in all `#[serde(...)]`.
pub(crate) fn entries(attributes: &[Attribute]) -> Vec<Meta> {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("serde"))
        .filter_map(|attribute| {
            attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).ok()
        })
        .flatten()
        .collect()
}

fn refuse(entry: &Meta, word: &str, why: &str, errors: &mut Errors) {
    errors.on(entry, format!("a model cannot have `#[serde({word})]`, since {why}: remove it"));
}

/// The value of `rename` or `rename_all`, which must be the same for writing and for reading.
fn both_ways(entry: &Meta, errors: &mut Errors) -> Option<LitStr> {
    let Meta::List(list) = entry else { return text(entry) };
    let ways = list.parse_args_with(Punctuated::<MetaNameValue, Token![,]>::parse_terminated).ok()?;
    let way =
        |name| ways.iter().find(|way| way.path.is_ident(name)).and_then(|way| string(&way.value).cloned());
    match (way("serialize"), way("deserialize")) {
        (Some(one), Some(other)) if one.value() == other.value() && ways.len() == 2 => Some(one),
        (None, None) => None,
        // `deserialize` may be given several times, which is an alias that nobody sees.
        (Some(_) | None, Some(_)) | (Some(_), None) => {
            let word = word(entry);
            let message = "a field of a model has one name, for writing and for reading";
            errors.on(entry, format!("{message}: write `{word} = \"...\"`"));
            None
        }
    }
}

fn value(entry: &Meta) -> Option<&Expr> {
    match entry {
        Meta::NameValue(entry) => Some(&entry.value),
        _ => None,
    }
}

fn text(entry: &Meta) -> Option<LitStr> {
    value(entry).and_then(string).cloned()
}

/// A path as serde reads it, which may have type parameters: `With::<Hex>`.
fn path(entry: &Meta) -> Option<ExprPath> {
    text(entry)?.parse().ok()
}
