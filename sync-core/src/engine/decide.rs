//! Deciding a mutation: in its client's order, exactly once, with the handler run on what is there when it commits.

use std::{future::Future, panic::AssertUnwindSafe, pin::Pin, sync::Arc, task::Poll, time::SystemTime};

use bytes::Bytes;
use serde_json::value::RawValue;
use smallvec::{SmallVec, smallvec};
use uuid::Uuid;

use super::{
    Claim, Engine, millis, not_declared,
    pipeline::{Confirmed, Confirming, Effects, Found, Pending, Version},
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
        Change, ClientWrite, Decision, MutationId, MutationRecord, MutationWrite, Outcome, Seq, Transaction,
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
    /// This is to be answered, after the changes up to the seq.
    Answer(Bytes, Seq),
}

/// What a handler decided, and on what.
struct Plan<'a> {
    found: SmallVec<[Found; 1]>,
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
    version: Version,
    /// `None`: there is no row.
    body: Option<Bytes>,
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
                let retry = refused.error.code().is_retryable() || refused.detail.retry == Some(true);
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
                return self.repeat(client, id, mutation, now).await;
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
        client: Uuid,
        id: MutationId,
        mutation: &Mutation,
        now: SystemTime,
    ) -> Result<Decided, Refused> {
        let record = self.store.client(client).await.map_err(|error| unavailable(&error))?;
        let record = record.and_then(|record| record.mutations.into_iter().find(|record| record.id == id));
        match record {
            Some(record) if record.hash == mutation.hash => {
                let message = self.recorded(client, &record, true, now).await?;
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
        client: Uuid,
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
            && let Ok(scope) = self.scope(model, Some(client), now).await
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
        let mut assigned = None;
        for attempt in 1..=ATTEMPTS {
            if self.stopping.load(std::sync::atomic::Ordering::Acquire) {
                return Err(Error::new(ErrorCode::Shutdown, "the server is stopping").into());
            }
            let context = Context::new(client, now, attempt);
            let Plan { found, verdict } = self.plan(mutation, &context, &mut assigned).await;
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

    /// Runs the handler once.
    async fn plan(&self, mutation: &Mutation, context: &Context, assigned: &mut Option<Key>) -> Plan<'_> {
        let mut found = SmallVec::new();
        let verdict = match &mutation.content {
            Ok(content) if content.method == Method::Create => {
                self.plan_create(content, context, assigned, &mut found).await
            }
            Ok(content) => self.plan_change(content, context, &mut found).await,
            Err(error) => Err(Error::new(error.code(), error.message().to_owned()).into()),
        };
        Plan { found, verdict }
    }

    async fn plan_create(
        &self,
        content: &MutationContent,
        context: &Context,
        assigned: &mut Option<Key>,
        found: &mut SmallVec<[Found; 1]>,
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
        // A number that the store has just given is nobody's.
        if model.key_kind() == KeyKind::Text {
            let current = self.current(model, &key).await?;
            found.push(Found { model: model.name(), key: key.clone(), version: current.version });
            if current.body.is_some() {
                return Err(Error::new(ErrorCode::AlreadyExists, "there is a row with this id").into());
            }
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
        found: &mut SmallVec<[Found; 1]>,
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
        let mut current = self.current(model, &key).await?;
        while content.if_seq.is_some() && current.version.is_pending() {
            // Its seq is known once it is flushed.
            let pending = Found { model: model.name(), key: key.clone(), version: current.version };
            self.pipeline.submit(smallvec![pending], Transaction::default(), Effects::default()).await?;
            current = self.current(model, &key).await?;
        }
        let Current { version, body } = current;
        found.push(Found { model: model.name(), key: key.clone(), version: version.clone() });
        // A row that the client may not see is not there for it.
        let Some(current) = body.filter(|body| scope.matches(body)) else {
            return Err(Error::not_found().into());
        };
        if let (Some(if_seq), Version::Stored(Some(seq))) = (content.if_seq, version)
            && if_seq != seq
        {
            let row = WireRow { row: model.rewire(&current)?, seq };
            return Err(Refused {
                error: Error::conflict("the row has changed since"),
                detail: Box::new(ErrorDetail { current: Some(row), ..ErrorDetail::default() }),
            });
        }
        let mut change =
            Change { model: model.name(), key, cid: None, old: Some(current.clone()), new: None };
        let mut wire = None;
        match (content.method, handlers.delete, handlers.update) {
            (Method::Delete, Some(delete), _) => {
                if let Some(field) = other_field(model, &content.row)? {
                    return Err(Error::invalid(field, "a `delete` takes the id alone").into());
                }
                guarded(delete(context, DeleteInput { current: &current })).await?;
            }
            (method, _, Some(update)) => {
                let is_patch = method == Method::Patch;
                let input =
                    UpdateInput { current: &current, draft: &content.row, is_patch, key: &change.key };
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
    async fn current(&self, model: &Model, key: &Key) -> Result<Current> {
        if let Some(Pending { fate, body }) = self.pipeline.pending(model.name(), key) {
            return Ok(Current { version: Version::Pending { fate, deleted: body.is_none() }, body });
        }
        let stored = self.store.get(model.name(), key).await.map_err(|error| unavailable(&error))?;
        let version = Version::Stored(stored.as_ref().map(|row| row.seq));
        Ok(Current { version, body: stored.map(|row| row.body) })
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
pub(super) async fn guarded<T>(handler: Pin<Box<dyn Future<Output = Result<T>> + Send + '_>>) -> Result<T> {
    match catch_panic(handler).await {
        Ok(outcome) => outcome,
        Err(panic) => Err(Error::internal(format!("a handler panicked: {panic}"))),
    }
}

/// Runs a future of others' code; what it panicked with is the error.
pub(super) async fn catch_panic<T>(
    mut future: Pin<Box<dyn Future<Output = T> + Send + '_>>,
) -> Result<T, String> {
    std::future::poll_fn(|cx| match std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            Poll::Ready(Err(text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()))
        }
    })
    .await
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
