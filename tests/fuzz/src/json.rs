//! JSON as it is written: fields in their order, also those that are there twice. And JSON made up at random.

use std::fmt;

use arbitrary::{Result, Unstructured};
use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, SeqAccess, Visitor},
};

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// Null, a boolean, or a number.
    Plain,
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// An object, with all its fields.
    Object(Vec<(String, Node)>),
}

impl Node {
    /// Reads a whole text; `None` if it is no JSON, or has strings that are no Unicode.
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The first field of this name.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(fields) => fields.iter().find(|(other, _)| other == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text that it is.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether an object in it has a name twice.
    pub fn has_twice(&self) -> bool {
        match self {
            Self::Plain | Self::Text(_) => false,
            Self::List(items) => items.iter().any(Self::has_twice),
            Self::Object(fields) => {
                let mut names: Vec<_> = fields.iter().map(|(name, _)| name).collect();
                names.sort_unstable();
                names.windows(2).any(|pair| pair[0] == pair[1])
                    || fields.iter().any(|(_, value)| value.has_twice())
            }
        }
    }

    /// How deep lists and objects are nested in it.
    pub fn depth(&self) -> usize {
        match self {
            Self::Plain | Self::Text(_) => 0,
            Self::List(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Self::Object(fields) => 1 + fields.iter().map(|(_, value)| value.depth()).max().unwrap_or(0),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
                Ok(Node::Plain)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
                Ok(Node::Plain)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
                Ok(Node::Plain)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
                Ok(Node::Plain)
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Plain)
            }

            fn visit_str<E>(self, text: &str) -> Result<Node, E> {
                Ok(Node::Text(text.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Node::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Node::Object(fields))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// Appends a string that is worth a try, with its quotes.
pub fn string(random: &mut Unstructured<'_>, into: &mut String) -> Result<()> {
    into.push_str(random.choose(STRINGS)?);
    Ok(())
}

/// Appends a value of any shape.
pub fn value(random: &mut Unstructured<'_>, depth: u32, into: &mut String) -> Result<()> {
    match random.int_in_range(0..=if depth == 0 { 3 } else { 7 })? {
        0 | 1 => into.push_str(random.choose(NUMBERS)?),
        2 => string(random, into)?,
        3 => into.push_str(random.choose(&["null", "true", "false"])?),
        4 => {
            let references =
                [r#"{"$cid":"c1"}"#, r#"{"$cid":"none"}"#, r#"{"$cid":1}"#, r#"{"$cid":"c1","x":0}"#];
            into.push_str(random.choose(&references)?);
        }
        5 => list(random, depth, into)?,
        _ => {
            let fields = random.int_in_range(0..=4)?;
            into.push('{');
            for index in 0..fields {
                if index > 0 {
                    into.push(',');
                }
                string(random, into)?;
                into.push(':');
                value(random, depth - 1, into)?;
            }
            into.push('}');
        }
    }
    Ok(())
}

fn list(random: &mut Unstructured<'_>, depth: u32, into: &mut String) -> Result<()> {
    into.push('[');
    for index in 0..random.int_in_range(0..=4)? {
        if index > 0 {
            into.push(',');
        }
        value(random, depth - 1, into)?;
    }
    into.push(']');
    Ok(())
}

/// Strings that have been trouble somewhere.
pub const STRINGS: &[&str] = &[
    r#""""#,
    r#""a""#,
    r#""b""#,
    r#""c""#,
    r#""id""#,
    r#""\u0061""#,
    r#""\u0000""#,
    r#""\ud83d\ude00""#,
    r#""\ud800""#,
    r#""\"""#,
    r#""\\""#,
    "\"\u{e9}\u{301}\"",
    "\"\u{ffff}\"",
    "\"\u{10ffff}\"",
    r#""a:b""#,
    r#""$cid""#,
    r#""__proto__""#,
    r#""a long string, longer than what is kept on the stack or shown in a message to the client""#,
];

/// Numbers that have been trouble somewhere.
pub const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "-1",
    "1.0",
    "1.5",
    "-0",
    "-0.0",
    "0.1",
    "1e2",
    "1E-2",
    "1e400",
    "-1e400",
    "1e-400",
    "5e-324",
    "1e308",
    "9007199254740991",
    "9007199254740992",
    "-9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e15",
    "123456789012345678901234567890",
    "3.0000000000000001",
];
