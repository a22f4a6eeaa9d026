//! References: `{"$cid": "..."}` where a client may send an id, for a row that it created itself.

use std::{borrow::Cow, ops::Range};

use serde_json::value::RawValue;
use smallvec::SmallVec;

use crate::{Error, ErrorCode, Result, json, object::Text};

/// The field's name as it stands in the text. Written with escapes it is not looked for: no client's encoder does that.
const NAME: &str = "\"$cid\"";

/// A reference in a row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reference<'a> {
    /// Where it stands, braces and all.
    pub(crate) span: Range<usize>,
    /// The create that it names.
    pub(crate) cid: Cow<'a, str>,
}

/// The references in a row, at any depth, in their order. The row is an object of valid JSON; where the text has none this looks for it
/// and does no more.
pub(crate) fn find(row: &str) -> Result<SmallVec<[Reference<'_>; 2]>> {
    let mut references = SmallVec::new();
    if !row.contains(NAME) {
        return Ok(references);
    }
    let bytes = row.as_bytes();
    let mut place = 0;
    while let Some((start, byte)) = json::token(bytes, place) {
        place = start + 1;
        if byte != b'"' {
            continue;
        }
        place = json::string_end(bytes, start);
        if row.get(start..place) == Some(NAME)
            && let Some((colon, b':')) = json::token(bytes, place)
        {
            let reference = around(row, start, colon)?;
            place = reference.span.end;
            references.push(reference);
        }
    }
    Ok(references)
}

/// What a value names, if it is a reference.
pub(crate) fn of(value: &RawValue) -> Result<Option<Cow<'_, str>>> {
    match find(value.get())?.as_slice() {
        [Reference { span, cid }] if *span == (0..value.get().len()) => Ok(Some(cid.clone())),
        _ => Ok(None),
    }
}

/// The reference whose name stands at `name`, with its colon at `colon`.
fn around(row: &str, name: usize, colon: usize) -> Result<Reference<'_>> {
    let bytes = row.as_bytes();
    let malformed = || {
        Error::new(ErrorCode::BadRequest, "a reference is an object with `$cid`, a string, and nothing else")
    };
    let Some((value, b'"')) = json::token(bytes, colon + 1) else { return Err(malformed()) };
    let end = json::string_end(bytes, value);
    let (Some((open, b'{')), Some((close, b'}'))) =
        (json::token_before(bytes, name), json::token(bytes, end))
    else {
        return Err(malformed());
    };
    let text = row.get(value..end).and_then(|text| serde_json::from_str(text).ok());
    let Text(cid) = text.ok_or_else(malformed)?;
    Ok(Reference { span: open..close + 1, cid })
}
