//! The arguments of an action, read by name from what a client sent: everything that is wrong is told at once.

use std::borrow::Cow;

use serde::de::{DeserializeOwned, Deserializer, Visitor, value::Error as Missing};
use serde_json::value::RawValue;

use crate::{
    Error, ErrorCode, Result,
    draft::{MAX_NAMED, MAX_SHOWN},
    object::{Object, shortened},
};

/// The arguments that a client sent, taken one after the other.
#[derive(Debug)]
#[doc(hidden)]
pub struct Arguments<'a> {
    /// In the order of the action's own; `None` where the client left one out.
    given: std::vec::IntoIter<(&'static str, Option<&'a RawValue>)>,
    wrong: Option<Error>,
    count: usize,
}

impl<'a> Arguments<'a> {
    pub(crate) fn read(arguments: &'a str, names: &'static [&'static str]) -> Result<Self> {
        let object: Object<'a> = serde_json::from_str(arguments).map_err(|error| {
            let message = format!("`args` must be an object with the arguments by name: {}", plain(&error));
            Error::new(ErrorCode::Invalid, message)
        })?;
        let given: Vec<_> = names.iter().map(|name| (*name, object.get(name))).collect();
        let mut arguments = Self { given: given.into_iter(), wrong: None, count: 0 };
        for (name, _) in &object.fields {
            if !names.contains(&name.as_ref()) {
                arguments.refuse(name, "unknown argument");
            }
        }
        Ok(arguments)
    }

    /// The next argument; `None` if it is wrong. One that may be null may be left out.
    pub fn take<T: DeserializeOwned>(&mut self) -> Option<T> {
        let (name, value) = self.given.next()?;
        let decoded = match value {
            Some(value) => serde_json::from_str(value.get()).map_err(|error| plain(&error)),
            None => T::deserialize(LeftOut).map_err(|_| "missing".to_owned()),
        };
        decoded.map_err(|message| self.refuse(name, &message)).ok()
    }

    /// Whether all of them were right.
    pub fn check(self) -> Result<()> {
        self.wrong.map_or(Ok(()), Err)
    }

    fn refuse(&mut self, name: &str, message: &str) {
        self.count += 1;
        if self.count > MAX_NAMED {
            return;
        }
        let name: String = name.chars().take(MAX_SHOWN).collect();
        self.wrong = Some(match self.wrong.take() {
            None => Error::invalid(name, message),
            Some(error) => error.and_invalid(name, message),
        });
    }
}

/// An argument that was checked.
#[doc(hidden)]
pub fn given<T>(argument: Option<T>) -> Result<T> {
    argument.ok_or_else(|| Error::internal("an argument was used before it was checked"))
}

/// The message of `serde_json` without the position, which counts in a part of the frame that the client does not see.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    let text: Cow<'_, str> = shortened(text.get(..end).unwrap_or(&text));
    text.into_owned()
}

/// What is not there: an `Option` takes it for `None`, as it does in a struct, and everything else refuses it.
struct LeftOut;

impl<'de> Deserializer<'de> for LeftOut {
    type Error = Missing;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Missing> {
        Err(serde::de::Error::custom("missing"))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Missing> {
        visitor.visit_none()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<(String, Option<u32>)> {
        let mut arguments = Arguments::read(json, &["list", "n"])?;
        let (list, n) = (arguments.take(), arguments.take());
        arguments.check()?;
        Ok((given(list)?, given(n)?))
    }

    #[test]
    fn arguments_go_by_name() {
        assert_eq!(read(r#"{"n":3,"list":"a"}"#).unwrap(), ("a".into(), Some(3)));
        assert_eq!(read(r#"{"list":"a"}"#).unwrap(), ("a".into(), None));
        assert_eq!(read(r#"{"list":"a","n":null}"#).unwrap(), ("a".into(), None));
    }

    #[test]
    fn all_that_is_wrong_is_told() {
        let error = read(r#"{"n":"x","m":1}"#).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Invalid);
        assert_eq!(error.fields()["list"], "missing");
        assert_eq!(error.fields()["m"], "unknown argument");
        assert!(error.fields()["n"].starts_with("invalid type: string \"x\", expected u32"), "{error}");
        for json in ["[\"a\",1]", "3", r#"{"list":"a","list":"b"}"#] {
            assert_eq!(read(json).unwrap_err().code(), ErrorCode::Invalid, "{json}");
        }
        let many: Vec<_> = (0..50).map(|n| format!("\"x{n}\":0")).collect();
        assert_eq!(read(&format!("{{{}}}", many.join(","))).unwrap_err().fields().len(), MAX_NAMED);
    }
}
