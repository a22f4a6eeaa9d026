//! Models, one for each thing that tests look at.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};

use serde::{Deserialize, Serialize};
use sync_core::{Context, Error, Filter, Query, Result, SyncedModel, sync_handlers};
use tokio::sync::Semaphore;

/// Everything allowed, ids from the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, SyncedModel)]
pub struct Todo {
    /// Assigned by the server.
    pub id: u64,
    /// What to do.
    pub title: String,
    /// Whether it is done.
    #[serde(default)]
    pub completed: bool,
}

#[sync_handlers(crud)]
impl Todo {
    async fn create(_ctx: &Context, draft: Todo) -> Result<Todo> {
        if draft.title.trim().is_empty() {
            return Err(Error::invalid("title", "must not be empty"));
        }
        Ok(draft)
    }
}

/// Rows that move in and out of view, and fields that do not travel.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
pub struct Note {
    /// Chosen by the client, or made by the server.
    #[sync(id)]
    pub key: String,
    /// What it says.
    pub text: String,
    /// Only public ones are seen.
    #[serde(default)]
    #[sync(index)]
    pub secret: bool,
    /// When it was made, by the server's clock.
    #[sync(read_only)]
    pub created_at: i64,
    /// Who made it.
    #[sync(server_only)]
    pub author: String,
}

#[sync_handlers]
impl Note {
    async fn create(ctx: &Context, draft: Note) -> Result<Note> {
        let author = ctx.client().map_or_else(|| "anonymous".into(), |client| client.to_string());
        Ok(Note { created_at: ctx.unix_millis(), author, ..draft })
    }

    async fn update(_ctx: &Context, current: &Note, next: Note) -> Result<Note> {
        if current.text == "locked" {
            return Err(Error::forbidden("this note is locked"));
        }
        Ok(next)
    }

    async fn delete(_ctx: &Context, _current: &Note) -> Result<()> {
        Ok(())
    }

    async fn read(_ctx: &Context) -> Result<Filter<Note>> {
        Ok(Note::SECRET.eq(false))
    }

    async fn read_all(_ctx: &Context, query: Query<Note>) -> Result<Query<Note>> {
        Ok(query.page_size(2))
    }
}

/// Tasks in lists. Those of nobody are seen by nobody.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
pub struct Task {
    /// Assigned by the server.
    pub id: u64,
    /// What belongs together.
    #[sync(index)]
    pub list: String,
    /// The more the sooner.
    #[sync(index)]
    pub priority: i64,
    /// Whether it is done.
    #[serde(default)]
    #[sync(index)]
    pub done: bool,
    /// What to do: "secret" is for nobody's eyes.
    #[serde(default)]
    pub title: String,
    /// Who may see it.
    #[sync(server_only, index)]
    pub owner: String,
}

#[sync_handlers(crud)]
impl Task {
    async fn create(_ctx: &Context, draft: Task) -> Result<Task> {
        let owner = if draft.title == "secret" { "nobody" } else { "everybody" };
        Ok(Task { owner: owner.into(), ..draft })
    }

    async fn read(_ctx: &Context) -> Result<Filter<Task>> {
        Ok(Task::OWNER.eq("everybody"))
    }
}

/// Only to be created: nobody reads it.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
pub struct Feedback {
    /// Assigned by the server.
    pub id: u64,
    /// What somebody thinks.
    pub text: String,
}

#[sync_handlers]
impl Feedback {
    async fn create(_ctx: &Context, draft: Feedback) -> Result<Feedback> {
        match draft.text.as_str() {
            "panic" => panic!("as asked"),
            "error" => Err("not a number".parse::<u32>().unwrap_err().into()),
            _ => Ok(draft),
        }
    }
}

/// A number that everybody counts up: each update adds one to what is there.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
pub struct Counter {
    /// Its name.
    pub id: String,
    /// How far it is.
    pub count: u64,
}

#[sync_handlers(crud)]
impl Counter {
    async fn update(_ctx: &Context, current: &Counter, next: Counter) -> Result<Counter> {
        Ok(Counter { count: current.count + 1, ..next })
    }
}

/// Rows whose update waits until a test lets it go on.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
pub struct Slow {
    /// Its name.
    pub id: String,
    /// How often it was changed.
    pub count: u64,
}

/// Lets handlers of [`Slow`] go on.
pub fn slow_gate() -> &'static Semaphore {
    static GATE: OnceLock<Semaphore> = OnceLock::new();
    GATE.get_or_init(|| Semaphore::new(0))
}

/// How many handlers of [`Slow`] were begun.
pub static SLOW_BEGUN: AtomicU32 = AtomicU32::new(0);

#[sync_handlers(crud)]
impl Slow {
    async fn update(_ctx: &Context, current: &Slow, next: Slow) -> Result<Slow> {
        SLOW_BEGUN.fetch_add(1, Ordering::SeqCst);
        slow_gate().acquire().await?.forget();
        Ok(Slow { count: current.count + 1, ..next })
    }
}

/// Has an action alone: everything else is refused.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
pub struct Closed {
    /// Assigned by the server.
    pub id: u64,
}

#[sync_handlers]
impl Closed {
    #[action]
    async fn knock(_ctx: &Context) -> Result<&'static str> {
        Ok("nobody is in")
    }
}

/// Has no handlers: it is the server's own.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
pub struct Hidden {
    /// Assigned by the server.
    pub id: u64,
}
