//! HTTP: the routes, the upgrade to a WebSocket, and the accept loop of `run`.

use std::{future::Future, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{ConnectInfo, Request, State},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::watch,
    time,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};

use super::{
    Open, Shared,
    addresses::Counted,
    host::{self, LocalAddress},
    stopped, vendor,
};
use crate::{
    Limits,
    authentication::Opening,
    connection::{self, Identity},
    protocol::SUBPROTOCOL,
};

/// The files of the JavaScript client, by the name under `/sync/`.
const CLIENT: &[(&str, &str)] = &[
    ("backbone.js", include_str!("../../client/backbone.js")),
    ("backbone.mjs", include_str!("../../client/backbone.mjs")),
    ("client.js", include_str!("../../client/client.js")),
    ("collection.js", include_str!("../../client/collection.js")),
    ("error.js", include_str!("../../client/error.js")),
    ("hub.js", include_str!("../../client/hub.js")),
    ("line.js", include_str!("../../client/line.js")),
    ("model.js", include_str!("../../client/model.js")),
    ("mutations.js", include_str!("../../client/mutations.js")),
    ("names.js", include_str!("../../client/names.js")),
    ("narrow.js", include_str!("../../client/narrow.js")),
    ("pages.js", include_str!("../../client/pages.js")),
    ("parts.js", include_str!("../../client/parts.js")),
    ("position.js", include_str!("../../client/position.js")),
    ("query.js", include_str!("../../client/query.js")),
    ("react.js", include_str!("../../client/react.js")),
    ("reads.js", include_str!("../../client/reads.js")),
    ("rows.js", include_str!("../../client/rows.js")),
    ("session.js", include_str!("../../client/session.js")),
    ("storage.js", include_str!("../../client/storage.js")),
    ("sync.js", include_str!("../../client/sync.js")),
    ("table.js", include_str!("../../client/table.js")),
    ("tabs.js", include_str!("../../client/tabs.js")),
    ("view.js", include_str!("../../client/view.js")),
    ("where.js", include_str!("../../client/where.js")),
];

/// What a socket reads at a time. tungstenite clears all of it before every read: with its own 128 KiB a server that fans out spends most
/// of its time on that, and 10,000 idle connections hold 1.3 GB.
const READ_BUFFER: usize = 4 * 1024;

/// How long to wait after a failure to accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) fn router(shared: Arc<Shared>) -> Router {
    let vendor = vendor::router(shared.npm.as_deref());
    let mut router = Router::new().route("/sync", get(socket));
    for &(name, source) in CLIENT {
        router = router.route(&format!("/sync/{name}"), get(move || async move { script(source) }));
    }
    let registry = shared.engine.registry();
    // Made once: it does not change while the server runs.
    let schema = Bytes::from(registry.schema_module());
    let types = Bytes::from(registry.typescript().declarations());
    router
        .route("/sync/models.js", get(move || async move { script(schema.clone()) }))
        .route(
            "/sync/models.d.ts",
            get(move || async move { file("text/plain; charset=utf-8", types.clone()) }),
        )
        .with_state(shared)
        .merge(vendor)
}

pub(super) fn script(source: impl IntoResponse) -> impl IntoResponse {
    file("text/javascript; charset=utf-8", source)
}

fn file(kind: &'static str, source: impl IntoResponse) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, kind),
        // It belongs to this very server: asked for again each time, a page never runs an old one.
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // For who opens it as a page: it is none. What a page may load its own policy says.
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ];
    (headers, source)
}

/// Why a request is not answered, to be read by a person.
pub(super) fn refusal(status: StatusCode, message: &'static str) -> impl IntoResponse {
    let headers = [(header::CACHE_CONTROL, "no-store"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (status, headers, message)
}

/// Upgrades to a WebSocket, or says why not.
async fn socket(State(shared): State<Arc<Shared>>, mut request: Request) -> Response {
    let host = host::requested(&request).ok().flatten();
    if !shared.origins.admit(request.headers(), host.as_ref()) {
        tracing::info!(origin = ?request.headers().get(header::ORIGIN), "a page of another origin was refused");
        let message = "Pages of this origin may not connect to this server.\n\
            If they should, start it with `--allow-origin ORIGIN`, or call `allow_origin(ORIGIN)` on its builder. A proxy in front of it\n\
            passes `Host` on, and says in `X-Forwarded-Proto` whether it was reached by https.\n";
        return refusal(StatusCode::FORBIDDEN, message).into_response();
    }
    let answer = match Handshake::read(request.headers()) {
        Ok(handshake) => handshake.answer(),
        Err(refusal) => return refusal,
    };
    if *shared.stopping.borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the server is stopping\n").into_response();
    }
    let address = request.extensions().get().map(|ConnectInfo(peer)| *peer);
    let address = address.map(|peer| shared.proxies.client(peer, request.headers()));
    let identity = shared.authentication.as_ref().map(|authentication| {
        let opening = Opening::new(request.headers().clone(), address, request.uri().query());
        Identity::new(authentication.clone(), opening)
    });
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return (StatusCode::UPGRADE_REQUIRED, "this connection cannot be upgraded\n").into_response();
    };
    // Counted before the answer: a stop from now on waits for it.
    let open = match admit(&shared, address) {
        Ok(open) => open,
        Err(refusal) => return refusal,
    };
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => serve_socket(upgraded, identity, &shared).await,
            Err(error) => tracing::debug!(%error, "an upgrade failed"),
        }
        drop(open);
    });
    answer
}

/// Counts one more connection, or says which limit it would break.
#[expect(clippy::result_large_err, reason = "the error is the answer")]
fn admit(shared: &Shared, address: Option<SocketAddr>) -> Result<(Open, Option<Counted>), Response> {
    let limits = shared.engine.limits();
    let refused = |status: StatusCode, limit: &str, message: String| {
        tracing::debug!(?address, limit, "a connection was refused");
        (status, format!("{limit}: {message}\n")).into_response()
    };
    let most = limits.connections_per_address;
    let counted = address.map(|address| shared.addresses.count(address.ip(), most).ok_or(())).transpose();
    let counted = counted.map_err(|()| {
        let message = format!("{most} connections are open from this address");
        refused(StatusCode::TOO_MANY_REQUESTS, "connections_per_address", message)
    })?;
    let most = limits.connections;
    let open = Open::within(&shared.connections, most).ok_or_else(|| {
        refused(StatusCode::SERVICE_UNAVAILABLE, "connections", format!("{most} connections are open"))
    })?;
    Ok((open, counted))
}

/// The most that may wait in a socket's own buffer, which is one frame beside what an outbox holds: a whole transaction, whose text may be
/// longer than its rows, or a `welcome` with all outcomes of batches.
fn write_buffer(limits: &Limits) -> usize {
    let outcomes = usize::try_from(limits.unacknowledged).unwrap_or(usize::MAX).saturating_mul(48 * 1024);
    let transaction = limits.transaction_bytes.max(limits.row_bytes).saturating_mul(8);
    2_usize
        .saturating_mul(limits.outbox_bytes.max(crate::outbox::FRAME_BYTES))
        .saturating_add(transaction.max(outcomes))
}

async fn serve_socket(upgraded: Upgraded, identity: Option<Identity>, shared: &Shared) {
    let limits = shared.engine.limits();
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(READ_BUFFER)
        .max_write_buffer_size(write_buffer(limits))
        .max_message_size(Some(limits.message_bytes))
        .max_frame_size(Some(limits.message_bytes));
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    connection::serve(socket, shared.engine.clone(), identity, shared.stopping.subscribe()).await;
}

/// A request to upgrade that is as it should be.
struct Handshake {
    accept: String,
    has_subprotocol: bool,
}

impl Handshake {
    #[expect(clippy::result_large_err, reason = "the error is the answer")]
    fn read(headers: &HeaderMap) -> Result<Self, Response> {
        let has = |name, token: &str| {
            headers
                .get_all(name)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
        };
        if !has(header::CONNECTION, "upgrade") || !has(header::UPGRADE, "websocket") {
            let message = "this is a WebSocket: connect to it with a WebSocket client\n";
            return Err(
                (StatusCode::UPGRADE_REQUIRED, [(header::UPGRADE, "websocket")], message).into_response()
            );
        }
        if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            let version = [(header::SEC_WEBSOCKET_VERSION, "13")];
            return Err(
                (StatusCode::BAD_REQUEST, version, "WebSocket version 13 is needed\n").into_response()
            );
        }
        let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24) else {
            return Err(
                (StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing or malformed\n").into_response()
            );
        };
        // A client that offers subprotocols means one of them; one that offers none takes what there is.
        let has_subprotocol = headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL);
        if has_subprotocol && !has(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
            return Err((StatusCode::BAD_REQUEST, "the subprotocol here is sync.v1\n").into_response());
        }
        Ok(Self { accept: derive_accept_key(key.as_bytes()), has_subprotocol })
    }

    fn answer(&self) -> Response {
        let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(accept) = HeaderValue::from_str(&self.accept) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        if self.has_subprotocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        }
        response
    }
}

/// What connections are read by.
fn http(limits: &Limits) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.handshake_timeout);
    http
}

/// Answers the requests of one connection, until it ends or becomes a WebSocket.
fn connection<S>(
    http: &http1::Builder,
    stream: S,
    (local, address): (LocalAddress, SocketAddr),
    router: Router,
    mut stopping: watch::Receiver<bool>,
) -> impl Future<Output = ()> + Send + use<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = TowerToHyperService::new(router);
    // As `into_make_service_with_connect_info` of axum says it.
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(address));
        request.extensions_mut().insert(local);
        service.call(request)
    });
    let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
    async move {
        let mut connection = pin!(connection);
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = stopped(&mut stopping) => {
                // What is being answered is, and nothing after it.
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, "an HTTP connection failed");
        }
    }
}

/// Serves one connection that is no socket.
#[cfg(feature = "fuzzing")]
pub(super) async fn serve_stream<S>(stream: S, router: Router, shared: &Shared)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let http = http(shared.engine.limits());
    let addresses = (LocalAddress(nowhere.ip()), nowhere);
    connection(&http, stream, addresses, router, shared.stopping.subscribe()).await;
}

/// Accepts and serves until the server stops; then waits for the requests that are being answered.
pub(super) async fn serve(listener: TcpListener, router: Router, shared: &Shared) {
    let mut stopping = shared.stopping.subscribe();
    let requests = watch::Sender::new(0);
    let http = http(shared.engine.limits());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stopping) => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Small messages leave at once.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was refused");
        }
        let local = match stream.local_addr() {
            Ok(local) => LocalAddress(local.ip()),
            Err(error) => {
                tracing::debug!(%error, "a connection was gone before it was served");
                continue;
            }
        };
        let open = Open::new(&requests);
        let connection =
            connection(&http, stream, (local, address), router.clone(), shared.stopping.subscribe());
        tokio::spawn(async move {
            connection.await;
            drop(open);
        });
    }
    drop(listener);
    let patience = shared.engine.limits().shutdown_timeout;
    let mut requests = requests.subscribe();
    if time::timeout(patience, requests.wait_for(|open| *open == 0)).await.is_err() {
        tracing::warn!("requests did not end in time");
    }
}
