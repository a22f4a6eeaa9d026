//! A JSON object as its fields, none of them read yet.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{Deserializer, Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use smallvec::SmallVec;

/// The most fields of a message, and of a row in it. Each is compared with those before it.
const MAX_FIELDS: usize = 512;

/// The fields of an object, in their order, no name twice.
pub(crate) struct Object<'a> {
    pub(crate) fields: SmallVec<[(Cow<'a, str>, &'a RawValue); 8]>,
}

impl<'a> Object<'a> {
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| *value)
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = SmallVec::<[(Cow<'de, str>, &'de RawValue); 8]>::new();
                while let Some(Text(name)) = map.next_key()? {
                    if fields.len() == MAX_FIELDS {
                        return Err(A::Error::custom(format_args!(
                            "there are more than {MAX_FIELDS} fields"
                        )));
                    }
                    if fields.iter().any(|(other, _)| *other == name) {
                        return Err(A::Error::custom(format_args!(
                            "field `{}` is given twice",
                            shown(&name)
                        )));
                    }
                    fields.push((name, map.next_value()?));
                }
                Ok(Object { fields })
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// A string, borrowed where it has no escapes.
#[derive(Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// A name that a client chose, short enough for a message.
pub(crate) fn shown(name: &str) -> Cow<'_, str> {
    if name.chars().nth(40).is_none() { name.into() } else { name.chars().take(40).chain(['…']).collect() }
}

/// What serde says of a value, without most of the value: it is recorded.
pub(crate) fn shortened(text: &str) -> Cow<'_, str> {
    const ENDS: usize = 100;
    let place = |mut place: usize| {
        while !text.is_char_boundary(place) {
            place -= 1;
        }
        place
    };
    if text.len() <= 3 * ENDS {
        return text.into();
    }
    let (first, last) = (place(ENDS), place(text.len() - ENDS));
    [&text[..first], "…", &text[last..]].concat().into()
}
