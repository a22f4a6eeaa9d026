//! What pages cost out of 1,000,000 rows in the `SQLite` store, with indexes and where none helps. The figures in the guide are its own; nothing
//! is asserted but that rows are found.
//!
//! The rows are built once, in a temporary folder: a minute.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sync_core::{
    Key, KeyKind, SyncedModel,
    store::{Change, Select, SqliteStore, Store, Table, Transaction},
};

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Task {
    id: u64,
    title: String,
    notes: String,
    /// 1,000 rows each.
    #[sync(index)]
    list: String,
    /// Half of them.
    #[sync(index)]
    done: bool,
    /// From 1 to 5.
    #[sync(index)]
    priority: u8,
    /// Each another.
    #[sync(index)]
    created: u64,
    /// 3 rows have one.
    #[sync(index)]
    due: Option<String>,
}

const ROWS: u64 = 1_000_000;

fn task(n: u64) -> Task {
    // So that neighbours have nothing in common.
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    Task {
        id: n,
        title: format!("The title of task number {n}"),
        notes: "What there is to say of a task, in a sentence or two, as people do when they write one down."
            .into(),
        list: format!("list{}", mixed % 1000),
        done: mixed / 1000 % 2 == 1,
        priority: u8::try_from(1 + mixed / 2000 % 5).unwrap_or(1),
        created: 1_700_000_000_000 + (mixed % ROWS) * 1000 + n % 1000,
        due: [10, 500_000, 999_990].contains(&n).then(|| format!("2026-12-{:02}", 1 + n % 28)),
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(run());
}

async fn run() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::new(folder.path().join("tasks.db")).log_retention(1000);
    let indexed = vec!["list", "done", "priority", "created", "due"];
    let table = Table::new("Task", KeyKind::Int, indexed, 1, |body| {
        let task: Task = serde_json::from_slice(body)?;
        Ok((Key::Int(task.id.cast_signed()), serde_json::to_vec(&task)?.into()))
    });
    store.open(&[table]).await.expect("it opens");
    let started = Instant::now();
    for first in (1..=ROWS).step_by(1000) {
        let changes = (first..first + 1000).map(|n| Change {
            model: "Task",
            key: Key::Int(n.cast_signed()),
            cid: None,
            old: None,
            new: Some(serde_json::to_vec(&task(n)).expect("it is JSON").into()),
        });
        let transaction = Transaction { changes: changes.collect(), ..Transaction::default() };
        store.commit(vec![transaction]).await.expect("it commits");
    }
    println!(
        "{ROWS} rows of {} bytes, 5 indexes: {:?}",
        serde_json::to_vec(&task(1)).map_or(0, |row| row.len()),
        started.elapsed()
    );

    let all = Select::all;
    let list = || Task::LIST.eq("list7");
    let page = |select: Select| select.limit(50);
    show(&store, "a page of all, by id", page(all())).await;
    show(&store, "one list of 1,000", page(all().matching(list()))).await;
    show(&store, "one list of 1,000, all of it", all().matching(list())).await;
    show(
        &store,
        "one list, open ones, by priority and the time they were made",
        page(
            all().matching(list() & Task::DONE.eq(false)).order([Task::PRIORITY.desc(), Task::CREATED.asc()]),
        ),
    )
    .await;
    show(&store, "20 lists", page(all().matching(Task::LIST.one_of((0..20).map(|n| format!("list{n}"))))))
        .await;
    show(&store, "two fields, either", page(all().matching(list() | Task::DUE.gt("2026")))).await;
    show(&store, "a prefix with 111 lists", page(all().matching(Task::LIST.prefix("list7")))).await;
    show(&store, "a range of 10,000", page(all().matching(Task::CREATED.lt(1_700_010_000_000)))).await;
    show(&store, "3 that are not null", page(all().matching(Task::DUE.gte("")).order([Task::DUE.asc()])))
        .await;
    show(&store, "the newest", page(all().order([Task::CREATED.desc()]))).await;
    show(
        &store,
        "the newest of half of the rows",
        page(all().matching(Task::DONE.eq(false)).order([Task::CREATED.desc()])),
    )
    .await;
    show(&store, "half of the rows, by id", page(all().matching(Task::DONE.eq(false)))).await;
    show(&store, "the highest priority, then by id", page(all().order([Task::PRIORITY.desc()]))).await;
    show(&store, "500 rows of an order", all().order([Task::CREATED.asc()]).limit(500)).await;
    // Where no index helps.
    show(
        &store,
        "the highest priority, then the newest: 200,000 equals are sorted",
        page(all().order([Task::PRIORITY.desc(), Task::CREATED.desc()])),
    )
    .await;
    show(
        &store,
        "two values that seldom meet, by id",
        page(
            all().matching(Task::DONE.eq(true) & Task::PRIORITY.eq(5) & !Task::CREATED.gt(1_700_010_000_000)),
        ),
    )
    .await;
    let nowhere = Task::DONE.eq(true) & !Task::DONE.gt(false);
    show(
        &store,
        "none match, and no index says so: every row of half is looked at",
        page(all().matching(nowhere.clone())),
    )
    .await;
    show(&store, "  the same, at most 5,000 rows at once", page(all().matching(nowhere)).scan_at_most(5_000))
        .await;
    store.close().await.expect("it closes");
}

/// The CPU time of a page, on average of as many runs as fill a fifth of a second: other programs do not count.
async fn show(store: &SqliteStore, what: &str, select: Select) {
    let (mut runs, mut rows) = (0_u32, 0);
    let begun = cpu();
    while runs < 3 || cpu().saturating_sub(begun) < Duration::from_millis(200) {
        for _ in 0..runs.clamp(1, 100) {
            rows = store.page("Task", &select).await.expect("it reads").rows.len();
            runs += 1;
        }
    }
    println!("{:>10.2?}  {rows:>5} rows  {what}", cpu().saturating_sub(begun) / runs);
}

/// What this process has used.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    // After the program's name, which may hold anything: utime and stime are the 14th and 15th fields.
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap_or(0)).sum();
    Duration::from_millis(ticks * 10)
}
