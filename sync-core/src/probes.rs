//! What generated code uses to check the user's types, each with the message that the compiler prints when it does not hold.
//!
//! A check is a function that is named with the user's own type and gives the conversion that the generated code needs:
//! so the message is on that type, and there is one.

#![allow(missing_docs, reason = "each trait says what its few items are for, and none is public")]

use std::{future::Future, marker::PhantomData};

use serde::{Serialize, de::DeserializeOwned};
pub use serde_json::value::Serializer as ValueSerializer;

use crate::{
    Context, Error, Filter, Query, Result,
    arguments::Arguments,
    model::{SyncedModel, Value},
    types::{Describe, SyncType},
};

/// What `#[sync_handlers]` gives to the first parameter of a handler.
#[diagnostic::on_unimplemented(
    message = "the first parameter of a handler is `ctx: &Context`, not `{Self}`",
    label = "write `&Context`"
)]
pub trait ContextParameter<'a> {
    fn from_context(context: &'a Context) -> Self;
}

impl<'a> ContextParameter<'a> for &'a Context {
    fn from_context(context: &'a Context) -> Self {
        context
    }
}

/// `M` is there so that all checks of parameters are called alike.
pub fn context_parameter<'a, M, P: ContextParameter<'a>>() -> fn(&'a Context) -> P {
    P::from_context
}

/// The row that a client drafted.
#[diagnostic::on_unimplemented(
    message = "this parameter is the row that the client wants, a `{M}` by value, not `{Self}`",
    label = "write `{M}`"
)]
pub trait RowParameter<M> {
    fn from_row(row: M) -> Self;
}

impl<M> RowParameter<M> for M {
    fn from_row(row: M) -> Self {
        row
    }
}

pub fn row_parameter<M, P: RowParameter<M>>() -> fn(M) -> P {
    P::from_row
}

/// The row as it is stored.
#[diagnostic::on_unimplemented(
    message = "this parameter is the row as it is stored, a `&{M}`, not `{Self}`",
    label = "write `&{M}`"
)]
pub trait CurrentParameter<'a, M> {
    fn from_current(current: &'a M) -> Self;
}

impl<'a, M> CurrentParameter<'a, M> for &'a M {
    fn from_current(current: &'a M) -> Self {
        current
    }
}

pub fn current_parameter<'a, M: 'a, P: CurrentParameter<'a, M>>() -> fn(&'a M) -> P {
    P::from_current
}

/// The query that `read_all` shapes.
#[diagnostic::on_unimplemented(
    message = "this parameter is the query to shape, a `Query<{M}>`, not `{Self}`",
    label = "write `Query<{M}>`"
)]
pub trait QueryParameter<M> {
    fn from_query(query: Query<M>) -> Self;
}

impl<M> QueryParameter<M> for Query<M> {
    fn from_query(query: Query<M>) -> Self {
        query
    }
}

pub fn query_parameter<M, P: QueryParameter<M>>() -> fn(Query<M>) -> P {
    P::from_query
}

/// What `create` and `update` return.
#[diagnostic::on_unimplemented(
    message = "this handler must return `Result<{M}>`, not `{Self}`",
    label = "write `Result<{M}>`",
    note = "the error may also be of any type that implements `std::error::Error`: clients see it as an internal one"
)]
pub trait RowResult<M> {
    fn into_result(self) -> Result<M>;
}

#[diagnostic::do_not_recommend]
impl<M, E: Into<Error>> RowResult<M> for Result<M, E> {
    fn into_result(self) -> Result<M> {
        self.map_err(Into::into)
    }
}

pub fn row_result<M, R: RowResult<M>>() -> fn(R) -> Result<M> {
    R::into_result
}

/// What `delete` returns.
#[diagnostic::on_unimplemented(
    message = "`delete` must return `Result<()>`, not `{Self}`",
    label = "write `Result<()>`",
    note = "the error may also be of any type that implements `std::error::Error`: clients see it as an internal one"
)]
pub trait UnitResult {
    fn into_result(self) -> Result<()>;
}

#[diagnostic::do_not_recommend]
impl<E: Into<Error>> UnitResult for Result<(), E> {
    fn into_result(self) -> Result<()> {
        self.map_err(Into::into)
    }
}

pub fn unit_result<R: UnitResult>() -> fn(R) -> Result<()> {
    R::into_result
}

/// What `read` returns.
#[diagnostic::on_unimplemented(
    message = "`read` must return `Result<Filter<{M}>>`, not `{Self}`",
    label = "write `Result<Filter<{M}>>`",
    note = "it says which rows the client may see: `Ok(Filter::all())` for every row",
    note = "the error may also be of any type that implements `std::error::Error`: clients see it as an internal one"
)]
pub trait FilterResult<M> {
    fn into_result(self) -> Result<Filter<M>>;
}

#[diagnostic::do_not_recommend]
impl<M, E: Into<Error>> FilterResult<M> for Result<Filter<M>, E> {
    fn into_result(self) -> Result<Filter<M>> {
        self.map_err(Into::into)
    }
}

pub fn filter_result<M, R: FilterResult<M>>() -> fn(R) -> Result<Filter<M>> {
    R::into_result
}

/// What `read_all` returns.
#[diagnostic::on_unimplemented(
    message = "`read_all` must return `Result<Query<{M}>>`, not `{Self}`",
    label = "write `Result<Query<{M}>>`",
    note = "the error may also be of any type that implements `std::error::Error`: clients see it as an internal one"
)]
pub trait QueryResult<M> {
    fn into_result(self) -> Result<Query<M>>;
}

#[diagnostic::do_not_recommend]
impl<M, E: Into<Error>> QueryResult<M> for Result<Query<M>, E> {
    fn into_result(self) -> Result<Query<M>> {
        self.map_err(Into::into)
    }
}

pub fn query_result<M, R: QueryResult<M>>() -> fn(R) -> Result<Query<M>> {
    R::into_result
}

/// An argument of an action.
#[diagnostic::on_unimplemented(
    message = "an argument of an action is read from JSON, which `{Self}` cannot be",
    label = "not an owned type with `Deserialize`",
    note = "derive serde's `Deserialize` for it; it must also be `Send`, and borrow nothing"
)]
pub trait ActionArgument: Sized {
    fn next(arguments: &mut Arguments<'_>) -> Option<Self>;
}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + Send> ActionArgument for T {
    fn next(arguments: &mut Arguments<'_>) -> Option<Self> {
        arguments.take()
    }
}

pub fn action_argument<T: ActionArgument>() -> fn(&mut Arguments<'_>) -> Option<T> {
    T::next
}

/// What an action returns.
#[diagnostic::on_unimplemented(
    message = "an action must return a `Result` of something that serde writes, not `{Self}`",
    label = "write `Result<T>`, with a `T` that implements `Serialize`",
    note = "`Result<()>` where there is nothing to say",
    note = "the error may also be of any type that implements `std::error::Error`: clients see it as an internal one"
)]
pub trait ActionResult {
    fn into_json(self) -> Result<String>;
}

#[diagnostic::do_not_recommend]
impl<T: Serialize, E: Into<Error>> ActionResult for Result<T, E> {
    fn into_json(self) -> Result<String> {
        Ok(serde_json::to_string(&self.map_err(Into::into)?)?)
    }
}

pub fn action_result<R: ActionResult>() -> fn(R) -> Result<String> {
    R::into_json
}

/// The future of a handler. That what comes out is `Send` is said here and not found out, so that a handler's future that
/// is not is reported once, at the handler.
pub fn send<F: Future + Send>(future: F) -> impl Future<Output = F::Output> + Send {
    future
}

/// What a field is in a row that a client sends without it.
#[diagnostic::on_unimplemented(
    message = "clients do not send this field, so its type `{Self}` must implement `Default`",
    label = "has no default",
    note = "derive `Default` for `{Self}`, or give the field `#[serde(default = \"path\")]`"
)]
pub trait Unsent {
    fn unsent() -> Self;
}

#[diagnostic::do_not_recommend]
impl<T: Default> Unsent for T {
    fn unsent() -> Self {
        T::default()
    }
}

pub fn unsent<T: Unsent>() -> T {
    T::unsent()
}

/// What the id is in a row that a client sends without it, until the server sets it.
#[diagnostic::on_unimplemented(
    message = "clients may leave the id to the server, so its type `{Self}` must implement `Default`",
    label = "has no default",
    note = "derive `Default` for `{Self}`, or give the field `#[serde(default = \"path\")]`; no row is stored with that value"
)]
pub trait UnsentId {
    fn unsent_id() -> Self;
}

#[diagnostic::do_not_recommend]
impl<T: Default> UnsentId for T {
    fn unsent_id() -> Self {
        T::default()
    }
}

pub fn unsent_id<T: UnsentId>() -> T {
    T::unsent_id()
}

/// Whether `T` is `&Context`, under any alias: its own constant shadows that of the trait.
#[derive(Debug)]
pub struct IsContext<T: ?Sized>(PhantomData<T>);

impl IsContext<&Context> {
    pub const YES: bool = true;
}

/// For all other types.
pub trait NotContext {
    const YES: bool = false;
}

impl<T: ?Sized> NotContext for IsContext<T> {}

/// Whether `T` is a model with fields that clients do not see or set: its own constant shadows that of the trait.
#[derive(Debug)]
pub struct IsGuarded<T: ?Sized>(PhantomData<T>);

impl<T: SyncedModel> IsGuarded<T> {
    pub const YES: bool = T::__SCHEMA.is_guarded();
}

/// For all other types.
pub trait NotGuarded {
    const YES: bool = false;
}

impl<T: ?Sized> NotGuarded for IsGuarded<T> {}

/// The answer of [`IsGuarded`] as a type.
#[derive(Debug)]
pub struct Guarded<const YES: bool>;

/// What a field of a model may contain. Within a field the wire is serde's, which knows nothing of who may see what.
#[diagnostic::on_unimplemented(
    message = "`{T}` is a model with `read_only` or `server_only` fields, which clients would see and set as part of this field",
    label = "a guarded model",
    note = "refer to its row by id, or make a struct of what clients may see; `#[sync(server_only)]` keeps the field from clients"
)]
pub trait PartOfRow<T: ?Sized> {
    const MAY_BE: () = ();
}

#[diagnostic::do_not_recommend]
impl<T: ?Sized> PartOfRow<T> for Guarded<false> {}

/// What an action may take and return: what goes over the wire there is serde's, too.
#[diagnostic::on_unimplemented(
    message = "`{T}` is a model with `read_only` or `server_only` fields, which clients would see or set here",
    label = "a guarded model",
    note = "take or return its id, or a struct made of what clients may see and set"
)]
pub trait PartOfAction<T: ?Sized> {
    const MAY_BE: () = ();
}

#[diagnostic::do_not_recommend]
impl<T: ?Sized> PartOfAction<T> for Guarded<false> {}

/// Whether `T` has a [`SyncType`]: its own constant shadows that of the trait.
#[derive(Debug)]
pub struct IsSyncType<T: ?Sized>(PhantomData<T>);

impl<T: SyncType + ?Sized> IsSyncType<T> {
    pub const DESCRIBE: Option<Describe> = Some(T::__describe);
}

/// For all other types.
pub trait NotSyncType {
    const DESCRIBE: Option<Describe> = None;
}

impl<T: ?Sized> NotSyncType for IsSyncType<T> {}

/// Whether `R` is the `Result` of a type that has a [`SyncType`]: its own constant shadows that of the trait.
#[derive(Debug)]
pub struct IsSyncResult<R: ?Sized>(PhantomData<R>);

impl<T: SyncType, E> IsSyncResult<Result<T, E>> {
    pub const DESCRIBE: Option<Describe> = Some(T::__describe);
}

/// For all other types.
pub trait NotSyncResult {
    const DESCRIBE: Option<Describe> = None;
}

impl<R: ?Sized> NotSyncResult for IsSyncResult<R> {}

/// The encoder of a field with serde's `serialize_with`.
pub fn encoded(json: Result<serde_json::Value, serde_json::Error>) -> Value {
    json.map_or(Value::Null, Value::from)
}

/// The encoder of a field with serde's `skip_serializing_if`: what is left out counts as null.
pub fn encode_unless<T>(is_skipped: bool, value: &T, encode: fn(&T) -> Value) -> Value {
    if is_skipped { Value::Null } else { encode(value) }
}

/// The encoder of a field that no filter can use.
pub fn encode_never<T>(_: &T) -> Value {
    Value::Null
}
