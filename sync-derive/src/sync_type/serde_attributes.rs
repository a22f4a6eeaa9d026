//! All of `#[serde(...)]` that changes the JSON. What is not serde is left to serde's own derive, which reports it.

use syn::{Attribute, Expr, LitStr, Meta, MetaNameValue, Token, Type, punctuated::Punctuated};

use crate::{
    model::{
        case::Case,
        serde_attributes::{entries, word},
    },
    runtime::string,
};

/// Something that may differ for writing and for reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BothWays<T> {
    pub(super) write: T,
    pub(super) read: T,
}

impl<T> BothWays<T> {
    fn map<U>(self, f: impl Fn(T) -> U) -> BothWays<U> {
        BothWays { write: f(self.write), read: f(self.read) }
    }
}

/// `#[serde(...)]` on the type.
#[derive(Default)]
pub(super) struct ContainerAttributes {
    pub(super) rename: BothWays<Option<String>>,
    pub(super) rename_all: BothWays<Option<Case>>,
    pub(super) rename_all_fields: BothWays<Option<Case>>,
    pub(super) tag: Option<String>,
    pub(super) content: Option<String>,
    pub(super) is_untagged: bool,
    pub(super) is_transparent: bool,
    pub(super) has_default: bool,
    /// The types that are written and read instead.
    pub(super) instead: BothWays<Option<Type>>,
}

impl ContainerAttributes {
    pub(super) fn of(attributes: &[Attribute]) -> Self {
        let mut result = Self::default();
        for entry in &entries(attributes) {
            match word(entry).as_str() {
                "rename" => result.rename = texts(entry).map(value),
                "rename_all" => result.rename_all = cases(entry),
                "rename_all_fields" => result.rename_all_fields = cases(entry),
                "tag" => result.tag = value(text(entry)),
                "content" => result.content = value(text(entry)),
                "untagged" => result.is_untagged = true,
                "transparent" => result.is_transparent = true,
                "default" => result.has_default = true,
                "into" => result.instead.write = ty(entry),
                "from" | "try_from" => result.instead.read = ty(entry),
                _ => {}
            }
        }
        result
    }
}

/// `#[serde(...)]` on a field or a variant.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a word of serde's")]
pub(super) struct PartAttributes {
    pub(super) rename: BothWays<Option<String>>,
    /// Of a variant's fields.
    pub(super) rename_all: BothWays<Option<Case>>,
    pub(super) skip: BothWays<bool>,
    pub(super) may_be_left_out: bool,
    pub(super) has_default: bool,
    pub(super) is_flattened: bool,
    pub(super) is_untagged: bool,
    /// `with` or a half of it.
    pub(super) with: Option<LitStr>,
    /// serde asks this and not the type to read it.
    pub(super) has_reader: bool,
}

impl PartAttributes {
    pub(super) fn of(attributes: &[Attribute]) -> Self {
        let mut result = Self::default();
        for entry in &entries(attributes) {
            match word(entry).as_str() {
                "rename" => result.rename = texts(entry).map(value),
                "rename_all" => result.rename_all = cases(entry),
                "skip" => result.skip = BothWays { write: true, read: true },
                "skip_serializing" => result.skip.write = true,
                "skip_deserializing" => result.skip.read = true,
                "skip_serializing_if" => result.may_be_left_out = true,
                "default" => result.has_default = true,
                "flatten" => result.is_flattened = true,
                "untagged" => result.is_untagged = true,
                "with" | "deserialize_with" => {
                    result.with = text(entry);
                    result.has_reader = true;
                }
                "serialize_with" => result.with = text(entry),
                _ => {}
            }
        }
        result
    }
}

fn value(text: Option<LitStr>) -> Option<String> {
    text.map(|text| text.value())
}

fn text(entry: &Meta) -> Option<LitStr> {
    match entry {
        Meta::NameValue(MetaNameValue { value, .. }) => string(value).cloned(),
        _ => None,
    }
}

/// `word = "..."`, or `word(serialize = "...", deserialize = "...")`.
fn texts(entry: &Meta) -> BothWays<Option<LitStr>> {
    let Meta::List(list) = entry else {
        return BothWays { write: text(entry), read: text(entry) };
    };
    let ways = list.parse_args_with(Punctuated::<MetaNameValue, Token![,]>::parse_terminated);
    let ways = ways.unwrap_or_default();
    let way = |name| {
        let way = ways.iter().find(|way| way.path.is_ident(name));
        way.and_then(|way: &MetaNameValue| string(&way.value).cloned())
    };
    BothWays { write: way("serialize"), read: way("deserialize") }
}

fn cases(entry: &Meta) -> BothWays<Option<Case>> {
    texts(entry).map(|text| text.as_ref().and_then(Case::of))
}

fn ty(entry: &Meta) -> Option<Type> {
    match entry {
        // serde takes a string.
        Meta::NameValue(MetaNameValue { value: Expr::Lit(_) | Expr::Group(_), .. }) => {
            text(entry)?.parse().ok()
        }
        _ => None,
    }
}
