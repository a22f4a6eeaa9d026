//! By which names the server may be reached.
//!
//! A page of `evil.example` may have that name point at this machine, once the browser has loaded it: then the browser takes the server for
//! the page's own, with an `Origin` that equals the `Host` (DNS rebinding). But the name in `Host` stays the page's, and it is not one of the
//! server's.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{StatusCode, Version, header, uri::Authority};

use super::{Shared, http::refusal};

/// The names that are allowed besides those of this machine.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts {
    allowed: Vec<HostName>,
}

/// A name or an IP address, as it stands in a URL, or `*.` and what a name ends in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HostName {
    Address(IpAddr),
    Name(String),
    /// With the dot.
    Below(String),
}

/// Where a connection has reached this machine: an extension of its requests. Those of a server that listens for itself have it.
#[derive(Clone, Copy, Debug)]
pub(super) struct LocalAddress(pub(super) IpAddr);

/// A name as a browser writes it, without scheme and port, or why not.
pub(super) fn parse_host(text: &str) -> Result<HostName, String> {
    let wrong = || {
        let example =
            "write it as example.org, *.example.org, 192.0.2.7 or [2001:db8::7], without scheme and port";
        let hint = if text.is_ascii() { "" } else { ", and names beyond ASCII as xn--…" };
        format!("`{text}` is no host: {example}{hint}")
    };
    if let Some(address) = address(text).or_else(|| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6)) {
        return Ok(HostName::Address(address.to_canonical()));
    }
    let name = text.strip_prefix("*.").unwrap_or(text);
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-')
    };
    // What ends in a number is an address to browsers, and this is none.
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    if name.len() > 253 || !name.split('.').all(is_label) || name.rsplit('.').next().is_none_or(is_number) {
        return Err(wrong());
    }
    let name = name.to_ascii_lowercase();
    Ok(if text.starts_with("*.") { HostName::Below(format!(".{name}")) } else { HostName::Name(name) })
}

impl Hosts {
    pub(super) fn allow(&mut self, host: HostName) {
        self.allowed.push(host);
    }

    /// Whether a request may be for this host. Ports do not matter: the one that is forwarded to the server's may be any.
    ///
    /// `local` is where the connection has reached this machine. Where that is not known, in an app that listens for itself, any IP address will
    /// do: what is rebound is a name, and the browser would have that in `Host`.
    fn admit(&self, host: &Authority, local: Option<IpAddr>) -> bool {
        if host.as_str().contains('@') {
            return false;
        }
        let name = host.host();
        if let Some(address) = address(name).map(|address| address.to_canonical()) {
            return address.is_loopback()
                || local.is_none_or(|local| local.to_canonical() == address)
                || self.allowed.contains(&HostName::Address(address));
        }
        let name = name.to_ascii_lowercase();
        name == "localhost"
            || self.allowed.iter().any(|allowed| match allowed {
                HostName::Address(_) => false,
                HostName::Name(allowed) => *allowed == name,
                HostName::Below(end) => name.len() > end.len() && name.ends_with(end),
            })
    }
}

/// The IP address that a URL's host is.
fn address(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse().ok().map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    }
}

/// The host that a request is for, by its target if that says so (HTTP/2, and requests to a proxy), else by `Host`; `None` for none.
pub(super) fn requested(request: &Request) -> Result<Option<Authority>, &'static str> {
    if let Some(authority) = request.uri().authority() {
        return Ok(Some(authority.clone()));
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let Some(host) = hosts.next() else { return Ok(None) };
    if hosts.next().is_some() {
        return Err("more than one Host\n");
    }
    Authority::try_from(host.as_bytes()).map(Some).map_err(|_| "the Host is malformed\n")
}

/// Lets a request through if it is for this server.
pub(super) async fn check(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let host = match requested(&request) {
        Ok(Some(host)) => host,
        // Health checks of load balancers; browsers have not spoken it for decades.
        Ok(None) if request.version() <= Version::HTTP_10 => return next.run(request).await,
        Ok(None) => return refusal(StatusCode::BAD_REQUEST, "the Host is missing\n").into_response(),
        Err(wrong) => return refusal(StatusCode::BAD_REQUEST, wrong).into_response(),
    };
    let local = request.extensions().get().map(|LocalAddress(address)| *address);
    if shared.hosts.admit(&host, local) {
        return next.run(request).await;
    }
    tracing::info!(host = host.as_str(), "a request for a host that is not this server's was refused");
    let message = "This server is not known by the name in the request's Host.\n\
        If it should be, start it with `--host NAME`, or call `host(NAME)` on its builder.\n";
    refusal(StatusCode::MISDIRECTED_REQUEST, message).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(allowed: &[&str], host: &str, local: Option<&str>) -> bool {
        let mut hosts = Hosts::default();
        for name in allowed {
            hosts.allow(parse_host(name).unwrap());
        }
        let Ok(host) = Authority::try_from(host.as_bytes()) else { return false };
        hosts.admit(&host, local.map(|local| local.parse().unwrap()))
    }

    #[test]
    fn this_machine() {
        for (host, own) in [
            ("localhost", true),
            ("LocalHost:3000", true),
            ("127.0.0.1:3000", true),
            ("127.255.0.7", true),
            ("[::1]:3000", true),
            ("[0:0:0:0:0:0:0:1]", true),
            ("[::ffff:127.0.0.1]", true),
            ("192.0.2.7:3000", true),
            ("[::ffff:192.0.2.7]", true),
            ("192.0.2.8:3000", false),
            ("0.0.0.0:3000", false),
            ("[::]", false),
            ("10.0.0.1", false),
            ("::1", false),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("evil.localhost", false),
            ("localhost.", false),
            ("xlocalhost", false),
            ("127.0.0.1.evil.example", false),
            ("127.0.0.1.nip.io", false),
            // Browsers make addresses of these before they ask.
            ("127.1", false),
            ("2130706433", false),
            ("0x7f.0.0.1", false),
            ("user@localhost", false),
            ("evil.example@localhost", false),
            ("localhost@evil.example", false),
            ("", false),
            (":3000", false),
        ] {
            assert_eq!(admits(&[], host, Some("192.0.2.7")), own, "{host:?}");
        }
    }

    #[test]
    fn where_the_local_address_is_not_known_any_will_do() {
        for host in ["192.0.2.7:3000", "[2001:db8::7]", "127.0.0.1"] {
            assert!(admits(&[], host, None), "{host}");
        }
        assert!(!admits(&[], "[2001:db8::7]", Some("2001:db8::8")));
        assert!(!admits(&[], "evil.example", None));
    }

    #[test]
    fn names_on_the_list() {
        let allowed = &["Example.org", "*.apps.example", "198.51.100.1", "2001:db8::7"];
        for (host, listed) in [
            ("example.org", true),
            ("EXAMPLE.ORG:8443", true),
            ("evilexample.org", false),
            ("sub.example.org", false),
            ("example.org.evil", false),
            ("example.org.", false),
            ("example.or", false),
            ("a.apps.example", true),
            ("a.b.apps.example:80", true),
            ("apps.example", false),
            (".apps.example", false),
            ("evilapps.example", false),
            ("198.51.100.1", true),
            ("[::ffff:198.51.100.1]", true),
            ("198.51.100.2", false),
            ("[2001:db8::7]:3000", true),
            ("[2001:db8::8]:3000", false),
        ] {
            assert_eq!(admits(allowed, host, Some("127.0.0.1")), listed, "{host}");
        }
    }

    #[test]
    fn what_is_no_name() {
        let long = "a".repeat(64);
        for text in [
            "",
            "*",
            "*.",
            ".",
            "a..b",
            "a.",
            ".a",
            "*.*.org",
            "a.*.org",
            "https://a.org",
            "a.org:80",
            "a.org/",
            "a b",
            "-a.org",
            "[::1",
            "::1]",
            "127.1",
            "*.127.0.0.1",
            "256.0.0.1",
            "b\u{fc}cher.example",
            "a@b",
            &long,
        ] {
            let fault = parse_host(text).unwrap_err();
            assert!(fault.starts_with(&format!("`{text}` is no host: write it as example.org")), "{fault}");
            assert_eq!(fault.contains("xn--"), !text.is_ascii(), "{fault}");
        }
        assert_eq!(parse_host("[::1]"), parse_host("::1"));
        assert_eq!(
            parse_host("xn--bcher-kva.example").unwrap(),
            HostName::Name("xn--bcher-kva.example".into())
        );
    }
}
