//! A board: cards that several people drag between columns at once.
//!
//! A card's place is a [`Position`], which can always be put between two others: a card that is dragged is one small change of that card alone, so
//! two people who drag at once do not disturb each other. Besides the page, `curl` adds cards, and a timer clears away what has long been done.

use std::time::Duration;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use sync_core::{
    Context, Error, Filter, Handle, Position, Result, Server, SyncType, SyncedModel, sync_handlers,
};
use tokio::time;

/// A column of the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, SyncType)]
#[serde(rename_all = "snake_case")]
enum Column {
    Todo,
    Doing,
    Done,
}

/// A card. Cards of a column go by their positions.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct Card {
    id: u64,
    title: String,
    #[sync(index)]
    column: Column,
    #[sync(index)]
    position: Position,
    /// Since when it is in the last column, in milliseconds since 1970.
    #[serde(default)]
    #[sync(read_only, index)]
    done_at: Option<i64>,
}

#[sync_handlers]
impl Card {
    async fn create(ctx: &Context, draft: Card) -> Result<Card> {
        draft.checked(ctx)
    }

    async fn update(ctx: &Context, current: &Card, next: Card) -> Result<Card> {
        // Dragged within the last column it keeps its time.
        let done_at = if next.column == current.column { current.done_at } else { None };
        Card { done_at, ..next }.checked(ctx)
    }

    async fn delete(_ctx: &Context, _current: &Card) -> Result<()> {
        Ok(())
    }

    /// Everybody sees everything: it is one board.
    async fn read(_ctx: &Context) -> Result<Filter<Card>> {
        Ok(Filter::all())
    }
}

impl Card {
    fn checked(self, ctx: &Context) -> Result<Self> {
        let title = self.title.trim();
        if title.is_empty() || title.chars().count() > 200 {
            return Err(Error::invalid("title", "must have 1 to 200 characters"));
        }
        let done_at = match self.column {
            Column::Done => self.done_at.or(Some(ctx.unix_millis())),
            Column::Todo | Column::Doing => None,
        };
        Ok(Self { title: title.to_owned(), done_at, ..self })
    }
}

/// How long what is done stays on the board.
const KEEP_DONE: Duration = Duration::from_hours(24 * 7);

#[tokio::main]
async fn main() -> Result<()> {
    Server::builder()
        .routes(page())
        .routes_with(|running| {
            tokio::spawn(clear_away(running.handle()));
            Router::new().route("/cards", post(add)).with_state(running.handle())
        })
        .build()?
        .run()
        .await
}

/// `curl -d "Buy milk" http://127.0.0.1:3000/cards` puts a card at the end of the first column, in every browser at once.
async fn add(State(handle): State<Handle>, title: String) -> Result<Response, Response> {
    let added = handle.transaction(|ctx| {
        let title = title.clone();
        async move {
            // Nobody else's card comes to the same place: what was looked up is still so when this commits.
            let last =
                ctx.query(Card::COLUMN.eq(Column::Todo)).order([Card::POSITION.desc()]).first().await?;
            let position = Position::between(last.as_ref().map(|card| &card.position), None);
            let card = Card { id: 0, title, column: Column::Todo, position, done_at: None };
            ctx.insert(card.checked(&ctx)?).await
        }
    });
    match added.await {
        Ok(card) => Ok((StatusCode::CREATED, format!("card {}\n", card.id)).into_response()),
        Err(error) => Err((StatusCode::BAD_REQUEST, format!("{error}\n")).into_response()),
    }
}

/// Takes cards away that have been done for long.
async fn clear_away(handle: Handle) {
    let mut hourly = time::interval(Duration::from_hours(1));
    loop {
        hourly.tick().await;
        let cleared = handle
            .transaction(|ctx| async move {
                let kept = i64::try_from(KEEP_DONE.as_millis()).unwrap_or(i64::MAX);
                let old = ctx.query(Card::DONE_AT.lt(ctx.unix_millis().saturating_sub(kept))).await?;
                for card in &old {
                    ctx.delete(card).await?;
                }
                Ok(old.len())
            })
            .await;
        match cleared {
            Ok(0) => {}
            Ok(cards) => tracing::info!(cards, "cleared away"),
            Err(error) => tracing::warn!(%error, "could not clear away"),
        }
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
