//! From where a transport's packets come: (local socket, source address) → transport, for sources that sent an authenticated
//! check. Bounded per transport and in all; a stranger adds nothing.

use std::collections::HashMap;

use engine_base::{Limits, TransportRef};
use engine_table::SocketAddress;

/// Sources remembered per transport: two address families on two networks, and as many that were left behind.
pub const SOURCES_PER_TRANSPORT: usize = 8;

/// One end of a candidate pair as a worker sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pair {
    pub remote: SocketAddress,
    /// Index of the local socket.
    pub socket: u32,
}

/// A worker's validated sources.
#[derive(Debug)]
pub struct Addresses {
    sources: HashMap<Pair, TransportRef>,
    capacity: usize,
}

impl Addresses {
    /// Room for two sources per transport and a worker's share of the rest. **Cost**: allocates here and nowhere later.
    pub fn new(limits: &Limits) -> Self {
        let capacity = limits.transports as usize * 2 + SOURCES_PER_TRANSPORT;
        Self { sources: HashMap::with_capacity(capacity), capacity }
    }

    #[inline]
    pub fn find(&self, pair: &Pair) -> Option<TransportRef> {
        self.sources.get(pair).copied()
    }

    /// Remembers a source; it belongs to the transport that was authenticated last. `false` when the map is full.
    pub fn insert(&mut self, pair: Pair, transport: TransportRef) -> bool {
        if self.sources.len() >= self.capacity && !self.sources.contains_key(&pair) {
            return false;
        }
        self.sources.insert(pair, transport);
        true
    }

    /// Forgets a source unless another transport has taken it over.
    pub fn remove(&mut self, pair: &Pair, transport: TransportRef) {
        if self.sources.get(pair) == Some(&transport) {
            self.sources.remove(pair);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(port: u16) -> Pair {
        Pair { remote: SocketAddress::new(([127, 0, 0, 1], port).into()), socket: 0 }
    }

    #[test]
    fn a_source_belongs_to_who_was_authenticated_last() {
        let mut addresses = Addresses::new(&Limits::DEFAULT);
        let (first, second) = (TransportRef::new(1, 1), TransportRef::new(2, 1));
        assert!(addresses.insert(pair(9), first) && addresses.insert(pair(9), second));
        addresses.remove(&pair(9), first);
        assert_eq!(addresses.find(&pair(9)), Some(second));
        assert_eq!(addresses.find(&Pair { socket: 1, ..pair(9) }), None);
        addresses.remove(&pair(9), second);
        assert_eq!(addresses.find(&pair(9)), None);
    }

    #[test]
    fn a_full_map_refuses_new_sources_only() {
        let limits = Limits { workers: 1, transports: 1, ingresses: 1, egresses: 1, datas: 1 };
        let mut addresses = Addresses::new(&limits);
        let transport = TransportRef::new(0, 1);
        for port in 1..=10 {
            assert!(addresses.insert(pair(port), transport));
        }
        assert!(!addresses.insert(pair(11), transport));
        assert!(addresses.insert(pair(10), transport));
    }
}
