//! The command line of a program that is a server.

use std::{
    io::{IsTerminal as _, Write as _},
    net::SocketAddr,
    path::PathBuf,
};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use ipnet::IpNet;
use tokio::{net::TcpListener, signal};
use tracing_subscriber::{EnvFilter, fmt};

use super::{
    Server,
    builder::StoreChoice,
    host::{self, HostName},
    origin, proxies,
};
use crate::{Error, Limits, Result};

/// Models that stay in sync, served over WebSocket.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve (the default)
    Serve(Box<Serve>),
    /// Print the models of this program
    Models,
    /// Copy the store into a new file, also while it is served
    Backup(Backup),
    /// Put a copy in the place of a store that is not there, with a new epoch: clients read their rows anew
    Restore(Restore),
    /// Print the types of the models for TypeScript: the content of models.d.ts
    Typescript(Typescript),
}

#[derive(Debug, Args)]
struct Backup {
    /// The store: sqlite:PATH
    #[arg(long, value_name = "STORE", env = "SYNC_STORE")]
    store: String,

    /// The file to make; it must not exist
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

#[derive(Debug, Args)]
struct Restore {
    /// The store to make: sqlite:PATH, where nothing is
    #[arg(long, value_name = "STORE", env = "SYNC_STORE")]
    store: String,

    /// What `backup` has made
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
}

#[derive(Debug, Args)]
struct Typescript {
    /// Print the content of models.js instead: the schema that a client gives as the one it was built for
    #[arg(long)]
    schema: bool,
}

#[derive(Debug, Args)]
struct Serve {
    /// The address to listen on
    #[arg(long, value_name = "ADDRESS", env = "SYNC_LISTEN")]
    listen: SocketAddr,

    /// Listen where other machines reach it although clients are not asked who they are
    #[arg(long)]
    insecure: bool,

    /// Where the rows are kept: sqlite:PATH or memory:
    #[arg(long, value_name = "STORE", env = "SYNC_STORE")]
    store: String,

    /// Answer requests for this name, besides localhost and the address listened on; *.example.org is all names below; may be given several
    /// times
    #[arg(long, value_name = "NAME", value_parser = host::parse_host)]
    host: Vec<HostName>,

    /// Allow pages of this origin to connect, besides the server's own; may be given several times
    #[arg(long, value_name = "ORIGIN", value_parser = origin::parse_origin)]
    allow_origin: Vec<String>,

    /// Believe this proxy whom it forwards for: its address or network, such as 10.0.0.0/8; may be given several times
    #[arg(long, value_name = "ADDRESS", value_parser = proxies::parse_proxy)]
    trusted_proxy: Vec<IpNet>,

    /// The folder of an npm install with backbone and underscore, for pages that use them
    #[arg(long, value_name = "DIR", env = "SYNC_NPM")]
    npm: Option<PathBuf>,

    #[command(flatten, next_help_heading = "Limits")]
    limits: Limits,
}

pub(super) async fn run(mut server: Server) -> Result<()> {
    let matches = command(server.listen, &server.store, &server.limits).get_matches();
    let line = CommandLine::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match line.command {
        Some(Command::Models) => return models(&server),
        Some(Command::Backup(Backup { store, to })) => {
            return StoreChoice::parse(&store).and_then(|store| store.backup(&to)).map_err(Error::internal);
        }
        Some(Command::Restore(Restore { store, from })) => {
            return StoreChoice::parse(&store)
                .and_then(|store| store.restore(&from))
                .map_err(Error::internal);
        }
        Some(Command::Typescript(typescript)) => return typescript.print(&server),
        Some(Command::Serve(serve)) => serve.apply(&mut server)?,
        None => line.serve.apply(&mut server)?,
    }
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // What it logs below that is whole frames, with the tokens in them.
    let filter = match "tungstenite=info".parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    };
    // A program that has set up tracing itself keeps its own.
    let ansi = std::io::stderr().is_terminal();
    let _ = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi)
        .with_target(false)
        .try_init();

    let models: Vec<_> = server.registry.iter().map(crate::registry::Model::name).collect();
    for model in server.registry.iter() {
        tracing::debug!(model = model.name(), at = %model.at(), methods = ?model.handlers, "registered");
    }
    let (listen, store, models) = (server.listen, server.store.to_string(), models.join(", "));
    server.exposure().check(listen)?;
    // Before the store: what cannot be listened on need not be opened.
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|error| Error::internal(format!("cannot listen on {listen}: {error}")))?;
    let address = listener.local_addr()?;
    let mut stop = Signals::new()?;
    let running = server.start().await?;
    tracing::info!("listening on http://{address} (models: {models}; store: {store})");

    let serving = running.serve(listener);
    let stopping = async {
        tracing::info!("stopping: {}", stop.received().await);
        running.stop().await;
    };
    let (served, ()) = tokio::join!(serving, stopping);
    served
}

/// The command line, with the server's own settings as the defaults.
fn command(listen: SocketAddr, store: &StoreChoice, limits: &Limits) -> clap::Command {
    let defaults = [
        ("listen", listen.to_string()),
        ("store", store.to_string()),
        ("message_bytes", limits.message_bytes.to_string()),
        ("row_bytes", limits.row_bytes.to_string()),
        ("transaction_bytes", limits.transaction_bytes.to_string()),
        ("json_depth", limits.json_depth.to_string()),
        ("connections", limits.connections.to_string()),
        ("connections_per_address", limits.connections_per_address.to_string()),
        ("messages_per_second", limits.messages_per_second.to_string()),
        ("message_burst", limits.message_burst.to_string()),
        ("in_flight", limits.in_flight.to_string()),
        ("unacknowledged", limits.unacknowledged.to_string()),
        ("subscriptions", limits.subscriptions.to_string()),
        ("outbox_bytes", limits.outbox_bytes.to_string()),
        ("window_bytes", limits.window_bytes.to_string()),
        ("page_rows", limits.page_rows.to_string()),
        ("ping_interval", limits.ping_interval.as_secs_f64().to_string()),
        ("pong_timeout", limits.pong_timeout.as_secs_f64().to_string()),
        ("handler_timeout", limits.handler_timeout.as_secs_f64().to_string()),
        ("handshake_timeout", limits.handshake_timeout.as_secs_f64().to_string()),
        ("hello_timeout", limits.hello_timeout.as_secs_f64().to_string()),
        ("tickets", limits.tickets.to_string()),
        ("shutdown_timeout", limits.shutdown_timeout.as_secs_f64().to_string()),
        ("client_retention", limits.client_retention.as_secs_f64().to_string()),
    ];
    let with_defaults = |command: clap::Command| {
        defaults.iter().fold(command, |command, (name, default)| {
            let default = default.clone();
            command.mut_arg(*name, |arg| arg.default_value(default).required(false))
        })
    };
    let with_store = |command: clap::Command| {
        let store = store.to_string();
        command.mut_arg("store", |arg| arg.default_value(store).required(false))
    };
    with_defaults(CommandLine::command())
        .mut_subcommand("serve", with_defaults)
        .mut_subcommand("backup", with_store)
        .mut_subcommand("restore", with_store)
}

impl Serve {
    fn apply(self, server: &mut Server) -> Result<()> {
        server.listen = self.listen;
        server.insecure |= self.insecure;
        // A store of the program's own has no name that could be parsed again.
        if self.store != server.store.to_string() {
            server.store = StoreChoice::parse(&self.store).map_err(Error::internal)?;
        }
        for host in self.host {
            server.hosts.allow(host);
        }
        for origin in self.allow_origin {
            server.origins.allow(origin);
        }
        for proxy in self.trusted_proxy {
            server.proxies.trust(proxy);
        }
        server.npm = self.npm.or(server.npm.take());
        server.limits = self.limits;
        match server.limits.faults().as_slice() {
            [] => Ok(()),
            faults => Err(Error::internal(faults.join("; "))),
        }
    }
}

impl Typescript {
    /// On standard output the file; on standard error what is unknown in it.
    fn print(&self, server: &Server) -> Result<()> {
        let text = if self.schema { server.schema_module() } else { server.typescript() };
        std::io::stdout().lock().write_all(text.as_bytes())?;
        if !self.schema {
            let mut errors = std::io::stderr().lock();
            for line in server.registry.typescript().unknown() {
                writeln!(errors, "{line}")?;
            }
        }
        Ok(())
    }
}

/// Prints the models, a line each, with what is declared.
fn models(server: &Server) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for model in server.registry.iter() {
        let methods: Vec<_> = model.handlers.methods().collect();
        let methods = if methods.is_empty() { "no handlers".into() } else { methods.join(", ") };
        writeln!(out, "{} ({}) at {}: {methods}", model.name(), model.type_name(), model.at())?;
    }
    Ok(())
}

/// The signals that stop a server.
struct Signals {
    #[cfg(unix)]
    terminate: signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            terminate: signal::unix::signal(signal::unix::SignalKind::terminate())?,
        })
    }

    /// Waits for one; its name.
    async fn received(&mut self) -> &'static str {
        #[cfg(unix)]
        let terminate = self.terminate.recv();
        #[cfg(not(unix))]
        let terminate = std::future::pending::<Option<()>>();
        tokio::select! {
            _ = signal::ctrl_c() => "interrupted",
            _ = terminate => "asked to terminate",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Serve, clap::Error> {
        let listen = "127.0.0.1:3000".parse().unwrap();
        let command = command(listen, &StoreChoice::Memory, &Limits::default());
        let matches = command.try_get_matches_from(["program"].iter().chain(arguments))?;
        let line = CommandLine::from_arg_matches(&matches)?;
        Ok(match line.command {
            Some(Command::Serve(serve)) => *serve,
            _ => line.serve,
        })
    }

    /// Every field, as `Debug` shows it.
    fn fields(limits: &Limits) -> BTreeMap<String, String> {
        let shown = format!("{limits:#?}");
        let fields = shown.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(": "));
        fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn every_limit_has_a_flag_that_may_be_left_out() {
        let defaults = fields(&Limits::default());
        assert!(defaults.len() > 20 && defaults.contains_key("connections"), "{defaults:?}");
        assert_eq!(fields(&parse(&[]).unwrap().limits), defaults);
        for name in defaults.keys() {
            let flag = format!("--{}", name.replace('_', "-"));
            for before in [&[] as &[&str], &["serve"]] {
                let given = parse(&[before, &[&flag, "77777"]].concat()).unwrap();
                let set: Vec<_> = fields(&given.limits)
                    .into_iter()
                    .filter(|(name, value)| defaults.get(name) != Some(value))
                    .collect();
                assert!(
                    matches!(&set[..], [(only, value)] if only == name && value.starts_with("77777")),
                    "{flag}: {set:?}"
                );
            }
            assert!(parse(&[&flag, "much"]).is_err(), "{flag}");
        }
    }

    #[test]
    fn proxies_are_trusted_by_flag() {
        let serve = parse(&["--trusted-proxy", "10.0.0.1", "--trusted-proxy", "fd00::/8"]).unwrap();
        assert_eq!(serve.trusted_proxy.len(), 2);
        let refused = parse(&["--trusted-proxy", "proxy"]).unwrap_err().to_string();
        assert!(refused.contains("`proxy` is no address: write it as"), "{refused}");
    }
}
