//! Models of every visibility, in a crate that denies what the macros' code must never cause.

#![forbid(unsafe_code)]
#![deny(
    warnings,
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    rust_2018_idioms,
    clippy::all,
    clippy::pedantic
)]

use serde::{Deserialize, Serialize};
use sync_core::{Context, Error, Filter, Query, Result, SyncType, SyncedModel, sync_handlers};

/// A person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, SyncType)]
pub struct UserId(
    /// Its number.
    pub u64,
);

/// Something to do, with fields of every kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SyncedModel)]
pub struct Todo {
    /// The id.
    pub id: u64,
    /// What is to be done.
    pub title: String,
    /// Whether it is.
    #[serde(default)]
    #[sync(index)]
    pub completed: bool,
    /// Where it stands.
    #[sync(index)]
    pub list: String,
    /// When it came up.
    #[sync(read_only)]
    pub created_at: i64,
    /// Whose it is.
    #[sync(server_only, index)]
    pub owner: UserId,
}

#[sync_handlers]
impl Todo {
    async fn create(ctx: &Context, draft: Todo) -> Result<Todo> {
        if draft.title.trim().is_empty() {
            return Err(Error::invalid("title", "must not be empty"));
        }
        Ok(Todo { created_at: ctx.unix_millis(), owner: UserId(1), ..draft })
    }

    async fn update(_ctx: &Context, _current: &Todo, next: Todo) -> Result<Todo> {
        Ok(next)
    }

    async fn delete(_ctx: &Context, current: &Todo) -> Result<()> {
        if current.completed { Ok(()) } else { Err(Error::forbidden("do it first")) }
    }

    async fn read(_ctx: &Context) -> Result<Filter<Todo>> {
        Ok(Todo::OWNER.eq(UserId(1)))
    }

    async fn read_all(_ctx: &Context, query: Query<Todo>) -> Result<Query<Todo>> {
        Ok(query.and(Todo::COMPLETED.eq(false)))
    }
}

/// A model that only this crate knows.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
pub(crate) struct Note {
    pub(crate) id: String,
    pub text: String,
    private: Secret,
}

#[derive(Clone, Debug, Serialize, Deserialize, SyncType)]
struct Secret;

#[sync_handlers(crud)]
impl Note {
    async fn create(_: &Context, mut draft: Self) -> Result<Self> {
        draft.text.push('.');
        draft.private = Secret;
        Ok(draft)
    }
}

/// Fields that have lints of their own.
#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncedModel)]
#[allow(non_snake_case, clippy::struct_excessive_bools, clippy::struct_field_names)]
pub struct Awkward {
    /// The id.
    #[sync(id)]
    pub is_id: u64,
    /// It was of use.
    #[deprecated]
    #[sync(read_only, index)]
    pub is_old: bool,
    /// It has a name from elsewhere.
    #[sync(server_only)]
    pub isOfJavaScript: bool,
    /// It has an umlaut.
    pub is_schön: bool,
    /// It is one more.
    pub is_more: bool,
}

mod inner {
    use serde::{Deserialize, Serialize};
    use sync_core::{SyncedModel, sync_handlers};

    /// A private model with a `pub` field, in a private module.
    #[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
    struct Memo {
        pub id: u64,
        pub(super) text: String,
        pub(in crate::inner) owner: u64,
    }

    #[sync_handlers(crud)]
    impl Memo {}
}

/// Models inside of a function.
#[must_use]
pub fn local() -> &'static str {
    #[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
    struct Local {
        id: u64,
        #[sync(server_only)]
        secret: u64,
    }

    #[sync_handlers(crud)]
    impl Local {}

    Local::SECRET.name()
}
