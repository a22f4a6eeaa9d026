//! How a server is put together.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::Router;

use super::{
    RoutesWith, Running, Server,
    host::{self, Hosts},
    origin::{self, Origins},
    proxies::{self, Proxies},
};
use crate::{
    Limits, Login, Result, Session, SyncedModel,
    authentication::{self, Authenticate},
    registry::{ModelRegistration, Registry},
    store::{MemoryStore, Store},
};

/// Puts a [`Server`] together; made by [`Server::builder`]. Every setting has a default, and what a person who runs the program may want to change
/// has a flag on its command line, which goes before what is set here.
#[must_use = "a builder does nothing until it is built"]
pub struct ServerBuilder {
    models: Vec<ModelRegistration>,
    store: StoreChoice,
    listen: SocketAddr,
    limits: Limits,
    origins: Origins,
    hosts: Hosts,
    proxies: Proxies,
    npm: Option<PathBuf>,
    faults: Vec<String>,
    routes: Router,
    routes_with: Vec<RoutesWith>,
    authenticate: Option<Authenticate>,
    insecure: bool,
}

impl ServerBuilder {
    pub(super) fn new() -> Self {
        Self {
            models: Vec::new(),
            store: StoreChoice::default(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 3000)),
            limits: Limits::default(),
            origins: Origins::default(),
            hosts: Hosts::default(),
            proxies: Proxies::default(),
            npm: None,
            faults: Vec::new(),
            routes: Router::new(),
            routes_with: Vec::new(),
            authenticate: None,
            insecure: false,
        }
    }

    /// Names a model that lives in another crate. Models register themselves, but a crate that is in `Cargo.toml` and never named in the code is
    /// not linked, and then they do not; naming one of its types here is enough. A model that is registered already is not registered twice.
    pub fn model<M: SyncedModel>(mut self) -> Self {
        self.models.push(ModelRegistration::of::<M>());
        self
    }

    /// Where the rows are kept: `sqlite:PATH`, or `memory:` for rows that end with the process (`--store`).
    ///
    /// By default `sqlite:NAME.db` in the folder where the program is run, where `NAME` is the program's.
    pub fn store(mut self, url: &str) -> Self {
        match StoreChoice::parse(url) {
            Ok(store) => self.store = store,
            Err(fault) => self.faults.push(fault),
        }
        self
    }

    /// Keeps the rows in a store of your own.
    pub fn custom_store(mut self, store: impl Store) -> Self {
        self.store = StoreChoice::Custom(Arc::new(store));
        self
    }

    /// Where [`Server::run`] listens (`--listen`): 127.0.0.1:3000 by default, which only this machine reaches. An
    /// address that other machines reach needs [`authenticate`](Self::authenticate), or [`insecure`](Self::insecure).
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Allows a name by which the server is reached, such as `example.org`, or `*.example.org` for all names below that one (`--host`). Without
    /// scheme and port, and as a browser writes it: `xn--bcher-kva.example`.
    ///
    /// Requests for other names are refused with 421, on every route. `localhost`, loopback addresses, and the address at which a
    /// connection has arrived are always allowed. Otherwise any page on the web could have its own name point at this machine, and would have
    /// this server for its own (DNS rebinding). A proxy in front of the server passes `Host` on.
    pub fn host(mut self, name: &str) -> Self {
        match host::parse_host(name) {
            Ok(host) => self.hosts.allow(host),
            Err(fault) => self.faults.push(fault),
        }
        self
    }

    /// Allows pages of another origin to connect, such as `https://app.example` (`--allow-origin`). Those of the server's own origin always may:
    /// of the same scheme, host and port. The scheme is http, unless a proxy that takes TLS off says otherwise in `X-Forwarded-Proto`.
    pub fn allow_origin(mut self, origin: &str) -> Self {
        match origin::parse_origin(origin) {
            Ok(origin) => self.origins.allow(origin),
            Err(fault) => self.faults.push(fault),
        }
        self
    }

    /// Trusts the `X-Forwarded-For` of a proxy before the server (`--trusted-proxy`), given by its address or its network, such as `10.0.0.5` or
    /// `10.0.0.0/8`. What counts is the last address in it that is no trusted proxy: for [`Limits::connections_per_address`] and as
    /// [`Login::address`]. From others the header says nothing.
    pub fn trusted_proxy(mut self, proxy: &str) -> Self {
        match proxies::parse_proxy(proxy) {
            Ok(proxy) => self.proxies.trust(proxy),
            Err(fault) => self.faults.push(fault),
        }
        self
    }

    /// The folder of an npm install with `backbone` and `underscore` (`--npm`): what `npm install` was run in, or its `node_modules`. The
    /// page then has them at `/sync/vendor/backbone.js` and `/sync/vendor/underscore.js`; nothing else of the folder is served. The files
    /// are read at each request, so the folder may come to be while the server runs.
    pub fn npm(mut self, folder: impl Into<PathBuf>) -> Self {
        self.npm = Some(folder.into());
        self
    }

    /// Sets the limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Has a function find out who each client is, by its headers, a cookie, the token of its `hello` or a ticket: it returns a
    /// [`Session`], which handlers then have from [`Context::require`](crate::Context::require), or an error that the client is told.
    /// Nothing is done for a client before.
    ///
    /// ```
    /// use sync_core::{Error, Login, Result, Server, Session};
    ///
    /// struct User { id: u64 }
    ///
    /// async fn authenticate(login: Login) -> Result<Session<User>> {
    ///     match login.cookie("session") {
    ///         Some("7f3a") => Ok(Session::new(User { id: 7 }).subject("7")),
    ///         _ => Err(Error::unauthenticated("please sign in")),
    ///     }
    /// }
    ///
    /// # fn build() {
    /// Server::builder().authenticate(authenticate);
    /// # }
    /// ```
    ///
    /// It is called for each `hello`, and again with the same headers and token when [`Running::revoke`](crate::Running::revoke) says so. It may
    /// take [`Limits::hello_timeout`], and holds up nobody but the client. An [`Error::unauthenticated`](crate::Error::unauthenticated) asks
    /// the client for another token. A panic, or an error with `?` from elsewhere, refuses the one `hello` and is logged.
    pub fn authenticate<F, Fut, T>(mut self, authenticate: F) -> Self
    where
        F: Fn(Login) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Session<T>>> + Send + 'static,
        T: Send + Sync + 'static,
    {
        self.authenticate = Some(authentication::erased(authenticate));
        self
    }

    /// Listens where other machines reach it although clients are not asked who they are (`--insecure`): everyone who reaches that address may do
    /// all that the handlers allow. For a network that is trusted, a container behind a proxy that asks, or data that is everybody's.
    /// Without this, and without [`authenticate`](Self::authenticate), only loopback addresses are listened on.
    pub fn insecure(mut self) -> Self {
        self.insecure = true;
        self
    }

    /// Adds routes: the app's pages, its own endpoints. Paths under `/sync` are taken.
    pub fn routes(mut self, routes: Router) -> Self {
        self.routes = self.routes.merge(routes);
        self
    }

    /// Adds routes that need the running server: its [`handle`](Running::handle) to the rows, [`ticket`](Running::ticket),
    /// [`revoke`](Running::revoke). The function is called once, when the server has started, and may start tasks too.
    ///
    /// ```
    /// use axum::{Router, extract::State, routing::post};
    /// use sync_core::{Handle, Server};
    /// # use serde::{Serialize, Deserialize};
    /// # #[derive(Clone, Serialize, Deserialize, sync_core::SyncedModel)]
    /// # struct Todo { id: u64, title: String }
    ///
    /// async fn add(State(rows): State<Handle>, title: String) -> String {
    ///     match rows.insert(Todo { id: 0, title }).await {
    ///         Ok(todo) => format!("todo {}\n", todo.id),
    ///         Err(error) => format!("{error}\n"),
    ///     }
    /// }
    ///
    /// Server::builder()
    ///     .routes_with(|running| Router::new().route("/todos", post(add)).with_state(running.handle()));
    /// ```
    pub fn routes_with(mut self, routes: impl FnOnce(&Running) -> Router + Send + 'static) -> Self {
        self.routes_with.push(Box::new(routes));
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    /// Lists all that is wrong at once: two models of one name, two impls with handlers for one model, no model at all, with file and line; and
    /// settings that cannot be.
    pub fn build(self) -> Result<Server, BuildError> {
        let mut faults = self.faults;
        faults.extend(self.limits.faults());
        match Registry::collect(&self.models) {
            Ok(registry) if faults.is_empty() => Ok(Server {
                registry,
                store: self.store,
                listen: self.listen,
                limits: self.limits,
                origins: self.origins,
                hosts: self.hosts,
                proxies: self.proxies,
                npm: self.npm,
                routes: self.routes,
                routes_with: self.routes_with,
                authenticate: self.authenticate,
                insecure: self.insecure,
            }),
            Ok(_) => Err(BuildError { faults }),
            Err(wrong) => {
                faults.extend(wrong.iter().map(ToString::to_string));
                Err(BuildError { faults })
            }
        }
    }
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("models", &self.models)
            .field("store", &self.store)
            .field("listen", &self.listen)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Everything that is wrong with a server.
pub struct BuildError {
    faults: Vec<String>,
}

impl BuildError {
    /// Each fault, in words.
    pub fn faults(&self) -> impl ExactSizeIterator<Item = &str> {
        self.faults.iter().map(String::as_str)
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.faults.as_slice() {
            [fault] => write!(f, "the server cannot be built: {fault}"),
            faults => {
                write!(f, "the server cannot be built:")?;
                faults.iter().try_for_each(|fault| write!(f, "\n  * {fault}"))
            }
        }
    }
}

/// What `main` prints.
impl fmt::Debug for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for BuildError {}

/// A store that is not open yet.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "sqlite"), derive(Default))]
pub(super) enum StoreChoice {
    #[cfg_attr(not(feature = "sqlite"), default)]
    Memory,
    #[cfg(feature = "sqlite")]
    Sqlite(PathBuf),
    Custom(Arc<dyn Store>),
}

#[cfg(feature = "sqlite")]
impl Default for StoreChoice {
    fn default() -> Self {
        let program = std::env::current_exe().ok();
        let name = program.as_deref().and_then(|path| path.file_stem()).map(PathBuf::from);
        let mut file = name.unwrap_or_else(|| "sync".into()).into_os_string();
        file.push(".db");
        Self::Sqlite(file.into())
    }
}

impl StoreChoice {
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        match url.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            #[cfg(feature = "sqlite")]
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            #[cfg(not(feature = "sqlite"))]
            Some(("sqlite", _)) => Err("sync-core was built without its feature `sqlite`".into()),
            _ => Err(format!("`{url}` is no store: write sqlite:PATH or memory:")),
        }
    }

    pub(super) fn open(&self) -> Arc<dyn Store> {
        match self {
            Self::Memory => Arc::new(MemoryStore::new()),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path) => Arc::new(crate::store::SqliteStore::new(path)),
            Self::Custom(store) => store.clone(),
        }
    }

    /// Copies it into a new file.
    pub(super) fn backup(&self, to: &Path) -> Result<(), String> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path) => {
                crate::store::SqliteStore::backup(path, to).map_err(|error| error.to_string())
            }
            other => Err(format!("{other} cannot be copied into {}: it is no file", to.display())),
        }
    }

    /// Makes it of a copy.
    pub(super) fn restore(&self, from: &Path) -> Result<(), String> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path) => {
                crate::store::SqliteStore::restore(from, path).map_err(|error| error.to_string())
            }
            other => Err(format!("{other} cannot be made of {}: it is no file", from.display())),
        }
    }
}

impl fmt::Display for StoreChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Custom(store) => write!(f, "{store:?}"),
        }
    }
}
