//! The limits that keep a server up.

use std::time::Duration;

/// What one client, and one row, may cost the server. Every field has a flag of the same name on the command line
/// (`--message-bytes`), which goes before what the program sets.
///
/// ```
/// use sync_core::Limits;
///
/// let mut limits = Limits::default();
/// limits.message_bytes = 1024 * 1024; // rows with long texts
/// limits.row_bytes = 1024 * 1024;
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(feature = "server", derive(clap::Args))]
#[non_exhaustive]
pub struct Limits {
    /// The largest message of a client, in bytes (65,536). A larger one closes the connection with 1009.
    #[cfg_attr(feature = "server", arg(long, value_name = "BYTES"))]
    pub message_bytes: usize,

    /// The largest row, in bytes of its stored JSON (131,072). A larger one is refused with `too_large`.
    #[cfg_attr(feature = "server", arg(long, value_name = "BYTES"))]
    pub row_bytes: usize,

    /// The largest transaction, in bytes of the rows that it writes, with about 200 for each (1,048,576), but never less than one row. A larger
    /// one is refused with `too_large`. It reaches subscribers in one frame.
    #[cfg_attr(feature = "server", arg(long, value_name = "BYTES"))]
    pub transaction_bytes: usize,

    /// How deep the JSON of a message may be nested (32). A deeper one is refused with `limit`.
    #[cfg_attr(feature = "server", arg(long, value_name = "LEVELS"))]
    pub json_depth: usize,

    /// How many connections may be open (100,000). A further one is refused with the HTTP status 503. Each is a file of the process: the
    /// system's limit on those (`ulimit -n`) may be lower.
    #[cfg_attr(feature = "server", arg(long, value_name = "CONNECTIONS"))]
    pub connections: usize,

    /// How many connections may be open from one address (100); with IPv6 from one /64, which is what one client has. A further one is refused
    /// with the HTTP status 429. Behind a proxy all come from its address, unless it is a
    /// [`trusted_proxy`](crate::ServerBuilder::trusted_proxy). It does not hold where the program serves the routes itself and without
    /// `into_make_service_with_connect_info::<SocketAddr>()`.
    #[cfg_attr(feature = "server", arg(long, value_name = "CONNECTIONS"))]
    pub connections_per_address: usize,

    /// How many messages of a connection are read in a second once `message_burst` is used up (100), each of an array, pings and pongs too. What
    /// comes faster waits in the socket, and the client's own sending with it: nothing is refused or lost.
    #[cfg_attr(feature = "server", arg(long, value_name = "MESSAGES"))]
    pub messages_per_second: u32,

    /// How many messages of a connection are read as fast as they come (1,000), after it has been quiet for long enough.
    #[cfg_attr(feature = "server", arg(long, value_name = "MESSAGES"))]
    pub message_burst: u32,

    /// How many mutations of a connection may be undecided (64). Further ones are refused with `limit`, to be sent again.
    #[cfg_attr(feature = "server", arg(long, value_name = "MUTATIONS"))]
    pub in_flight: usize,

    /// How many outcomes of a client may be recorded without its `ack` (256). Further mutations are refused with `limit`, to be sent
    /// again after an `ack`.
    #[cfg_attr(feature = "server", arg(long, value_name = "OUTCOMES"))]
    pub unacknowledged: u64,

    /// How many subscriptions a connection may have (128). Further ones are refused with `limit`.
    #[cfg_attr(feature = "server", arg(long, value_name = "SUBSCRIPTIONS"))]
    pub subscriptions: usize,

    /// How many bytes of answers, and of each query's changes, may wait for a client (1,048,576). With that many answers waiting nothing
    /// more is read from it; with that many changes waiting it is sent them from the log, when it can take them.
    #[cfg_attr(feature = "server", arg(long, value_name = "BYTES"))]
    pub outbox_bytes: usize,

    /// How many bytes of rows the server keeps of a window, a subscription with `limit` (4,194,304). One whose rows take more ends with `limit`.
    #[cfg_attr(feature = "server", arg(long, value_name = "BYTES"))]
    pub window_bytes: usize,

    /// How many rows a `read` message holds at most (500).
    #[cfg_attr(feature = "server", arg(long, value_name = "ROWS"))]
    pub page_rows: usize,

    /// How often a connection is pinged, and told how far it is (25 seconds). It costs a small message each time; proxies
    /// close connections that are silent for a minute.
    #[cfg_attr(feature = "server", arg(long, value_name = "SECONDS", value_parser = seconds))]
    pub ping_interval: Duration,

    /// How long the answer to a ping may take until the connection is closed (10 seconds), and as long again for each 128 KiB that were sent
    /// before it. The taking of one frame may last as long as this and `ping_interval` together.
    #[cfg_attr(feature = "server", arg(long, value_name = "SECONDS", value_parser = seconds))]
    pub pong_timeout: Duration,

    /// How long a handler may take, an action, `read` and `read_all` too (30 seconds), each time it is run. One that is not done then is
    /// dropped where it waits, and the request ends with `timeout`, to be sent again. One that computes without waiting cannot be ended.
    #[cfg_attr(feature = "server", arg(long, value_name = "SECONDS", value_parser = seconds))]
    pub handler_timeout: Duration,

    /// How long a client may take to send the head of a request (5 seconds).
    #[cfg_attr(feature = "server", arg(long, value_name = "SECONDS", value_parser = seconds))]
    pub handshake_timeout: Duration,

    /// How long a client may take to say `hello` where the server authenticates, and how long that may take then (5 seconds).
    #[cfg_attr(feature = "server", arg(long, value_name = "SECONDS", value_parser = seconds))]
    pub hello_timeout: Duration,

    /// How many tickets may be waiting to be used (10,000): of those that are neither used nor 30 seconds old. Further ones are refused with
    /// `limit`.
    #[cfg_attr(feature = "server", arg(long, value_name = "TICKETS"))]
    pub tickets: usize,

    /// How long requests in flight and open connections have to end when the server stops (10 seconds).
    #[cfg_attr(feature = "server", arg(long, value_name = "SECONDS", value_parser = seconds))]
    pub shutdown_timeout: Duration,

    /// How long a client that is not seen is remembered, and with it the outcomes that it has not acknowledged (30 days). A jump of the system's clock
    /// while the server runs does not make it shorter.
    #[cfg_attr(feature = "server", arg(long, value_name = "SECONDS", value_parser = seconds))]
    pub client_retention: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 64 * 1024,
            row_bytes: 128 * 1024,
            transaction_bytes: 1024 * 1024,
            json_depth: 32,
            connections: 100_000,
            connections_per_address: 100,
            messages_per_second: 100,
            message_burst: 1_000,
            in_flight: 64,
            unacknowledged: 256,
            subscriptions: 128,
            outbox_bytes: 1024 * 1024,
            window_bytes: 4 * 1024 * 1024,
            page_rows: 500,
            ping_interval: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(10),
            handler_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(5),
            hello_timeout: Duration::from_secs(5),
            tickets: 10_000,
            shutdown_timeout: Duration::from_secs(10),
            client_retention: Duration::from_hours(30 * 24),
        }
    }
}

impl Limits {
    /// What cannot be, in words.
    pub(crate) fn faults(&self) -> Vec<String> {
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let mut faults = Vec::new();
        let sizes = [
            ("message_bytes", self.message_bytes, 128),
            ("row_bytes", self.row_bytes, 16),
            ("transaction_bytes", self.transaction_bytes, 1024),
            ("json_depth", self.json_depth, 3),
            ("connections", self.connections, 1),
            ("connections_per_address", self.connections_per_address, 1),
            ("messages_per_second", count(self.messages_per_second), 1),
            ("message_burst", count(self.message_burst), 1),
            ("in_flight", self.in_flight, 1),
            ("unacknowledged", usize::try_from(self.unacknowledged).unwrap_or(usize::MAX), self.in_flight),
            ("subscriptions", self.subscriptions, 1),
            ("outbox_bytes", self.outbox_bytes, 1024),
            ("window_bytes", self.window_bytes, 1024),
            ("page_rows", self.page_rows, 1),
            ("tickets", self.tickets, 1),
        ];
        for (name, value, least) in sizes {
            if value < least {
                faults.push(format!("the limit `{name}` is {value}; it must be at least {least}"));
            }
        }
        let durations = [
            ("ping_interval", self.ping_interval, Duration::from_millis(1)),
            ("pong_timeout", self.pong_timeout, Duration::from_millis(1)),
            ("handler_timeout", self.handler_timeout, Duration::from_millis(1)),
            ("handshake_timeout", self.handshake_timeout, Duration::from_millis(1)),
            ("hello_timeout", self.hello_timeout, Duration::from_millis(1)),
            ("shutdown_timeout", self.shutdown_timeout, Duration::from_millis(1)),
            // Clients that are connected are noted every hour.
            ("client_retention", self.client_retention, Duration::from_hours(24)),
        ];
        for (name, value, least) in durations {
            if value < least {
                faults.push(format!("the limit `{name}` is {value:?}; it must be at least {least:?}"));
            }
        }
        faults
    }
}

/// Seconds, whole or with a fraction, more than none.
#[cfg(feature = "server")]
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds is needed".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("more than 0 seconds are needed".to_owned()),
    }
}
