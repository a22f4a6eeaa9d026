//! Names that an object has twice. serde takes the last of them in a map, in `serde_json::Value` and in what is kept as text, and refuses them in a
//! struct: two readers of one message may then see two different messages. So they are refused wherever they stand, before anything is decoded.

use std::{borrow::Cow, collections::HashSet};

use smallvec::SmallVec;

use crate::{
    json,
    object::{Text, shown},
};

/// Up to so many names of an object are compared with each other; more are looked up.
const FEW: usize = 16;

/// An object or a list that is open.
struct Open<'a> {
    is_object: bool,
    /// Where its names begin among all that are open.
    names: usize,
    /// All of its names, if they are many.
    many: HashSet<Cow<'a, str>>,
}

/// The first name that an object in this value, at any depth, has twice, as far as an answer shows it. The value is valid JSON.
pub(super) fn find(value: &str) -> Option<Cow<'_, str>> {
    let bytes = value.as_bytes();
    let mut open = SmallVec::<[Open<'_>; 4]>::new();
    let mut names = SmallVec::<[Cow<'_, str>; 16]>::new();
    let mut place = 0;
    while let Some(byte) = bytes.get(place) {
        let start = place;
        place += 1;
        match byte {
            b'{' | b'[' => {
                let is_object = *byte == b'{';
                open.push(Open { is_object, names: names.len(), many: HashSet::new() });
            }
            b'}' | b']' => {
                if let Some(closed) = open.pop() {
                    names.truncate(closed.names);
                }
            }
            b'"' => {
                place = json::string_end(bytes, start);
                let Some(object) = open.last_mut().filter(|open| open.is_object) else { continue };
                let Some((colon, b':')) = json::token(bytes, place) else { continue };
                place = colon + 1;
                let name = name(value.get(start..=colon)?);
                let few = names.get(object.names..).unwrap_or_default();
                let is_there = if few.len() < FEW {
                    few.contains(&name)
                } else {
                    if object.many.is_empty() {
                        object.many.extend(few.iter().cloned());
                    }
                    !object.many.insert(name.clone())
                };
                if is_there {
                    return Some(shown(&name).into_owned().into());
                }
                if few.len() < FEW {
                    names.push(name);
                }
            }
            _ => {}
        }
    }
    None
}

/// The name that a string is. One that is no Unicode stands for itself, as it is written.
fn name(text: &str) -> Cow<'_, str> {
    let text = text.trim_end_matches(|end: char| end == ':' || end.is_ascii_whitespace());
    let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
    if !inner.contains('\\') {
        return inner.into();
    }
    serde_json::from_str(text).map_or(inner.into(), |Text(name)| name)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::find;

    #[test]
    fn a_name_is_found_twice_at_any_depth() {
        for (value, name) in [
            (r#"{"a":1,"a":2}"#, "a"),
            (r#"{"a":{"b":1,"c":{},"b":2}}"#, "b"),
            (r#"[1,[{"x":"{","y":[],"x":null}]]"#, "x"),
            (r#"{"a":1,"\u0061":2}"#, "a"),
            (r#"{"a" :1,"b":{"a":1} , "a"	:2}"#, "a"),
            (r#"{"":1,"":2}"#, ""),
            (r#"{":":1,":":2}"#, ":"),
            (r#"{"\"":1,"\u0022":2}"#, "\""),
            (r#"{"\ud800":1,"\ud800":2}"#, r"\ud800"),
            (r#"{"a:":1,"a: ":2,"a: ":2}"#, "a: "),
        ] {
            assert_eq!(find(value).as_deref(), Some(name), "{value}");
        }
    }

    #[test]
    fn equal_names_of_different_objects_are_no_matter() {
        for value in [
            r#"{"a":{"a":{"a":1}},"b":{"a":1}}"#,
            r#"[{"a":1},{"a":2}]"#,
            r#"{"a":"a","b":"a","c":["a","a"]}"#,
            r#"{"a":"\"b\":1,\"b\":2","b":1}"#,
            r#"{"a":1,"A":2,"a ":3}"#,
            "3",
            "[]",
            r#""a""#,
        ] {
            assert_eq!(find(value), None, "{value}");
        }
    }

    #[test]
    fn many_names_are_looked_up() {
        let object = |names: &[usize]| {
            let mut text = String::from("{");
            for name in names {
                write!(text, "\"n{name}\":{{\"n1\":1}},").unwrap();
            }
            text + "\"end\":0}"
        };
        let mut names: Vec<_> = (0..5000).collect();
        assert_eq!(find(&object(&names)), None);
        for (first, second) in [(0, 4999), (3, 9), (9, 17), (16, 17), (17, 18), (4000, 4500)] {
            let was = std::mem::replace(&mut names[second], first);
            assert_eq!(find(&object(&names)), Some(format!("n{first}").into()));
            names[second] = was;
        }
    }
}
