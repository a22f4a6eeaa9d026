//! Where to have lunch: a poll that everybody sees change, on a page in React.

use axum::{
    Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};
use sync_core::{Context, Error, Filter, Result, Server, SyncType, SyncedModel, sync_handlers};

/// What there is to choose from: to the page, a type in TypeScript.
#[derive(Clone, Debug, Serialize, Deserialize, SyncType)]
#[serde(rename_all = "snake_case")]
enum Dish {
    Curry,
    Pizza,
    Ramen,
    Salad,
}

/// Somebody's vote. The browser makes up the id, and keeps it: it has one vote, and may change it.
///
/// That is a matter of trust here, as there is no sign-in: everybody sees the ids.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct Vote {
    id: String,
    name: String,
    #[sync(index)]
    dish: Dish,
}

#[sync_handlers]
impl Vote {
    async fn create(_ctx: &Context, draft: Vote) -> Result<Vote> {
        draft.tidy()
    }

    async fn update(_ctx: &Context, _current: &Vote, next: Vote) -> Result<Vote> {
        next.tidy()
    }

    async fn delete(_ctx: &Context, _current: &Vote) -> Result<()> {
        Ok(())
    }

    async fn read(_ctx: &Context) -> Result<Filter<Vote>> {
        Ok(Filter::all())
    }
}

impl Vote {
    fn tidy(self) -> Result<Self> {
        let name = self.name.trim();
        if name.is_empty() || name.chars().count() > 40 {
            return Err(Error::invalid("name", "must have 1 to 40 characters"));
        }
        Ok(Self { name: name.to_owned(), ..self })
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    Server::builder().routes(page()).build()?.run().await
}

/// What `npm run build` makes of `page/app.tsx`. It is read when it is asked for, so that it can be built while the server runs.
const BUNDLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dist/app.js");
const NOT_BUILT: &str =
    "The page is not built yet. In the folder examples/react, run:\n\n    npm ci && npm run build\n";

fn page() -> Router {
    Router::new()
        .route("/", get(|| index(BUNDLE)))
        .route("/app.js", get(|| bundle(BUNDLE)))
        .route("/style.css", get(|| async { file("text/css", include_str!("../page/style.css")) }))
}

async fn index(bundle: &str) -> Response {
    if tokio::fs::try_exists(bundle).await.unwrap_or(false) {
        return file("text/html", include_str!("../page/index.html"));
    }
    eprintln!("{NOT_BUILT}");
    (StatusCode::SERVICE_UNAVAILABLE, NOT_BUILT).into_response()
}

async fn bundle(bundle: &str) -> Response {
    match tokio::fs::read(bundle).await {
        Ok(script) => file("text/javascript", script),
        Err(_) => (StatusCode::NOT_FOUND, NOT_BUILT).into_response(),
    }
}

/// Only what this server serves, and no script or style that is written into the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

fn file(kind: &str, content: impl IntoResponse) -> Response {
    let headers = [
        (header::CONTENT_TYPE, format!("{kind}; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, POLICY.to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
    ];
    (headers, content).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_the_types_of_the_models() {
        let types = Server::builder().store("memory:").build().unwrap().typescript();
        assert_eq!(
            include_str!("../page/models.d.ts"),
            types,
            "cargo run -p react-poll -- typescript prints them"
        );
    }

    #[tokio::test]
    async fn without_a_bundle_the_page_says_what_to_run() {
        let answer = index("/nowhere/app.js").await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        let body = axum::body::to_bytes(answer.into_body(), 1024).await.unwrap();
        assert_eq!(body, NOT_BUILT);
        assert_eq!(bundle("/nowhere/app.js").await.status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn with_one_it_is_served() {
        let any = concat!(env!("CARGO_MANIFEST_DIR"), "/package.json");
        for (answer, kind) in [(index(any).await, "text/html"), (bundle(any).await, "text/javascript")] {
            assert_eq!(answer.status(), StatusCode::OK);
            assert_eq!(answer.headers()[header::CONTENT_TYPE], format!("{kind}; charset=utf-8"));
        }
    }
}
