//! TodoMVC, in sync: one shared list, kept in SQLite, the same in every browser that looks at it.

use axum::{Router, http::header, response::IntoResponse, routing::get};
use serde::{Deserialize, Serialize};
use sync_core::{Context, Error, Filter, Result, Server, SyncedModel, sync_handlers};

/// A thing to do. The server assigns the id, so that new ones come last, in every browser.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct Todo {
    id: u64,
    title: String,
    #[serde(default)]
    completed: bool,
}

#[sync_handlers]
impl Todo {
    async fn create(_ctx: &Context, draft: Todo) -> Result<Todo> {
        draft.tidy()
    }

    async fn update(_ctx: &Context, _current: &Todo, next: Todo) -> Result<Todo> {
        next.tidy()
    }

    async fn delete(_ctx: &Context, _current: &Todo) -> Result<()> {
        Ok(())
    }

    /// Everybody sees everything: it is one list.
    async fn read(_ctx: &Context) -> Result<Filter<Todo>> {
        Ok(Filter::all())
    }
}

impl Todo {
    /// As it is stored: with a title that says something, and not a book.
    fn tidy(self) -> Result<Self> {
        let title = self.title.trim();
        if title.is_empty() {
            return Err(Error::invalid("title", "must not be empty"));
        }
        if title.chars().count() > 10_000 {
            return Err(Error::invalid("title", "must have at most 10,000 characters"));
        }
        Ok(Self { title: title.to_owned(), ..self })
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    Server::builder().routes(page()).build()?.run().await
}

/// The page: three files, part of the program.
fn page() -> Router {
    let file =
        |kind: &'static str, text: &'static str| get(move || async move { file(kind, text).into_response() });
    Router::new()
        .route("/", file("text/html; charset=utf-8", include_str!("../page/index.html")))
        .route("/app.js", file("text/javascript; charset=utf-8", include_str!("../page/app.js")))
        .route("/style.css", file("text/css; charset=utf-8", include_str!("../page/style.css")))
}

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let policy = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:";
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text)
}
