//! A chat: rooms, their members, and messages that only members see.
//!
//! * `models.rs`: who sees what, and what belongs together.
//! * `sign_in.rs`: who is asking: a cookie.
//! * `page/`: the page.

mod models;
mod sign_in;

use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use sync_core::{Result, Running, Server};

#[tokio::main]
async fn main() -> Result<()> {
    Server::builder()
        .authenticate(sign_in::authenticate)
        .routes(page())
        .routes_with(|running| {
            tokio::spawn(sign_in::forget_old(running.handle()));
            Router::new()
                .merge(sign_in::routes())
                .route("/rooms/{room}/announcements", post(announce))
                .with_state(running.clone())
        })
        .build()?
        .run()
        .await
}

/// `curl -d "Lunch is ready" http://127.0.0.1:3000/rooms/1/announcements`: a message of nobody in particular, from a program.
async fn announce(State(running): State<Running>, Path(room): Path<u64>, text: String) -> Response {
    let handle = running.handle();
    let announced = handle.transaction(|ctx| {
        let text = text.clone();
        async move { models::Message::post(&ctx, room, None, text).await }
    });
    match announced.await {
        Ok(message) => (StatusCode::CREATED, format!("message {}\n", message.id)).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

/// The page: files that are part of the program.
fn page() -> Router {
    let file =
        |kind: &'static str, text: &'static str| get(move || async move { file(kind, text).into_response() });
    Router::new()
        .route("/", file("text/html; charset=utf-8", include_str!("../page/index.html")))
        .route("/app.js", file("text/javascript; charset=utf-8", include_str!("../page/app.js")))
        .route("/style.css", file("text/css; charset=utf-8", include_str!("../page/style.css")))
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
