//! Drafts: the rows that clients send. The generated decoder is strict and fast; only when it refuses is the row looked at
//! field by field, to name everything that is wrong with it.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::value::RawValue;

use crate::{
    Error, ErrorCode, Result,
    model::{Access, SyncedModel},
    object::{Object, shortened, shown},
};

/// How many wrong fields an error names, and how much of a name it shows: it is recorded.
pub(crate) const MAX_NAMED: usize = 10;
pub(crate) const MAX_SHOWN: usize = 64;

type Sorted<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// Decodes a whole row.
pub fn decode<M: SyncedModel>(raw: &str) -> Result<M> {
    // serde also reads a struct from an array of its fields, which nobody means.
    if raw.trim_start().starts_with('[') {
        serde_json::from_str::<Object<'_>>(raw).map_err(|error| not_a_row(&error))?;
    }
    let mut deserializer = serde_json::Deserializer::from_str(raw);
    M::__deserialize_draft(&mut deserializer)
        .and_then(|row| deserializer.end().map(|()| row))
        .map_err(|error| explain::<M>(raw, &error))
}

/// Decodes `current` with the fields of `raw` in place of its own.
pub fn overlay<M: SyncedModel>(current: &M, raw: &str) -> Result<M> {
    let mut wire = Vec::with_capacity(128);
    current.__serialize_wire(&mut serde_json::Serializer::new(&mut wire))?;
    let mut fields: Sorted<'_> = serde_json::from_slice(&wire)?;
    fields.retain(|name, _| M::__SCHEMA.field(name).is_some_and(|field| field.access == Access::Client));
    let patch: Object<'_> = serde_json::from_str(raw).map_err(|error| not_a_row(&error))?;
    let mut given = Vec::with_capacity(patch.fields.len());
    for (name, value) in patch.fields {
        // By its own name: an alias beside it would be the same field twice. Names that are not the client's stay as it wrote them.
        let field = M::__SCHEMA.field(&name).filter(|field| field.access == Access::Client);
        let own = field.map_or(name.clone(), |field| Cow::Borrowed(field.name));
        if given.contains(&own) {
            return Err(Error::invalid(shown(&name), "given twice"));
        }
        given.push(own.clone());
        fields.insert(own, value);
    }
    decode(&serde_json::to_string(&fields)?)
}

/// Everything that is wrong with the fields of a refused row.
fn explain<M: SyncedModel>(raw: &str, error: &serde_json::Error) -> Error {
    let Ok(fields) = serde_json::from_str::<Sorted<'_>>(raw) else { return not_a_row(error) };
    let mut wrong: Option<Error> = None;
    let mut count = 0;
    let mut add = |name: &str, message: &str| {
        count += 1;
        if count > MAX_NAMED {
            return;
        }
        let name: String = name.chars().take(MAX_SHOWN).collect();
        wrong = Some(match wrong.take() {
            None => Error::invalid(name, message),
            Some(error) => error.and_invalid(name, message),
        });
    };
    for name in fields.keys() {
        match M::__SCHEMA.field(name).map(|field| field.access) {
            Some(Access::Client) => {}
            Some(Access::ReadOnly) => add(name, "is set by the server only"),
            // A server_only field is not known to exist.
            Some(Access::ServerOnly) | None => add(name, "unknown field"),
        }
    }
    // What remains is one field that is missing, doubled or of the wrong type: serde names it, or its value.
    let culprit = wrong.is_none().then(|| culprit::<M>(&fields, error)).flatten();
    match (wrong, culprit) {
        (Some(wrong), _) => wrong,
        (None, Some((name, message))) => Error::invalid(name, message),
        (None, None) => Error::new(ErrorCode::Invalid, plain(error)),
    }
}

/// The field that `error` is about.
fn culprit<M: SyncedModel>(fields: &Sorted<'_>, error: &serde_json::Error) -> Option<(String, String)> {
    let text = plain(error);
    for (prefix, message) in [("missing field `", "missing"), ("duplicate field `", "given twice")] {
        if let Some(name) = text.strip_prefix(prefix).and_then(|rest| rest.split('`').next()) {
            return Some((name.to_owned(), message.to_owned()));
        }
    }
    // A wrong value: the field that makes the row refused even when the other fields are as they are and it alone is
    // left out, or that is refused with another message then.
    fields.keys().find_map(|name| {
        let others: BTreeMap<_, _> = fields.iter().filter(|(other, _)| *other != name).collect();
        let without = serde_json::to_string(&others).ok()?;
        let refused = M::__deserialize_draft(&mut serde_json::Deserializer::from_str(&without)).err();
        let is_other = refused.is_none_or(|error| plain(&error) != text);
        is_other.then(|| (name.to_string(), text.clone()))
    })
}

fn not_a_row(error: &serde_json::Error) -> Error {
    Error::new(
        ErrorCode::Invalid,
        format!("`model` must be an object with the row's fields: {}", plain(error)),
    )
}

/// The message of `serde_json` without the position, which counts in a part of the frame that the client does not see.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    shortened(&text[..end]).into_owned()
}
