//! TodoMVC, in sync: one shared list, kept in SQLite, the same in every browser that looks at it.

mod packages;

use std::pin::pin;

use axum::{
    Router,
    http::header,
    response::{IntoResponse, Redirect},
    routing::get,
};
use serde::{Deserialize, Serialize};
use sync_core::{Context, Error, Filter, Result, Server, SyncedModel, sync_handlers};

/// A thing to do. The server assigns the id, so that new ones come last, in every browser.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct Todo {
    id: u64,
    title: String,
    #[serde(default)]
    #[sync(index)]
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
    let server = Server::builder().routes(page());
    let Some(folder) = packages::folder() else { return server.build()?.run().await };
    let mut running = pin!(server.npm(&folder).build()?.run());
    tokio::select! {
        // The server first: what the command line says may be all that there is to do.
        biased;
        served = &mut running => served,
        () = packages::install(folder) => running.await,
    }
}

/// The page, and the same one on Backbone: files that are part of the program.
fn page() -> Router {
    let file =
        |kind: &'static str, text: &'static str| get(move || async move { file(kind, text).into_response() });
    let (html, script) = ("text/html; charset=utf-8", "text/javascript; charset=utf-8");
    Router::new()
        .route("/", file(html, include_str!("../page/index.html")))
        .route("/app.js", file(script, include_str!("../page/app.js")))
        .route("/page.js", file(script, include_str!("../page/page.js")))
        .route("/style.css", file("text/css; charset=utf-8", include_str!("../page/style.css")))
        .route("/backbone", get(|| async { Redirect::permanent("/backbone/") }))
        .route("/backbone/", file(html, include_str!("../page/backbone/index.html")))
        .route("/backbone/app.js", file(script, include_str!("../page/backbone/app.js")))
}

/// Only what this server serves, and no script or style that is written into the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text)
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[tokio::test]
    async fn both_pages_are_served() {
        let running =
            Server::builder().store("memory:").routes(page()).build().unwrap().start().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { running.serve(listener).await });
        for (path, status, header) in [
            ("/", "200", "content-type: text/html"),
            ("/app.js", "200", "content-type: text/javascript"),
            ("/page.js", "200", "content-type: text/javascript"),
            ("/style.css", "200", "content-type: text/css"),
            ("/backbone", "308", "location: /backbone/\r"),
            ("/backbone/", "200", "content-type: text/html"),
            ("/backbone/app.js", "200", "content-type: text/javascript"),
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
            assert!(answer.contains(header), "{path}: {answer}");
        }
    }
}
