//! Deciding a mutation: in its client's order, exactly once, with the handler run on what is there when it commits.

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

use bytes::Bytes;
use uuid::Uuid;

use super::{
    Claim, Engine,
    attempt::{Attempt, Ids},
    pipeline::{Confirmed, ConfirmedStep, Confirming, Effects, session_ended},
    plan::Refused,
    references::Creates,
    results::{Recorded, Results},
    scope::Scoped,
    unavailable,
};
use crate::{
    Context, Error, ErrorCode, Result,
    context::Caller,
    model::Key,
    object::{Object, Text},
    outbox::Outbox,
    protocol::{
        Content, Method, Mutation, Subject, request,
        response::{self, Confirm, Done, DoneRow, ErrorDetail, WireRow},
    },
    sabotage::{self, Sabotage},
    store::{ClientWrite, Decision, MutationId, MutationRecord, MutationWrite, Outcome, Seq, Transaction},
};

/// How often a handler is run for one mutation whose row keeps changing.
pub(super) const ATTEMPTS: u32 = 8;

/// An action's result of so many bytes stands in every `welcome`.
const SHORT_RESULT: usize = 256;

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
                if !asker.outbox.outcome_if(message, seq, || !asker.caller.has_ended()) {
                    // What it says was found out for a session that is over. Sent again it is judged for the next.
                    asker
                        .outbox
                        .outcome(Refused::from(session_ended()).message(subject, &mutation.content), 0);
                    return true;
                }
                if seq > self.hub.head() {
                    // Its commit seemed to fail, or is just being published.
                    self.hub.wake_at(seq, asker.outbox);
                    self.base.pipeline.look_again();
                }
                false
            }
            Err(refused) => {
                let retry = refused.error.is_retryable() || refused.detail.retry == Some(true);
                asker.outbox.outcome(refused.message(subject, &mutation.content), 0);
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
                if sabotage::is(Sabotage::DuplicatesDecided) {
                    return self.decide(asker, None, mutation, subject, now).await;
                }
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
        let (id, seq) = (Some(record.id), record.seq.unwrap_or(0));
        let mut again = Again { engine: self, caller, whole, now, scopes: HashMap::new() };
        match &record.outcome {
            Outcome::Rejected(message) => again.rejection(message).await,
            Outcome::Confirmed { model, key, method, cid } => {
                let is_delete = &**method == Method::Delete.as_str();
                let done = again.row(model, key, is_delete, cid.as_deref()).await?;
                Ok(response::confirm(&Confirm { id, seq, done }))
            }
            Outcome::Results(results) => {
                let results = Results::read(results)?;
                let keys: Vec<_> = results.steps.iter().map(Recorded::key).collect();
                let mut done = Vec::with_capacity(results.steps.len());
                for (step, key) in results.steps.iter().zip(&keys) {
                    done.push(match (step, key) {
                        (Recorded::Row { model, deleted, cid, .. }, Some(key)) => {
                            again.row(model, key, *deleted, cid.as_deref()).await?
                        }
                        (Recorded::Row { .. }, None) => continue,
                        (Recorded::Action { model, action, result }, _) => {
                            let result = Some(&**result).filter(|it| whole || it.len() <= SHORT_RESULT);
                            Done::Action { model, action, result }
                        }
                    });
                }
                match (results.is_batch, done.pop()) {
                    (false, Some(done)) => Ok(response::confirm(&Confirm { id, seq, done })),
                    (_, last) => {
                        done.extend(last);
                        Ok(response::confirm_batch(id, &done, seq))
                    }
                }
            }
        }
    }

    /// Runs the handlers until what they decided is committed. A rejection is committed like a success: `Ok` is final.
    async fn decide(
        &self,
        asker: Asker<'_>,
        record: Option<(Uuid, MutationId)>,
        mutation: &Mutation,
        subject: &Subject,
        now: SystemTime,
    ) -> Result<Decided, Refused> {
        let mut creates = Creates::new(record.map(|(client, _)| client));
        let mut ids = Ids::default();
        for number in 1..=ATTEMPTS {
            self.check_running()?;
            if asker.caller.has_ended() {
                return Err(session_ended().into());
            }
            creates.again();
            let attempt = Attempt::new(&self.base, ids);
            let context = Context::new(asker.caller.clone(), now, number, attempt.clone());
            let verdict = self.plan(&mutation.content, &context, &attempt, &mut creates).await;
            let ended = attempt.end();
            ids = ended.ids;
            // A handler that hung is not run again at once: it might as often as it is run.
            let has_hung = verdict.as_ref().is_err_and(|refused| refused.error.is_handler_timeout());
            if ended.is_doomed && !has_hung {
                continue;
            }
            let verdict = ended.fault.map_or(verdict, |fault| Err(fault.into()));
            let (reads, is_on_disk) = {
                let reads = ended.reads;
                let is_on_disk = !reads.is_pending() && !reads.has_failed();
                (reads, is_on_disk)
            };
            let write = |outcome| {
                let mutation = |(client, id)| ClientWrite {
                    client,
                    subject: None,
                    seen: self.retention.seen(now),
                    ack: None,
                    mutation: Some(MutationWrite { id, hash: mutation.hash, outcome }),
                };
                record.map(mutation)
            };
            let session = asker.caller.session.clone();
            let (transaction, effects, answer) = match verdict {
                Err(refused) if refused.error.is_retryable() => return Err(refused),
                Err(refused) => {
                    let message = refused.message(subject, &mutation.content);
                    // Nothing to record; but a refusal for what is not on disk yet waits until it is.
                    if (record.is_none() && is_on_disk) || sabotage::is(Sabotage::RejectionsForgotten) {
                        return Ok(Decided::Answer(message, 0));
                    }
                    let text = String::from_utf8_lossy(&message).into();
                    let client = write(Outcome::Rejected(text));
                    let effects = Effects { session, ..Effects::default() };
                    (Transaction { client, ..Transaction::default() }, effects, Some(message))
                }
                Ok(confirmed) => {
                    let client = write(outcome(&confirmed)?);
                    let confirm =
                        Confirming { outbox: asker.outbox.clone(), id: mutation.id, what: confirmed };
                    let effects =
                        Effects { wires: ended.wires, confirm: Some(confirm), session, after: ended.after };
                    (Transaction { changes: ended.changes, client, ..Transaction::default() }, effects, None)
                }
            };
            match self.base.pipeline.submit(reads, transaction, effects).await? {
                Decision::Conflict => {}
                Decision::OutOfOrder => return Err(out_of_order()),
                Decision::Recorded | Decision::Committed(_) => {
                    return Ok(answer.map_or(Decided::Confirmed, |message| Decided::Answer(message, 0)));
                }
            }
        }
        Err(Refused {
            error: Error::conflict("what this depends on changed again and again while it was decided"),
            detail: Box::new(ErrorDetail { retry: Some(true), ..ErrorDetail::default() }),
        })
    }

    /// Whether handlers may still be run.
    pub(super) fn check_running(&self) -> Result<()> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(Error::new(ErrorCode::Shutdown, "the server is stopping"));
        }
        Ok(())
    }
}

impl Refused {
    /// The answer.
    fn message(&self, subject: &Subject, content: &Result<Content>) -> Bytes {
        let mut subject = Cow::Borrowed(subject);
        if let (Ok(Content::Batch(steps)), Some(index)) = (content, self.detail.index)
            && let Some(step) = steps.get(index)
        {
            let Subject { model, cid, .. } = step.subject.clone();
            subject = Cow::Owned(Subject { model, cid, ..subject.into_owned() });
        }
        response::error(&subject, &self.error, &self.detail)
    }
}

/// Makes the answer to what was decided before anew, with the rows as they are.
struct Again<'a> {
    engine: &'a Engine,
    caller: &'a Caller,
    /// Rows are sent whole.
    whole: bool,
    now: SystemTime,
    /// What the client may see of each model, if it may see anything.
    scopes: HashMap<&'static str, Option<Scoped>>,
}

impl<'a> Again<'a> {
    /// A refusal, whose `current` is the row as it is now, if it may be seen now and rows are sent whole.
    async fn rejection(&mut self, message: &str) -> Result<Bytes> {
        let unread = || Error::internal("a recorded refusal cannot be read");
        if !message.contains("\"current\":") {
            return Ok(Bytes::copy_from_slice(message.as_bytes()));
        }
        let fields: Object<'_> = serde_json::from_str(message)?;
        let (Some(current), Some(name)) = (fields.get("current"), fields.get("modelname")) else {
            // The words stand in a text.
            return Ok(Bytes::copy_from_slice(message.as_bytes()));
        };
        let Text(name) = serde_json::from_str(name.get())?;
        let mut row = None;
        if let Some(model) = self.engine.registry.get(&name) {
            let id = super::plan::id_field(model, current.get())?.ok_or_else(unread)?;
            let key = request::key(id)?;
            if let Done::Row { row: DoneRow::Whole(now), .. } = self.row(&name, &key, false, None).await? {
                row = Some(now);
            }
        }
        Ok(response::with_current(&fields, row.as_ref()))
    }

    async fn row<'b>(
        &mut self,
        name: &'b str,
        key: &'b Key,
        is_delete: bool,
        cid: Option<&'b str>,
    ) -> Result<Done<'b>>
    where
        'a: 'b,
    {
        let engine = self.engine;
        let model = engine.registry.get(name);
        let id_name = model.map_or("id", |model| model.schema().id);
        let done = |row| Done::Row { model: name, key, cid, row };
        if is_delete {
            return Ok(done(DoneRow::Deleted { id_name }));
        }
        let Some(model) = model else { return Ok(done(DoneRow::Unseen)) };
        loop {
            let scope = match self.scopes.entry(model.name()) {
                Entry::Occupied(scope) => scope.into_mut(),
                Entry::Vacant(vacant) => vacant.insert(engine.scope(model, self.caller, self.now).await.ok()),
            };
            let stored = engine.store.get(model.name(), key).await.map_err(|error| unavailable(&error))?;
            // The row may be younger than what was found out about it.
            if let Some(scope) = scope
                && !engine.still_holds(&mut scope.dependencies)
            {
                self.scopes.remove(model.name());
                continue;
            }
            let shown =
                scope.as_ref().and_then(|scope| stored.filter(|stored| scope.filter.matches(&stored.body)));
            return Ok(done(match shown {
                None => DoneRow::Unseen,
                Some(_) if !self.whole => DoneRow::Partial { id_name },
                Some(stored) => DoneRow::Whole(WireRow { row: model.rewire(&stored.body)?, seq: stored.seq }),
            }));
        }
    }
}

/// What is recorded of a mutation that was not refused.
fn outcome(confirmed: &Confirmed) -> Result<Outcome> {
    match confirmed {
        Confirmed::One(ConfirmedStep::Row(row)) => Ok(Outcome::Confirmed {
            model: row.model.into(),
            key: row.key.clone(),
            method: row.method.as_str().into(),
            cid: row.cid.clone(),
        }),
        confirmed => Ok(Outcome::Results(Results::of(confirmed).write()?)),
    }
}

fn out_of_order() -> Refused {
    Error::new(ErrorCode::IdGap, "decided elsewhere").into()
}
