//! Whole numbers that a JavaScript client would change: it reads every number as a double, in which 2^53 + 1 becomes 2^53 without
//! a word. Rows that have one are refused, on their way in and on their way out.

use crate::{
    Error, ErrorCode, Result,
    draft::{MAX_NAMED, MAX_SHOWN},
    json,
    object::Object,
};

/// The largest whole number that a JavaScript number holds exactly.
pub(crate) const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// How many digits it has.
const DIGITS: usize = 16;

/// Refuses a row, given as valid JSON, with a whole number beyond [`MAX_SAFE_INTEGER`] anywhere in it.
pub(crate) fn check(row: &[u8]) -> Result<()> {
    if !is_suspicious(row) || !has_unsafe(row) {
        return Ok(());
    }
    let message = "is a whole number beyond 2^53, which JavaScript does not hold exactly: \
                   declare the field to travel as a string (`sync_core::integer_string`)";
    let fields = serde_json::from_slice::<Object<'_>>(row).ok();
    let fields = fields.iter().flat_map(|object| &object.fields);
    let names = fields.filter(|(_, value)| has_unsafe(value.get().as_bytes())).map(|(name, _)| name);
    let names = names.take(MAX_NAMED).map(|name| name.chars().take(MAX_SHOWN).collect::<String>());
    let refused = names.fold(None, |refused: Option<Error>, name| {
        Some(match refused {
            None => Error::invalid(name, message),
            Some(error) => error.and_invalid(name, message),
        })
    });
    Err(refused.unwrap_or_else(|| Error::new(ErrorCode::Invalid, message)))
}

/// Whether so many digits may stand in a row, and not as part of a fraction. One of them is then the 16th byte, or the 32nd, and so on: this
/// looks at those alone, for a tenth of what encoding the row costs. Reading all of it would double that.
fn is_suspicious(json: &[u8]) -> bool {
    let mut place = DIGITS - 1;
    while let Some(byte) = json.get(place) {
        if byte.is_ascii_digit() {
            let (before, from) = json.split_at(place);
            let digits_before = before.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
            let digits_from = from.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let is_fraction = before.iter().rev().nth(digits_before) == Some(&b'.')
                || matches!(from.get(digits_from), Some(b'.' | b'e' | b'E'));
            if digits_before + digits_from >= DIGITS && !is_fraction {
                return true;
            }
            // The digits of a long fraction are counted once.
            place += digits_from;
        }
        place += DIGITS;
    }
    false
}

/// Whether there is a whole number beyond the limit, outside strings.
fn has_unsafe(json: &[u8]) -> bool {
    let mut place = 0;
    while let Some(byte) = json.get(place) {
        match byte {
            b'"' => place = json::string_end(json, place),
            b'-' | b'0'..=b'9' => {
                let rest = json.get(place..).unwrap_or_default();
                let length = rest.iter().take_while(|byte| is_of_number(**byte)).count();
                let (number, _) = rest.split_at(length);
                if is_unsafe(number) {
                    return true;
                }
                place += length;
            }
            _ => place += 1,
        }
    }
    false
}

fn is_of_number(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E')
}

/// Whether a number as JSON writes it is whole, without fraction and exponent, and beyond the limit.
fn is_unsafe(number: &[u8]) -> bool {
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    // One with more digits than the type holds is beyond any limit.
    digits.iter().all(u8::is_ascii_digit)
        && std::str::from_utf8(digits).is_ok_and(|digits| {
            digits.len() > DIGITS || digits.parse::<u64>().is_ok_and(|number| number > MAX_SAFE_INTEGER)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> Option<Vec<String>> {
        check(json.as_bytes()).err().map(|error| error.fields().keys().cloned().collect())
    }

    #[test]
    fn whole_numbers_beyond_the_limit_are_refused() {
        for exact in ["0", "-1", "9007199254740991", "-9007199254740991", "123456789012345"] {
            assert_eq!(refused(&format!(r#"{{"a":{exact}}}"#)), None, "{exact}");
        }
        for beyond in [
            "9007199254740992",
            "-9007199254740992",
            "9999999999999999",
            "12345678901234567890",
            "-340282366920938463463374607431768211455",
        ] {
            assert_eq!(refused(&format!(r#"{{"a":{beyond}}}"#)), Some(vec!["a".into()]), "{beyond}");
            assert_eq!(refused(&format!("{{\"a\": [ {{\"b\":1}}, {beyond}\n]}}")), Some(vec!["a".into()]));
        }
    }

    #[test]
    fn other_long_digits_are_not() {
        for other in [
            r#""9007199254740993""#,
            r#""\"9007199254740993""#,
            r#"["\\",":9007199254740993"]"#,
            "0.30000000000000004",
            "9007199254740993.0",
            "-9007199254740993.5",
            "9007199254740993e0",
            "1E400",
            r#"{"9007199254740993":1}"#,
        ] {
            assert_eq!(refused(&format!(r#"{{"a":{other}}}"#)), None, "{other}");
        }
    }

    #[test]
    fn every_field_is_named() {
        let row = r#"{"id":1,"a":9007199254740993,"b":"9007199254740993","c":{"d":9007199254740993}}"#;
        assert_eq!(refused(row), Some(vec!["a".into(), "c".into()]));
    }

    /// The refusal is recorded.
    #[test]
    fn a_refusal_is_short() {
        let fields = (0..500).map(|number| format!(r#""{number:x<200}":9007199254740993"#));
        let row = format!("{{{}}}", fields.collect::<Vec<_>>().join(","));
        let error = check(row.as_bytes()).unwrap_err();
        assert_eq!(error.fields().len(), 10);
        assert!(error.message().len() < 4096, "{} bytes", error.message().len());
    }

    /// A client can have this looked at 64 KiB at a time, and a row may have more.
    #[test]
    fn long_fractions_take_no_longer_than_other_text() {
        let started = std::time::Instant::now();
        let digits = "1".repeat(256 * 1024);
        assert_eq!(refused(&format!(r#"{{"a":0.{digits},"b":"0.{digits}"}}"#)), None);
        assert!(started.elapsed() < std::time::Duration::from_secs(2), "{:?}", started.elapsed());
    }

    #[test]
    fn none_is_overlooked_behind_a_fraction() {
        for digits in 0..64 {
            for after in 0..20 {
                let (digits, after) = ("1".repeat(digits), "y".repeat(after));
                let row = format!(r#"{{"f":0.1{digits},"{after}":9007199254740992}}"#);
                assert_eq!(refused(&row), Some(vec![after]), "{row}");
                let row = format!(r#"{{"f":[0.1{digits},9007199254740992]}}"#);
                assert_eq!(refused(&row), Some(vec!["f".into()]), "{row}");
            }
        }
    }

    /// Wherever in the row the digits stand.
    #[test]
    fn none_is_overlooked() {
        for before in 0..64 {
            for after in 0..20 {
                let (before, after) = ("x".repeat(before), "y".repeat(after));
                let row = format!(r#"{{"s":"{before}","n":9007199254740992,"t":"{after}"}}"#);
                assert_eq!(refused(&row), Some(vec!["n".into()]), "{row}");
            }
        }
    }
}
