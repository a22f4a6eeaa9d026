//! Deciding a mutation: in its client's order, exactly once, with the handler run on what is there when it commits.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::SystemTime,
};

use bytes::Bytes;
use serde_json::value::RawValue;
use smallvec::{SmallVec, smallvec};
use uuid::Uuid;

use super::{
    Claim, Engine, millis, not_declared,
    pipeline::{Confirmed, Confirming, Effects},
    unavailable,
};
use crate::{
    Context, Error, ErrorCode, Result,
    handlers::{CreateInput, DeleteInput, Row, UpdateInput},
    model::{Key, KeyKind, filter::Expr},
    outbox::Outbox,
    protocol::{
        Method, Mutation, Subject,
        request::{self, MutationContent},
        response::{self, Confirm, ErrorDetail, WireRow},
    },
    registry::Model,
    store::{
        Change, ClientWrite, Decision, MutationId, MutationRecord, MutationWrite, Outcome, Precondition, Seq,
        Transaction,
    },
};

/// How often a handler is run for one mutation whose row keeps changing.
const ATTEMPTS: u32 = 8;

/// Who asked for a mutation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker<'a> {
    /// The client that it is, if it said `hello`.
    pub(crate) claim: Option<&'a Claim>,
    /// Where the answer goes.
    pub(crate) outbox: &'a Arc<Outbox>,
}

/// How a mutation ended.
enum Decided {
    /// Its confirm stands in the outbox.
    Confirmed,
    /// This is to be answered.
    Answer(Bytes),
}

/// What a handler decided, and on what.
struct Plan<'a> {
    preconditions: SmallVec<[Precondition; 1]>,
    verdict: Result<Accepted<'a>, Refused>,
}

/// A mutation that is to be committed.
struct Accepted<'a> {
    model: &'a Model,
    scope: Option<Expr>,
    change: Change,
    wire: Option<Bytes>,
}

/// A mutation that is not.
struct Refused {
    error: Error,
    detail: Box<ErrorDetail>,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { error, detail: Box::default() }
    }
}

/// A row as a handler finds it.
struct Current {
    seq: Seq,
    body: Bytes,
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
            Ok(Decided::Answer(message)) => {
                asker.outbox.answer(message);
                false
            }
            Err(refused) => {
                let retry = refused.error.code().is_retryable() || refused.detail.retry == Some(true);
                asker.outbox.answer(response::error(subject, &refused.error, &refused.detail));
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
                return self.repeat(client, id, mutation, now).await.map(Decided::Answer);
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
                    return Ok(outcome);
                }
            }
        }
    }

    /// The stored outcome of a mutation that was decided before.
    async fn repeat(
        &self,
        client: Uuid,
        id: MutationId,
        mutation: &Mutation,
        now: SystemTime,
    ) -> Result<Bytes, Refused> {
        let record = self.store.client(client).await.map_err(|error| unavailable(&error))?;
        let record = record.and_then(|record| record.mutations.into_iter().find(|record| record.id == id));
        match record {
            Some(record) if record.hash == mutation.hash => Ok(self.recorded(client, &record, now).await?),
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

    /// The answer to a decided mutation, once more: the same outcome, with the row as it is now.
    pub(super) async fn recorded(
        &self,
        client: Uuid,
        record: &MutationRecord,
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
            && let Ok(scope) = self.scope(model, Some(client), now).await
            && let Some(stored) =
                self.store.get(model.name(), key).await.map_err(|error| unavailable(&error))?
            && scope.matches(&stored.body)
        {
            row = Some(WireRow { row: model.rewire(&stored.body)?, seq: stored.seq });
        }
        Ok(response::confirm(&Confirm { id, model: name, key, cid: cid.as_deref(), seq, row: row.as_ref() }))
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
        let mut assigned = None;
        for attempt in 1..=ATTEMPTS {
            if self.stopping.load(std::sync::atomic::Ordering::Acquire) {
                return Err(Error::new(ErrorCode::Shutdown, "the server is stopping").into());
            }
            let context = Context::new(client, now, attempt);
            let Plan { preconditions, verdict } = self.plan(mutation, &context, &mut assigned).await;
            let write = |outcome| {
                let mutation = |(client, id)| ClientWrite {
                    client,
                    seen: millis(now),
                    ack: None,
                    mutation: Some(MutationWrite { id, hash: mutation.hash, outcome }),
                };
                record.map(mutation)
            };
            match verdict {
                Err(refused) if refused.error.code().is_retryable() => return Err(refused),
                Err(refused) => {
                    let message = response::error(subject, &refused.error, &refused.detail);
                    if record.is_none() {
                        return Ok(Decided::Answer(message));
                    }
                    let text = String::from_utf8_lossy(&message).into();
                    let transaction = Transaction {
                        preconditions,
                        changes: SmallVec::new(),
                        client: write(Outcome::Rejected(text)),
                    };
                    match self.pipeline.submit(transaction, Effects::default()).await? {
                        Decision::Conflict => {}
                        Decision::OutOfOrder => return Err(out_of_order()),
                        Decision::Recorded | Decision::Committed(_) => return Ok(Decided::Answer(message)),
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
                    let transaction =
                        Transaction { preconditions, changes: smallvec![change], client: write(outcome) };
                    match self.pipeline.submit(transaction, effects).await? {
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

    /// Runs the handler once.
    async fn plan(&self, mutation: &Mutation, context: &Context, assigned: &mut Option<Key>) -> Plan<'_> {
        let mut preconditions = SmallVec::new();
        let verdict = match &mutation.content {
            Ok(content) if content.method == Method::Create => {
                self.plan_create(content, context, assigned, &mut preconditions).await
            }
            Ok(content) => self.plan_change(content, context, &mut preconditions).await,
            Err(error) => Err(Error::new(error.code(), error.message().to_owned()).into()),
        };
        Plan { preconditions, verdict }
    }

    async fn plan_create(
        &self,
        content: &MutationContent,
        context: &Context,
        assigned: &mut Option<Key>,
        preconditions: &mut SmallVec<[Precondition; 1]>,
    ) -> Result<Accepted<'_>, Refused> {
        let model = self.model(&content.model)?;
        let create = model.handlers.create.ok_or_else(|| not_declared(model, "create"))?;
        let id_name = model.schema().id;
        let chosen = id_field(model, &content.row)?;
        let key = match (model.key_kind(), chosen, &*assigned) {
            (KeyKind::Int, Some(_), _) => {
                return Err(Error::invalid(id_name, "is assigned by the server: leave it out").into());
            }
            (KeyKind::Text, Some(chosen), _) => model_key(model, chosen)?,
            (_, None, Some(key)) => key.clone(),
            (KeyKind::Int, None, None) => {
                Key::Int(self.store.allocate_ids(model.name(), 1).await.map_err(|error| unavailable(&error))?)
            }
            (KeyKind::Text, None, None) => {
                model.generate_key().ok_or_else(|| Error::invalid(id_name, "must be chosen by the client"))?
            }
        };
        if chosen.is_none() {
            *assigned = Some(key.clone());
        }
        let current = self.current(model, &key).await?;
        preconditions.push(row_at(model, &key, current.as_ref()));
        if current.is_some() {
            return Err(Error::new(ErrorCode::AlreadyExists, "there is a row with this id").into());
        }
        let input = CreateInput { draft: &content.row, key: &key };
        let Row { key, body, wire } = guarded(create(context, input)).await?;
        self.check_size(&body)?;
        let scope = self.scope_or_none(model, context).await?;
        let change =
            Change { model: model.name(), key, cid: content.cid.clone(), old: None, new: Some(body) };
        Ok(Accepted { model, scope, change, wire: Some(wire) })
    }

    async fn plan_change(
        &self,
        content: &MutationContent,
        context: &Context,
        preconditions: &mut SmallVec<[Precondition; 1]>,
    ) -> Result<Accepted<'_>, Refused> {
        let model = self.model(&content.model)?;
        let handlers = &model.handlers;
        let is_declared = if content.method == Method::Delete {
            handlers.delete.is_some()
        } else {
            handlers.update.is_some()
        };
        if !is_declared {
            return Err(not_declared(model, content.method.as_str()).into());
        }
        let id_name = model.schema().id;
        let id = id_field(model, &content.row)?.ok_or_else(|| Error::invalid(id_name, "is missing"))?;
        let key = model_key(model, id)?;
        let scope = self.scope(model, context.client(), context.now()).await?;
        let current = self.current(model, &key).await?;
        preconditions.push(row_at(model, &key, current.as_ref()));
        // A row that the client may not see is not there for it.
        let Some(current) = current.filter(|current| scope.matches(&current.body)) else {
            return Err(Error::not_found().into());
        };
        if content.if_seq.is_some_and(|seq| seq != current.seq) {
            let row = WireRow { row: model.rewire(&current.body)?, seq: current.seq };
            return Err(Refused {
                error: Error::conflict("the row has changed since"),
                detail: Box::new(ErrorDetail { current: Some(row), ..ErrorDetail::default() }),
            });
        }
        let mut change =
            Change { model: model.name(), key, cid: None, old: Some(current.body.clone()), new: None };
        let mut wire = None;
        match (content.method, handlers.delete, handlers.update) {
            (Method::Delete, Some(delete), _) => {
                if let Some(field) = other_field(model, &content.row)? {
                    return Err(Error::invalid(field, "a `delete` takes the id alone").into());
                }
                guarded(delete(context, DeleteInput { current: &current.body })).await?;
            }
            (method, _, Some(update)) => {
                let is_patch = method == Method::Patch;
                let input =
                    UpdateInput { current: &current.body, draft: &content.row, is_patch, key: &change.key };
                let row = guarded(update(context, input)).await?;
                self.check_size(&row.body)?;
                change.new = Some(row.body);
                wire = Some(row.wire);
            }
            _ => return Err(not_declared(model, content.method.as_str()).into()),
        }
        Ok(Accepted { model, scope: Some(scope), change, wire })
    }

    /// The row as the next transaction will find it.
    async fn current(&self, model: &Model, key: &Key) -> Result<Option<Current>> {
        if let Some(pending) = self.pipeline.pending(model.name(), key) {
            return Ok(pending.body.map(|body| Current { seq: pending.seq, body }));
        }
        let stored = self.store.get(model.name(), key).await.map_err(|error| unavailable(&error))?;
        Ok(stored.map(|row| Current { seq: row.seq, body: row.body }))
    }

    /// What the client may see of a model that it may create rows of, but perhaps not read.
    async fn scope_or_none(&self, model: &Model, context: &Context) -> Result<Option<Expr>> {
        match model.handlers.read {
            Some(_) => self.scope(model, context.client(), context.now()).await.map(Some),
            None => Ok(None),
        }
    }

    fn check_size(&self, body: &Bytes) -> Result<()> {
        if body.len() <= self.limits.row_bytes {
            return Ok(());
        }
        let message =
            format!("a row has at most {} bytes of JSON, this one {}", self.limits.row_bytes, body.len());
        Err(Error::new(ErrorCode::TooLarge, message))
    }
}

/// Runs a handler; a panic in it fails this one request.
pub(super) async fn guarded<T>(
    mut handler: Pin<Box<dyn Future<Output = Result<T>> + Send + '_>>,
) -> Result<T> {
    let mut poll = pin!(std::future::poll_fn(move |cx| {
        match std::panic::catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(cx))) {
            Ok(poll) => poll,
            Err(panic) => {
                let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
                Poll::Ready(Err(Error::internal(format!(
                    "a handler panicked: {}",
                    message.unwrap_or_default()
                ))))
            }
        }
    }));
    poll.as_mut().await
}

fn row_at(model: &Model, key: &Key, current: Option<&Current>) -> Precondition {
    Precondition::RowAt { model: model.name(), key: key.clone(), seq: current.map(|current| current.seq) }
}

/// The id in a row that a client sent.
fn id_field<'a>(model: &Model, row: &'a str) -> Result<Option<&'a RawValue>> {
    let is_id = |name: &str| model.schema().field(name).is_some_and(|field| field.name == model.schema().id);
    request::row_field(row, is_id)
}

/// A field in it that is not the id.
fn other_field(model: &Model, row: &str) -> Result<Option<String>> {
    let is_other =
        |name: &str| model.schema().field(name).is_none_or(|field| field.name != model.schema().id);
    request::row_field_name(row, is_other)
}

fn model_key(model: &Model, id: &RawValue) -> Result<Key> {
    let invalid = || Error::invalid(model.schema().id, "is not an id of this model");
    request::key(id).ok().and_then(|key| model.parse_key(&key)).ok_or_else(invalid)
}

fn out_of_order() -> Refused {
    Error::new(ErrorCode::IdGap, "decided elsewhere").into()
}
