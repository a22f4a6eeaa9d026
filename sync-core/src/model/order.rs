//! Orders: by which fields rows go, and the place of a row among others.

use std::{cmp::Ordering, fmt, marker::PhantomData};

use smallvec::SmallVec;

use super::{
    filter::{FieldValues, Names},
    id::Key,
    value::Value,
};

/// A field by which rows of `M` go: made by [`Field::asc`](crate::Field::asc) and [`Field::desc`](crate::Field::desc).
pub struct Order<M> {
    by: OrderBy,
    marker: PhantomData<fn() -> M>,
}

impl<M> Order<M> {
    pub(crate) fn new(field: &'static str, descending: bool) -> Self {
        Self { by: OrderBy { field, descending }, marker: PhantomData }
    }

    pub(crate) fn by(&self) -> OrderBy {
        self.by
    }
}

impl<M> Clone for Order<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Order<M> {}

impl<M> fmt::Debug for Order<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.by.fmt(f)
    }
}

/// A field by which rows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderBy {
    /// Its JSON name.
    pub field: &'static str,
    /// The greatest value comes first.
    pub descending: bool,
}

/// The fields by which rows go; rows that are equal in all of them go by their ids, the smallest first.
pub(crate) type OrderList = SmallVec<[OrderBy; 3]>;

/// Where a row stands in an order: its values in the order's fields, and its id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// One for each field of the order.
    pub values: SmallVec<[Value; 3]>,
    /// The row's id.
    pub key: Key,
}

impl Place {
    /// The place of the row of this id where rows go by their ids alone.
    pub fn by_key(key: Key) -> Self {
        Self { values: SmallVec::new(), key }
    }

    /// The place of a row of which these are the values. They must include the order's fields.
    pub(crate) fn of(row: &FieldValues, key: Key, order: &[OrderBy]) -> Self {
        Self { values: order.iter().map(|by| row.get(by.field).clone()).collect(), key }
    }

    /// The place of the row with this stored JSON; `None` if it is no JSON object.
    pub fn of_body(body: &[u8], key: Key, order: &[OrderBy]) -> Option<Self> {
        let names: Names = order.iter().map(|by| by.field).collect();
        if names.is_empty() {
            return Some(Self { values: SmallVec::new(), key });
        }
        FieldValues::read(body, names).map(|row| Self::of(&row, key, order))
    }

    /// Which of two places of one order comes first.
    pub fn compare(&self, other: &Self, order: &[OrderBy]) -> Ordering {
        let pairs = self.values.iter().zip(&other.values);
        let by_values = order.iter().zip(pairs).map(|(by, (a, b))| {
            let ordering = a.rank(b);
            if by.descending { ordering.reverse() } else { ordering }
        });
        by_values.fold(Ordering::Equal, Ordering::then).then_with(|| self.key.cmp(&other.key))
    }
}
