//! Data packets kept for later: a room's recent sequenced ones for resumes, and one receiver's while its channel is not open.
//! Bounded by bytes and age; what is beyond is dropped, oldest first.

use std::collections::VecDeque;

use bytes::Bytes;
use engine_base::TimeNs;
use engine_table::Text;

use super::packet::Destinations;
use crate::limits;

/// A sequenced reliable packet as receivers got it.
#[derive(Clone, Debug)]
pub struct Cached {
    pub at: TimeNs,
    pub sender_sid: Text<24>,
    pub sequence: u32,
    pub destinations: Destinations,
    pub bytes: Bytes,
}

impl Cached {
    /// Bytes that it takes, names of receivers included.
    fn size(&self) -> usize {
        size_of::<Self>() + self.bytes.len() + self.destinations.bytes()
    }
}

/// The recent sequenced packets of a room, oldest first.
#[derive(Debug, Default)]
pub struct ReplayCache {
    entries: VecDeque<Cached>,
    bytes: usize,
}

impl ReplayCache {
    pub fn push(&mut self, cached: Cached) {
        self.bytes += cached.size();
        self.entries.push_back(cached);
        while self.bytes > limits::REPLAY_BYTES {
            self.pop();
        }
    }

    pub fn expire(&mut self, now: TimeNs) {
        while self.entries.front().is_some_and(|oldest| is_too_old(oldest.at, now)) {
            self.pop();
        }
    }

    /// Packets of `sender_sid` after `last_sequence`, in their order.
    pub fn after(&self, sender_sid: Text<24>, last_sequence: u32) -> impl Iterator<Item = &Cached> {
        self.entries.iter().filter(move |entry| entry.sender_sid == sender_sid && entry.sequence > last_sequence)
    }

    fn pop(&mut self) {
        if let Some(oldest) = self.entries.pop_front() {
            self.bytes -= oldest.size();
        }
    }
}

#[derive(Clone, Debug)]
struct Waiting {
    at: TimeNs,
    sequenced: bool,
    bytes: Bytes,
}

/// Reliable packets for a receiver whose channel is not open yet.
#[derive(Debug, Default)]
pub struct PendingQueue {
    entries: VecDeque<Waiting>,
    sequenced_bytes: usize,
    unsequenced_bytes: usize,
}

impl PendingQueue {
    /// `false` when the queue is full: the packet is dropped, the caller counts.
    #[must_use]
    pub fn push(&mut self, bytes: Bytes, sequenced: bool, now: TimeNs) -> bool {
        self.expire(now);
        let (used, limit) = match sequenced {
            true => (&mut self.sequenced_bytes, limits::RELIABLE_QUEUE_BYTES),
            false => (&mut self.unsequenced_bytes, limits::UNSEQUENCED_QUEUE_BYTES),
        };
        if *used + bytes.len() > limit {
            return false;
        }
        *used += bytes.len();
        self.entries.push_back(Waiting { at: now, sequenced, bytes });
        true
    }

    pub fn expire(&mut self, now: TimeNs) {
        while self.entries.front().is_some_and(|oldest| is_too_old(oldest.at, now)) {
            self.pop();
        }
    }

    /// The next packet that is not too old, with whether it has a sequence.
    pub fn take(&mut self, now: TimeNs) -> Option<(Bytes, bool)> {
        self.expire(now);
        self.pop().map(|waiting| (waiting.bytes, waiting.sequenced))
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.entries.pop_front()?;
        match waiting.sequenced {
            true => self.sequenced_bytes -= waiting.bytes.len(),
            false => self.unsequenced_bytes -= waiting.bytes.len(),
        }
        Some(waiting)
    }
}

fn is_too_old(at: TimeNs, now: TimeNs) -> bool {
    now.since(at) > limits::REPLAY_AGE_MS * 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_keeps_the_newest_within_bytes_and_age() {
        let (alice, bob) = (Text::cut("PA_alice"), Text::cut("PA_bob"));
        let mut cache = ReplayCache::default();
        let mut push = |sender_sid, sequence, bytes: usize, ms| {
            let bytes = Bytes::from(vec![0; bytes]);
            let destinations = Destinations::default();
            cache.push(Cached { at: TimeNs::from_ms(ms), sender_sid, sequence, destinations, bytes });
        };
        push(alice, 1, limits::REPLAY_BYTES / 2, 0);
        push(bob, 1, 10, 1);
        push(alice, 2, limits::REPLAY_BYTES / 2, 2);
        push(alice, 3, 10, 3);
        let sequences = |cache: &ReplayCache, sid, last| cache.after(sid, last).map(|c| c.sequence).collect::<Vec<_>>();
        assert_eq!(sequences(&cache, alice, 0), [2, 3]);
        assert_eq!(sequences(&cache, alice, 2), [3]);
        assert_eq!(sequences(&cache, bob, 0), [1]);
        cache.expire(TimeNs::from_ms(limits::REPLAY_AGE_MS + 2).add_ns(1));
        assert_eq!(sequences(&cache, alice, 0), [3]);
    }

    #[test]
    fn names_of_receivers_count_as_bytes_of_the_cache() {
        let mut cache = ReplayCache::default();
        for sequence in 0..100 {
            let identities = (0..2_000).map(|n: u32| n.to_be_bytes().to_vec()).collect();
            let destinations = Destinations { identities, ..Destinations::default() };
            let bytes = Bytes::from(vec![0; 2_000 * 6]);
            cache.push(Cached { at: TimeNs::ZERO, sender_sid: Text::EMPTY, sequence, destinations, bytes });
        }
        assert!(cache.after(Text::EMPTY, 0).count() < 10);
    }

    #[test]
    fn a_pending_queue_bounds_unsequenced_bytes_and_forgets_the_old() {
        let mut queue = PendingQueue::default();
        let large = Bytes::from(vec![0; limits::UNSEQUENCED_QUEUE_BYTES]);
        assert!(queue.push(large.clone(), false, TimeNs::ZERO));
        assert!(!queue.push(Bytes::from_static(b"x"), false, TimeNs::ZERO));
        assert!(queue.push(Bytes::from_static(b"y"), true, TimeNs::from_ms(5)));
        assert_eq!(queue.take(TimeNs::from_ms(6)), Some((large.clone(), false)));
        assert!(queue.push(large, false, TimeNs::from_ms(7)));
        assert_eq!(queue.take(TimeNs::from_ms(limits::REPLAY_AGE_MS + 8)), None);
        assert!(queue.is_empty());
    }
}
