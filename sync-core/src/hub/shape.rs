//! What subscriptions ask for, and the queries that it is made of.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use smallvec::SmallVec;

use super::{
    Published, PublishedChange,
    query::{Encoded, Query, View},
    tail::Place as TailPlace,
};
use crate::{
    model::{
        Key, Place,
        filter::{Expr, Names},
        order::OrderList,
        value::Value,
    },
    store::Seq,
};

/// The most queries that a subscription is made of.
const MAX_LEGS: usize = 256;

/// Which rows: those of a filter; of a window the first so many.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    pub(crate) filter: Expr,
    pub(crate) first: Option<First>,
}

/// The first rows in an order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct First {
    pub(crate) order: OrderList,
    pub(crate) limit: usize,
}

impl Shape {
    /// All rows of a filter.
    pub(crate) fn all(filter: Expr) -> Self {
        Self { filter, first: None }
    }

    /// The fields that are looked at.
    pub(super) fn names(&self) -> Names {
        let mut names = Names::new();
        self.filter.names(&mut names);
        for by in self.first.iter().flat_map(|first| &first.order) {
            if !names.contains(&by.field) {
                names.push(by.field);
            }
        }
        names
    }

    /// The place after which a window's rows begin, where its filter says so.
    pub(super) fn start(&self) -> Option<Place> {
        let order = &self.first.as_ref()?.order;
        let parts = match &self.filter {
            Expr::And(parts) => parts.as_slice(),
            alone => std::slice::from_ref(alone),
        };
        parts.iter().find_map(|part| match part {
            Expr::Within(range) if range.order == *order => range.after.clone(),
            _ => None,
        })
    }
}

/// How far someone has read the tails of a subscription's queries.
pub(crate) type Places = SmallVec<[TailPlace; 1]>;

/// What one subscription is to: a window, or all rows of a filter, as a union of queries.
///
/// A filter by one of some values is a query for each value: so subscriptions to different sets of rooms share the rooms'.
#[derive(Debug)]
pub(crate) struct Source {
    pub(super) model: &'static str,
    shape: Shape,
    hash: u64,
    pub(super) legs: SmallVec<[Arc<Query>; 1]>,
}

impl Source {
    /// Of these legs, which are to be interned first.
    pub(super) fn new(model: &'static str, shape: Shape, hash: u64, legs: SmallVec<[Arc<Query>; 1]>) -> Self {
        Self { model, shape, hash, legs }
    }

    /// Of the model's schema and the filter: a cursor of a source with another hash cannot be continued.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn model(&self) -> &'static str {
        self.model
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    pub(crate) fn is_window(&self) -> bool {
        self.shape.first.is_some()
    }

    /// The numbers of its queries, in the order of the places.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.legs.iter().map(|leg| leg.number())
    }

    /// Whether `query` is one of its.
    pub(crate) fn has(&self, query: &Arc<Query>) -> bool {
        self.legs.iter().any(|leg| Arc::ptr_eq(leg, query))
    }

    /// The messages of changes out of the log, in their order: of each row only the last one that concerns the subscription, since a later one says all that
    /// the earlier ones did. A row that came and went in between is said to be gone: the client may have it from changes that it was told of as they
    /// happened.
    pub(crate) fn messages<'a>(&self, log: impl IntoIterator<Item = &'a Published>) -> Vec<Bytes> {
        let shows = |body: &Option<Bytes>| body.as_ref().is_some_and(|body| self.shape.filter.matches(body));
        // Each with the first of its row, by which its creator recognises it, whatever has become of it since.
        let mut told: Vec<(Seq, &PublishedChange, &PublishedChange, View)> = Vec::new();
        let mut last_of = HashMap::new();
        for Published { seq, changes } in log {
            for change in changes.iter().filter(|change| change.model == self.model) {
                let Some(view) = View::of(shows(&change.old), shows(&change.new)) else { continue };
                let first = last_of.insert(&change.key, told.len()).map_or(change, |at| told[at].1);
                told.push((*seq, first, change, view));
            }
        }
        let is_last = |at: &usize, key: &Key| last_of.get(key) == Some(at);
        let last = told.iter().enumerate().filter(|(at, (_, _, change, _))| is_last(at, &change.key));
        last.map(|(_, &(seq, first, change, view))| {
            let change = PublishedChange { cid: first.cid.clone(), old: first.old.clone(), ..change.clone() };
            Encoded::new(&change, seq).message(view)
        })
        .collect()
    }

    /// A seq after which none of its rows has changed, up to the hub's head.
    pub(crate) fn changed_at(&self) -> Seq {
        self.legs.iter().map(|leg| leg.changed_at()).max().unwrap_or(Seq::MAX)
    }

    /// How many bytes stand after the places, in the longest of the tails.
    pub(crate) fn bytes_after(&self, places: &Places) -> u64 {
        let bytes = self.legs.iter().zip(places).map(|(leg, place)| leg.tail.lock().bytes_after(place));
        bytes.max().unwrap_or(0)
    }

    /// The ends of the tails.
    pub(crate) fn ends(&self) -> Places {
        self.legs.iter().map(|leg| leg.tail.lock().end()).collect()
    }
}

/// What tells cursors apart.
pub(super) fn hash(model: &str, schema: u64, filter: &Expr) -> u64 {
    xxhash_rust::xxh3::xxh3_64(format!("{model} {schema:x} {filter:?}").as_bytes())
}

/// The shapes of the queries that a subscription is a union of: the same whoever asks, and whoever asked before, so that they are shared.
pub(super) fn legs(shape: &Shape) -> Vec<Shape> {
    if shape.first.is_some() {
        return vec![shape.clone()];
    }
    let none = Expr::Or(Vec::new());
    let mut routes: Vec<_> =
        shape.filter.routes().into_iter().filter(|route| route.values.len() > 1).collect();
    routes.sort_by(|a, b| b.values.len().cmp(&a.values.len()).then(a.field.cmp(b.field)));
    let mut legs = vec![shape.filter.clone()];
    for route in routes {
        if legs.len() * route.values.len() > MAX_LEGS {
            continue;
        }
        let of_value = |leg: &Expr, value: &Value| {
            Expr::and(vec![Expr::Eq(route.field, value.clone()), given(leg, route.field, value)])
        };
        let split = legs.iter().flat_map(|leg| route.values.iter().map(move |value| of_value(leg, value)));
        legs = split.filter(|leg| *leg != none).collect();
    }
    if legs.is_empty() {
        legs.push(none);
    }
    legs.into_iter().map(Shape::all).collect()
}

/// What is left of a filter for rows in which a field has this value.
fn given(filter: &Expr, field: &str, value: &Value) -> Expr {
    let rest = |parts: &[Expr]| parts.iter().map(|part| given(part, field, value)).collect();
    match filter {
        Expr::Eq(name, other) if *name == field => {
            if other == value {
                Expr::And(Vec::new())
            } else {
                Expr::Or(Vec::new())
            }
        }
        Expr::And(parts) => Expr::and(rest(parts)),
        Expr::Or(parts) => Expr::or(rest(parts)),
        Expr::Not(inner) => given(inner, field, value).negated(),
        other => other.clone(),
    }
}
