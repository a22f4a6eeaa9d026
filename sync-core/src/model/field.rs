//! Typed field constants, and what may be compared with them.

use std::{fmt, marker::PhantomData};

use serde::Serialize;

use super::{
    filter::{Expr, Filter, Relation},
    order::Order,
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

    /// Rows whose field does not equal `value`. `None` does not equal a value, so its rows are among them.
    pub fn ne<V: Operand<T>>(self, value: V) -> Filter<M>
    where
        K: Filterable,
    {
        !self.eq(value)
    }

    /// Rows whose field is less than `value`: a smaller number, `false` before `true`, text that comes earlier by code
    /// point. A field that is `None` is neither less nor greater.
    ///
    /// ```
    /// # use serde::{Serialize, Deserialize};
    /// # use sync_core::{Filter, SyncedModel};
    /// # #[derive(Clone, Serialize, Deserialize, SyncedModel)]
    /// # struct Todo { id: u64, #[sync(index)] priority: u8, #[sync(index)] due: Option<String> }
    /// let urgent: Filter<Todo> = Todo::PRIORITY.gte(3) | Todo::DUE.lt("2026-12-01");
    /// assert!(urgent.matches(&Todo { id: 1, priority: 3, due: None }));
    /// assert!(!urgent.matches(&Todo { id: 1, priority: 2, due: None }));
    /// ```
    pub fn lt<V: Operand<T>>(self, value: V) -> Filter<M>
    where
        K: Filterable,
    {
        self.compare(Relation::Less, value)
    }

    /// Rows whose field is less than or equal to `value`; see [`lt`](Self::lt).
    pub fn lte<V: Operand<T>>(self, value: V) -> Filter<M>
    where
        K: Filterable,
    {
        self.compare(Relation::LessOrEqual, value)
    }

    /// Rows whose field is greater than `value`; see [`lt`](Self::lt).
    pub fn gt<V: Operand<T>>(self, value: V) -> Filter<M>
    where
        K: Filterable,
    {
        self.compare(Relation::Greater, value)
    }

    /// Rows whose field is greater than or equal to `value`; see [`lt`](Self::lt).
    pub fn gte<V: Operand<T>>(self, value: V) -> Filter<M>
    where
        K: Filterable,
    {
        self.compare(Relation::GreaterOrEqual, value)
    }

    fn compare<V: Operand<T>>(self, relation: Relation, value: V) -> Filter<M> {
        Filter::from_expr(Expr::Compare(self.name, relation, (self.encode)(&value.into_operand())))
    }

    /// Rows whose field is text that begins with `prefix`: every text begins with an empty one.
    ///
    /// ```
    /// # use serde::{Serialize, Deserialize};
    /// # use sync_core::{Filter, SyncedModel};
    /// # #[derive(Clone, Serialize, Deserialize, SyncedModel)]
    /// # struct Page { id: u64, #[sync(index)] path: String }
    /// let docs: Filter<Page> = Page::PATH.prefix("/docs/");
    /// assert!(docs.matches(&Page { id: 1, path: "/docs/guide".into() }));
    /// ```
    pub fn prefix(self, prefix: &str) -> Filter<M>
    where
        K: Filterable,
        T: Textual,
    {
        Filter::from_expr(Expr::Prefix(self.name, prefix.into()))
    }

    /// Rows whose field is `None`.
    pub fn is_none(self) -> Filter<M>
    where
        K: Filterable,
        T: Nullable,
    {
        Filter::from_expr(Expr::Eq(self.name, Value::Null))
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

impl<M, T, K: Filterable> Field<M, T, K> {
    /// Rows in the order of this field, the smallest first: null, arrays and objects before `false` and `true`, those before numbers, numbers
    /// before text, text by code point.
    pub fn asc(self) -> Order<M> {
        Order::new(self.name, false)
    }

    /// Rows in the order of this field, the greatest first; see [`asc`](Self::asc).
    pub fn desc(self) -> Order<M> {
        Order::new(self.name, true)
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

/// Types whose values are text, or may be: those of fields with a [`prefix`](Field::prefix).
/// Implement it for types of your own that serde writes as a string.
#[diagnostic::on_unimplemented(
    message = "a field of type `{Self}` has no `prefix`: it is not text",
    label = "not a `String` or an `Option<String>`"
)]
pub trait Textual {}

impl Textual for String {}
impl Textual for Option<String> {}
impl Textual for serde_json::Value {}

/// Types whose values may be missing: those of fields with [`is_none`](Field::is_none).
/// Implement it for types of your own that serde may write as null.
#[diagnostic::on_unimplemented(
    message = "a field of type `{Self}` is never `None`",
    label = "not an `Option`"
)]
pub trait Nullable {}

impl<T> Nullable for Option<T> {}
impl Nullable for serde_json::Value {}

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
