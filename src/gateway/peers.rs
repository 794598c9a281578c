//! How many connections one client has. A client is an IPv4 address or an IPv6 /64: whoever has one address of a /64 has them all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts the connections of one listener by client. There are no more clients in it than there are connections.
#[derive(Clone, Debug)]
pub(super) struct Peers {
    each_max: usize,
    open: Arc<Mutex<HashMap<Client, usize>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Client {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl Client {
    fn of(peer: IpAddr) -> Self {
        match peer.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

impl Peers {
    pub(super) fn new(each_max: usize) -> Self {
        Self { each_max, open: Arc::default() }
    }

    /// Counts one more; `None` when the client has as many as it may.
    pub(super) fn admit(&self, peer: IpAddr) -> Option<Counted> {
        let client = Client::of(peer);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.get(&client).copied().unwrap_or_default();
        if count >= self.each_max {
            return None;
        }
        open.insert(client, count.saturating_add(1));
        Some(Counted { client, open: Arc::clone(&self.open) })
    }
}

/// A connection that is counted until this is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    client: Client,
    open: Arc<Mutex<HashMap<Client, usize>>>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get_mut(&self.client) {
            Some(count) if *count > 1 => *count = count.saturating_sub(1),
            Some(_) | None => drop(open.remove(&self.client)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_number_and_gives_it_back() {
        let peers = Peers::new(2);
        let admit = |peer: &str| peers.admit(peer.parse().unwrap());
        let held = [admit("192.0.2.1"), admit("::ffff:192.0.2.1"), admit("2001:db8:1:2::1"), admit("2001:db8:1:2:ffff::9")];
        assert!(held.iter().all(Option::is_some));
        for (peer, is_admitted) in
            [("192.0.2.1", false), ("192.0.2.2", true), ("2001:db8:1:2::3", false), ("2001:db8:1:3::1", true), ("::ffff:192.0.2.1", false)]
        {
            assert_eq!(is_admitted, admit(peer).is_some(), "{peer}");
        }
        drop(held);
        assert!(peers.open.lock().unwrap().is_empty(), "nothing is kept of clients that are gone");
        assert!(admit("192.0.2.1").is_some());
    }
}
