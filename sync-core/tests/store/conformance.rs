//! What every [`Store`](sync_core::store::Store) must do. To hold another store to it, add it at the end.

use serde::{Deserialize, Serialize};
use serde_json::json;
use sync_core::{
    Filter, Key, KeyKind, SyncedModel, Value,
    store::{ClientRecord, ClientWrite, Decision, MutationRecord, Outcome, Place, Select, StoredRow, Table},
};

use crate::fixture::{
    Subject, TransactionExt, body, body_of, changes, client, confirmed, create, delete, int, keys, log,
    mutation, put, reencode, row_at, rows, seen, tables, text, update,
};

async fn starts_empty(store: Subject) {
    let opened = store.open(&tables()).await.unwrap();
    assert_eq!(opened.head, 0);
    assert_eq!(store.get("Todo", &int(1)).await.unwrap(), None);
    let page = store.page("Note", &keys(None, 10, 1000)).await.unwrap();
    assert!(page.rows.is_empty() && page.next.is_none() && page.seq == 0);
    let log = store.log(0, 1000).await.unwrap();
    assert!(log.transactions.is_empty() && log.head == 0 && log.horizon == 0);
    assert_eq!(store.client(client(1)).await.unwrap(), None);
    assert_eq!(store.commit(vec![]).await.unwrap(), []);
}

async fn stores_changes_and_numbers_them(store: Subject) {
    store.open(&tables()).await.unwrap();
    let (first, second) = (body(&int(1), "milk"), body(&int(1), "more milk"));
    let note = body(&text("ä'\"\\"), "😀 \u{0} 'quoted' \"twice\" \\");
    let decisions = store
        .commit(vec![
            changes([create("Todo", int(1), first.clone()), create("Note", text("ä'\"\\"), note.clone())]),
            changes([update("Todo", int(1), first.clone(), second.clone())]),
            changes([delete("Note", text("ä'\"\\"), note.clone())]),
        ])
        .await
        .unwrap();
    assert_eq!(decisions, [Decision::Committed(1), Decision::Committed(2), Decision::Committed(3)]);
    let row = store.get("Todo", &int(1)).await.unwrap().unwrap();
    assert_eq!(row, StoredRow { key: int(1), seq: 2, body: second.clone() });
    assert_eq!(store.get("Note", &text("ä'\"\\")).await.unwrap(), None);

    assert_eq!(store.one(put("Note", text("ä'\"\\"), "again")).await, Decision::Committed(4));
    assert_eq!(store.get("Note", &text("ä'\"\\")).await.unwrap().unwrap().seq, 4);
    let log = log(&*store, 0, usize::MAX).await;
    assert_eq!(log.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(
        log[0].1[..],
        [create("Todo", int(1), first.clone()), create("Note", text("ä'\"\\"), note.clone())]
    );
    assert_eq!(log[1].1[..], [update("Todo", int(1), first, second)]);
    assert_eq!(log[2].1[..], [delete("Note", text("ä'\"\\"), note)]);
}

async fn keeps_the_creators_name(store: Subject) {
    store.open(&tables()).await.unwrap();
    let mut change = create("Todo", int(1), body(&int(1), "milk"));
    change.cid = Some("c'1\"ß".into());
    store.one(changes([change.clone()])).await;
    assert_eq!(log(&*store, 0, usize::MAX).await[0].1[..], [change]);
}

async fn changes_one_row_twice_in_a_transaction(store: Subject) {
    store.open(&tables()).await.unwrap();
    let (one, two) = (body(&int(1), "one"), body(&int(1), "two"));
    let both = [create("Todo", int(1), one.clone()), update("Todo", int(1), one, two.clone())];
    assert_eq!(store.one(changes(both.clone())).await, Decision::Committed(1));
    assert_eq!(rows(&*store, "Todo", 10).await, [(int(1), 1, two)]);
    assert_eq!(log(&*store, 0, usize::MAX).await[0].1[..], both);
}

async fn refuses_what_has_changed(store: Subject) {
    store.open(&tables()).await.unwrap();
    store.one(put("Todo", int(1), "one")).await;
    let todo = |seq| row_at("Todo", int(1), seq);
    for refused in [None, Some(0), Some(2), Some(u64::MAX)] {
        assert_eq!(store.one(put("Todo", int(1), "no").requires(todo(refused))).await, Decision::Conflict);
    }
    assert_eq!(
        store.one(put("Todo", int(2), "no").requires(row_at("Todo", int(2), Some(1)))).await,
        Decision::Conflict
    );
    // The second precondition of two.
    let two = put("Todo", int(2), "no").requires(row_at("Todo", int(2), None)).requires(todo(None));
    assert_eq!(store.one(two).await, Decision::Conflict);
    // Neither a trace nor a seq.
    assert_eq!(rows(&*store, "Todo", 10).await, [(int(1), 1, body(&int(1), "one"))]);
    assert_eq!(store.log(0, 1000).await.unwrap().head, 1);
    assert_eq!(store.one(put("Todo", int(1), "yes").requires(todo(Some(1)))).await, Decision::Committed(2));
    // An id of the wrong kind, or out of range, has no row.
    let none = put("Todo", int(2), "yes").requires(row_at("Todo", text("1"), None));
    assert_eq!(store.one(none.requires(row_at("Note", int(1), None))).await, Decision::Committed(3));
}

async fn decides_a_batch_in_its_order(store: Subject) {
    store.open(&tables()).await.unwrap();
    let at = |seq| row_at("Todo", int(1), seq);
    let decisions = store
        .commit(vec![
            put("Todo", int(1), "one").requires(at(None)),
            put("Todo", int(1), "two").requires(at(None)),
            put("Todo", int(1), "three").requires(at(Some(1))),
            changes([delete("Todo", int(1), body(&int(1), "three"))]).requires(at(Some(2))),
            put("Todo", int(1), "four").requires(at(Some(2))),
            put("Todo", int(1), "five").requires(at(None)),
        ])
        .await
        .unwrap();
    assert_eq!(
        decisions,
        [
            Decision::Committed(1),
            Decision::Conflict,
            Decision::Committed(2),
            Decision::Committed(3),
            Decision::Conflict,
            Decision::Committed(4)
        ]
    );
    assert_eq!(rows(&*store, "Todo", 10).await, [(int(1), 4, body(&int(1), "five"))]);
    let seqs: Vec<_> = log(&*store, 0, 1).await.into_iter().map(|(seq, _)| seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4]);
}

async fn records_mutations(store: Subject) {
    store.open(&tables()).await.unwrap();
    let decisions = store
        .commit(vec![
            put("Todo", int(1), "one").by(mutation(1, 1, confirmed("Todo", int(1)))),
            put("Note", text("n"), "two").by(mutation(1, 2, confirmed("Note", text("n")))),
            changes([]).by(mutation(1, 3, Outcome::Rejected("{\"code\":\"'invalid'\"}".into()))),
            changes([]).by(mutation(1, 4, confirmed("Todo", int(1)))),
            changes([]).by(mutation(1, 5, Outcome::Results("[\"3\"]".into()))),
            changes([]).by(mutation(2, 1, confirmed("Todo", int(i64::MIN)))),
        ])
        .await
        .unwrap();
    assert_eq!(
        decisions,
        [
            Decision::Committed(1),
            Decision::Committed(2),
            Decision::Recorded,
            Decision::Recorded,
            Decision::Recorded,
            Decision::Recorded
        ]
    );
    let record = |id, seq, outcome| MutationRecord { id, hash: u64::MAX - id, outcome, seq };
    assert_eq!(
        store.client(client(1)).await.unwrap().unwrap(),
        ClientRecord {
            subject: None,
            last: 5,
            mutations: vec![
                record(1, Some(1), confirmed("Todo", int(1))),
                record(2, Some(2), confirmed("Note", text("n"))),
                record(3, None, Outcome::Rejected("{\"code\":\"'invalid'\"}".into())),
                record(4, Some(2), confirmed("Todo", int(1))),
                record(5, Some(2), Outcome::Results("[\"3\"]".into())),
            ]
        }
    );
    let other = store.client(client(2)).await.unwrap().unwrap();
    assert_eq!(other.mutations, [record(1, Some(2), confirmed("Todo", int(i64::MIN)))]);
}

async fn refuses_mutations_out_of_order(store: Subject) {
    store.open(&tables()).await.unwrap();
    let by = |id| put("Todo", int(1), "one").by(mutation(1, id, confirmed("Todo", int(1))));
    let batch = vec![by(2), by(0), by(u64::MAX), by(1), by(1), by(3), by(2)];
    assert_eq!(
        store.commit(batch).await.unwrap(),
        [
            Decision::OutOfOrder,
            Decision::OutOfOrder,
            Decision::OutOfOrder,
            Decision::Committed(1),
            Decision::OutOfOrder,
            Decision::OutOfOrder,
            Decision::Committed(2),
        ]
    );
    // A conflict does not use the number up, and being out of order comes before a conflict.
    let conflicting = |id| by(id).requires(row_at("Todo", int(1), None));
    assert_eq!(store.one(conflicting(3)).await, Decision::Conflict);
    assert_eq!(store.one(conflicting(4)).await, Decision::OutOfOrder);
    assert_eq!(store.one(by(3)).await, Decision::Committed(3));
    assert_eq!(store.client(client(1)).await.unwrap().unwrap().last, 3);
    // What was refused did not register anybody, nor take an acknowledgement.
    let refused = ClientWrite { ack: Some(3), ..mutation(1, 9, confirmed("Todo", int(1))) };
    assert_eq!(store.one(changes([]).by(refused)).await, Decision::OutOfOrder);
    assert_eq!(store.client(client(1)).await.unwrap().unwrap().mutations.len(), 3);
    assert_eq!(
        store.one(changes([]).by(mutation(7, 2, confirmed("Todo", int(1))))).await,
        Decision::OutOfOrder
    );
    assert_eq!(store.client(client(7)).await.unwrap(), None);
}

async fn registers_and_acknowledges(store: Subject) {
    store.open(&tables()).await.unwrap();
    assert_eq!(store.one(changes([]).by(seen(1, 5))).await, Decision::Recorded);
    assert_eq!(store.client(client(1)).await.unwrap(), Some(ClientRecord::default()));
    for id in 1..=5 {
        store.one(changes([]).by(mutation(1, id, confirmed("Todo", int(1))))).await;
    }
    let ids = async || {
        let record = store.client(client(1)).await.unwrap().unwrap();
        assert!(record.last >= 5);
        record.mutations.into_iter().map(|mutation| mutation.id).collect::<Vec<_>>()
    };
    store.one(changes([]).by(ClientWrite { ack: Some(2), ..seen(1, 6) })).await;
    assert_eq!(ids().await, [3, 4, 5]);
    store.one(changes([]).by(ClientWrite { ack: Some(1), ..seen(1, 6) })).await;
    assert_eq!(ids().await, [3, 4, 5]);
    let with_mutation = ClientWrite { ack: Some(4), ..mutation(1, 6, confirmed("Todo", int(1))) };
    store.one(changes([]).by(with_mutation)).await;
    assert_eq!(ids().await, [5, 6]);
    store.one(changes([]).by(ClientWrite { ack: Some(u64::MAX), ..seen(1, 6) })).await;
    assert_eq!(ids().await, [] as [u64; 0]);
    store.one(changes([]).by(mutation(1, 7, confirmed("Todo", int(1))))).await;
    assert_eq!(ids().await, [7]);
}

async fn clients_belong_to_their_first_subject(store: Subject) {
    store.open(&tables()).await.unwrap();
    let subject = async |number| store.client(client(number)).await.unwrap().unwrap().subject;
    let of = |subject: &str, write: ClientWrite| ClientWrite { subject: Some(subject.into()), ..write };
    store.one(changes([]).by(of("ada's \"ü\"", seen(1, 5)))).await;
    store.one(changes([]).by(seen(2, 5))).await;
    assert_eq!(subject(1).await.as_deref(), Some("ada's \"ü\""));
    assert_eq!(subject(2).await, None);
    // Nobody else takes it over, and it is not lost.
    for write in
        [seen(1, 6), mutation(1, 1, confirmed("Todo", int(1))), of("bob", seen(1, 7)), of("", seen(1, 8))]
    {
        store.one(changes([]).by(write)).await;
        assert_eq!(subject(1).await.as_deref(), Some("ada's \"ü\""));
    }
    store.one(changes([]).by(of("bob", mutation(2, 1, Outcome::Rejected("{}".into()))))).await;
    assert_eq!(subject(2).await.as_deref(), Some("bob"));
    // What is refused gives it to nobody.
    store.one(changes([]).by(seen(3, 5))).await;
    let refused = of("bob", mutation(3, 2, confirmed("Todo", int(1))));
    assert_eq!(store.one(changes([]).by(refused)).await, Decision::OutOfOrder);
    assert_eq!(subject(3).await, None);
    // Who is forgotten belongs to nobody.
    assert_eq!(store.forget_clients(i64::MAX).await.unwrap(), 3);
    store.one(changes([]).by(of("eve", seen(1, 5)))).await;
    assert_eq!(subject(1).await.as_deref(), Some("eve"));
}

async fn forgets_clients(store: Subject) {
    store.open(&tables()).await.unwrap();
    for (number, at) in [(1, 10), (2, 20), (3, 30)] {
        let write = ClientWrite { seen: at, ..mutation(number, 1, confirmed("Todo", int(1))) };
        store.one(changes([]).by(write)).await;
    }
    // Seen again; and seen by a clock that went back.
    store.one(changes([]).by(seen(1, 25))).await;
    store.one(changes([]).by(seen(3, 5))).await;
    assert_eq!(store.forget_clients(20).await.unwrap(), 0);
    assert_eq!(store.forget_clients(25).await.unwrap(), 1);
    assert_eq!(store.client(client(2)).await.unwrap(), None);
    assert_eq!(store.client(client(1)).await.unwrap().unwrap().mutations.len(), 1);
    // It may come back, from the beginning and without its old records.
    assert_eq!(
        store.one(changes([]).by(mutation(2, 1, confirmed("Todo", int(9))))).await,
        Decision::Recorded
    );
    let back = store.client(client(2)).await.unwrap().unwrap();
    assert_eq!((back.last, back.mutations.len()), (1, 1));
    assert_eq!(back.mutations[0].outcome, confirmed("Todo", int(9)));
}

async fn pages_by_count_and_bytes(store: Subject) {
    store.open(&tables()).await.unwrap();
    for id in [-3, 1, 2, 3, 10, i64::MAX] {
        store.one(changes([create("Todo", int(id), body_of(&int(id), 100))])).await;
    }
    let page = async |after: Option<i64>, limit, max_bytes| {
        let page = store.page("Todo", &keys(after.map(Key::Int).as_ref(), limit, max_bytes)).await.unwrap();
        assert_eq!(page.seq, 6);
        (page.rows.into_iter().map(|row| row.key).collect::<Vec<_>>(), page.next.is_some())
    };
    let all = [-3, 1, 2, 3, 10, i64::MAX].map(Key::Int);
    assert_eq!(page(None, 6, 600).await, (all.to_vec(), false));
    assert_eq!(page(None, usize::MAX, usize::MAX).await, (all.to_vec(), false));
    assert_eq!(page(None, 5, 600).await, (all[..5].to_vec(), true));
    assert_eq!(page(None, 6, 599).await, (all[..5].to_vec(), true));
    assert_eq!(page(Some(1), 6, 200).await, (all[2..4].to_vec(), true));
    assert_eq!(page(Some(1), 6, 199).await, (all[2..3].to_vec(), true));
    assert_eq!(page(Some(4), 6, 0).await, (all[4..5].to_vec(), true));
    assert_eq!(page(Some(4), 0, 600).await, (all[4..5].to_vec(), true));
    assert_eq!(page(Some(10), 1, 0).await, (all[5..].to_vec(), false));
    assert_eq!(page(Some(i64::MAX), 6, 600).await, (vec![], false));
}

async fn pages_text_in_the_order_of_its_bytes(store: Subject) {
    store.open(&tables()).await.unwrap();
    let keys = ["", "A", "B", "a", "aa", "b", "z", "ä", "z\u{301}", "\u{ffff}", "😀", "1", "10", "2"];
    store.commit(keys.iter().map(|key| put("Note", text(key), "x")).collect()).await.unwrap();
    let mut sorted = keys.map(text);
    sorted.sort();
    for limit in [1, 2, 3, 14, 15] {
        let found: Vec<_> = rows(&*store, "Note", limit).await.into_iter().map(|(key, ..)| key).collect();
        assert_eq!(found, sorted);
    }
}

async fn pages_while_rows_come_and_go(store: Subject) {
    store.open(&tables()).await.unwrap();
    for id in [10, 20, 30, 40] {
        store.one(put("Todo", int(id), "x")).await;
    }
    let first = store.page("Todo", &keys(None, 2, 1000)).await.unwrap();
    assert_eq!((first.rows.last().unwrap().key.clone(), first.seq, first.next.is_some()), (int(20), 4, true));
    let gone = body(&int(20), "x");
    store
        .commit(vec![
            put("Todo", int(15), "behind"),
            put("Todo", int(25), "ahead"),
            changes([delete("Todo", int(20), gone)]),
            put("Todo", int(40), "changed"),
        ])
        .await
        .unwrap();
    let second = store.page("Todo", &keys(Some(&int(20)), 10, 1000)).await.unwrap();
    let found: Vec<_> = second.rows.iter().map(|row| (row.key.clone(), row.seq)).collect();
    assert_eq!(found, [(int(25), 6), (int(30), 3), (int(40), 8)]);
    assert_eq!((second.seq, second.next.is_some()), (8, false));
}

async fn pages_the_log_by_whole_transactions(store: Subject) {
    store.open(&tables()).await.unwrap();
    for id in [1, 2] {
        store.one(changes([create("Todo", int(id), body_of(&int(id), 100))])).await;
    }
    let pair = [3, 4].map(|id| create("Todo", int(id), body_of(&int(id), 100)));
    store.one(changes(pair)).await;
    let (old, new) = (body_of(&int(1), 100), body_of(&int(1), 120));
    store.one(changes([update("Todo", int(1), old, new.clone())])).await;
    store.one(changes([delete("Todo", int(1), new)])).await;
    let page = async |after, max_bytes| {
        let page = store.log(after, max_bytes).await.unwrap();
        assert_eq!((page.head, page.horizon), (5, 0));
        page.transactions.iter().map(|entry| (entry.seq, entry.changes.len())).collect::<Vec<_>>()
    };
    let all = [(1, 1), (2, 1), (3, 2), (4, 1), (5, 1)];
    assert_eq!(page(0, 740).await, all);
    assert_eq!(page(0, 739).await, all[..4]);
    assert_eq!(page(0, 400).await, all[..3]);
    assert_eq!(page(0, 399).await, all[..2]);
    assert_eq!(page(2, 0).await, all[2..3]);
    assert_eq!(page(2, 420).await, all[2..4]);
    assert_eq!(page(2, 419).await, all[2..3]);
    assert_eq!(page(4, 1).await, all[4..]);
    assert_eq!(page(5, 1000).await, []);
    assert_eq!(page(u64::MAX, 1000).await, []);
}

async fn trims_the_log(store: Subject) {
    store.open(&tables()).await.unwrap();
    let mut horizon = 0;
    for id in 1..=500 {
        store.one(put("Todo", int(id), "x")).await;
        let page = store.log(0, usize::MAX).await.unwrap();
        assert!(page.horizon >= horizon, "the horizon never moves back");
        horizon = page.horizon;
        let after = store.log(horizon, usize::MAX).await.unwrap().transactions;
        let seqs: Vec<_> = after.iter().map(|entry| entry.seq).collect();
        assert_eq!(
            seqs,
            (horizon + 1..=id.cast_unsigned()).collect::<Vec<_>>(),
            "every one after the horizon"
        );
        // At least the 100 that were asked for, and not many more.
        assert!((id.cast_unsigned().min(100)..200).contains(&(seqs.len() as u64)), "{} are kept", seqs.len());
        if horizon > 0 {
            assert!(page.transactions.is_empty());
            assert!(store.log(horizon - 1, usize::MAX).await.unwrap().transactions.is_empty());
        }
    }
    assert!(horizon >= 300);
    // The rows are all there, and a restart keeps the place.
    assert_eq!(store.reopen(&tables()).await.head, 500);
    assert_eq!(store.log(500, 0).await.unwrap().horizon, horizon);
    assert_eq!(rows(&*store, "Todo", 100).await.len(), 500);
    assert_eq!(store.one(put("Todo", int(1), "x")).await, Decision::Committed(501));
}

async fn never_gives_an_id_twice(store: Subject) {
    store.open(&tables()).await.unwrap();
    assert_eq!(store.allocate_ids("Todo", 1).await.unwrap(), 1);
    assert_eq!(store.allocate_ids("Todo", 3).await.unwrap(), 2);
    assert_eq!(store.allocate_ids("Other", 1).await.unwrap(), 1);
    // The highest row is deleted, and the server restarted.
    store
        .commit(vec![put("Todo", int(4), "x"), changes([delete("Todo", int(4), body(&int(4), "x"))])])
        .await
        .unwrap();
    store.reopen(&tables()).await;
    let next = store.allocate_ids("Todo", 1).await.unwrap();
    assert_eq!(next, 5);
    // A row that chose its id itself, and is gone.
    store.commit(vec![put("Todo", int(9000), "x")]).await.unwrap();
    store.commit(vec![changes([delete("Todo", int(9000), body(&int(9000), "x"))])]).await.unwrap();
    store.reopen(&tables()).await;
    assert_eq!(store.allocate_ids("Todo", 1000).await.unwrap(), 9001);
    assert_eq!(store.allocate_ids("Todo", 1).await.unwrap(), 10_001);
    // Without anything stored in between.
    store.reopen(&tables()).await;
    assert_eq!(store.allocate_ids("Todo", u32::MAX).await.unwrap(), 10_002);
    assert!(store.allocate_ids("Todo", 1).await.unwrap() > i64::from(u32::MAX));
    let refused = store.allocate_ids("Note", 1).await.unwrap_err().to_string();
    assert!(refused.contains("`Note`"), "{refused}");
    store.one(put("Other", int(i64::MAX), "the end")).await;
    assert!(store.allocate_ids("Other", 1).await.is_err());
}

async fn keeps_everything_over_a_restart(store: Subject) {
    let opened = store.open(&tables()).await.unwrap();
    store.one(put("Todo", int(1), "one").by(mutation(1, 1, confirmed("Todo", int(1))))).await;
    store.one(put("Note", text("n"), "two")).await;
    let again = store.reopen(&tables()).await;
    assert_eq!((again.epoch, again.head), (opened.epoch, 2));
    assert_eq!(rows(&*store, "Todo", 1).await, [(int(1), 1, body(&int(1), "one"))]);
    assert_eq!(rows(&*store, "Note", 1).await, [(text("n"), 2, body(&text("n"), "two"))]);
    assert_eq!(store.client(client(1)).await.unwrap().unwrap().last, 1);
    assert_eq!(log(&*store, 0, 1).await.len(), 2);
    assert_eq!(store.log(0, 1).await.unwrap().horizon, 0);
    let by = put("Todo", int(1), "three").by(mutation(1, 2, confirmed("Todo", int(1))));
    assert_eq!(store.one(by.requires(row_at("Todo", int(1), Some(1)))).await, Decision::Committed(3));
}

async fn fails_without_a_trace(store: Subject) {
    store.open(&tables()).await.unwrap();
    let unknown =
        store.commit(vec![put("Todo", int(1), "x"), put("Nothing", int(1), "x")]).await.unwrap_err();
    assert!(unknown.to_string().contains("`Nothing`"), "{unknown}");
    let wrong = store.commit(vec![put("Todo", int(1), "x"), put("Todo", text("1"), "x")]).await.unwrap_err();
    assert!(wrong.to_string().contains("\"1\" is not an id of `Todo`"), "{wrong}");
    assert!(store.commit(vec![put("Note", int(1), "x")]).await.is_err());
    assert!(
        store.commit(vec![put("Todo", int(1), "x").requires(row_at("Nothing", int(1), None))]).await.is_err()
    );
    assert_eq!(rows(&*store, "Todo", 1).await, []);
    assert_eq!(store.one(put("Todo", int(1), "x")).await, Decision::Committed(1));

    assert!(store.get("Nothing", &int(1)).await.is_err());
    assert!(store.page("Nothing", &keys(None, 1, 1)).await.is_err());
    assert!(store.allocate_ids("Nothing", 1).await.is_err());
    assert!(store.page("Todo", &keys(Some(&text("1")), 1, 1)).await.is_err());
    assert_eq!(store.get("Todo", &text("1")).await.unwrap(), None);
    store.one(put("Note", text("1"), "x")).await;
    assert_eq!(store.get("Note", &int(1)).await.unwrap(), None);
}

async fn is_closed_until_it_is_opened(store: Subject) {
    assert!(store.get("Todo", &int(1)).await.is_err());
    store.open(&tables()).await.unwrap();
    store.one(put("Todo", int(1), "x")).await;
    store.close().await.unwrap();
    let error = store.commit(vec![put("Todo", int(1), "x")]).await.unwrap_err();
    assert_eq!(error.to_string(), "the store is not open");
    assert!(store.get("Todo", &int(1)).await.is_err());
    assert!(store.page("Todo", &keys(None, 1, 1)).await.is_err());
    assert!(store.log(0, 1).await.is_err());
    assert!(store.client(client(1)).await.is_err());
    assert!(store.allocate_ids("Todo", 1).await.is_err());
    assert!(store.forget_clients(0).await.is_err());
    assert!(store.close().await.is_err());
    assert_eq!(store.open(&tables()).await.unwrap().head, 1);
}

async fn leaves_models_alone_that_are_not_opened(store: Subject) {
    store.open(&tables()).await.unwrap();
    store
        .one(changes([
            create("Todo", int(1), body(&int(1), "x")),
            create("Other", int(1), body(&int(1), "x")),
        ]))
        .await;
    store.one(put("Other", int(2), "x")).await;
    store.reopen(&tables()[..2]).await;
    assert!(store.get("Other", &int(1)).await.is_err());
    let log = log(&*store, 0, usize::MAX).await;
    assert_eq!(log[0].1.len(), 1);
    assert_eq!((log[1].0, log[1].1.len()), (2, 0));
    store.one(put("Todo", int(1), "y")).await;
    store.reopen(&tables()).await;
    assert_eq!(rows(&*store, "Other", 10).await.len(), 2);
    assert_eq!(store.log(0, usize::MAX).await.unwrap().transactions[1].changes.len(), 1);
    assert_eq!(store.allocate_ids("Other", 1).await.unwrap(), 3);
}

async fn refuses_names_that_collide(store: Subject) {
    let table = |name| Table::new(name, KeyKind::Int, vec![], 1, reencode);
    let error = store.open(&[table("Todo"), table("TODO")]).await.unwrap_err().to_string();
    assert!(error.contains("`Todo` and `TODO`"), "{error}");
    for name in ["sync_log", "SQLite_x", ""] {
        store.open(&[table(name)]).await.unwrap_err();
    }
    store.open(&[table("Select"), table("Todo")]).await.unwrap();
    assert_eq!(store.one(put("Select", int(1), "a keyword")).await, Decision::Committed(1));
}

async fn rewrites_rows_of_a_changed_model(store: Subject) {
    fn with_due(body: &[u8]) -> Result<(Key, bytes::Bytes), serde_json::Error> {
        let mut row: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(body)?;
        row.entry("due").or_insert("never".into());
        let key = int(row["id"].as_i64().unwrap());
        Ok((key, serde_json::to_vec(&row)?.into()))
    }
    store.open(&tables()).await.unwrap();
    for id in 1..=3 {
        store.one(put("Todo", int(id), "x")).await;
    }
    store.one(put("Note", text("n"), "x").by(mutation(1, 1, confirmed("Note", text("n"))))).await;
    let mut changed = tables();
    changed[0] = Table::new("Todo", KeyKind::Int, vec!["due"], 2, with_due);
    let opened = store.reopen(&changed).await;
    assert_eq!(opened.head, 4);
    for (place, (key, seq, body)) in (1..).zip(rows(&*store, "Todo", 2).await) {
        assert_eq!((key, seq), (int(place), place.cast_unsigned()), "without a seq");
        assert!(body.windows(13).any(|part| part == b"\"due\":\"never\""), "{body:?}");
    }
    assert_eq!(rows(&*store, "Note", 2).await, [(text("n"), 4, body(&text("n"), "x"))]);
    let log = store.log(3, 1000).await.unwrap();
    assert!(log.transactions.is_empty() && log.horizon == 4 && log.head == 4);
    assert_eq!(store.client(client(1)).await.unwrap().unwrap().last, 1);
    assert_eq!(store.one(put("Note", text("n"), "y")).await, Decision::Committed(5));
    // And once only.
    store.reopen(&changed).await;
    assert_eq!(store.log(4, 1000).await.unwrap().transactions.len(), 1);
}

async fn does_not_look_at_rows_of_an_unchanged_model(store: Subject) {
    fn never(_: &[u8]) -> Result<(Key, bytes::Bytes), serde_json::Error> {
        unreachable!("the hash is the same")
    }
    store.open(&tables()).await.unwrap();
    store.one(put("Todo", int(1), "x")).await;
    store.reopen(&[Table::new("Todo", KeyKind::Int, vec!["title"], 1, never)]).await;
    assert_eq!(store.log(0, 1000).await.unwrap().transactions.len(), 1);
}

async fn stops_at_rows_that_do_not_fit(store: Subject) {
    fn strict(_: &[u8]) -> Result<(Key, bytes::Bytes), serde_json::Error> {
        Err(serde::de::Error::missing_field("due"))
    }
    fn other_id(body: &[u8]) -> Result<(Key, bytes::Bytes), serde_json::Error> {
        Ok((int(77), reencode(body)?.1))
    }
    fn emptied(body: &[u8]) -> Result<(Key, bytes::Bytes), serde_json::Error> {
        Ok((reencode(body)?.0, "{}".into()))
    }
    let opened = store.open(&tables()).await.unwrap();
    store
        .commit(vec![put("Todo", int(5), "x"), put("Todo", int(6), "x"), put("Other", int(1), "x")])
        .await
        .unwrap();
    store.close().await.unwrap();
    // `Other` would change, and comes first: it must not, since the start fails.
    let other = Table::new("Other", KeyKind::Int, vec!["title"], 2, emptied);
    for (reencode, why) in [(strict as sync_core::store::Reencode, "missing field `due`"), (other_id, "77")] {
        let todo = Table::new("Todo", KeyKind::Int, vec!["due"], 2, reencode);
        let error = store.open(&[other.clone(), todo]).await.unwrap_err().to_string();
        for part in ["`Todo`", "5", why] {
            assert!(error.contains(part), "{error}");
        }
    }
    let again = store.open(&tables()).await.unwrap();
    assert_eq!((again.epoch, again.head), (opened.epoch, 3));
    assert_eq!(rows(&*store, "Other", 2).await, [(int(1), 3, body(&int(1), "x"))]);
    assert_eq!(store.log(0, 1000).await.unwrap().transactions.len(), 3);
}

/// Rows that are selected from.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct Task {
    id: i64,
    #[sync(index)]
    list: String,
    #[sync(index)]
    done: bool,
    #[sync(index)]
    stars: Option<i64>,
    #[sync(index)]
    any: serde_json::Value,
}

/// Ten of them, of 100 bytes each.
async fn with_tasks(store: &Subject) {
    let indexed = vec!["list", "done", "stars", "any"];
    store.open(&[Table::new("Task", KeyKind::Int, indexed, 1, reencode)]).await.unwrap();
    let any = [
        json!(true),
        json!(1),
        json!("1"),
        json!(null),
        json!([1]),
        json!(0.5),
        json!(u64::MAX),
        json!({}),
        json!(false),
        json!(""),
    ];
    let tasks = (1..).zip(any).map(|(id, any)| {
        let list = ["home", "work", "homework"][usize::try_from(id).unwrap() % 3].to_owned();
        let task = Task { id, list, done: id % 2 == 0, stars: (id % 4 > 0).then_some(id % 4), any };
        let mut body = serde_json::to_vec(&task).unwrap();
        body.resize(100, b' ');
        create("Task", int(id), body.into())
    });
    assert_eq!(store.one(changes(tasks)).await, Decision::Committed(1));
}

async fn ids(store: &Subject, select: Select) -> Vec<i64> {
    let page = store.page("Task", &select).await.unwrap();
    assert_eq!((page.seq, page.next), (1, None), "{select:?}");
    page.rows.iter().map(id).collect()
}

fn id(row: &StoredRow) -> i64 {
    match row.key {
        Key::Int(id) => id,
        Key::Text(_) => panic!("{row:?}"),
    }
}

async fn selects_by_filter(store: Subject) {
    with_tasks(&store).await;
    let null = serde_json::Value::Null;
    for (filter, expected) in [
        (Filter::all(), (1..=10).collect()),
        (Filter::none(), vec![]),
        (Task::LIST.eq("home"), vec![3, 6, 9]),
        (Task::LIST.ne("home"), vec![1, 2, 4, 5, 7, 8, 10]),
        (Task::LIST.one_of(["home", "work", "none"]), vec![1, 3, 4, 6, 7, 9, 10]),
        (Task::LIST.prefix("home"), vec![2, 3, 5, 6, 8, 9]),
        (Task::DONE.eq(true) & Task::LIST.eq("home"), vec![6]),
        (Task::DONE.gt(false), vec![2, 4, 6, 8, 10]),
        (Task::STARS.is_none(), vec![4, 8]),
        (Task::STARS.gte(2) & !Task::DONE.eq(true), vec![3, 7]),
        (Task::STARS.lt(2) | Task::LIST.gt("w"), vec![1, 4, 5, 7, 9, 10]),
        (Task::ID.gt(3) & Task::ID.lte(5), vec![4, 5]),
        // Values of every kind are told apart.
        (Task::ANY.eq(json!(true)), vec![1]),
        (Task::ANY.eq(json!(1)), vec![2]),
        (Task::ANY.eq(json!("1")), vec![3]),
        (Task::ANY.eq(null), vec![4]),
        (Task::ANY.eq(json!([1.0])), vec![5]),
        (Task::ANY.gt(json!(0)), vec![2, 6, 7]),
        (Task::ANY.eq(json!(u64::MAX - 1)), vec![]),
        (Task::ANY.lte(json!("0")), vec![10]),
    ] {
        assert_eq!(ids(&store, Select::all().matching(filter.clone())).await, expected, "{filter:?}");
    }
}

async fn selects_in_an_order(store: Subject) {
    with_tasks(&store).await;
    let done = || Select::all().matching(Task::DONE.eq(true));
    for (select, expected) in [
        (Select::all().order([Task::LIST.asc()]), vec![3, 6, 9, 2, 5, 8, 1, 4, 7, 10]),
        // Rows that are equal go by their ids, also where the greatest come first.
        (Select::all().order([Task::LIST.desc()]), vec![1, 4, 7, 10, 2, 5, 8, 3, 6, 9]),
        (Select::all().order([Task::DONE.desc(), Task::STARS.asc()]), vec![4, 8, 2, 6, 10, 1, 5, 9, 3, 7]),
        (Select::all().order([Task::ANY.asc()]), vec![4, 5, 8, 9, 1, 6, 2, 7, 10, 3]),
        (Select::all().order([Task::ANY.desc()]), vec![3, 10, 7, 2, 6, 1, 9, 4, 5, 8]),
        (Select::all().order([Task::ID.desc()]), (1..=10).rev().collect()),
        (done().order([Task::STARS.desc()]), vec![2, 6, 10, 4, 8]),
        (done().order([Task::STARS.asc(), Task::ID.desc()]), vec![8, 4, 10, 6, 2]),
    ] {
        assert_eq!(ids(&store, select.clone()).await, expected, "{select:?}");
    }
}

async fn reads_on_after_a_place(store: Subject) {
    with_tasks(&store).await;
    let place =
        |value: &str, id| Place { values: [Value::Text(value.into())].into_iter().collect(), key: int(id) };
    for (order, after, expected) in [
        (Task::LIST.asc(), place("home", 6), vec![9, 2, 5, 8, 1, 4, 7, 10]),
        (Task::LIST.asc(), place("home", 10), vec![2, 5, 8, 1, 4, 7, 10]),
        (Task::LIST.asc(), place("homf", 1), vec![1, 4, 7, 10]),
        (Task::LIST.asc(), place("work", 10), vec![]),
        (Task::LIST.desc(), place("homework", 2), vec![5, 8, 3, 6, 9]),
    ] {
        let select = Select::all().order([order]).after(Some(after));
        assert_eq!(ids(&store, select.clone()).await, expected, "{select:?}");
    }
}

async fn pages_what_is_selected_by_count_and_bytes(store: Subject) {
    with_tasks(&store).await;
    for order in [vec![], vec![Task::LIST.desc()], vec![Task::DONE.asc(), Task::STARS.desc()]] {
        let all = Select::all().matching(Task::LIST.ne("work")).order(order);
        let expected = ids(&store, all.clone()).await;
        assert_eq!(expected.len(), 6);
        for (limit, max_bytes, size) in
            [(1, 1000, 1), (4, 1000, 4), (100, 300, 3), (100, 299, 2), (2, 0, 1), (0, 1000, 1)]
        {
            let mut select = all.clone().limit(limit).max_bytes(max_bytes);
            let mut found = Vec::new();
            loop {
                let page = store.page("Task", &select).await.unwrap();
                found.extend(page.rows.iter().map(id));
                let Some(next) = page.next else { break };
                // As many as fit, and the next page begins behind the last.
                assert_eq!(page.rows.len(), size, "{select:?}");
                let last = page.rows.last().unwrap();
                assert_eq!(Some(&next), select.place(&last.key, &last.body).as_ref());
                select = select.after(Some(next));
            }
            assert_eq!(found, expected, "{select:?}");
        }
    }
}

/// A store may give back less than there is when it is told to, but it gets to the end.
async fn gets_to_the_end_a_little_at_a_time(store: Subject) {
    with_tasks(&store).await;
    let rare = !Task::LIST.eq("home") & !Task::LIST.eq("work") & !Task::ANY.eq(json!({}));
    for order in [vec![], vec![Task::STARS.desc()], vec![Task::DONE.asc(), Task::STARS.desc()]] {
        let mut select = Select::all().matching(rare.clone()).order(order);
        let expected = ids(&store, select.clone()).await;
        select = select.scan_at_most(1);
        let mut found = Vec::new();
        for round in 0.. {
            assert!(round < 20, "it never ends");
            let page = store.page("Task", &select).await.unwrap();
            found.extend(page.rows.iter().map(id));
            if page.next.is_none() {
                break;
            }
            select = select.after(page.next);
        }
        assert_eq!(found, expected, "{select:?}");
    }
}

macro_rules! conformance {
    ($($test:ident)*) => {
        #[cfg(test)]
        mod memory {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::fixture::memory(100)).await;
            })*
        }

        #[cfg(all(test, feature = "sqlite"))]
        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::fixture::sqlite(100)).await;
            })*
        }
    };
}

conformance! {
    starts_empty
    stores_changes_and_numbers_them
    keeps_the_creators_name
    changes_one_row_twice_in_a_transaction
    refuses_what_has_changed
    decides_a_batch_in_its_order
    records_mutations
    refuses_mutations_out_of_order
    registers_and_acknowledges
    clients_belong_to_their_first_subject
    forgets_clients
    pages_by_count_and_bytes
    pages_text_in_the_order_of_its_bytes
    pages_while_rows_come_and_go
    selects_by_filter
    selects_in_an_order
    reads_on_after_a_place
    pages_what_is_selected_by_count_and_bytes
    gets_to_the_end_a_little_at_a_time
    pages_the_log_by_whole_transactions
    trims_the_log
    never_gives_an_id_twice
    keeps_everything_over_a_restart
    fails_without_a_trace
    is_closed_until_it_is_opened
    leaves_models_alone_that_are_not_opened
    refuses_names_that_collide
    rewrites_rows_of_a_changed_model
    does_not_look_at_rows_of_an_unchanged_model
    stops_at_rows_that_do_not_fit
}
