//! What a worker remembers of destinations: a set-associative cache, so that a look-up takes at most eight comparisons and a full
//! cache forgets the one not asked for longest.

use std::net::{IpAddr, Ipv6Addr};

use super::frame::{Headers, Local};
use super::resolver::{Answer, Client, Epochs, Key};

const WAYS: usize = 8;
/// Sets: 2,048 × 8 = 16,384 destinations of 112 B, 1.8 MB, touched when used.
const SETS: usize = 2_048;

/// How a send goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    Frame(Headers),
    /// By socket, for now or for good.
    Socket,
    /// By socket once, so that the kernel's neighbour entry stays in use; frames before and behind it go on.
    Refresh,
}

#[derive(Clone, Copy)]
struct Entry {
    /// As in `SocketAddress`.
    ip: [u8; 16],
    socket: u32,
    /// Epochs in which it was asked for last; 0 never.
    epochs: Epochs,
    headers: Option<Headers>,
}

const EMPTY: Entry = Entry { ip: [0; 16], socket: u32::MAX, epochs: Epochs { hard: 0, soft: 0 }, headers: None };

pub(super) struct Routes {
    client: Client,
    /// `None` for a socket whose packets cannot be made here.
    locals: Vec<Option<Local>>,
    sets: Box<[[Entry; WAYS]]>,
}

impl Routes {
    pub(super) fn new(client: Client, locals: Vec<Option<Local>>) -> Self {
        Self { client, locals, sets: vec![[EMPTY; WAYS]; SETS].into_boxed_slice() }
    }

    /// **Cost**: a syscall when the kernel must be asked, once per destination and epoch.
    #[inline]
    pub(super) fn find(&mut self, socket: u32, ip: &[u8; 16]) -> Way {
        let now = self.client.epochs();
        let set = &self.sets[set_of(socket, ip)];
        match set.iter().position(|entry| entry.socket == socket && entry.ip == *ip) {
            Some(way) if set[way].epochs == now => set[way].headers.map_or(Way::Socket, Way::Frame),
            found => self.find_again(socket, ip, found, now),
        }
    }

    #[cold]
    fn find_again(&mut self, socket: u32, ip: &[u8; 16], found: Option<usize>, now: Epochs) -> Way {
        let Some(Some(local)) = self.locals.get(socket as usize) else { return Way::Socket };
        let set = &mut self.sets[set_of(socket, ip)];
        let age = |entry: &Entry| (entry.epochs.hard, entry.epochs.soft);
        let oldest = || (0..WAYS).min_by_key(|way| age(&set[*way])).unwrap_or(0);
        let way = found.unwrap_or_else(oldest);
        let entry = &mut set[way];
        let headers = entry.headers.filter(|_| found.is_some() && entry.epochs.hard == now.hard);
        let key = Key { socket, ip: Ipv6Addr::from(*ip).to_canonical() };
        if self.client.ask(key, local.address.ip(), now.hard) {
            *entry = Entry { ip: *ip, socket, epochs: now, headers };
            return if headers.is_some() { Way::Refresh } else { Way::Socket };
        }
        headers.map_or(Way::Socket, Way::Frame)
    }

    /// Takes what the kernel has answered. **Cost**: one atomic load when there is nothing.
    pub(super) fn take_answers(&mut self) {
        while let Some(answer) = self.client.poll_answer() {
            self.take(&answer);
        }
    }

    fn take(&mut self, answer: &Answer) {
        let Key { socket, ip } = answer.key;
        let ip = match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        let Some(Some(local)) = self.locals.get(socket as usize) else { return };
        let mut entries = self.sets[set_of(socket, &ip)].iter_mut();
        let entry = entries.find(|entry| entry.socket == socket && entry.ip == ip);
        // Forgotten meanwhile, or asked for again since.
        let Some(entry) = entry.filter(|entry| entry.epochs.hard == answer.epoch) else { return };
        entry.headers = answer.hop.and_then(|hop| Headers::new(local, answer.key.ip, &hop));
    }
}

/// Multiplicative hashing: the upper bits of a product depend on all bits of its factor. An attacker who fills one set only makes
/// its members go by socket.
#[inline]
fn set_of(socket: u32, ip: &[u8; 16]) -> usize {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let word = |at: usize| u32::from_ne_bytes([ip[at], ip[at + 1], ip[at + 2], ip[at + 3]]);
    let high = u64::from(word(0)) << 32 | u64::from(word(4));
    let low = u64::from(word(8)) << 32 | u64::from(word(12));
    let mixed = (high ^ u64::from(socket)).wrapping_mul(FACTOR);
    let mixed = (mixed ^ mixed >> 32 ^ low).wrapping_mul(FACTOR);
    ((mixed ^ mixed >> 29).wrapping_mul(FACTOR) >> (64 - SETS.ilog2())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_spread_over_the_sets() {
        const _: () = assert!(SETS.is_power_of_two());
        for (network, at) in [("10.79.0.0", 14), ("10.79.0.0", 13), ("2001:db8::", 14), ("2001:db8::", 6)] {
            let mut members = vec![0; SETS];
            for number in 0..1_000_u16 {
                let mut ip = match network.parse().unwrap() {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                    IpAddr::V6(ip) => ip.octets(),
                };
                ip[at..at + 2].copy_from_slice(&number.to_be_bytes());
                members[set_of(0, &ip)] += 1;
            }
            // Half a member on average.
            assert!(members.iter().all(|count| *count < WAYS), "{network}, byte {at}: {:?}", members.iter().max());
        }
    }
}
