//! Whom a server lets in that asks nobody who they are.

use std::net::SocketAddr;

use crate::{Error, Result};

/// Who may come, as the server was told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exposure {
    /// Whether clients are asked who they are.
    pub(super) authenticates: bool,
    /// Whether they need not be, wherever it listens.
    pub(super) is_insecure: bool,
}

impl Exposure {
    /// Refuses to listen where other machines reach a server that asks nobody who they are.
    pub(super) fn check(self, listen: SocketAddr) -> Result<()> {
        if self.authenticates || self.is_insecure || listen.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        Err(Error::internal(format!(
            "will not listen on {listen}: other machines reach it, and clients are not asked who they are. \
             Listen on 127.0.0.1, or have the program call `authenticate` on the builder; if everyone who reaches that address \
             may do all that the handlers allow, start it with `--insecure`, or call `insecure()` on the builder"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_comes_unasked() {
        for (listen, is_loopback) in [
            ("127.0.0.1:3000", true),
            ("127.8.9.10:0", true),
            ("[::1]:3000", true),
            ("[::ffff:127.0.0.1]:3000", true),
            ("0.0.0.0:3000", false),
            ("[::]:3000", false),
            ("[::ffff:0.0.0.0]:3000", false),
            ("192.168.1.5:3000", false),
            ("10.0.0.1:3000", false),
            ("169.254.1.1:3000", false),
            ("[fe80::1]:3000", false),
            ("[2001:db8::7]:3000", false),
        ] {
            let listen: SocketAddr = listen.parse().unwrap();
            for (authenticates, is_insecure) in [(false, false), (true, false), (false, true), (true, true)] {
                let fine = is_loopback || authenticates || is_insecure;
                let checked = Exposure { authenticates, is_insecure }.check(listen);
                assert_eq!(checked.is_ok(), fine, "{listen} {authenticates} {is_insecure}");
            }
        }
    }
}
