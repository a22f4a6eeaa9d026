//! Pages that many ask for at once, read once: after a restart all clients come back within a moment, and ask for the same rows.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::Mutex as Turn;

use super::reads::WirePage;
use crate::{
    Result,
    model::{Place, filter::Expr, order::OrderList},
};

/// How many bytes of pages are kept for those who may ask for them next: 16 MiB, some hundreds of full pages.
const BYTES: usize = 16 << 20;

/// What a page costs beside its rows, roughly: so empty ones are bounded too.
const OVERHEAD: usize = 512;

/// Which page.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PageKey {
    pub(super) model: &'static str,
    /// The rows that may be seen and are asked for.
    pub(super) filter: Expr,
    pub(super) order: OrderList,
    pub(super) after: Option<Place>,
    /// At most so many rows.
    pub(super) rows: usize,
}

/// A page, once it was read; whoever has the turn may read it.
type Slot = Arc<Turn<Option<Arc<WirePage>>>>;

/// The pages that were read last.
#[derive(Debug, Default)]
pub(super) struct SharedPages {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    slots: HashMap<Arc<PageKey>, (Slot, usize)>,
    /// In the order in which they were first asked for.
    oldest: VecDeque<Arc<PageKey>>,
    bytes: usize,
}

impl SharedPages {
    /// The page, as another has read it where that `is_right`, else read anew. Those who ask for the same page meanwhile wait for it.
    pub(super) async fn page(
        &self,
        key: PageKey,
        is_right: impl Fn(&WirePage) -> bool,
        read: impl Future<Output = Result<WirePage>>,
    ) -> Result<Arc<WirePage>> {
        let key = Arc::new(key);
        let slot = self.kept.lock().slot(&key);
        let mut turn = slot.lock().await;
        if let Some(page) = turn.as_ref().filter(|page| is_right(page)) {
            return Ok(page.clone());
        }
        let page = Arc::new(read.await?);
        *turn = Some(page.clone());
        drop(turn);
        let bytes = page.rows.iter().map(|row| row.row.len()).sum();
        self.kept.lock().weigh(&key, &slot, bytes);
        Ok(page)
    }
}

impl Kept {
    fn slot(&mut self, key: &Arc<PageKey>) -> Slot {
        if let Some((slot, _)) = self.slots.get(key) {
            return slot.clone();
        }
        let slot = Slot::default();
        self.slots.insert(key.clone(), (slot.clone(), OVERHEAD));
        self.oldest.push_back(key.clone());
        self.bytes += OVERHEAD;
        self.make_room();
        slot
    }

    /// A page was read that has so many bytes.
    fn weigh(&mut self, key: &Arc<PageKey>, slot: &Slot, bytes: usize) {
        // It may have gone, and another have come in its place.
        if let Some((kept, weight)) = self.slots.get_mut(key)
            && Arc::ptr_eq(kept, slot)
        {
            self.bytes = self.bytes - *weight + bytes + OVERHEAD;
            *weight = bytes + OVERHEAD;
            self.make_room();
        }
    }

    fn make_room(&mut self) {
        while self.bytes > BYTES
            && let Some(key) = self.oldest.pop_front()
        {
            self.bytes -= self.slots.remove(&key).map_or(0, |(_, weight)| weight);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;

    use super::*;
    use crate::{Error, protocol::response::WireRow};

    fn key(rows: usize) -> PageKey {
        PageKey { model: "Todo", filter: Expr::And(Vec::new()), order: OrderList::new(), after: None, rows }
    }

    fn page(seq: u64, bytes: usize) -> WirePage {
        let row = WireRow { row: Bytes::from(vec![b' '; bytes]), seq };
        WirePage { rows: vec![row], seq, next: None }
    }

    #[tokio::test]
    async fn who_asks_at_the_same_time_shares_one_read() {
        let shared_pages = Arc::new(SharedPages::default());
        let (reads, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Semaphore::new(0)));
        let all: Vec<_> = (0..100)
            .map(|_| {
                let (shared_pages, reads, gate) = (shared_pages.clone(), reads.clone(), gate.clone());
                tokio::spawn(async move {
                    let read = async {
                        reads.fetch_add(1, Ordering::SeqCst);
                        gate.acquire().await.unwrap().forget();
                        Ok(page(7, 10))
                    };
                    shared_pages.page(key(5), |page| page.seq >= 7, read).await.unwrap().seq
                })
            })
            .collect();
        gate.add_permits(1);
        for one in all {
            assert_eq!(one.await.unwrap(), 7);
        }
        assert_eq!(reads.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn what_is_not_right_any_more_or_failed_is_read_anew() {
        let shared_pages = SharedPages::default();
        let failed = shared_pages.page(key(5), |_| true, async { Err(Error::internal("no")) }).await;
        assert!(failed.is_err());
        for seq in 1..=3 {
            let read = shared_pages.page(key(5), |page| page.seq >= seq, async { Ok(page(seq, 10)) });
            assert_eq!(read.await.unwrap().seq, seq);
        }
        let other = shared_pages.page(key(6), |_| true, async { Ok(page(9, 10)) });
        assert_eq!(other.await.unwrap().seq, 9, "another page");
    }

    #[tokio::test]
    async fn the_oldest_go_where_there_is_no_room() {
        let shared_pages = SharedPages::default();
        for rows in 0..100 {
            let read = async { Ok(page(1, 1 << 20)) };
            shared_pages.page(key(rows), |_| true, read).await.unwrap();
            let kept = shared_pages.kept.lock();
            assert!(kept.bytes <= BYTES && kept.slots.len() == kept.oldest.len(), "{}", kept.bytes);
        }
        let newest = shared_pages.page(key(99), |_| true, async { unreachable!("it is kept") }).await;
        assert_eq!(newest.unwrap().seq, 1);
        for rows in 1_000..100_000 {
            shared_pages.page(key(rows), |_| true, async { Ok(page(1, 0)) }).await.unwrap();
        }
        let kept = shared_pages.kept.lock();
        assert!(kept.slots.len() <= BYTES / OVERHEAD, "empty pages are bounded too");
    }
}
