//! The dispatch table of a model, and what the code that `#[sync_handlers]` generates calls.
//!
//! The table's functions know a row's JSON and nothing of the model's type outside; inside they decode, call the handler
//! and encode what it returned. All else is decided by the engine, which is compiled once.

use std::{fmt, future::Future, pin::Pin};

use bytes::Bytes;
use uuid::Uuid;

use crate::{
    Context, Error, Filter, Query, Result,
    arguments::Arguments,
    draft,
    model::{FieldType, Key, ModelId as _, SyncedModel, filter::Expr},
    query::ErasedQuery,
    safe_integer,
};

/// A future of a handler.
#[doc(hidden)]
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The handlers of a model; what is `None` is refused.
#[doc(hidden)]
#[derive(Clone, Copy, Default)]
pub struct HandlerTable {
    pub create: Option<for<'a> fn(&'a Context, CreateInput<'a>) -> BoxFuture<'a, Result<Row>>>,
    pub update: Option<for<'a> fn(&'a Context, UpdateInput<'a>) -> BoxFuture<'a, Result<Row>>>,
    pub delete: Option<for<'a> fn(&'a Context, DeleteInput<'a>) -> BoxFuture<'a, Result<()>>>,
    pub read: Option<for<'a> fn(&'a Context) -> BoxFuture<'a, Result<Scope>>>,
    pub read_all: Option<for<'a> fn(&'a Context) -> BoxFuture<'a, Result<ErasedQuery>>>,
    pub actions: &'static [Action],
}

impl fmt::Debug for HandlerTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.methods()).finish()
    }
}

impl HandlerTable {
    /// Refuses everything.
    pub const NONE: Self =
        Self { create: None, update: None, delete: None, read: None, read_all: None, actions: &[] };

    /// The plain handlers of `#[sync_handlers(crud)]`.
    pub const fn plain<M: SyncedModel>() -> Self {
        Self {
            create: Some(plain::create::<M>),
            update: Some(plain::update::<M>),
            delete: Some(plain::delete),
            read: Some(plain::read::<M>),
            read_all: None,
            actions: &[],
        }
    }

    /// The names of the methods that are declared.
    pub(crate) fn methods(&self) -> impl Iterator<Item = &'static str> {
        [
            self.create.map(|_| "create"),
            self.read.map(|_| "read"),
            self.read_all.map(|_| "read_all"),
            self.update.map(|_| "update"),
            self.delete.map(|_| "delete"),
        ]
        .into_iter()
        .flatten()
        .chain(self.actions.iter().map(|action| action.name))
    }

    /// The action of that name.
    pub(crate) fn action(&self, name: &str) -> Option<&'static Action> {
        self.actions.iter().find(|action| action.name == name)
    }
}

/// An action of a model.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Action {
    pub name: &'static str,
    pub doc: &'static str,
    /// In their order.
    pub arguments: &'static [Argument],
    /// What it is in JSON, if that is known.
    pub result: FieldType,
    /// The result is JSON.
    pub run: for<'a> fn(&'a Context, ActionInput<'a>) -> BoxFuture<'a, Result<String>>,
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// An argument of an action.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Argument {
    pub name: &'static str,
    pub ty: FieldType,
}

/// A row as the engine handles it.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub(crate) key: Key,
    /// What is stored: the user's own serde.
    pub(crate) body: Bytes,
    /// What clients see. Shares its memory with `body` where they are the same.
    pub(crate) wire: Bytes,
}

impl Row {
    pub(crate) fn of<M: SyncedModel>(row: &M) -> Result<Self> {
        let body = Bytes::from(serde_json::to_vec(row)?);
        let wire = if M::__SCHEMA.is_all_visible() { body.clone() } else { wire_json(row)? };
        safe_integer::check(&wire)?;
        Ok(Self { key: row.__id().to_key(), body, wire })
    }
}

/// The rows that a client may see.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope(pub(crate) Expr);

/// What a client's `create` brings.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct CreateInput<'a> {
    /// The row as the client sent it.
    pub(crate) draft: &'a str,
    /// The id that it gets.
    pub(crate) key: &'a Key,
}

impl CreateInput<'_> {
    /// The row that the client drafted, with its id.
    pub fn draft<M: SyncedModel>(&self) -> Result<M> {
        let mut draft = draft::decode::<M>(self.draft)?;
        draft.__set_id(id::<M>(self.key)?);
        Ok(draft)
    }

    /// The row to store.
    pub fn row<M: SyncedModel>(&self, row: &M) -> Result<Row> {
        same_id(self.key, Row::of(row)?)
    }
}

/// What a client's `update` or `patch` brings.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct UpdateInput<'a> {
    /// The row as it is stored.
    pub(crate) current: &'a Bytes,
    /// The row, or the fields of it, as the client sent them.
    pub(crate) draft: &'a str,
    /// Whether `draft` is a few fields only.
    pub(crate) is_patch: bool,
    /// The row's id.
    pub(crate) key: &'a Key,
}

impl UpdateInput<'_> {
    /// The row as it is, and as the client wants it.
    pub fn rows<M: SyncedModel>(&self) -> Result<(M, M)> {
        let current: M = stored(self.current)?;
        let mut next =
            if self.is_patch { draft::overlay(&current, self.draft)? } else { draft::decode(self.draft)? };
        next.__keep_server_fields(&current);
        Ok((current, next))
    }

    /// The row to store.
    pub fn row<M: SyncedModel>(&self, row: &M) -> Result<Row> {
        same_id(self.key, Row::of(row)?)
    }
}

/// What a client's `delete` concerns.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct DeleteInput<'a> {
    /// The row as it is stored.
    pub(crate) current: &'a Bytes,
}

impl DeleteInput<'_> {
    /// The row as it is.
    pub fn current<M: SyncedModel>(&self) -> Result<M> {
        stored(self.current)
    }
}

/// What a client's `action` brings.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct ActionInput<'a> {
    /// The arguments as the client sent them: a JSON object.
    pub(crate) arguments: &'a str,
}

impl<'a> ActionInput<'a> {
    /// The arguments of an action that has those of these names.
    pub fn arguments(self, names: &'static [&'static str]) -> Result<Arguments<'a>> {
        Arguments::read(self.arguments, names)
    }
}

/// What `read` returned.
#[doc(hidden)]
pub fn scope<M>(filter: Filter<M>) -> Scope {
    Scope(filter.into_expr())
}

/// What `read_all` is given.
#[doc(hidden)]
pub fn query<M>() -> Query<M> {
    Query::new()
}

/// What `read_all` returned.
#[doc(hidden)]
pub fn shaped<M>(query: Query<M>) -> ErasedQuery {
    query.erase()
}

/// The plain handlers of `#[sync_handlers(crud)]`.
mod plain {
    use super::{
        BoxFuture, Context, CreateInput, DeleteInput, Filter, Result, Row, Scope, SyncedModel, UpdateInput,
        scope,
    };

    /// Stores what the client sent.
    pub(super) fn create<'a, M: SyncedModel>(
        _: &'a Context,
        input: CreateInput<'a>,
    ) -> BoxFuture<'a, Result<Row>> {
        Box::pin(async move { input.row(&input.draft::<M>()?) })
    }

    /// Stores what the client sent.
    pub(super) fn update<'a, M: SyncedModel>(
        _: &'a Context,
        input: UpdateInput<'a>,
    ) -> BoxFuture<'a, Result<Row>> {
        Box::pin(async move { input.row(&input.rows::<M>()?.1) })
    }

    /// Deletes the row.
    pub(super) fn delete<'a>(_: &'a Context, _: DeleteInput<'a>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { Ok(()) })
    }

    /// Shows every row.
    pub(super) fn read<M: SyncedModel>(_: &Context) -> BoxFuture<'_, Result<Scope>> {
        Box::pin(async move { Ok(scope::<M>(Filter::all())) })
    }
}

/// What clients see of a stored row.
pub(crate) fn rewire<M: SyncedModel>(body: &Bytes) -> Result<Bytes> {
    if M::__SCHEMA.is_all_visible() { Ok(body.clone()) } else { wire_json(&stored::<M>(body)?) }
}

/// The row of this stored JSON written again: with the defaults of fields that it lacks, and without those that are no more.
pub(crate) fn reencode<M: SyncedModel>(body: &[u8]) -> Result<(Key, Bytes), serde_json::Error> {
    let row: M = serde_json::from_slice(body)?;
    Ok((row.__id().to_key(), serde_json::to_vec(&row)?.into()))
}

pub(crate) fn stored<M: SyncedModel>(body: &Bytes) -> Result<M> {
    serde_json::from_slice(body)
        .map_err(|error| Error::internal(format!("a stored row of `{}` does not decode: {error}", M::NAME)))
}

fn wire_json<M: SyncedModel>(row: &M) -> Result<Bytes> {
    let mut json = Vec::with_capacity(128);
    row.__serialize_wire(&mut serde_json::Serializer::new(&mut json))?;
    Ok(json.into())
}

pub(crate) fn id<M: SyncedModel>(key: &Key) -> Result<M::Id> {
    M::Id::from_key(key).ok_or_else(|| Error::invalid(M::__SCHEMA.id, "is not an id of this model"))
}

/// The id that server code has given to a new row. Integers are assigned, and an empty text or a nil UUID is none.
pub(crate) fn given_key<M: SyncedModel>(row: &M) -> Option<Key> {
    match row.__id().to_key() {
        Key::Text(text) if !text.is_empty() && *text != *Uuid::nil().to_string() => Some(Key::Text(text)),
        Key::Text(_) | Key::Int(_) => None,
    }
}

fn same_id(key: &Key, row: Row) -> Result<Row> {
    if row.key == *key {
        Ok(row)
    } else {
        Err(Error::internal(format!("a handler changed the id {key:?} to {:?}", row.key)))
    }
}
