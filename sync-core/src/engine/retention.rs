//! How long clients are remembered, whatever the system's clock does meanwhile.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::millis;

/// Two clocks: the system's, which may jump, and one that is steady, which begins with the system's and counts what passes from there (but
/// not, on some systems, while the machine sleeps). A client is taken for seen by the one that is ahead and for long gone by the one that is
/// behind, so that a jump makes it remembered for longer, and never for less long.
#[derive(Debug, Default)]
pub(super) struct Retention {
    /// The steady clock, as it was told last.
    steady: AtomicI64,
}

impl Retention {
    /// The steady clock shows `steady`.
    pub(super) fn passed(&self, steady: SystemTime) {
        self.steady.fetch_max(millis(steady), Ordering::Relaxed);
    }

    /// When who is seen now was last seen, in milliseconds since 1970.
    pub(super) fn seen(&self, now: SystemTime) -> i64 {
        millis(now).max(self.steady.load(Ordering::Relaxed))
    }

    /// Who was last seen before that is forgotten.
    pub(super) fn before(now: SystemTime, steady: SystemTime, keep: Duration) -> i64 {
        millis(now.min(steady).checked_sub(keep).unwrap_or(UNIX_EPOCH))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        sync::Arc,
        time::{Duration, SystemTime, UNIX_EPOCH},
    };

    use tokio::select;
    use uuid::Uuid;

    use crate::{
        Limits,
        context::Caller,
        engine::{Claim, Engine},
        outbox::Outbox,
        protocol::Hello,
        registry::Registry,
        store::{MemoryStore, Store},
    };

    const DAY: Duration = Duration::from_hours(24);
    fn began() -> SystemTime {
        UNIX_EPOCH + 20_000 * DAY
    }

    struct Server {
        engine: Engine,
        store: Arc<dyn Store>,
    }

    impl Server {
        /// Begun with both clocks at `began`, for as long as `test` takes.
        async fn run<F: Future>(test: impl FnOnce(Arc<Self>) -> F) -> F::Output {
            let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
            let engine = Engine::open(Registry::empty(), store.clone(), Limits::default()).await.unwrap();
            let server = Arc::new(Self { engine, store });
            server.engine.passed(began());
            select! {
                result = test(server.clone()) => result,
                () = server.engine.run() => unreachable!("nobody stops it"),
            }
        }

        /// A client that says `hello`, and stays as long as what is returned.
        async fn hello(&self, id: u128, now: SystemTime) -> (Claim, Arc<Outbox>) {
            let hello = Hello { client: Uuid::from_u128(id), token: None, schema: None, ack: None };
            let outbox = self.engine.outbox();
            let (claim, _) = self.engine.hello(hello, &Caller::default(), &outbox, now).await.unwrap();
            (claim, outbox)
        }

        async fn knows(&self, id: u128) -> bool {
            self.store.client(Uuid::from_u128(id)).await.unwrap().is_some()
        }
    }

    #[tokio::test]
    async fn a_clock_that_jumps_forward_forgets_nobody() {
        Server::run(|server| async move {
            let connected = server.hello(1, began()).await;
            drop(server.hello(2, began()).await);
            // A day, and then a year.
            for ahead in [DAY, 365 * DAY] {
                let steady = began() + Duration::from_hours(1);
                server.engine.forget_clients(began() + ahead, steady).await;
                assert_eq!([server.knows(1).await, server.knows(2).await], [true, true], "{ahead:?}");
            }
            // Time that does pass counts; who is connected is seen.
            let later = began() + 31 * DAY;
            server.engine.forget_clients(later, later).await;
            assert_eq!([server.knows(1).await, server.knows(2).await], [true, false]);
            drop(connected);
        })
        .await;
    }

    #[tokio::test]
    async fn who_is_connected_is_seen_before_others_are_forgotten() {
        Server::run(|server| async move {
            let connected = server.hello(1, began()).await;
            // The process stood still for longer than it remembers.
            let later = began() + 40 * DAY;
            server.engine.forget_clients(later, later).await;
            assert!(server.knows(1).await);
            drop(connected);
        })
        .await;
    }

    #[tokio::test]
    async fn a_clock_that_goes_backward_forgets_nobody() {
        Server::run(|server| async move {
            // It is set right, from a year ahead, or goes wrong.
            for (id, back) in [(1, began() - 365 * DAY), (2, UNIX_EPOCH), (3, UNIX_EPOCH - DAY)] {
                server.engine.passed(began() + Duration::from_hours(1));
                drop(server.hello(id, back).await);
                server.engine.forget_clients(back, began() + Duration::from_hours(2)).await;
                assert!(server.knows(id).await);
                // When it is right again, they were seen lately.
                let right = began() + DAY;
                server.engine.forget_clients(right, right).await;
                assert!(server.knows(id).await, "seen at {back:?}");
            }
        })
        .await;
    }
}
