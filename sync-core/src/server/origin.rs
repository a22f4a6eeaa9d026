//! Which pages may open a socket: those of the same origin, and those on a list.

use http::{HeaderMap, HeaderName, Uri, header, uri::Authority};

/// Says what the client's own scheme was, where a proxy took TLS off. No page can set it at a WebSocket.
const FORWARDED_SCHEME: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Says, in newer browsers, where a request comes from. No page can set it.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Origins that are allowed besides the server's own.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins {
    allowed: Vec<String>,
}

/// `scheme://host[:port]` as a browser writes it, or why not. A `/` at the end, as people copy it, is taken off.
pub(super) fn parse_origin(text: &str) -> Result<String, String> {
    normal(text.strip_suffix('/').unwrap_or(text)).ok_or_else(|| {
        format!("`{text}` is no origin: write it as https://example.org or http://localhost:8080")
    })
}

impl Origins {
    pub(super) fn allow(&mut self, origin: String) {
        self.allowed.push(origin);
    }

    /// Whether a request with these headers, to this host, may open a socket. Browsers send `Origin` with every WebSocket: a request
    /// without it comes from no page, whatever cookies it has, unless the browser says otherwise in `Sec-Fetch-Site`.
    pub(super) fn admit(&self, headers: &HeaderMap, host: Option<&Authority>) -> bool {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return headers.get_all(FETCH_SITE).iter().all(|site| site == "same-origin" || site == "none");
        };
        let (Ok(text), None) = (origin.to_str(), origins.next()) else { return false };
        let Some(origin) = normal(text) else { return false };
        if self.allowed.contains(&origin) {
            return true;
        }
        // Its own page.
        let (Some(scheme), Some(host)) = (own_scheme(headers), host) else { return false };
        normal(&format!("{scheme}://{host}")).is_some_and(|own| own == origin)
    }
}

/// The scheme that the client used, as far as can be known: this server speaks plain HTTP, and a proxy that takes TLS off says so.
/// Several proxies make a list, the client's first.
fn own_scheme(headers: &HeaderMap) -> Option<&'static str> {
    let Some(forwarded) = headers.get(FORWARDED_SCHEME) else { return Some("http") };
    let first = forwarded.to_str().ok()?.split(',').next()?.trim();
    // Some proxies tell the WebSocket's scheme.
    match first.to_ascii_lowercase().as_str() {
        "http" | "ws" => Some("http"),
        "https" | "wss" => Some("https"),
        _ => None,
    }
}

/// In lower case and without the scheme's own port; `None` for what is no origin.
fn normal(text: &str) -> Option<String> {
    let (scheme, authority) = text.split_once("://")?;
    // The path of `http://host` is `/` when it is parsed; what is written after the host is seen before that.
    if authority.is_empty() || authority.contains(['/', '?', '#', '@']) {
        return None;
    }
    let uri: Uri = text.parse().ok()?;
    let host = uri.authority()?.host().to_ascii_lowercase();
    // A star would be taken for any name.
    if host.is_empty() || host.contains('*') {
        return None;
    }
    // `Uri` does not look at what a port is, and leaves out one that is none.
    let port = match authority.get(host.len()..)? {
        "" => None,
        port => {
            let digits =
                port.strip_prefix(':').filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))?;
            Some(digits.parse::<u16>().ok()?)
        }
    };
    let scheme = scheme.to_ascii_lowercase();
    Some(match (scheme.as_str(), port) {
        (_, None) | ("http", Some(80)) | ("https", Some(443)) => format!("{scheme}://{host}"),
        (_, Some(port)) => format!("{scheme}://{host}:{port}"),
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const BINARY: &[u8] = b"http://\xff\xfe:3000";

    fn judge(allowed: &[&str], headers: &[(&'static str, &[u8])], host: &str) -> bool {
        let mut origins = Origins::default();
        for origin in allowed {
            origins.allow(parse_origin(origin).unwrap());
        }
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        origins.admit(&map, host.parse().ok().as_ref())
    }

    fn admits(allowed: &[&str], origin: &str, host: &str) -> bool {
        judge(allowed, &[("origin", origin.as_bytes())], host)
    }

    #[test]
    fn an_origin_is_its_own_by_scheme_host_and_port() {
        let host = "example.org:3000";
        for (origin, own) in [
            ("http://example.org:3000", true),
            ("HTTP://EXAMPLE.org:3000", true),
            // Scheme.
            ("https://example.org:3000", false),
            ("ws://example.org:3000", false),
            ("file://example.org:3000", false),
            ("//example.org:3000", false),
            ("example.org:3000", false),
            // Host: before, after, inside.
            ("http://evilexample.org:3000", false),
            ("http://evil.example.org:3000", false),
            ("http://example.org.evil:3000", false),
            ("http://example.org.:3000", false),
            ("http://example.or:3000", false),
            ("http://xample.org:3000", false),
            ("http://evil:3000#example.org:3000", false),
            ("http://evil:3000/example.org:3000", false),
            ("http://evil:3000?example.org:3000", false),
            ("http://example.org:3000@evil", false),
            ("http://evil@example.org:3000", false),
            // Port.
            ("http://example.org", false),
            ("http://example.org:", false),
            ("http://example.org:300", false),
            ("http://example.org:30000", false),
            ("http://example.org:3001", false),
            ("http://example.org:68536", false),
            ("http://example.org:+3000", false),
            // What is no origin.
            ("http://example.org:3000/", false),
            ("http://example.org:3000 ", false),
            ("http://example.org:3000, http://example.org:3000", false),
            ("http://example.org:3000 http://evil", false),
            ("null", false),
            ("", false),
            ("*", false),
            ("http://", false),
            ("http://:3000", false),
            ("://", false),
        ] {
            assert_eq!(admits(&[], origin, host), own, "{origin:?}");
        }
    }

    #[test]
    fn the_port_of_a_scheme_need_not_be_said() {
        assert!(admits(&[], "http://example.org", "example.org:80"));
        assert!(admits(&[], "http://example.org:80", "example.org"));
        assert!(!admits(&[], "http://example.org:443", "example.org"));
        assert!(admits(&[], "http://[::1]:3000", "[::1]:3000"));
        assert!(!admits(&[], "http://[::1]:3000", "[::2]:3000"));
        // A port that is none is not the port that was left out.
        assert!(!admits(&[], "http://example.org", "example.org:65616"));
        assert!(!admits(&[], "http://example.org", ""), "no host");
    }

    #[test]
    fn a_proxy_says_whether_it_took_tls_off() {
        let page = |origin: &'static str, scheme: &'static [u8]| {
            judge(&[], &[("origin", origin.as_bytes()), ("x-forwarded-proto", scheme)], "example.org")
        };
        for scheme in ["https", "HTTPS", "wss", "https, http", " https,http"] {
            assert!(page("https://example.org", scheme.as_bytes()), "{scheme}");
            assert!(page("https://example.org:443", scheme.as_bytes()), "{scheme}");
            assert!(!page("http://example.org", scheme.as_bytes()), "{scheme}");
        }
        for scheme in ["http", "ws", "http, https"] {
            assert!(page("http://example.org", scheme.as_bytes()), "{scheme}");
            assert!(!page("https://example.org", scheme.as_bytes()), "{scheme}");
        }
        for scheme in [&b"gopher"[..], b"", b",https", b"\xff"] {
            assert!(!page("http://example.org", scheme), "{scheme:?}");
            assert!(!page("https://example.org", scheme), "{scheme:?}");
        }
    }

    #[test]
    fn without_an_origin_it_is_no_page() {
        let host = "example.org";
        assert!(judge(&[], &[], host));
        // A program of one's own that has signed in.
        assert!(judge(&[], &[("cookie", b"session=7f3a")], host));
        for (site, own) in [
            (&b"none"[..], true),
            (b"same-origin", true),
            (b"same-site", false),
            (b"cross-site", false),
            (b"\xff", false),
            (b"", false),
        ] {
            let headers = [("cookie", &b"session=7f3a"[..]), ("sec-fetch-site", site)];
            assert_eq!(judge(&[], &headers, host), own, "{site:?}");
        }
        assert!(!judge(&[], &[("sec-fetch-site", b"none"), ("sec-fetch-site", b"cross-site")], host));
    }

    #[test]
    fn more_than_one_origin_or_none_that_can_be_read_is_refused() {
        let own = &b"http://example.org"[..];
        assert!(judge(&[], &[("origin", own)], "example.org"));
        assert!(!judge(&[], &[("origin", own), ("origin", own)], "example.org"));
        assert!(!judge(&[], &[("origin", own), ("origin", BINARY)], "example.org"));
        assert!(!judge(&[], &[("origin", BINARY)], "example.org"));
    }

    /// Every byte that a header may have, at every place of an origin.
    #[test]
    fn no_header_panics() {
        let good = b"http://[::1]:80";
        for at in 0..=good.len() {
            for byte in (0..=255).filter(|byte| HeaderValue::from_bytes(&[*byte]).is_ok()) {
                let mut put = good.to_vec();
                put.insert(at, byte);
                let mut replaced = good.to_vec();
                replaced.splice(at..(at + 1).min(good.len()), [byte]);
                for value in [&put, &replaced] {
                    for name in ["origin", "sec-fetch-site", "x-forwarded-proto"] {
                        judge(&["https://app.example"], &[("origin", good), (name, value)], "[::1]");
                        judge(&[], &[(name, value)], "[::1]");
                    }
                    let changed = value.as_slice() != good && !value.eq_ignore_ascii_case(good);
                    let admitted = judge(&[], &[("origin", value)], "[::1]");
                    // Zeros before a port are the same number.
                    let same = [&b"http://[::1]:080"[..], b"http://[::1]"].contains(&value.as_slice());
                    assert!(!admitted || !changed || same, "{}", String::from_utf8_lossy(value));
                }
            }
        }
    }

    #[test]
    fn pages_on_the_list() {
        let allowed = &["https://app.example", "capacitor://localhost", "http://localhost:8080/"];
        for (origin, listed) in [
            ("https://app.example", true),
            ("https://app.example:443", true),
            ("https://APP.example", true),
            ("http://app.example", false),
            ("https://app.example:8443", false),
            ("https://app.example.evil", false),
            ("https://evilapp.example", false),
            ("https://sub.app.example", false),
            ("capacitor://localhost", true),
            ("ionic://localhost", false),
            ("http://localhost:8080", true),
            ("http://localhost", false),
        ] {
            assert_eq!(admits(allowed, origin, "api.example"), listed, "{origin}");
        }
        for text in [
            "app.example",
            "https://app.example/path",
            "https://app.example//",
            "https://app.example:65616",
            "https://*",
            "https://*.example",
            "null",
            "*",
            "",
            "/",
        ] {
            assert!(parse_origin(text).is_err(), "{text}");
        }
    }
}
