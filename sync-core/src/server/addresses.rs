//! How many connections each address has open.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use parking_lot::Mutex;

/// Open connections, by the address that they come from.
#[derive(Clone, Debug, Default)]
pub(super) struct Addresses {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A connection that is counted until this is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    of: Addresses,
    address: IpAddr,
}

impl Addresses {
    /// Counts one more connection of an address, unless it has `limit` already.
    pub(super) fn count(&self, address: IpAddr, limit: usize) -> Option<Counted> {
        let address = one_client(address);
        let mut all = self.open.lock();
        let open = all.get(&address).copied().unwrap_or(0);
        if open >= limit {
            return None;
        }
        all.insert(address, open + 1);
        Some(Counted { of: self.clone(), address })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Entry::Occupied(mut open) = self.of.open.lock().entry(self.address) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }
}

/// What is counted as one address. Of IPv6 it is the /64: the smallest network that a client is given, in which it takes as many
/// addresses as it likes.
fn one_client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_count() {
        let addresses = Addresses::default();
        let count = |address: &str| addresses.count(address.parse().unwrap(), 2);
        let first = count("192.0.2.1").unwrap();
        let _second = count("::ffff:192.0.2.1").unwrap();
        assert!(count("192.0.2.1").is_none());
        let _other = count("192.0.2.2").unwrap();
        drop(first);
        let _again = count("192.0.2.1").unwrap();
        assert!(count("192.0.2.1").is_none());

        let _six = [count("2001:db8::1").unwrap(), count("2001:db8::ffff:2").unwrap()];
        assert!(count("2001:db8::3").is_none(), "one network");
        assert!(count("2001:db8:0:1::1").is_some(), "another");
    }

    #[test]
    fn nothing_is_kept_of_who_is_gone() {
        let addresses = Addresses::default();
        for host in 0..1_000_u32 {
            drop(addresses.count(IpAddr::V4(host.into()), 1).unwrap());
        }
        assert!(addresses.open.lock().is_empty());
    }
}
