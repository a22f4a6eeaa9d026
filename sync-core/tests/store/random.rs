//! Random calls, in the same order to both stores: they must answer alike at every step.

use std::fmt::Debug;

use sync_core::{
    Key, KeyKind,
    store::{Change, ClientWrite, Outcome, Table, Transaction},
};

use crate::fixture::{
    Subject, body_of, client, confirmed, int, keys, memory, mutation, reencode, row_at, seen, sqlite, text,
};

#[tokio::test]
async fn both_stores_answer_alike() {
    for seed in 0..8 {
        let mut run = Run { random: Random(seed), memory: memory(40), sqlite: sqlite(40), seed, step: 0 };
        run.open().await;
        for step in 0..400 {
            run.step = step;
            run.step().await;
        }
        assert!(run.compare_everything().await > 20, "seed {seed} commits too little to say much");
    }
}

struct Run {
    random: Random,
    memory: Subject,
    sqlite: Subject,
    seed: u64,
    step: u32,
}

impl Run {
    async fn step(&mut self) {
        match self.random.below(20) {
            0..=8 => {
                let batch: Vec<_> = (0..self.random.below(5)).map(|_| self.transaction()).collect();
                let commit = (self.memory.commit(batch.clone()).await, self.sqlite.commit(batch).await);
                self.same(commit);
            }
            9..=11 => {
                let (model, after) = (self.model(), self.random.one_of(&[None, Some(())]));
                let after = after.map(|()| self.key(model));
                let (limit, bytes) = (self.random.small(12), self.random.small(2000));
                let page = (
                    self.memory.page(model, &keys(after.as_ref(), limit, bytes)).await,
                    self.sqlite.page(model, &keys(after.as_ref(), limit, bytes)).await,
                );
                self.same(page);
            }
            12..=14 => {
                let head = self.memory.log(0, 0).await.unwrap().head;
                let (after, bytes) = (self.random.below(head + 3), self.random.small(5000));
                let log = (self.memory.log(after, bytes).await, self.sqlite.log(after, bytes).await);
                self.same(log);
            }
            15 => {
                let model = self.model();
                let key = self.key(self.random.clone().one_of(&["Todo", "Note"]));
                let row = (self.memory.get(model, &key).await, self.sqlite.get(model, &key).await);
                self.same(row);
            }
            16 => {
                let id = client(self.random.below(4).into());
                let record = (self.memory.client(id).await, self.sqlite.client(id).await);
                self.same(record);
            }
            17 => {
                let (model, count) = (self.model(), u32::try_from(self.random.below(300)).unwrap());
                let first = (
                    self.memory.allocate_ids(model, count).await.map_err(|error| error.to_string()),
                    self.sqlite.allocate_ids(model, count).await.map_err(|error| error.to_string()),
                );
                self.same(first);
            }
            18 => {
                let before = self.random.below(400).cast_signed();
                let forgotten =
                    (self.memory.forget_clients(before).await, self.sqlite.forget_clients(before).await);
                self.same(forgotten);
            }
            _ => self.reopen().await,
        }
    }

    /// Opens both, with one of several shapes of the models.
    async fn open(&mut self) {
        let hash = self.random.below(8) / 7;
        let indexed = self.random.one_of(&[vec![], vec!["title"], vec!["list", "done"]]);
        let mut tables = vec![
            Table::new("Todo", KeyKind::Int, indexed.clone(), hash, reencode),
            Table::new("Note", KeyKind::Text, indexed, 1, reencode),
        ];
        if self.random.below(3) > 0 {
            tables.push(Table::new("Other", KeyKind::Int, vec![], 1, reencode));
        }
        let (memory, sqlite) = (self.memory.open(&tables).await, self.sqlite.open(&tables).await);
        self.same((memory.map(|opened| opened.head), sqlite.map(|opened| opened.head)));
    }

    async fn reopen(&mut self) {
        self.memory.close().await.unwrap();
        self.sqlite.close().await.unwrap();
        self.open().await;
    }

    /// Everything that can be read; the head is returned.
    async fn compare_everything(&mut self) -> u64 {
        self.reopen().await;
        for model in ["Todo", "Note", "Other"] {
            let both = (
                self.memory.page(model, &keys(None, 10_000, usize::MAX)).await,
                self.sqlite.page(model, &keys(None, 10_000, usize::MAX)).await,
            );
            self.same(both);
        }
        let horizon = self.memory.log(0, 0).await.unwrap().horizon;
        let both = (self.memory.log(horizon, usize::MAX).await, self.sqlite.log(horizon, usize::MAX).await);
        self.same(both);
        for number in 0..4 {
            let both = (self.memory.client(client(number)).await, self.sqlite.client(client(number)).await);
            self.same(both);
        }
        self.memory.log(0, 0).await.unwrap().head
    }

    fn transaction(&mut self) -> Transaction {
        let mut transaction = Transaction::default();
        for _ in 0..self.random.below(5) {
            let model = if self.random.below(40) == 0 { "Other" } else { self.row_model() };
            let (key, length) = (self.key(model), 60 + self.random.small(200));
            let (old, new) = (body_of(&key, length), body_of(&key, length + self.random.small(9)));
            let (old, new) = self.random.one_of(&[
                (None, Some(new.clone())),
                (Some(old.clone()), Some(new)),
                (Some(old), None),
            ]);
            let cid = self.random.one_of(&[None, Some("cid".into())]);
            transaction.changes.push(Change { model, key, cid, old, new });
        }
        for _ in 0..self.random.below(3) / 2 {
            let model = self.row_model();
            let seq = self.random.one_of(&[None, None, Some(1), Some(u64::from(self.step) / 2)]);
            transaction.preconditions.push(row_at(model, self.key(model), seq));
        }
        if self.random.below(2) == 0 {
            let (number, id) = (self.random.below(4).into(), 1 + self.random.below(4));
            let outcome = self.random.one_of(&[
                confirmed("Todo", int(1)),
                confirmed("Note", text("a")),
                Outcome::Rejected("{}".into()),
            ]);
            let write = self.random.one_of(&[seen(number, 0), mutation(number, id, outcome)]);
            let ack = self.random.one_of(&[None, None, Some(id)]);
            transaction.client = Some(ClientWrite { seen: i64::from(self.step), ack, ..write });
        }
        transaction
    }

    fn model(&mut self) -> &'static str {
        self.random.one_of(&["Todo", "Note", "Other"])
    }

    fn row_model(&mut self) -> &'static str {
        self.random.one_of(&["Todo", "Note"])
    }

    fn key(&mut self, model: &str) -> Key {
        if model == "Note" {
            text(self.random.one_of(&["", "a", "A", "b", "ä", "aa", "😀", "'\""]))
        } else {
            int(self.random.below(12).cast_signed() - 2)
        }
    }

    /// An error's words may differ; that there is one may not.
    fn same<T: Debug, E: Debug>(&self, (memory, sqlite): (Result<T, E>, Result<T, E>)) {
        let (memory, sqlite) = (memory.ok(), sqlite.ok());
        assert_eq!(
            format!("{memory:#?}"),
            format!("{sqlite:#?}"),
            "seed {} step {}: memory, then SQLite",
            self.seed,
            self.step
        );
    }
}

/// `SplitMix64`.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn small(&mut self, end: u64) -> usize {
        usize::try_from(self.below(end)).unwrap()
    }

    fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.small(choices.len() as u64)].clone()
    }
}
