#![forbid(unsafe_code)]
#![deny(warnings)]
//! x
use serde::{Deserialize, Serialize};
use sync_core::{Context, Error, Filter, Query, Result, SyncedModel, sync_handlers};

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct UserId(u64);

#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct Todo {
    id: u64,
    title: String,
    #[serde(default)]
    #[sync(index)]
    completed: bool,
    #[sync(index)]
    list: String,
    #[sync(read_only)]
    created_at: i64,
    #[sync(server_only, index)]
    owner: UserId,
}

#[sync_handlers]
impl Todo {
    async fn create(ctx: &Context, draft: Todo) -> Result<Todo> {
        if draft.title.trim().is_empty() {
            return Err(Error::invalid("title", "must not be empty"));
        }
        Ok(Todo { created_at: ctx.unix_millis(), owner: UserId(1), ..draft })
    }
    async fn update(_ctx: &Context, _current: &Todo, next: Todo) -> Result<Self> {
        Ok(next)
    }
    async fn delete(_ctx: &Context, _current: &Todo) -> Result<()> {
        Ok(())
    }
    async fn read(_ctx: &Context) -> Result<Filter<Todo>> {
        Ok(Todo::OWNER.eq(UserId(1)))
    }
    async fn read_all(_ctx: &Context, query: Query<Todo>) -> Result<Query<Todo>> {
        Ok(query.and(Todo::COMPLETED.eq(false)))
    }
}

#[test]
fn works() {
    let todo: Todo = sync_core::__private::decode_draft(r#"{"title":"a","list":"home"}"#).unwrap();
    assert_eq!(todo.title, "a");
}
