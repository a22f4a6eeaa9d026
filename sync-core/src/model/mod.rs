//! Models: structs whose rows stay in sync.
//!
//! `#[derive(SyncedModel)]` implements [`SyncedModel`] and registers the struct; nothing here knows of stores, sessions
//! or sockets.

pub(crate) mod field;
pub(crate) mod filter;
pub(crate) mod id;
pub(crate) mod order;
pub(crate) mod value;

use serde::{Deserializer, Serialize, Serializer, de::DeserializeOwned};

pub use self::{
    field::{Field, Filterable, Indexed, NotIndexed, Nullable, Operand, Textual},
    filter::Filter,
    id::{Key, KeyKind, ModelId},
    order::{Order, OrderBy, Place},
    value::{Kind, Value},
};
use crate::types::{Describe, Presence};

/// A struct whose rows are stored and kept in sync: implemented by `#[derive(SyncedModel)]`, never by hand.
///
/// See [`macro@crate::SyncedModel`] for the attributes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a synced model",
    label = "not a model",
    note = "add `#[derive(SyncedModel)]` to `{Self}`"
)]
pub trait SyncedModel: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// The type of the rows' ids.
    type Id: ModelId;

    /// The model's name: in `modelname`, in the channels `sync:<NAME>` and `sync:<NAME>:<id>`, and in the store.
    const NAME: &'static str;

    #[doc(hidden)]
    const __SCHEMA: &'static Schema;

    #[doc(hidden)]
    fn __id(&self) -> &Self::Id;

    #[doc(hidden)]
    fn __set_id(&mut self, id: Self::Id);

    /// Writes what a client may see: the user's serde without the `server_only` fields.
    #[doc(hidden)]
    fn __serialize_wire<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize(serializer)
    }

    /// Reads what a client may send, and refuses all else. The id may be missing; it is then the type's default or, for
    /// types without one, set to a placeholder: the caller sets it before anybody sees the row.
    #[doc(hidden)]
    fn __deserialize_draft<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;

    /// Takes over from `current` what a client may not change: the id, and `read_only` and `server_only` fields.
    #[doc(hidden)]
    fn __keep_server_fields(&mut self, current: &Self);
}

/// What the macro knows of a model: names and access of its fields.
#[doc(hidden)]
#[derive(Debug)]
pub struct Schema {
    /// The struct's documentation.
    pub doc: &'static str,
    /// The id's name in JSON.
    pub id: &'static str,
    /// Every field that serde writes, in order, the id among them.
    pub fields: &'static [FieldSchema],
    /// The struct's fields, types and serde attributes as text: it differs when what is stored may differ.
    pub signature: &'static str,
}

/// A field of a [`Schema`].
#[doc(hidden)]
#[derive(Debug)]
pub struct FieldSchema {
    /// The name in JSON.
    pub name: &'static str,
    /// Other names that serde accepts.
    pub aliases: &'static [&'static str],
    /// Who may see and set it.
    pub access: Access,
    /// Marked `#[sync(index)]`.
    pub indexed: bool,
    /// The field's documentation.
    pub doc: &'static str,
    /// What it is in JSON.
    pub ty: FieldType,
    /// Whether serde's `skip_serializing_if` may leave it out.
    pub may_be_left_out: bool,
    /// Whether a client that may set it has to, in a new row.
    pub insert: Presence,
}

/// What a field is in JSON.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub enum FieldType {
    /// Its type has a [`SyncType`](crate::SyncType), or a person said it.
    Known(Describe),
    /// Its type, as it stands in the struct, has none.
    Foreign(&'static str),
    /// serde asks a function instead of the type.
    Custom,
}

impl FieldType {
    /// The type of that text, as [`IsSyncType`](crate::probes::IsSyncType) knows it.
    #[must_use]
    pub const fn probed(describe: Option<Describe>, text: &'static str) -> Self {
        match describe {
            Some(describe) => Self::Known(describe),
            None => Self::Foreign(text),
        }
    }
}

/// Who may see and set a field.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Clients see and set it.
    Client,
    /// Clients see it, only the server sets it.
    ReadOnly,
    /// Clients do not see it.
    ServerOnly,
}

impl Schema {
    /// The field of that JSON name or alias.
    pub(crate) fn field(&self, name: &str) -> Option<&'static FieldSchema> {
        self.fields.iter().find(|field| field.name == name || field.aliases.contains(&name))
    }

    /// Whether clients see all that is stored, so that the stored JSON is the wire's.
    pub(crate) fn is_all_visible(&self) -> bool {
        self.fields.iter().all(|field| field.access != Access::ServerOnly)
    }

    /// Whether clients do not see or set all of it.
    pub(crate) const fn is_guarded(&self) -> bool {
        let mut rest = self.fields;
        while let [field, after @ ..] = rest {
            if !matches!(field.access, Access::Client) {
                return true;
            }
            rest = after;
        }
        false
    }

    /// A hash that differs when what is stored, or what a client sees, may differ. `types` is one of the fields' types.
    pub(crate) fn hash(&self, name: &str, types: u64) -> u64 {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        hasher.update(name.as_bytes());
        hasher.update(self.signature.as_bytes());
        hasher.update(&types.to_le_bytes());
        for field in self.fields {
            hasher.update(field.name.as_bytes());
            hasher.update(&[0, field.access as u8, u8::from(field.indexed)]);
        }
        hasher.digest()
    }
}
