//! How many connections each peer has.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

use super::limits::Limits;

/// All peers that have connections. Clones share them.
#[derive(Clone)]
pub(super) struct Peers {
    most: usize,
    exempts_this_machine: bool,
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One connection of a peer's share.
pub(super) struct Share {
    peers: Peers,
    /// None: a peer that may have all.
    peer: Option<IpAddr>,
}

impl Peers {
    pub(super) fn new(limits: &Limits) -> Self {
        let Limits { per_peer: most, exempts_this_machine, .. } = *limits;
        Self { most, exempts_this_machine, counts: Arc::default() }
    }

    /// One more connection of a peer; none: it has its share.
    pub(super) fn admit(&self, peer: IpAddr) -> Option<Share> {
        let peer = peer.to_canonical();
        if self.exempts_this_machine && peer.is_loopback() {
            return Some(Share { peers: self.clone(), peer: None });
        }
        let peer = network(peer);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(peer).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Share { peers: self.clone(), peer: Some(peer) })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some(peer) = self.peer else { return };
        let mut counts = self.peers.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&peer);
            }
        }
    }
}

/// Whom an address belongs to: of IPv6, a customer gets 2^64 addresses.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_peer_has_its_share_and_no_more() {
        let peers = Peers::new(&Limits { per_peer: 2, ..Limits::default() });
        for (first, second, other) in [
            ("10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2"),
            ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"),
        ] {
            let held = [peers.admit(address(first)).unwrap(), peers.admit(address(second)).unwrap()];
            assert!(peers.admit(address(first)).is_none(), "{first}");
            assert!(peers.admit(address(other)).is_some(), "{other}");
            drop(held);
            assert!(peers.admit(address(first)).is_some(), "{first}");
        }
        assert!(peers.counts.lock().unwrap().is_empty(), "nothing is kept of who has gone");
    }

    #[test]
    fn this_machine_may_have_all() {
        let peers = Peers::new(&Limits { per_peer: 1, ..Limits::default() });
        let held: Vec<_> = ["127.0.0.1", "127.0.0.1", "::1", "::1", "::ffff:127.0.0.1"]
            .map(|peer| peers.admit(address(peer)))
            .into_iter()
            .collect();
        assert!(held.iter().all(Option::is_some));
    }
}
