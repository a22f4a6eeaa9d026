//! Proxies before the server, and whom they speak for.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Those whose word counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxies {
    trusted: Vec<IpNet>,
}

/// An address or a network, or why it is none.
pub(super) fn parse_proxy(text: &str) -> Result<IpNet, String> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| format!("`{text}` is no address: write it as 10.0.0.5, 10.0.0.0/8 or fd00::/8"))
}

impl Proxies {
    pub(super) fn trust(&mut self, proxy: IpNet) {
        self.trusted.push(proxy);
    }

    /// Who a request comes from that came from `peer`: the last address that it was forwarded for and that is no trusted proxy. What stands
    /// before that one anybody can have written. Where an address cannot be read it is the proxy that said so.
    pub(super) fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        let mut client = peer;
        for line in headers.get_all(FORWARDED_FOR).iter().rev() {
            let hops = line.to_str().unwrap_or_default();
            for hop in hops.rsplit(',') {
                if !self.trusts(client.ip()) {
                    return client;
                }
                match parse_hop(hop.trim()) {
                    Some(hop) => client = hop,
                    None => return client,
                }
            }
        }
        client
    }

    fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.iter().any(|network| network.contains(&address))
    }
}

/// An address, with its port or, as most proxies write it, without, which is then 0.
fn parse_hop(text: &str) -> Option<SocketAddr> {
    let in_brackets = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = in_brackets.unwrap_or(text).parse().map(|address: IpAddr| SocketAddr::new(address, 0));
    address.or_else(|_| text.parse()).ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// Whom a request is from that came from `peer` with these headers, where 10.0.0.1 is trusted and all of `fd00::/8`.
    fn client(peer: &str, lines: &[&[u8]]) -> String {
        let mut proxies = Proxies::default();
        for proxy in ["10.0.0.1", "fd00::/8"] {
            proxies.trust(parse_proxy(proxy).unwrap());
        }
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line).unwrap());
        }
        let peer = SocketAddr::new(peer.parse().unwrap(), 7);
        proxies.client(peer, &headers).to_string()
    }

    #[test]
    fn the_last_that_is_no_proxy_counts() {
        for (peer, lines, expected) in [
            ("192.0.2.1", &[] as &[&[u8]], "192.0.2.1:7"),
            ("10.0.0.1", &[], "10.0.0.1:7"),
            // Who is no proxy can write what it likes.
            ("192.0.2.1", &[b"198.51.100.1"], "192.0.2.1:7"),
            ("10.0.0.2", &[b"198.51.100.1"], "10.0.0.2:7"),
            ("10.0.0.1", &[b"198.51.100.1"], "198.51.100.1:0"),
            ("::ffff:10.0.0.1", &[b"198.51.100.1"], "198.51.100.1:0"),
            ("10.0.0.1", &[b"203.0.113.9, 198.51.100.1"], "198.51.100.1:0"),
            ("10.0.0.1", &[b"203.0.113.9", b"198.51.100.1"], "198.51.100.1:0"),
            ("10.0.0.1", &[b"203.0.113.9, 198.51.100.1 ,fd00::5", b"10.0.0.1"], "198.51.100.1:0"),
            ("fd00::1", &[b"10.0.0.1, fd00::2"], "10.0.0.1:0"),
            ("10.0.0.1", &[b"198.51.100.1:4711"], "198.51.100.1:4711"),
            ("10.0.0.1", &[b"2001:db8::1"], "[2001:db8::1]:0"),
            ("10.0.0.1", &[b"[2001:db8::1]"], "[2001:db8::1]:0"),
            ("10.0.0.1", &[b"[2001:db8::1]:4711"], "[2001:db8::1]:4711"),
        ] {
            assert_eq!(client(peer, lines), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_counts_for_the_proxy_that_said_it() {
        let many = "10.0.0.1,".repeat(10_000);
        for line in [
            "",
            " ",
            ",",
            "unknown",
            "_hidden",
            "198.51.100.1,",
            "198.51.100.256",
            "198.51.100.1:99999",
            "[",
            "]",
            "[]",
            "[198.51.100.1",
            "[]:80",
            "[[::1]]",
            "::1]",
            "for=198.51.100.1",
            "\"198.51.100.1\"",
            "198.51.100.1 x",
            "fe80::1%eth0",
            &many,
        ] {
            let shown: String = line.chars().take(30).collect();
            let read = client("10.0.0.1", &[b"198.51.100.1", line.as_bytes()]);
            assert!(read == "10.0.0.1:7" || line == many && read == "10.0.0.1:0", "{shown}: {read}");
        }
        assert_eq!(client("10.0.0.1", &[b"198.51.100.1, fd00::5, \xff"]), "10.0.0.1:7");
        assert_eq!(client("10.0.0.1", &[b"198.51.100.1, x, fd00::5"]), "[fd00::5]:0");
    }

    #[test]
    fn proxies_are_addresses_or_networks() {
        for text in ["10.0.0.5", "10.0.0.0/8", "::1", "fd00::/8", "0.0.0.0/0"] {
            parse_proxy(text).unwrap();
        }
        for text in ["", "proxy", "10.0.0.0/33", "10.0.0.1:80", "10.0.0", "/8"] {
            assert!(parse_proxy(text).unwrap_err().contains("write it as"), "{text}");
        }
    }
}
