//! Row ids: what a model may use as one, and their untyped form.

use std::{fmt, sync::Arc};

use serde::{Serialize, Serializer, de::DeserializeOwned};
use uuid::Uuid;

/// The untyped form of a row's id: what stores, channels and messages use.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// An integer id.
    Int(i64),
    /// A string id, or a UUID in its hyphenated lower-case form.
    Text(Arc<str>),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(id) => id.fmt(f),
            Self::Text(id) => id.fmt(f),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(id) => id.fmt(f),
            Self::Text(id) => fmt::Debug::fmt(id, f),
        }
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Int(id) => serializer.serialize_i64(*id),
            Self::Text(id) => serializer.serialize_str(id),
        }
    }
}

/// Whether ids are integers or text, which decides who assigns them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// Integers: 1, 2, 3, …, assigned by the server.
    Int,
    /// Text: chosen by the client, else made by the server ([`ModelId::generate`]).
    Text,
}

/// A type that can be the id of a model: the integers up to 64 bits, `String`, [`Uuid`].
///
/// Implement it for a newtype around one of them, which serde must write as the inner value does
/// (`#[serde(transparent)]`, or a plain newtype struct), and that has a default for the moment before a new row gets its id:
///
/// ```
/// # use serde::{Serialize, Deserialize};
/// use sync_core::{Key, KeyKind, ModelId};
///
/// #[derive(Clone, Debug, Default, Serialize, Deserialize)]
/// struct ListId(u32);
///
/// impl ModelId for ListId {
///     const KIND: KeyKind = KeyKind::Int;
///     fn to_key(&self) -> Key { self.0.to_key() }
///     fn from_key(key: &Key) -> Option<Self> { u32::from_key(key).map(ListId) }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the id of a model",
    label = "not an id type",
    note = "use an integer (`u64`, `u32`, `u16`, `i64`, `i32` or `i16`: assigned by the server), `String` or `Uuid` (chosen by the client, else made by the server), or implement `sync_core::ModelId` for a newtype around one"
)]
pub trait ModelId: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// Whether the ids are integers or text.
    const KIND: KeyKind;

    /// The untyped form.
    fn to_key(&self) -> Key;

    /// The id of that untyped form, or `None` if it is not one of this type.
    fn from_key(key: &Key) -> Option<Self>;

    /// A new id for a row whose creator chose none. Only asked of text ids; a UUIDv7 by default, so that rows sort by
    /// the time of their creation.
    fn generate() -> Option<Self> {
        Self::from_key(&Key::Text(Uuid::now_v7().to_string().into()))
    }
}

macro_rules! integer_ids {
    ($($integer:ty)*) => {$(
        impl ModelId for $integer {
            const KIND: KeyKind = KeyKind::Int;

            fn to_key(&self) -> Key {
                // An id above i64::MAX can only come from a client, and no row has it.
                Key::Int(i64::try_from(*self).unwrap_or(i64::MAX))
            }

            fn from_key(key: &Key) -> Option<Self> {
                match key {
                    Key::Int(id) => Self::try_from(*id).ok(),
                    Key::Text(_) => None,
                }
            }
        }
    )*};
}

integer_ids!(i16 i32 i64 u16 u32 u64);

impl ModelId for String {
    const KIND: KeyKind = KeyKind::Text;

    fn to_key(&self) -> Key {
        Key::Text(self.as_str().into())
    }

    fn from_key(key: &Key) -> Option<Self> {
        match key {
            Key::Int(_) => None,
            Key::Text(id) => Some(id.to_string()),
        }
    }
}

impl ModelId for Uuid {
    const KIND: KeyKind = KeyKind::Text;

    fn to_key(&self) -> Key {
        Key::Text(self.hyphenated().encode_lower(&mut Uuid::encode_buffer()).into())
    }

    fn from_key(key: &Key) -> Option<Self> {
        match key {
            Key::Int(_) => None,
            Key::Text(id) => Uuid::parse_str(id).ok(),
        }
    }
}
