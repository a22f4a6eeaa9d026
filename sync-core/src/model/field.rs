//! Typed field constants, and what may be compared with them.

use std::{fmt, marker::PhantomData};

use serde::Serialize;

use super::{
    filter::{Expr, Filter},
    value::Value,
};

/// A field of a model `M` with values of type `T`: the type of the constants that `#[derive(SyncedModel)]` adds, such as
/// `Todo::TITLE`.
///
/// `K` is [`Indexed`] where the field is marked `#[sync(index)]`, which is what a filter needs.
///
/// ```
/// # use serde::{Serialize, Deserialize};
/// use sync_core::{Filter, SyncedModel};
///
/// #[derive(Clone, Serialize, Deserialize, SyncedModel)]
/// struct Todo {
///     id: u64,
///     #[sync(index)]
///     list: String,
///     #[sync(index)]
///     done: bool,
/// }
///
/// let open: Filter<Todo> = Todo::LIST.eq("home") & Todo::DONE.eq(false);
/// assert!(open.matches(&Todo { id: 1, list: "home".into(), done: false }));
/// ```
pub struct Field<M, T, K> {
    name: &'static str,
    encode: fn(&T) -> Value,
    marker: PhantomData<fn() -> (M, K)>,
}

impl<M, T, K> Field<M, T, K> {
    #[doc(hidden)]
    pub const fn __new(name: &'static str, encode: fn(&T) -> Value) -> Self {
        Self { name, encode, marker: PhantomData }
    }

    /// The field's name on the wire.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Rows whose field equals `value`. `None` equals `None`.
    pub fn eq<V: Operand<T>>(self, value: V) -> Filter<M>
    where
        K: Filterable,
    {
        Filter::from_expr(Expr::Eq(self.name, (self.encode)(&value.into_operand())))
    }

    /// Rows whose field is one of `values`; none if there are none.
    pub fn one_of<V: Operand<T>>(self, values: impl IntoIterator<Item = V>) -> Filter<M>
    where
        K: Filterable,
    {
        let values = values.into_iter().map(|value| (self.encode)(&value.into_operand()));
        Filter::from_expr(Expr::or(values.map(|value| Expr::Eq(self.name, value)).collect()))
    }
}

impl<M, T, K> Clone for Field<M, T, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M, T, K> Copy for Field<M, T, K> {}

impl<M, T, K> fmt::Debug for Field<M, T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Field({})", self.name)
    }
}

#[doc(hidden)]
pub fn encode_plain<T: Serialize>(value: &T) -> Value {
    Value::of(value)
}

/// A field that is marked `#[sync(index)]`.
#[derive(Debug)]
pub struct Indexed(());

/// A field that is not.
#[derive(Debug)]
pub struct NotIndexed(());

/// Fields that a filter may use.
#[diagnostic::on_unimplemented(
    message = "this field cannot be used in a filter: it is not marked `#[sync(index)]`",
    label = "not an indexed field",
    note = "add `#[sync(index)]` to the field in the struct"
)]
pub trait Filterable {}

impl Filterable for Indexed {}

/// What may be compared with a field of type `T`: a `T`, a reference to one, `&str` for a `String`, and a plain `T` or
/// `&str` for an `Option`.
///
/// A trait of its own, not [`Into`], so that integer literals find their type.
#[diagnostic::on_unimplemented(
    message = "a field of type `{T}` cannot be compared with `{Self}`",
    label = "expected `{T}`",
    note = "a `String` field also takes `&str`, an `Option<T>` field also takes `T`, any field takes a reference"
)]
pub trait Operand<T> {
    /// The value to compare with.
    fn into_operand(self) -> T;
}

impl<T> Operand<T> for T {
    fn into_operand(self) -> T {
        self
    }
}

impl<T: Clone> Operand<T> for &T {
    fn into_operand(self) -> T {
        self.clone()
    }
}

impl Operand<String> for &str {
    fn into_operand(self) -> String {
        self.into()
    }
}

impl<T> Operand<Option<T>> for T {
    fn into_operand(self) -> Option<T> {
        Some(self)
    }
}

impl Operand<Option<String>> for &str {
    fn into_operand(self) -> Option<String> {
        Some(self.into())
    }
}
