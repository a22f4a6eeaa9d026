//! Clients across their connections: whose turn it is, and what they have had decided.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use uuid::Uuid;

use crate::{
    outbox::{DisconnectReason, Outbox},
    store::MutationId,
};

/// The clients that are connected.
#[derive(Debug, Default)]
pub(super) struct Clients {
    clients: Mutex<HashMap<Uuid, Weak<Client>>>,
}

/// A client that is connected, or was a moment ago.
#[derive(Debug)]
pub(crate) struct Client {
    pub(super) id: Uuid,
    /// Held while one of its mutations is decided: they are decided in their order, whatever connections they come by.
    pub(super) decided: tokio::sync::Mutex<Decided>,
    /// The highest mutation that was decided, as far as is known here.
    highest: AtomicU64,
    acknowledged: AtomicU64,
    connection: Mutex<Connection>,
}

/// What is known of a client's decided mutations; the store knows better.
#[derive(Debug, Default)]
pub(super) struct Decided {
    /// The highest; `None`: the store must be asked.
    pub(super) last: Option<MutationId>,
}

impl Client {
    /// Up to which mutation it has kept the outcomes.
    pub(super) fn acknowledged(&self) -> MutationId {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Its mutations up to `last` are decided.
    pub(super) fn reached(&self, last: MutationId) {
        self.highest.fetch_max(last, Ordering::Relaxed);
    }

    /// It has kept the outcomes up to `ack`, of those that there are; whether that is news.
    pub(super) fn acknowledge(&self, ack: MutationId) -> bool {
        let ack = ack.min(self.highest.load(Ordering::Relaxed));
        self.acknowledged.fetch_max(ack, Ordering::Relaxed) < ack
    }
}

#[derive(Debug, Default)]
struct Connection {
    generation: u64,
    outbox: Weak<Outbox>,
}

/// A client as one connection speaks for it.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(super) client: Arc<Client>,
    generation: u64,
}

impl Claim {
    pub(crate) fn id(&self) -> Uuid {
        self.client.id
    }

    /// Whether no newer connection took the client over.
    pub(super) fn is_current(&self) -> bool {
        self.client.connection.lock().generation == self.generation
    }
}

impl Client {
    /// Takes it over for the connection of `outbox`; a connection that had it is closed.
    pub(super) fn claim(self: &Arc<Self>, outbox: &Arc<Outbox>) -> Claim {
        let mut connection = self.connection.lock();
        if let Some(old) = connection.outbox.upgrade().filter(|old| !Arc::ptr_eq(old, outbox)) {
            old.close(DisconnectReason::Replaced);
        }
        connection.outbox = Arc::downgrade(outbox);
        connection.generation += 1;
        Claim { client: self.clone(), generation: connection.generation }
    }
}

impl Clients {
    /// The client of this id, whose connection it may be.
    pub(super) fn client(&self, id: Uuid) -> Arc<Client> {
        let mut clients = self.clients.lock();
        if let Some(client) = clients.get(&id).and_then(Weak::upgrade) {
            return client;
        }
        let client = Arc::new(Client {
            id,
            decided: tokio::sync::Mutex::default(),
            highest: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            connection: Mutex::default(),
        });
        if clients.len() == clients.capacity() {
            clients.retain(|_, client| client.strong_count() > 0);
        }
        clients.insert(id, Arc::downgrade(&client));
        client
    }

    /// The ids of those that are connected.
    pub(super) fn connected(&self) -> Vec<Uuid> {
        let clients = self.clients.lock();
        clients.iter().filter(|(_, client)| client.strong_count() > 0).map(|(id, _)| *id).collect()
    }
}
