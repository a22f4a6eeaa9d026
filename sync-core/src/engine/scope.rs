//! What a session may see, and on what that depends.

use std::{sync::Arc, time::SystemTime};

use smallvec::SmallVec;

use super::{
    Engine,
    attempt::{Attempt, Ended, Ids},
    decide::ATTEMPTS,
    not_declared,
    panics::guarded,
    pipeline::{Effects, Watch},
    read_set::ReadSet,
};
use crate::{
    Context, Error, Result,
    context::Caller,
    handlers::{BoxFuture, Scope},
    model::{Value, filter::Expr},
    outbox::{Outbox, SubscriptionKey, Which},
    query::ErasedQuery,
    registry::Model,
    store::{Decision, Transaction},
};

/// The rows that a session may see.
#[derive(Debug)]
pub(crate) struct Scoped {
    pub(crate) filter: Expr,
    pub(crate) dependencies: Dependencies,
}

/// What handlers have looked up to say what a session may see.
///
/// What they said holds until a transaction changes one of the rows, or a row of one of the filters, before or after the change.
/// All of it was committed and on disk. Who keeps what was said has the hub watch the filters, and then asks whether it still holds
/// ([`Engine::still_holds`]): what is submitted later is seen by the hub.
#[derive(Debug, Default)]
pub(crate) struct Dependencies {
    reads: ReadSet,
    /// What is submitted since is remembered.
    watches: SmallVec<[Watch; 2]>,
}

impl Dependencies {
    /// Those of both.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.reads.add(other.reads);
        self.watches.extend(other.watches);
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
            let attempt = Attempt::new(&self.base, Ids::default());
            let context = Context::new(caller.clone(), now, number, attempt.clone()).looking();
            let outcome = guarded(self.limits.handler_timeout, handler(&context)).await;
            let Ended { is_doomed, fault, reads, _watch: watch, .. } = attempt.end();
            if outcome.as_ref().is_err_and(Error::is_handler_timeout) {
                // Run again it might hang again, for as long each time.
                return outcome.map(|said| (said, Dependencies::default()));
            }
            if is_doomed {
                continue;
            }
            if let Some(fault) = fault {
                return Err(fault);
            }
            let dependencies = Dependencies { reads: reads.clone(), watches: watch.into_iter().collect() };
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
            return Ok((outcome?, dependencies));
        }
        Err(Error::unavailable("what this depends on changes again and again"))
    }

    /// The filters whose rows decide about what was said: a row that was looked up is one by its id.
    fn filters(&self, dependencies: &Dependencies) -> Vec<(&'static str, Expr)> {
        let ReadSet { found, filters, .. } = &dependencies.reads;
        let rows = found.iter().filter_map(|found| {
            let id = self.registry().get(found.model)?.schema().id;
            Some((found.model, Expr::Eq(id, Value::from(&found.key))))
        });
        let mut all: Vec<_> = rows.chain(filters.iter().cloned()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Has a subscription judged again whenever what it may see may have changed.
    pub(crate) fn depend(&self, outbox: &Arc<Outbox>, key: SubscriptionKey, dependencies: &mut Dependencies) {
        let filters = self.filters(dependencies);
        outbox.depend(key, self.hub.depend(outbox, filters));
        // Meanwhile it may have changed.
        if !self.still_holds(dependencies) {
            outbox.rescope(Which::These(&[key]), 0);
        }
    }

    /// Whether nothing that was submitted by now has changed what was looked up.
    pub(crate) fn still_holds(&self, dependencies: &mut Dependencies) -> bool {
        dependencies.reads.is_empty() || self.base.pipeline.check(&mut dependencies.reads)
    }

    /// What `read` of a model says within the transaction of a context.
    pub(super) async fn scope_within(&self, model: &Model, context: &Context) -> Result<Expr> {
        let read = scope_of(model)?;
        Ok(guarded(self.limits.handler_timeout, read(&context.looking())).await?.0)
    }

    /// The same for a model whose rows a client may create, but perhaps not read.
    pub(super) async fn scope_or_none(&self, model: &Model, context: &Context) -> Result<Option<Expr>> {
        match model.handlers.read {
            Some(_) => self.scope_within(model, context).await.map(Some),
            None => Ok(None),
        }
    }
}
