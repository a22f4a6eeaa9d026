//! Which subscriptions depend on which rows: what `read` has looked up to say what they may see.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::{Published, queries::Queries, query::Query, shape::Shape};
use crate::{model::filter::Expr, outbox::Outbox, store::Seq};

/// Filters on which subscriptions depend, found by the rows that they look at like queries are.
#[derive(Debug, Default)]
pub(super) struct Dependents {
    /// By model.
    filters: Mutex<HashMap<&'static str, Queries>>,
}

/// What one subscription depends on, as long as this lives.
#[derive(Debug)]
pub(crate) struct Depends {
    dependents: Arc<Dependents>,
    outbox: Arc<Outbox>,
    filters: Vec<Arc<Query>>,
}

impl Dependents {
    /// From now on a change of a row of one of these filters is told to `outbox`.
    pub(super) fn depend(
        self: &Arc<Self>,
        outbox: &Arc<Outbox>,
        filters: impl IntoIterator<Item = (&'static str, Expr)>,
    ) -> Depends {
        let mut by_model = self.filters.lock();
        let filters = filters.into_iter().map(|(model, filter)| {
            let of_model = by_model.entry(model).or_default();
            let made = |shape, route| Query::new(model, shape, route, None, 0);
            let filter = of_model.intern(Shape::all(filter), made);
            filter.add(outbox);
            filter
        });
        let filters = filters.collect();
        Depends { dependents: self.clone(), outbox: outbox.clone(), filters }
    }

    /// The filters whose rows these transactions change, with the first that does.
    pub(super) fn touched(&self, transactions: &[Published]) -> Vec<(Arc<Query>, Seq)> {
        let by_model = self.filters.lock();
        let mut touched = Vec::new();
        if by_model.is_empty() {
            return touched;
        }
        for Published { seq, changes } in transactions {
            for change in changes {
                let Some(of_model) = by_model.get(change.model) else { continue };
                of_model.judge(change, |filter, _| touched.push((filter.clone(), *seq)));
            }
        }
        // The first of each.
        touched.sort_by_key(|(filter, seq)| (filter.number(), *seq));
        touched.dedup_by(|(a, _), (b, _)| Arc::ptr_eq(a, b));
        touched
    }
}

impl Depends {
    /// Whether this filter is one of them.
    pub(crate) fn on(&self, filter: &Arc<Query>) -> bool {
        self.filters.iter().any(|other| Arc::ptr_eq(other, filter))
    }
}

impl Drop for Depends {
    fn drop(&mut self) {
        let mut by_model = self.dependents.filters.lock();
        for filter in &self.filters {
            if filter.remove(&self.outbox)
                && let Some(of_model) = by_model.get_mut(filter.model)
            {
                of_model.remove(filter);
                if of_model.by_shape.is_empty() {
                    by_model.remove(filter.model);
                }
            }
        }
    }
}
