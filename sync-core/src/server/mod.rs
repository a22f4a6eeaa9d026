//! The server: from a program's models to sockets that are served.

mod addresses;
mod builder;
mod cli;
mod exposure;
mod handle;
mod host;
mod http;
mod origin;
mod proxies;
mod vendor;

use std::{fmt, net::SocketAddr, path::PathBuf, sync::Arc, time::SystemTime};

use axum::{Router, middleware};
use tokio::{
    net::TcpListener,
    sync::{Mutex, watch},
    task::JoinHandle,
    time,
};

#[cfg(feature = "simulation")]
use {
    crate::{
        authentication::Opening,
        connection::{self, Identity},
    },
    ::http::HeaderMap,
    futures_util::{Sink, Stream},
    tokio_tungstenite::tungstenite::{Error as SocketError, Message},
};

use self::{addresses::Addresses, exposure::Exposure, host::Hosts, origin::Origins, proxies::Proxies};
use crate::{
    Error, Limits, Result, Session, Ticket,
    authentication::{Authenticate, Authentication},
    engine::Engine,
    registry::Registry,
};

pub use self::{
    builder::{BuildError, ServerBuilder},
    handle::Handle,
};

/// How often the log is read again after it could not be.
const LOOK_AGAIN_EVERY: time::Duration = time::Duration::from_secs(1);

/// How often old clients are looked for.
const FORGET_EVERY: time::Duration = time::Duration::from_hours(1);

/// A server for the models of a program: [`run`](Self::run) it, or [`start`](Self::start) it inside an axum app of your own.
///
/// ```no_run
/// use sync_core::{Result, Server};
/// # use serde::{Serialize, Deserialize};
/// # #[derive(Clone, Serialize, Deserialize, sync_core::SyncedModel)]
/// # struct Todo { id: u64 }
///
/// #[tokio::main]
/// async fn main() -> Result<()> {
///     Server::builder().build()?.run().await
/// }
/// ```
pub struct Server {
    registry: Registry,
    store: builder::StoreChoice,
    listen: SocketAddr,
    limits: Limits,
    origins: Origins,
    hosts: Hosts,
    proxies: Proxies,
    npm: Option<PathBuf>,
    routes: Router,
    routes_with: Vec<RoutesWith>,
    authenticate: Option<Authenticate>,
    insecure: bool,
}

impl Server {
    /// A server with the models that this program registered, the default limits, and the rows in `todo.db`, if the program is called
    /// `todo`, beside where it is run.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::new()
    }

    /// The types of the models for TypeScript: what `/sync/models.d.ts` serves and the command `typescript` prints. In a test of your own it
    /// tells whether a file that is kept with a client is still right.
    pub fn typescript(&self) -> String {
        self.registry.typescript().declarations()
    }

    /// The schema that a client is built for, as a JavaScript module: what `/sync/models.js` serves and `typescript --schema` prints.
    pub fn schema_module(&self) -> String {
        self.registry.schema_module()
    }

    /// Does what the command line says: serves (the default), or prints the models or their types. Returns when the server was stopped by SIGINT or
    /// SIGTERM and everything in flight is done.
    ///
    /// Logs go to standard error; `RUST_LOG` chooses them (`info` by default) unless the program has set up `tracing` itself.
    ///
    /// # Errors
    /// When the store cannot be opened or the address not be listened on; when other machines reach that address and clients are not asked who
    /// they are, unless [`ServerBuilder::insecure`] says that they need not be. A wrong command line prints how it is used and ends the process.
    pub async fn run(self) -> Result<()> {
        cli::run(self).await
    }

    /// Opens the store and begins to work, without listening: [`Running::router`] is what serves clients.
    ///
    /// ```no_run
    /// use axum::{Router, routing::get};
    /// use sync_core::{Result, Server};
    /// # use serde::{Serialize, Deserialize};
    /// # #[derive(Clone, Serialize, Deserialize, sync_core::SyncedModel)]
    /// # struct Todo { id: u64 }
    ///
    /// #[tokio::main]
    /// async fn main() -> Result<()> {
    ///     let sync = Server::builder().store("sqlite:app.db").build()?.start().await?;
    ///     let app = Router::new().route("/", get(|| async { "my own page" })).merge(sync.router());
    ///     let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    ///     let stop = async move {
    ///         let _ = tokio::signal::ctrl_c().await;
    ///         sync.stop().await;
    ///     };
    ///     axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// When the store cannot be opened.
    pub async fn start(self) -> Result<Running> {
        let exposure = self.exposure();
        let store = self.store.open();
        let engine = Engine::open(self.registry, store, self.limits).await?;
        let engine = Arc::new(engine);
        let (stopping, _) = watch::channel(false);
        let committing = tokio::spawn({
            let engine = engine.clone();
            async move { engine.run().await }
        });
        let forgetting = tokio::spawn({
            let engine = engine.clone();
            async move {
                let (began, at) = (SystemTime::now(), time::Instant::now());
                engine.passed(began);
                loop {
                    // Not at once: who was connected to the process before this one comes back first.
                    time::sleep(FORGET_EVERY).await;
                    engine.forget_clients(SystemTime::now(), began + at.elapsed()).await;
                }
            }
        });
        let looking = tokio::spawn({
            let engine = engine.clone();
            async move {
                let mut often = time::interval(LOOK_AGAIN_EVERY);
                loop {
                    often.tick().await;
                    engine.look_again();
                }
            }
        });
        let refilling = tokio::spawn({
            let engine = engine.clone();
            async move { engine.refill().await }
        });
        let tasks = Tasks { committing, background: [forgetting, looking, refilling] };
        let connections = watch::channel(0).0;
        let tickets = engine.limits().tickets;
        let authentication = self.authenticate.map(|authenticate| {
            Arc::new(Authentication::new(authenticate, Handle::new(engine.clone()), tickets))
        });
        let shared = Shared {
            engine,
            authentication,
            stopping,
            origins: self.origins,
            hosts: self.hosts,
            proxies: self.proxies,
            npm: self.npm,
            connections,
            addresses: Addresses::default(),
            exposure,
        };
        let mut running = Running {
            shared: Arc::new(shared),
            tasks: Arc::new(Mutex::new(Some(tasks))),
            routes: self.routes,
        };
        let more: Vec<_> = self.routes_with.into_iter().map(|routes| routes(&running)).collect();
        running.routes = more.into_iter().fold(running.routes, Router::merge);
        Ok(running)
    }

    fn exposure(&self) -> Exposure {
        Exposure { authenticates: self.authenticate.is_some(), is_insecure: self.insecure }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("models", &self.registry)
            .field("store", &self.store)
            .field("listen", &self.listen)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Makes routes for a running server.
type RoutesWith = Box<dyn FnOnce(&Running) -> Router + Send>;

/// A server that works: its store is open. Clones are the same server.
///
/// Dropping it does not stop it; [`stop`](Self::stop) does.
#[derive(Clone)]
pub struct Running {
    shared: Arc<Shared>,
    tasks: Arc<Mutex<Option<Tasks>>>,
    routes: Router,
}

/// What requests need.
struct Shared {
    engine: Arc<Engine>,
    authentication: Option<Arc<Authentication>>,
    stopping: watch::Sender<bool>,
    origins: Origins,
    hosts: Hosts,
    proxies: Proxies,
    npm: Option<PathBuf>,
    /// How many sockets are open.
    connections: watch::Sender<usize>,
    /// Where they come from.
    addresses: Addresses,
    exposure: Exposure,
}

struct Tasks {
    committing: JoinHandle<()>,
    background: [JoinHandle<()>; 3],
}

impl Running {
    /// The routes of the server, to merge into an axum app: the socket at `/sync`, the JavaScript client at `/sync/client.js`, the packages
    /// of [`ServerBuilder::npm`] under `/sync/vendor/`, and what [`ServerBuilder::routes`] and [`ServerBuilder::routes_with`] added.
    ///
    /// These routes, and not the app's own, answer requests for the names of [`ServerBuilder::host`] and for `localhost`, and else with 421. They
    /// do not know where the app listens, so a `Host` that is an IP address will do: a page can have its own name point at this machine,
    /// and not an address. What the app has besides is its own to protect, and so is where it listens: without [`ServerBuilder::authenticate`]
    /// everyone who reaches the app may do what the handlers allow.
    pub fn router(&self) -> Router {
        let router = self.routes.clone().merge(http::router(self.shared.clone()));
        router.layer(middleware::from_fn_with_state(self.shared.clone(), host::check))
    }

    /// The rows, for the server's own code outside of handlers.
    pub fn handle(&self) -> Handle {
        Handle::new(self.shared.engine.clone())
    }

    /// Serves the routes on a listener until [`stop`](Self::stop) is called.
    ///
    /// # Errors
    /// When other machines reach the listener's address and clients are not asked who they are, unless [`ServerBuilder::insecure`] says that they
    /// need not be. A connection that cannot be accepted is logged and tried again.
    pub async fn serve(&self, listener: TcpListener) -> Result<()> {
        self.shared.exposure.check(listener.local_addr()?)?;
        http::serve(listener, self.router(), &self.shared).await;
        Ok(())
    }

    /// Serves one connection that is no socket, until it ends or becomes a WebSocket.
    #[cfg(feature = "fuzzing")]
    pub(crate) async fn serve_stream<S>(&self, stream: S)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        http::serve_stream(stream, self.router(), &self.shared).await;
    }

    /// Text that stands for a session once, within 30 seconds: for clients that can neither send a cookie nor wait with their token until they are
    /// connected. Make it in a route of your own, after your own sign-in, and give it to the client, which connects to `/sync?ticket=…`; there
    /// the function of [`ServerBuilder::authenticate`] has it from [`Login::ticket`](crate::Login::ticket).
    ///
    /// ```no_run
    /// use axum::{Router, extract::State, http::StatusCode, routing::post};
    /// use sync_core::{Error, Login, Result, Running, Server, Session};
    /// # use serde::{Serialize, Deserialize};
    /// # #[derive(Clone, Serialize, Deserialize, sync_core::SyncedModel)]
    /// # struct Todo { id: u64 }
    ///
    /// struct User { id: u64 }
    ///
    /// async fn ticket(State(sync): State<Running>) -> std::result::Result<String, StatusCode> {
    ///     let user = User { id: 7 }; // … whoever your own sign-in says it is
    ///     let session = Session::new(user).subject("7");
    ///     let ticket = sync.ticket(session).map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    ///     Ok(ticket.to_string())
    /// }
    ///
    /// async fn authenticate(login: Login) -> Result<Session<User>> {
    ///     login.ticket().ok_or_else(|| Error::unauthenticated("a ticket is needed"))
    /// }
    ///
    /// # async fn serve() -> Result<()> {
    /// let sync = Server::builder().authenticate(authenticate).build()?.start().await?;
    /// let app = Router::new().route("/ticket", post(ticket)).with_state(sync.clone()).merge(sync.router());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `limit` when [`Limits::tickets`] are waiting to be used. A subject that asks for more than 64 loses its oldest. `internal` where the server
    /// does not authenticate.
    pub fn ticket<T: Send + Sync + 'static>(&self, session: Session<T>) -> Result<Ticket> {
        match &self.shared.authentication {
            Some(authentication) => authentication.ticket(session.into_authority()),
            None => Err(Error::internal("a ticket is no use: the server was built without `authenticate`")),
        }
    }

    /// Asks anew who is behind every live session of a subject, and forgets the tickets that were made for it: after a password has
    /// changed, rights were taken away, somebody has signed out everywhere. Make the change first, so that `authenticate` sees it.
    ///
    /// From now on nothing is decided under the old sessions. `authenticate` is asked again with the headers and the token that each
    /// connection came with (a ticket counts once). Within a second the connection either is closed, with the code 4003, or goes on under the
    /// new session: what its subscriptions may see is asked again, and what was being decided is sent again by the client.
    ///
    /// Returns how many live sessions there were.
    pub fn revoke(&self, subject: &str) -> usize {
        self.shared.authentication.as_ref().map_or(0, |authentication| authentication.revoke(subject))
    }

    /// Stops: refuses new work, finishes what is in flight, closes the sockets with 1001, flushes and closes the store. Takes at most
    /// twice [`Limits::shutdown_timeout`]. A second call waits for nothing.
    pub async fn stop(&self) {
        let Some(tasks) = self.tasks.lock().await.take() else { return };
        let engine = &self.shared.engine;
        let patience = engine.limits().shutdown_timeout;
        engine.stop();
        self.shared.stopping.send_replace(true);
        let mut connections = self.shared.connections.subscribe();
        let closed = connections.wait_for(|open| *open == 0);
        if time::timeout(patience, closed).await.is_err() {
            tracing::warn!(open = *self.shared.connections.borrow(), "connections did not end in time");
        }
        tasks.background.iter().for_each(JoinHandle::abort);
        engine.close();
        if time::timeout(patience, tasks.committing).await.is_err() {
            tracing::error!("the store did not take the last transactions in time");
        }
        match engine.store().close().await {
            Ok(()) => tracing::info!("stopped"),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the store did not close cleanly");
            }
        }
    }

    /// What `read` handlers say may have changed, for a reason that is not a row of a model: they are asked again for every subscription.
    ///
    /// Nothing that is committed from now on is sent to a subscription before its handler has answered. If it still says the same the subscription
    /// goes on; else the client gets the rows that it may see now instead. A connection of which a handler does not answer within a second is closed.
    pub fn scopes_changed(&self) {
        self.shared.engine.hub().rescope_all();
    }

    /// Serves a socket that is none of the network's, until it ends: as one that was just upgraded, without headers.
    #[cfg(feature = "simulation")]
    #[doc(hidden)]
    pub async fn serve_socket<S>(&self, socket: S)
    where
        S: Stream<Item = Result<Message, SocketError>> + Sink<Message, Error = SocketError> + Send,
    {
        let Shared { engine, authentication, stopping, connections, .. } = &*self.shared;
        let identity = authentication
            .clone()
            .map(|authentication| Identity::new(authentication, Opening::new(HeaderMap::new(), None, None)));
        let _open = Open::new(connections);
        connection::serve(socket, engine.clone(), identity, stopping.subscribe()).await;
    }

    /// Completes when [`stop`](Self::stop) is called.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stopping = self.shared.stopping.subscribe();
        async move { stopped(&mut stopping).await }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("engine", &self.shared.engine).finish_non_exhaustive()
    }
}

/// Waits until the server stops. An error says that it is gone altogether.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Counts an open socket, or a connection that makes requests.
struct Open(watch::Sender<usize>);

impl Open {
    fn new(connections: &watch::Sender<usize>) -> Self {
        connections.send_modify(|open| *open += 1);
        Self(connections.clone())
    }

    /// One more, unless there are `limit` already.
    fn within(connections: &watch::Sender<usize>, limit: usize) -> Option<Self> {
        let is_room = connections.send_if_modified(|open| {
            let is_room = *open < limit;
            *open += usize::from(is_room);
            is_room
        });
        is_room.then(|| Self(connections.clone()))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}
