//! Deciding a mutation: in its client's order, exactly once, with the handler run on what is there when it commits.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use smallvec::smallvec;
use uuid::Uuid;

use super::{
    Claim, Engine, millis,
    pipeline::{Confirmed, Confirming, Effects},
    plan::{Accepted, Plan, Refused},
    unavailable,
};
use crate::{
    Context, Error, ErrorCode, Result,
    context::Caller,
    outbox::Outbox,
    protocol::{
        Method, Mutation, Subject,
        response::{self, Confirm, ErrorDetail, WireRow},
    },
    store::{ClientWrite, Decision, MutationId, MutationRecord, MutationWrite, Outcome, Seq, Transaction},
};

/// How often a handler is run for one mutation whose row keeps changing.
const ATTEMPTS: u32 = 8;

/// Who asked for a mutation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker<'a> {
    /// The client that it is, if it said `hello`.
    pub(crate) claim: Option<&'a Claim>,
    /// For whom it speaks.
    pub(crate) caller: &'a Caller,
    /// Where the answer goes.
    pub(crate) outbox: &'a Arc<Outbox>,
}

/// How a mutation ended.
enum Decided {
    /// Its confirm stands in the outbox.
    Confirmed,
    /// This is to be answered, after the changes up to the seq.
    Answer(Bytes, Seq),
}

impl Engine {
    /// Decides a mutation and answers it. Returns whether nothing was decided, so that it must be sent again before any later one
    /// of its client is decided.
    pub(crate) async fn mutate(
        &self,
        asker: Asker<'_>,
        mutation: &Mutation,
        subject: &Subject,
        now: SystemTime,
    ) -> bool {
        let outcome = match asker.claim {
            None => self.decide(asker, None, mutation, subject, now).await,
            Some(claim) => self.mutate_in_order(asker, claim, mutation, subject, now).await,
        };
        match outcome {
            Ok(Decided::Confirmed) => false,
            Ok(Decided::Answer(message, seq)) => {
                asker.outbox.outcome(message, seq);
                if seq > self.hub.head() {
                    // Its commit seemed to fail, or is just being published.
                    self.hub.wake_at(seq, asker.outbox);
                    self.pipeline.look_again();
                }
                false
            }
            Err(refused) => {
                let retry = refused.error.is_retryable() || refused.detail.retry == Some(true);
                asker.outbox.outcome(response::error(subject, &refused.error, &refused.detail), 0);
                retry
            }
        }
    }

    /// In the client's order, and only if it was not decided before. An `Err` is not recorded.
    async fn mutate_in_order(
        &self,
        asker: Asker<'_>,
        claim: &Claim,
        mutation: &Mutation,
        subject: &Subject,
        now: SystemTime,
    ) -> Result<Decided, Refused> {
        let Some(id) = mutation.id.filter(|id| *id > 0) else {
            return Err(Error::new(
                ErrorCode::BadRequest,
                "after `hello` a mutation needs an `id`: 1, 2, 3, …",
            )
            .into());
        };
        let client = claim.client.id;
        let mut decided = claim.client.decided.lock().await;
        if !claim.is_current() {
            return Err(Error::new(ErrorCode::Retry, "a newer connection speaks for this client").into());
        }
        loop {
            let last = match decided.last {
                Some(last) => last,
                None => {
                    let record = self.store.client(client).await.map_err(|error| unavailable(&error))?;
                    let forgotten =
                        || Error::new(ErrorCode::ClientUnknown, "this client is not known any more");
                    *decided.last.insert(record.ok_or_else(forgotten)?.last)
                }
            };
            if id <= last {
                return self.repeat(asker.caller, client, id, mutation, now).await;
            }
            if id.saturating_sub(claim.client.acknowledged()) > self.limits.unacknowledged {
                let limit = self.limits.unacknowledged;
                let message = format!(
                    "{limit} outcomes are not acknowledged: send `ack` with the last one that you have kept"
                );
                return Err(Error::limit("unacknowledged", message).into());
            }
            if id > last + 1 {
                let error =
                    Error::new(ErrorCode::IdGap, format!("the next mutation of this client is {}", last + 1));
                return Err(Refused {
                    error,
                    detail: Box::new(ErrorDetail { expected: Some(last + 1), ..ErrorDetail::default() }),
                });
            }
            // Until it is known to be decided the store is asked again, also if this future is dropped.
            decided.last = None;
            match self.decide(asker, Some((client, id)), mutation, subject, now).await {
                Err(refused) if refused.error.code() == ErrorCode::IdGap => {} // another node decided it: look again
                Err(refused) => return Err(refused),
                Ok(outcome) => {
                    decided.last = Some(id);
                    claim.client.reached(id);
                    return Ok(outcome);
                }
            }
        }
    }

    /// The stored outcome of a mutation that was decided before.
    async fn repeat(
        &self,
        caller: &Caller,
        client: Uuid,
        id: MutationId,
        mutation: &Mutation,
        now: SystemTime,
    ) -> Result<Decided, Refused> {
        let record = self.store.client(client).await.map_err(|error| unavailable(&error))?;
        let record = record.and_then(|record| record.mutations.into_iter().find(|record| record.id == id));
        match record {
            Some(record) if record.hash == mutation.hash => {
                let message = self.recorded(caller, &record, true, now).await?;
                Ok(Decided::Answer(message, record.seq.unwrap_or(0)))
            }
            Some(_) => {
                let message = format!("mutation {id} was another one: an id is never used twice");
                Err(Error::new(ErrorCode::IdConflict, message).into())
            }
            None => {
                let message = format!("mutation {id} was acknowledged, and its outcome is forgotten");
                Err(Error::new(ErrorCode::IdConflict, message).into())
            }
        }
    }

    /// The answer to a decided mutation, once more: the same outcome, with the row as it is now, or, where it is not to be
    /// `whole`, the row's id alone.
    pub(super) async fn recorded(
        &self,
        caller: &Caller,
        record: &MutationRecord,
        whole: bool,
        now: SystemTime,
    ) -> Result<Bytes> {
        let (name, key, method, cid) = match &record.outcome {
            Outcome::Rejected(message) => return Ok(Bytes::copy_from_slice(message.as_bytes())),
            Outcome::Confirmed { model, key, method, cid } => (model, key, method, cid),
        };
        let (id, seq) = (Some(record.id), record.seq.unwrap_or(0));
        let model = self.registry.get(name);
        if &**method == Method::Delete.as_str() {
            let id_name = model.map_or("id", |model| model.schema().id);
            return Ok(response::confirm_delete(id, name, id_name, key, seq));
        }
        let mut row = None;
        if let Some(model) = model
            && let Ok(scope) = self.scope(model, caller, now).await
            && let Some(stored) =
                self.store.get(model.name(), key).await.map_err(|error| unavailable(&error))?
            && scope.matches(&stored.body)
        {
            row = Some(WireRow { row: model.rewire(&stored.body)?, seq: stored.seq });
        }
        let id_only = if whole { None } else { model.map(|model| model.schema().id) };
        let cid = cid.as_deref();
        Ok(response::confirm(&Confirm { id, model: name, key, cid, seq, row: row.as_ref(), id_only }))
    }

    /// Runs the handler until what it decided is committed. A rejection is committed like a success: `Ok` is final.
    async fn decide(
        &self,
        asker: Asker<'_>,
        record: Option<(Uuid, MutationId)>,
        mutation: &Mutation,
        subject: &Subject,
        now: SystemTime,
    ) -> Result<Decided, Refused> {
        let client = record.map(|(client, _)| client);
        let content = match &mutation.content {
            Ok(content) => self.resolve(content, client).await,
            Err(error) => Err(Error::new(error.code(), error.message().to_owned())),
        };
        let mut assigned = None;
        for attempt in 1..=ATTEMPTS {
            if self.stopping.load(std::sync::atomic::Ordering::Acquire) {
                return Err(Error::new(ErrorCode::Shutdown, "the server is stopping").into());
            }
            let context = Context::new(asker.caller.clone(), now, attempt);
            let Plan { found, verdict } = self.plan(content.as_deref(), &context, &mut assigned).await;
            let write = |outcome| {
                let mutation = |(client, id)| ClientWrite {
                    client,
                    subject: None,
                    seen: millis(now),
                    ack: None,
                    mutation: Some(MutationWrite { id, hash: mutation.hash, outcome }),
                };
                record.map(mutation)
            };
            match verdict {
                Err(refused) if refused.error.is_retryable() => return Err(refused),
                Err(refused) => {
                    let message = response::error(subject, &refused.error, &refused.detail);
                    // Nothing to record; but a refusal for what is not on disk yet waits until it is.
                    if record.is_none() && !found.iter().any(|found| found.version.is_pending()) {
                        return Ok(Decided::Answer(message, 0));
                    }
                    let text = String::from_utf8_lossy(&message).into();
                    let transaction =
                        Transaction { client: write(Outcome::Rejected(text)), ..Transaction::default() };
                    match self.pipeline.submit(found, transaction, Effects::default()).await? {
                        Decision::Conflict => {}
                        Decision::OutOfOrder => return Err(out_of_order()),
                        Decision::Recorded | Decision::Committed(_) => {
                            return Ok(Decided::Answer(message, 0));
                        }
                    }
                }
                Ok(Accepted { model, scope, change, wire }) => {
                    let method = mutation.content.as_ref().map_or(Method::Create, |content| content.method);
                    let (key, cid) = (change.key.clone(), change.cid.clone());
                    let outcome = Outcome::Confirmed {
                        model: model.name().into(),
                        key: key.clone(),
                        method: method.as_str().into(),
                        cid: cid.clone(),
                    };
                    let what = match (&change.new, &wire) {
                        (Some(body), Some(wire)) if scope.is_some_and(|scope| scope.matches(body)) => {
                            Confirmed::Row(wire.clone())
                        }
                        (Some(_), _) => Confirmed::Unseen,
                        (None, _) => Confirmed::Deleted,
                    };
                    let confirm = Confirming {
                        outbox: asker.outbox.clone(),
                        id: mutation.id,
                        model: model.name(),
                        id_name: model.schema().id,
                        key,
                        cid,
                        what,
                    };
                    let effects = Effects { wires: smallvec![wire], confirm: Some(confirm) };
                    let client = write(outcome);
                    let transaction =
                        Transaction { changes: smallvec![change], client, ..Transaction::default() };
                    match self.pipeline.submit(found, transaction, effects).await? {
                        Decision::Conflict => {}
                        Decision::OutOfOrder => return Err(out_of_order()),
                        Decision::Recorded => {
                            return Err(Error::internal("a change was decided without a seq").into());
                        }
                        Decision::Committed(_) => return Ok(Decided::Confirmed),
                    }
                }
            }
        }
        Err(Refused {
            error: Error::conflict("the row changed again and again while this was decided"),
            detail: Box::new(ErrorDetail { retry: Some(true), ..ErrorDetail::default() }),
        })
    }
}

fn out_of_order() -> Refused {
    Error::new(ErrorCode::IdGap, "decided elsewhere").into()
}
