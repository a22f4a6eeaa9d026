//! Transactions of server code outside of handlers.

use std::{future::Future, time::SystemTime};

use super::{
    Engine,
    attempt::{Attempt, Ended, Ids},
    decide::ATTEMPTS,
    pipeline::Effects,
};
use crate::{
    Context, Error, Result,
    context::Caller,
    store::{Decision, Transaction},
};

impl Engine {
    /// Runs `work` until what it did with its context is committed and on disk, or it failed.
    pub(crate) async fn transact<T, F, W>(&self, mut work: F) -> Result<T>
    where
        F: FnMut(Context) -> W,
        W: Future<Output = Result<T>>,
    {
        let now = SystemTime::now();
        let mut ids = Ids::default();
        for number in 1..=ATTEMPTS {
            self.check_running()?;
            let attempt = Attempt::new(&self.base, ids);
            let context = Context::new(Caller::default(), now, number, attempt.clone());
            let outcome = work(context).await;
            let mut ended = attempt.end();
            ids = std::mem::take(&mut ended.ids);
            if self.commit(ended, outcome.is_ok()).await? {
                return outcome;
            }
        }
        Err(Error::conflict("what this depends on changed again and again while it was decided"))
    }

    /// Commits what an attempt came to, or, where it failed, sees to it that it did so for what is on disk. Whether it need not be made again.
    async fn commit(&self, ended: Ended, is_ok: bool) -> Result<bool> {
        let Ended { is_doomed, fault, reads, changes, wires, after, .. } = ended;
        if is_doomed {
            return Ok(false);
        }
        if let Some(fault) = fault {
            return Err(fault);
        }
        let (transaction, effects) = if is_ok {
            let effects = Effects { wires, confirm: None, session: None, after };
            (Transaction { changes, ..Transaction::default() }, effects)
        } else {
            (Transaction::default(), Effects::default())
        };
        // Nothing to be done, and seen at one moment.
        let is_settled = !reads.is_pending() && !reads.has_failed();
        if transaction.changes.is_empty() && effects.after.is_empty() && is_settled {
            return Ok(true);
        }
        match self.base.pipeline.submit(reads, transaction, effects).await? {
            Decision::Conflict => Ok(false),
            Decision::Recorded | Decision::Committed(_) => Ok(true),
            Decision::OutOfOrder => Err(Error::internal("a transaction of no client was out of its order")),
        }
    }
}
