//! Which pages may open a socket: those of the same origin, and those on a list.

use http::{HeaderMap, Uri, header, uri::Authority};

/// Origins that are allowed besides the server's own.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins {
    allowed: Vec<String>,
}

/// `scheme://host[:port]` as a browser writes it, or why not.
pub(super) fn parse_origin(text: &str) -> Result<String, String> {
    let wrong = || format!("`{text}` is no origin: write it as https://example.org or http://localhost:8080");
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(wrong()) };
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.as_str().contains('@') {
        return Err(wrong());
    }
    Ok(normal(scheme, authority))
}

impl Origins {
    pub(super) fn allow(&mut self, origin: String) {
        self.allowed.push(origin);
    }

    /// Whether a request with these headers may open a socket. One without `Origin` comes from no page.
    pub(super) fn admit(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else { return true };
        let (Ok(text), None) = (origin.to_str(), origins.next()) else { return false };
        let Ok(origin) = parse_origin(text) else { return false };
        if self.allowed.contains(&origin) {
            return true;
        }
        // Its own page, whether or not a proxy took TLS off.
        let host =
            headers.get(header::HOST).and_then(|host| host.to_str().ok()).and_then(|host| host.parse().ok());
        host.is_some_and(|host: Authority| {
            ["http", "https"].iter().any(|scheme| normal(scheme, &host) == origin)
        })
    }
}

/// In lower case and without the scheme's own port.
fn normal(scheme: &str, authority: &Authority) -> String {
    let scheme = scheme.to_ascii_lowercase();
    let host = authority.host().to_ascii_lowercase();
    match (scheme.as_str(), authority.port_u16()) {
        (_, None) | ("http", Some(80)) | ("https", Some(443)) => format!("{scheme}://{host}"),
        (_, Some(port)) => format!("{scheme}://{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(allowed: &[&str], origin: &str, host: &str) -> bool {
        let mut origins = Origins::default();
        for origin in allowed {
            origins.allow(parse_origin(origin).unwrap());
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, origin.parse().unwrap());
        headers.insert(header::HOST, host.parse().unwrap());
        origins.admit(&headers)
    }

    #[test]
    fn its_own_page() {
        assert!(admits(&[], "http://127.0.0.1:3000", "127.0.0.1:3000"));
        assert!(admits(&[], "https://example.org", "example.org"));
        assert!(admits(&[], "https://EXAMPLE.org:443", "example.org"));
        assert!(admits(&[], "http://[::1]:3000", "[::1]:3000"));
        assert!(Origins::default().admit(&HeaderMap::new()), "no page");
    }

    #[test]
    fn no_other_page() {
        for origin in [
            "http://127.0.0.1:3001",
            "http://127.0.0.1",
            "http://evil.example",
            "http://127.0.0.1:3000.evil.example",
            "http://127.0.0.1:3000@evil.example",
            "null",
            "",
            "http://",
        ] {
            assert!(!admits(&[], origin, "127.0.0.1:3000"), "{origin}");
        }
        assert!(!admits(&[], "https://example.org.evil", "example.org"));
        assert!(!admits(&[], "https://evilexample.org", "example.org"));
    }

    #[test]
    fn pages_on_the_list() {
        assert!(admits(&["https://app.example"], "https://app.example", "api.example"));
        assert!(!admits(&["https://app.example"], "http://app.example", "api.example"));
        assert!(!admits(&["https://app.example"], "https://app.example:8443", "api.example"));
        assert!(parse_origin("app.example").is_err());
        assert!(parse_origin("https://app.example/path").is_err());
    }
}
