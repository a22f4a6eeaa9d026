//! What a session may see, and on what that depends.

use std::time::SystemTime;

use super::{
    Engine,
    attempt::{Attempt, Ended, Ids},
    decide::ATTEMPTS,
    not_declared,
    panics::guarded,
    pipeline::Effects,
};
use crate::{
    Context, Error, Result,
    context::Caller,
    handlers::{BoxFuture, Scope},
    model::{Key, filter::Expr},
    query::ErasedQuery,
    registry::Model,
    store::{Decision, Seq, Transaction},
};

/// The rows that a session may see.
#[derive(Clone, Debug)]
pub(crate) struct Scoped {
    pub(crate) filter: Expr,
    pub(crate) dependencies: Dependencies,
}

/// What handlers have looked up to say what a session may see.
///
/// What they said holds until a transaction changes one of the rows, or a row of one of the filters, before or after the change.
/// All of it was committed and on disk. Every transaction up to `seq` is in it, and some later ones may be: who keeps what was said must look at
/// all transactions after `seq`, also at those that are published before it is kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dependencies {
    /// Rows by model and id, whether they were there or not.
    pub(crate) rows: Vec<(&'static str, Key)>,
    /// Of each model the filters whose rows were read.
    pub(crate) filters: Vec<(&'static str, Expr)>,
    pub(crate) seq: Seq,
}

impl Dependencies {
    /// Whether nothing was looked up: then what was said holds for good.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.filters.is_empty()
    }

    /// Whether a change of this row, from one stored JSON to another, may change what was said.
    pub(crate) fn are_touched_by(
        &self,
        model: &str,
        key: &Key,
        old: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> bool {
        self.rows.iter().any(|(of, row)| *of == model && row == key)
            || self.filters.iter().any(|(of, filter)| {
                *of == model && [old, new].into_iter().flatten().any(|body| filter.matches(body))
            })
    }

    /// Those of both, as of the earlier.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.seq = match (self.is_empty(), other.is_empty()) {
            (true, _) => other.seq,
            (_, true) => self.seq,
            _ => self.seq.min(other.seq),
        };
        self.rows.extend(other.rows);
        self.filters.extend(other.filters);
        self
    }
}

/// The handler that says which rows of a model a session may see.
pub(super) fn scope_of(model: &Model) -> Result<for<'a> fn(&'a Context) -> BoxFuture<'a, Result<Scope>>> {
    model.handlers.read.ok_or_else(|| not_declared(model, "read"))
}

impl Engine {
    /// The rows of a model that a client may see.
    pub(super) async fn scope(&self, model: &Model, caller: &Caller, now: SystemTime) -> Result<Scoped> {
        let read = scope_of(model)?;
        let (Scope(filter), dependencies) = self.look(read, caller, now).await?;
        Ok(Scoped { filter, dependencies })
    }

    /// How a model's `read_all` shapes a read of many rows, if it has one.
    pub(super) async fn shape(
        &self,
        model: &Model,
        caller: &Caller,
        now: SystemTime,
    ) -> Result<Option<(ErasedQuery, Dependencies)>> {
        match model.handlers.read_all {
            Some(read_all) => self.look(read_all, caller, now).await.map(Some),
            None => Ok(None),
        }
    }

    /// Runs a handler that looks and does not write, until all that it has seen is on disk.
    async fn look<T>(
        &self,
        handler: for<'a> fn(&'a Context) -> BoxFuture<'a, Result<T>>,
        caller: &Caller,
        now: SystemTime,
    ) -> Result<(T, Dependencies)> {
        for number in 1..=ATTEMPTS {
            // Before anything is read: what is published later may be in it, and counts once more.
            let seq = self.hub.head();
            let attempt = Attempt::new(&self.base, Ids::default());
            let context = Context::new(caller.clone(), now, number, attempt.clone()).looking();
            let outcome = guarded(handler(&context)).await;
            let Ended { is_doomed, fault, reads, _watch: watch, .. } = attempt.end();
            if is_doomed {
                continue;
            }
            if let Some(fault) = fault {
                return Err(fault);
            }
            let rows = reads.found.iter().map(|found| (found.model, found.key.clone())).collect();
            let dependencies = Dependencies { rows, filters: reads.filters.clone(), seq };
            if reads.has_failed() {
                continue;
            }
            if reads.is_pending() {
                // Nobody is shown rows, or refused, on the strength of what may never be.
                let submitted = self.base.pipeline.submit(reads, Transaction::default(), Effects::default());
                if submitted.await? != Decision::Recorded {
                    continue;
                }
            }
            drop(watch);
            return Ok((outcome?, dependencies));
        }
        Err(Error::unavailable("what this depends on changes again and again"))
    }

    /// What `read` of a model says within the transaction of a context.
    pub(super) async fn scope_within(&self, model: &Model, context: &Context) -> Result<Expr> {
        let read = scope_of(model)?;
        Ok(guarded(read(&context.looking())).await?.0)
    }

    /// The same for a model whose rows a client may create, but perhaps not read.
    pub(super) async fn scope_or_none(&self, model: &Model, context: &Context) -> Result<Option<Expr>> {
        match model.handlers.read {
            Some(_) => self.scope_within(model, context).await.map(Some),
            None => Ok(None),
        }
    }
}
