//! The index of a model's queries: which of them a change may concern.

use std::{
    collections::{BTreeMap, HashMap, btree_map, hash_map::Entry},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    PublishedChange,
    query::{Heard, Query, View},
    shape::Shape,
};
use crate::model::{
    filter::{Expr, FieldValues, Names, Route},
    value::Value,
};

/// The queries of one model, and where to find those that a change may concern.
#[derive(Debug, Default)]
pub(super) struct Queries {
    pub(super) by_shape: HashMap<Shape, Arc<Query>>,
    /// Those whose rows all have one of some values in a field. A change is looked up by what it was and what it is, so that it costs what the
    /// queries cost that it concerns, and not what there are.
    pub(super) routed: HashMap<&'static str, HashMap<Value, Vec<Arc<Query>>>>,
    /// The others: each looks at every change.
    pub(super) unrouted: Vec<Arc<Query>>,
    /// What the filters look at, and how many do.
    pub(super) names: BTreeMap<&'static str, usize>,
}

impl Queries {
    /// The query of a shape, which is `made` if there is none yet.
    pub(super) fn intern(
        &mut self,
        shape: Shape,
        made: impl FnOnce(Shape, Option<Route>) -> Query,
    ) -> Arc<Query> {
        if let Some(query) = self.by_shape.get(&shape) {
            return query.clone();
        }
        let route = self.route(&shape.filter);
        let query = Arc::new(made(shape, route));
        match &query.route {
            None => self.unrouted.push(query.clone()),
            Some(Route { field, values }) => {
                let by_value = self.routed.entry(field).or_default();
                for value in values {
                    by_value.entry(value.clone()).or_default().push(query.clone());
                }
            }
        }
        for name in query.names() {
            *self.names.entry(name).or_default() += 1;
        }
        self.by_shape.insert(query.shape.clone(), query.clone());
        query
    }

    /// By what to look up a filter, if by anything: where the fewest others stand already. So what all have in common, such as a scope, is
    /// chosen for hardly any of them.
    pub(super) fn route(&self, filter: &Expr) -> Option<Route> {
        filter.routes().into_iter().min_by_key(|Route { field, values }| {
            let by_value = self.routed.get(field);
            let standing = |value| by_value.and_then(|by_value| by_value.get(value)).map_or(0, Vec::len);
            (values.iter().map(standing).sum::<usize>(), values.len(), *field)
        })
    }

    pub(super) fn remove(&mut self, query: &Arc<Query>) {
        self.by_shape.remove(&query.shape);
        let is_other = |other: &Arc<Query>| !Arc::ptr_eq(other, query);
        match &query.route {
            None => self.unrouted.retain(is_other),
            Some(Route { field, values }) => {
                let by_value = self.routed.entry(field).or_default();
                for value in values {
                    if let Entry::Occupied(mut routed) = by_value.entry(value.clone()) {
                        routed.get_mut().retain(is_other);
                        if routed.get().is_empty() {
                            routed.remove();
                        }
                    }
                }
                if by_value.is_empty() {
                    self.routed.remove(field);
                }
            }
        }
        for name in query.names() {
            if let btree_map::Entry::Occupied(mut count) = self.names.entry(name) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
    }

    /// Calls back with each query that a change concerns.
    pub(super) fn judge<'a>(
        &'a self,
        change: &PublishedChange,
        mut concerns: impl FnMut(&'a Arc<Query>, Heard),
    ) {
        // Each row is read once, for all filters, if any looks at it.
        let names: Names = self.names.keys().copied().collect();
        let read = |body: &Option<Bytes>| {
            body.as_ref()
                .filter(|_| !names.is_empty())
                .and_then(|body| FieldValues::read(body, names.clone()))
        };
        let (old, new) = (read(&change.old), read(&change.new));
        let shows = |query: &Query, row: &Option<FieldValues>, body: &Option<Bytes>| match row {
            Some(row) => query.shape.filter.judge(row),
            // It was not looked at.
            None => body.is_some() && query.shape.filter.is_all(),
        };
        self.candidates(old.as_ref(), new.as_ref(), |query| {
            let (was, is) = (shows(query, &old, &change.old), shows(query, &new, &change.new));
            let Some(view) = View::of(was, is) else { return };
            if query.window.is_none() {
                return concerns(query, Heard::Change(view));
            }
            let place = |shows: bool, row: &Option<FieldValues>| {
                shows.then(|| query.place(row.as_ref(), &change.key)).flatten()
            };
            concerns(query, Heard::Moved { old: place(was, &old), new: place(is, &new) });
        });
    }

    /// Calls back once with each query that may match one of the rows.
    pub(super) fn candidates<'a>(
        &'a self,
        old: Option<&FieldValues>,
        new: Option<&FieldValues>,
        mut found: impl FnMut(&'a Arc<Query>),
    ) {
        self.unrouted.iter().for_each(&mut found);
        for (field, by_value) in &self.routed {
            let (before, after) = (old.map(|row| row.get(field)), new.map(|row| row.get(field)));
            let queries = |value| by_value.get(value).into_iter().flatten();
            before.into_iter().flat_map(queries).for_each(&mut found);
            let found_before = |query: &Arc<Query>| before.is_some_and(|value| query.is_routed_by(value));
            after.into_iter().flat_map(queries).filter(|query| !found_before(query)).for_each(&mut found);
        }
    }
}
