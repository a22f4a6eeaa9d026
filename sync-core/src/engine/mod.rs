//! The engine: what a request means. It runs handlers, has the outcome committed, and answers; it does no socket I/O and reads no
//! clock.

mod attempt;
mod clients;
mod decide;
mod panics;
mod pipeline;
mod plan;
mod read_set;
mod reads;
mod recent;
mod references;
mod results;
mod retention;
mod scope;
mod shared_pages;
mod transaction;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use uuid::Uuid;

use self::{
    clients::Clients,
    pipeline::{Effects, Pipeline},
    read_set::ReadSet,
    retention::Retention,
    shared_pages::SharedPages,
};
use crate::{
    Error, ErrorCode, Result,
    config::Limits,
    context::Caller,
    hub::Hub,
    model::Access,
    outbox::{FRAME_BYTES, Outbox},
    protocol::{Hello, response},
    registry::{Model, Registry},
    store::{ClientRecord, ClientWrite, Decision, Opened, Store, StoreError, Table, Transaction},
};

pub(crate) use self::{clients::Claim, decide::Asker, panics::catch_panic, reads::Selection};

/// How many bytes of outcomes a `welcome` has with their rows: the rest fits a frame.
const WELCOME_BYTES: usize = FRAME_BYTES / 4;

/// Everything that is shared by the connections.
pub(crate) struct Engine {
    registry: Arc<Registry>,
    store: Arc<dyn Store>,
    hub: Hub,
    base: Arc<Base>,
    clients: Clients,
    shared_pages: SharedPages,
    limits: Limits,
    retention: Retention,
    epoch: Uuid,
    stopping: AtomicBool,
}

/// What transactions need, also those whose context is kept by somebody.
#[derive(Debug)]
struct Base {
    registry: Arc<Registry>,
    store: Arc<dyn Store>,
    pipeline: Arc<Pipeline>,
    limits: Limits,
}

impl Engine {
    /// Opens the store for the models.
    pub(crate) async fn open(
        registry: Registry,
        store: Arc<dyn Store>,
        limits: Limits,
    ) -> Result<Self, StoreError> {
        let tables: Vec<_> = registry.iter().map(table).collect();
        let Opened { epoch, head } = store.open(&tables).await?;
        let registry = Arc::new(registry);
        let base = Arc::new(Base {
            registry: registry.clone(),
            store: store.clone(),
            pipeline: Arc::new(Pipeline::new()),
            limits: limits.clone(),
        });
        Ok(Self {
            hub: Hub::new(head, limits.window_bytes),
            base,
            clients: Clients::default(),
            shared_pages: SharedPages::default(),
            retention: Retention::default(),
            stopping: AtomicBool::new(false),
            registry,
            store,
            limits,
            epoch,
        })
    }

    /// Commits what is submitted; must run as long as anything is asked. Ends after [`stop`](Self::stop), with everything decided.
    pub(crate) async fn run(&self) {
        self.base.pipeline.run(&self.store, &self.registry, &self.hub).await;
    }

    /// Looks for transactions that subscribers did not get because the store failed; to be called now and then.
    pub(crate) fn look_again(&self) {
        self.base.pipeline.look_again();
        self.hub.retry_refills();
    }

    /// New mutations are refused from now on.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// What is submitted from now on is refused; [`run`](Self::run) ends.
    pub(crate) fn close(&self) {
        self.base.pipeline.close();
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.hub
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// An empty outbox for a new connection.
    pub(crate) fn outbox(&self) -> Arc<Outbox> {
        let outbox = Arc::new(Outbox::new(self.limits.outbox_bytes, self.epoch, self.hub.head()));
        self.hub.connect(&outbox);
        outbox
    }

    /// Makes a connection speak for a client, and welcomes it.
    pub(crate) async fn hello(
        &self,
        hello: Hello,
        caller: &Caller,
        outbox: &Arc<Outbox>,
        now: SystemTime,
    ) -> Result<(Claim, Bytes)> {
        // Before anything is known of the client: an older page of it may be the one that fits.
        if let Some(schema) = &hello.schema {
            schema.check(|model| self.registry.known(model).map(|model| &model.fingerprint))?;
        }
        let subject = caller.session.as_ref().and_then(|session| session.subject());
        // Whom it does not belong to takes nothing over, and waits for nobody's mutations.
        if caller.session.is_some() {
            self.owned(hello.client, subject).await?;
        }
        let client = self.clients.client(hello.client);
        // What an older connection of this client has under way is decided first.
        let mut decided = client.decided.lock().await;
        let record = self.owned(hello.client, subject).await?;
        let claim = client.claim(outbox);
        decided.last = None;
        // Known, but not so far: the store was restored from before what the client has had decided.
        let record = record.filter(|record| hello.ack.is_none_or(|ack| ack <= record.last));
        let record = match record {
            Some(record) if record.subject.is_some() || subject.is_none() => {
                // Nobody waits for it: an acknowledgement that is lost comes again.
                self.base.pipeline.note(hello.client, self.retention.seen(now), hello.ack);
                record
            }
            None if hello.ack.is_some() => {
                return Err(Error::new(
                    ErrorCode::ClientUnknown,
                    "this client is not known any more: take a new id; the outcome of what was sent without an answer is unknown",
                ));
            }
            unowned => {
                let client = Some(ClientWrite {
                    client: hello.client,
                    subject: subject.map(|subject| (**subject).into()),
                    seen: self.retention.seen(now),
                    ack: hello.ack,
                    mutation: None,
                });
                let transaction = Transaction { client, ..Transaction::default() };
                match self.base.pipeline.submit(ReadSet::default(), transaction, Effects::default()).await? {
                    Decision::Recorded => {}
                    other => {
                        return Err(Error::internal(format!(
                            "registering a client was decided as {other:?}"
                        )));
                    }
                }
                // Another node may have been asked by somebody else just before.
                let record = self.owned(hello.client, subject).await?;
                unowned.or(record).unwrap_or_default()
            }
        };
        decided.last = Some(record.last);
        let ack = hello.ack.unwrap_or(0);
        claim.client.reached(record.last);
        claim.client.acknowledge(ack);
        let mut outcomes = Vec::new();
        let mut bytes = 0;
        for mutation in record.mutations.iter().filter(|mutation| mutation.id > ack) {
            // All of them go in one message: the first with their rows, the others, where those are large, without.
            let whole = bytes < WELCOME_BYTES;
            let outcome = self.recorded(caller, mutation, whole, now).await?;
            bytes += outcome.len();
            outcomes.push(outcome);
        }
        let welcome = response::welcome(&response::Welcome {
            epoch: self.epoch,
            last: record.last,
            outcomes,
            schema: self
                .registry
                .all_known()
                .map(|model| (model.name(), model.fingerprint.to_string()))
                .collect(),
            indexed: self.registry.all_known().map(|model| (model.name(), indexed(model))).collect(),
            limits: BTreeMap::from([
                ("message_bytes", self.limits.message_bytes),
                ("unacknowledged", usize::try_from(self.limits.unacknowledged).unwrap_or(usize::MAX)),
                ("in_flight", self.limits.in_flight),
                ("subscriptions", self.limits.subscriptions),
            ]),
            heartbeat_ms: u64::try_from(self.limits.ping_interval.as_millis()).unwrap_or(u64::MAX),
        });
        drop(decided);
        Ok((claim, welcome))
    }

    /// What is known of a client, if it belongs to this subject or to nobody.
    async fn owned(&self, client: Uuid, subject: Option<&Arc<str>>) -> Result<Option<ClientRecord>> {
        let record = self.store.client(client).await.map_err(|error| unavailable(&error))?;
        let owner = record.as_ref().and_then(|record| record.subject.as_deref());
        if owner.is_some() && owner != subject.map(|subject| &**subject) {
            return Err(Error::new(
                ErrorCode::ClientUnknown,
                "this client id belongs to somebody else: take a new one",
            ));
        }
        Ok(record)
    }

    /// The client keeps the outcomes up to `ack`: their records go, soon.
    pub(crate) fn acknowledge(&self, claim: &Claim, ack: u64, now: SystemTime) {
        if claim.client.acknowledge(ack) {
            self.base.pipeline.note(claim.client.id, self.retention.seen(now), Some(ack));
        }
    }

    /// A clock that never jumps shows `steady`: to be told now and then.
    pub(crate) fn passed(&self, steady: SystemTime) {
        self.retention.passed(steady);
    }

    /// Forgets clients that were last seen more than `limits.client_retention` ago, by the clock of the system and by one that never jumps.
    pub(crate) async fn forget_clients(&self, now: SystemTime, steady: SystemTime) {
        self.passed(steady);
        let seen = self.retention.seen(now);
        for client in self.clients.connected() {
            self.base.pipeline.note(client, seen, None);
        }
        // The notes are on the disk when what is submitted after them is: who is connected is not forgotten before that is known.
        let nothing = Transaction::default();
        if let Err(error) = self.base.pipeline.submit(ReadSet::default(), nothing, Effects::default()).await {
            return tracing::warn!(%error, "could not forget old clients");
        }
        let before = Retention::before(now, steady, self.limits.client_retention);
        match self.store.forget_clients(before).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "forgot clients that were not seen for a long time"),
            Err(error) => tracing::warn!(%error, "could not forget old clients"),
        }
    }

    fn model(&self, name: &str) -> Result<&Model> {
        self.registry.known(name).ok_or_else(|| {
            let known: Vec<_> = self.registry.all_known().map(Model::name).collect();
            let shown: String = name.chars().take(40).collect();
            Error::new(
                ErrorCode::UnknownModel,
                format!("there is no model `{shown}`; there are {}", known.join(", ")),
            )
        })
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("registry", &self.registry)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

fn table(model: &Model) -> Table {
    let schema = model.schema();
    let indexed = schema.fields.iter().filter(|field| field.indexed && field.name != schema.id);
    Table {
        name: model.name(),
        key_kind: model.key_kind(),
        id: schema.id,
        indexed: indexed.map(|field| field.name).collect(),
        hash: model.hash,
        reencode: model.reencode(),
    }
}

/// The fields by which clients may ask for rows of a model, besides the id.
fn indexed(model: &Model) -> Vec<&'static str> {
    let schema = model.schema();
    let fields = schema.fields.iter().filter(|field| field.indexed && field.name != schema.id);
    fields.filter(|field| field.access != Access::ServerOnly).map(|field| field.name).collect()
}

fn millis(time: SystemTime) -> i64 {
    i64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis()).unwrap_or(i64::MAX)
}

fn unavailable(error: &StoreError) -> Error {
    tracing::error!(error = error as &dyn std::error::Error, "the store failed");
    Error::new(ErrorCode::Unavailable, "the store did not answer")
}

fn not_declared(model: &Model, method: &str) -> Error {
    Error::new(ErrorCode::MethodNotAllowed, format!("`{}` does not allow `{method}`", model.name()))
}
