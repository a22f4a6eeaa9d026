//! Who is asking: a cookie, which stands for a row that says whose it is.
//!
//! There are no passwords here, to keep the example small: who says a name is that person. All else is as it would be: the cookie's value is random, scripts
//! cannot read it, the rows know only its owner, and signing out ends what is open within a second.

use std::time::Duration;

use axum::{
    Form, Json, Router,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use sync_core::{Error, Handle, Login, Result, Running, Session, SyncedModel};
use tokio::time;
use uuid::Uuid;

use crate::models::Person;

/// Who is asking, as handlers know them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Me {
    pub(crate) id: u64,
}

/// A cookie that was given out. A model without handlers: no client can ask for it.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct SignIn {
    /// The cookie's value.
    id: Uuid,
    person: u64,
    #[sync(index)]
    ends_at: i64,
}

impl SignIn {
    /// The one that the cookie of a request stands for.
    async fn of(handle: &Handle, headers: &HeaderMap) -> Result<Option<Self>> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let id = cookies
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='))
            .find_map(|id| id.parse::<Uuid>().ok());
        match id {
            Some(id) => handle.get::<Self>(id).await,
            None => Ok(None),
        }
    }
}

/// How long one stays signed in.
const LASTS: Duration = Duration::from_hours(24 * 30);

const COOKIE: &str = "chat";

/// Called for each connection, with what the browser sent: its cookies come by themselves.
pub(crate) async fn authenticate(login: Login) -> Result<Session<Me>> {
    let sign_in = SignIn::of(login.handle(), login.headers()).await?;
    let sign_in = sign_in.ok_or_else(|| Error::unauthenticated("sign in first"))?;
    let me = Me { id: sign_in.person };
    Ok(Session::new(me).subject(sign_in.person.to_string()).expires_at_unix_millis(sign_in.ends_at))
}

pub(crate) fn routes() -> Router<Running> {
    Router::new().route("/sign-in", post(sign_in)).route("/sign-out", post(sign_out)).route("/me", get(me))
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

async fn sign_in(State(running): State<Running>, Form(Name { name }): Form<Name>) -> Response {
    let handle = running.handle();
    let signed_in = handle.transaction(|ctx| {
        let name = name.trim().to_owned();
        async move {
            if name.is_empty() || name.chars().count() > 40 {
                return Err(Error::invalid("name", "must have 1 to 40 characters"));
            }
            // Two who sign in with one new name at once are one person: whoever commits second finds the first.
            let person = match ctx.query(Person::NAME.eq(name.as_str())).first().await? {
                Some(person) => person,
                None => ctx.insert(Person { id: 0, name }).await?,
            };
            let ends_at = ctx.unix_millis() + i64::try_from(LASTS.as_millis()).unwrap_or(i64::MAX);
            ctx.insert(SignIn { id: Uuid::new_v4(), person: person.id, ends_at }).await
        }
    });
    match signed_in.await {
        Ok(sign_in) => with_cookie(&sign_in.id.to_string(), LASTS.as_secs()),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

/// Who I am: the page asks before it connects.
async fn me(State(running): State<Running>, headers: HeaderMap) -> Response {
    match SignIn::of(&running.handle(), &headers).await {
        Ok(Some(sign_in)) => Json(Me { id: sign_in.person }).into_response(),
        Ok(None) => StatusCode::UNAUTHORIZED.into_response(),
        Err(error) => failed(&error),
    }
}

async fn sign_out(State(running): State<Running>, headers: HeaderMap) -> Response {
    let handle = running.handle();
    let signed_out = async {
        let Some(sign_in) = SignIn::of(&handle, &headers).await? else { return Ok(()) };
        handle.delete(&sign_in).await?;
        // The pages of this person that are open are asked again who they are; those of another browser still can say.
        running.revoke(&sign_in.person.to_string());
        Ok(())
    };
    match signed_out.await {
        Ok(()) => with_cookie("", 0),
        Err(error) => failed(&error),
    }
}

fn failed(error: &Error) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
}

fn with_cookie(value: &str, seconds: u64) -> Response {
    let cookie = format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax");
    match HeaderValue::from_str(&cookie) {
        Ok(cookie) => ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Takes away what has ended, now and then.
pub(crate) async fn forget_old(handle: Handle) {
    let mut hourly = time::interval(Duration::from_hours(1));
    loop {
        hourly.tick().await;
        let forgotten = handle.transaction(|ctx| async move {
            for sign_in in ctx.query(SignIn::ENDS_AT.lt(ctx.unix_millis())).await? {
                ctx.delete(&sign_in).await?;
            }
            Ok(())
        });
        if let Err(error) = forgotten.await {
            tracing::warn!(%error, "could not forget old sign-ins");
        }
    }
}
