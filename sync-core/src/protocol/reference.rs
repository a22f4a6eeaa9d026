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

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use serde_json::Value;

    use super::*;

    /// `row` with its references as `found(cid)`, by way of the text.
    fn replaced(row: &str) -> Result<String> {
        let (mut text, mut copied) = (String::new(), 0);
        for Reference { span, cid } in find(row)? {
            text.push_str(&row[copied..span.start]);
            text.push_str(&Value::from(format!("found {cid}")).to_string());
            copied = span.end;
        }
        Ok(text + &row[copied..])
    }

    /// The same by way of a parser.
    fn replaced_in(value: &Value) -> Option<Value> {
        Some(match value {
            Value::Object(fields) if fields.contains_key("$cid") => match &fields["$cid"] {
                Value::String(cid) if fields.len() == 1 => format!("found {cid}").into(),
                _ => return None,
            },
            Value::Object(fields) => {
                let fields = fields.iter().map(|(name, value)| Some((name.clone(), replaced_in(value)?)));
                Value::Object(fields.collect::<Option<_>>()?)
            }
            Value::Array(values) => Value::Array(values.iter().map(replaced_in).collect::<Option<_>>()?),
            value => value.clone(),
        })
    }

    const STRINGS: [&str; 9] = [
        r#""$cid""#,
        r#""a""#,
        r#""""#,
        r#""\"""#,
        r#""\"$cid\":""#,
        r#""{\"$cid\":\"a\"}""#,
        r#""\\\\""#,
        r#""ü\u00fc\ud83d\ude00""#,
        r#""$cid ""#,
    ];
    const SPACES: [&str; 4] = ["", "", " ", "\r\n\t "];

    /// Appends a value of any shape.
    fn json(seed: &mut u64, depth: u32, into: &mut String) {
        let mut pick = |among: u64| {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from((*seed >> 33) % among).unwrap()
        };
        let (kind, string) = (pick(if depth == 0 { 3 } else { 6 }), STRINGS[pick(9)]);
        let (length, space) = (pick(4), SPACES[pick(4)]);
        match kind {
            0 => into.push_str("-1.5e7"),
            1 => into.push_str(string),
            2 => into.push_str("null"),
            3 => write!(into, "{{{space}\"$cid\"{space}:{space}{string}{space}}}").unwrap(),
            4 => {
                into.push('[');
                for index in 0..length {
                    into.push_str(if index > 0 { "," } else { space });
                    json(seed, depth - 1, into);
                    into.push_str(space);
                }
                into.push(']');
            }
            _ => {
                into.push('{');
                for index in 0..length {
                    *into += if index > 0 { "," } else { space };
                    // No name twice.
                    let name = ["\"$cid\"", "\"b\"", "\"\\\"$cid\\\"\"", "\"\\\\\""][index];
                    // The first rarely: what is malformed ends the comparison.
                    let name = if index == 0 && string != STRINGS[0] { "\"x\"" } else { name };
                    write!(into, "{name}{space}:{space}").unwrap();
                    json(seed, depth - 1, into);
                    into.push_str(space);
                }
                into.push('}');
            }
        }
    }

    #[test]
    fn the_text_has_the_references_that_a_parser_finds() {
        let (mut seed, mut counts) = (7, [0; 3]);
        for _ in 0..20_000 {
            let mut row = String::new();
            json(&mut seed, 4, &mut row);
            let value: Value = serde_json::from_str(&row).unwrap();
            let expected = replaced_in(&value);
            let found = replaced(&row).ok().map(|text| serde_json::from_str::<Value>(&text).unwrap());
            assert_eq!(found, expected, "{row}");
            counts[if expected.is_none() { 0 } else { 1 + usize::from(expected == Some(value)) }] += 1;
        }
        assert!(counts.iter().all(|count| *count > 100), "{counts:?}");
    }

    #[test]
    fn a_name_that_is_given_twice_is_malformed() {
        for row in
            [r#"{"$cid":"a","$cid":"b"}"#, r#"{"a":{"$cid":"a","$cid":1}}"#, r#"{"$cid":{"$cid":"a"}}"#]
        {
            assert!(find(row).is_err(), "{row}");
        }
    }

    #[test]
    fn a_name_with_escapes_is_another() {
        assert_eq!(find(r#"{"a":{"\u0024cid":"a"},"b":"$cid"}"#).unwrap().len(), 0);
        let row = r#"{"a":{"\u0024cid":"a"},"b":{"$cid":"\u0061"}}"#;
        assert_eq!(find(row).unwrap()[0].cid, "a");
    }
}
