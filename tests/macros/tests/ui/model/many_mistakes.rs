use serde::{Deserialize, Serialize};
use sync_core::{Context, Result, SyncedModel, sync_handlers};

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
#[sync(name = "sqlite_todo", nmae = "Todo")]
#[serde(tag = "type", rename_all(serialize = "camelCase"))]
struct Todo {
    title: String,
    #[sync(indx)]
    list: String,
    #[sync(read_only, server_only)]
    owner: u64,
    #[serde(rename = "title")]
    headline: String,
}

#[sync_handlers(curd)]
impl Todo {
    fn create(ctx: &Context, draft: Todo) -> Result<Todo> {
        Ok(draft)
    }

    async fn update(ctx: &Context, next: Todo) -> Result<Todo> {
        Ok(next)
    }

    async fn delete(&self, ctx: &Context) -> Result<()> {
        Ok(())
    }

    #[action]
    async fn clear(ctx: &Context, list: &str) -> Result<u32> {
        let _ = Todo::OWNER.eq(1);
        Ok(0)
    }
}

fn main() {}
