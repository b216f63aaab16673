//! What the workers of one engine process share outside the regions: who owns a transport, who has egresses of an ingress, and
//! the mailbox through which a transport's state moves. Words and one channel per worker; no locks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use engine_base::{Limits, TransportRef};

use crate::moves::Moved;

/// Shared by the workers of a process. A successor process starts with nobody owning anything: checks claim again.
#[derive(Debug)]
pub struct Crew {
    /// Per transport: generation << 8 | owner + 1; the low byte 0 is nobody.
    owners: Box<[AtomicU64]>,
    /// Per ingress: bit n is set while worker n has an egress of it.
    interests: Box<[AtomicU64]>,
    mailboxes: Box<[Mailbox]>,
}

#[derive(Debug)]
struct Mailbox {
    sender: Sender<Moved>,
    /// Letters posted so far.
    posted: AtomicU64,
}

impl Crew {
    /// The crew, and each worker's mailbox.
    pub fn new(limits: &Limits) -> (Self, Vec<Receiver<Moved>>) {
        assert!(limits.workers <= Limits::WORKERS_MAX, "interest is one word of 64 bits");
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..limits.workers).map(|_| channel()).unzip();
        let mailboxes = senders.into_iter().map(|sender| Mailbox { sender, posted: AtomicU64::new(0) });
        let words = |count: u32| (0..count).map(|_| AtomicU64::new(0)).collect();
        let crew = Self {
            owners: words(limits.transports),
            interests: words(limits.ingresses),
            mailboxes: mailboxes.collect(),
        };
        (crew, receivers)
    }

    /// The worker that owns this very use of the row.
    pub fn owner(&self, transport: TransportRef) -> Option<u32> {
        owner_of(self.owners.get(transport.index as usize)?.load(Ordering::Acquire), transport.generation)
    }

    /// Makes `me` the owner if nobody is; an owner of an earlier generation counts as nobody. Returns the owner after the call.
    pub fn claim(&self, transport: TransportRef, me: u32) -> Option<u32> {
        let word = self.owners.get(transport.index as usize)?;
        let mine = word_of(transport.generation, me);
        let mut current = word.load(Ordering::Acquire);
        loop {
            if let Some(owner) = owner_of(current, transport.generation) {
                return Some(owner);
            }
            match word.compare_exchange(current, mine, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(me),
                Err(changed) => current = changed,
            }
        }
    }

    /// Ends `me`'s ownership in favour of `to` and posts the state. Only the owner calls it.
    pub fn hand_over(&self, moved: Moved, me: u32, to: u32) {
        let transport = moved.transport;
        let Some(mailbox) = self.mailboxes.get(to as usize) else { return };
        // Posted first: whoever sees the new owner's word must not be able to reach it before its state can.
        let posted = mailbox.sender.send(moved).is_ok();
        mailbox.posted.fetch_add(u64::from(posted), Ordering::SeqCst);
        if let Some(word) = self.owners.get(transport.index as usize) {
            let next = if posted { word_of(transport.generation, to) } else { 0 };
            let _ = word.compare_exchange(word_of(transport.generation, me), next, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Letters posted to a worker so far: with more than it has opened, it may not sleep.
    pub fn posted(&self, me: u32) -> u64 {
        self.mailboxes.get(me as usize).map_or(0, |mailbox| mailbox.posted.load(Ordering::SeqCst))
    }

    /// Ends `me`'s ownership of a row that was freed.
    pub fn disown(&self, transport: TransportRef, me: u32) {
        if let Some(word) = self.owners.get(transport.index as usize) {
            let mine = word_of(transport.generation, me);
            let _ = word.compare_exchange(mine, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Workers that have egresses of an ingress, one bit each.
    pub fn interests(&self, ingress: u32) -> u64 {
        self.interests.get(ingress as usize).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    pub fn set_interest(&self, ingress: u32, me: u32, interested: bool) {
        let Some(word) = self.interests.get(ingress as usize) else { return };
        if interested {
            word.fetch_or(1 << me, Ordering::Relaxed);
        } else {
            word.fetch_and(!(1 << me), Ordering::Relaxed);
        }
    }
}

fn word_of(generation: u32, owner: u32) -> u64 {
    u64::from(generation) << 8 | u64::from(owner + 1)
}

fn owner_of(word: u64, generation: u32) -> Option<u32> {
    let owner = (word as u32 & 0xff).checked_sub(1)?;
    (word >> 8 == u64::from(generation)).then_some(owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crew() -> Crew {
        Crew::new(&Limits { workers: 3, transports: 2, ingresses: 1, egresses: 1, datas: 1 }).0
    }

    #[test]
    fn the_first_claim_wins_and_a_new_generation_starts_unowned() {
        let (crew, old, new) = (crew(), TransportRef::new(1, 7), TransportRef::new(1, 8));
        assert_eq!(crew.owner(old), None);
        assert_eq!(crew.claim(old, 2), Some(2));
        assert_eq!(crew.claim(old, 0), Some(2));
        assert_eq!(crew.owner(new), None);
        assert_eq!(crew.claim(new, 0), Some(0));
        assert_eq!(crew.owner(old), None);
        crew.disown(new, 2);
        assert_eq!(crew.owner(new), Some(0));
        crew.disown(new, 0);
        assert_eq!(crew.owner(new), None);
    }

    #[test]
    fn indices_outside_the_table_have_no_owner() {
        let crew = crew();
        assert_eq!(crew.claim(TransportRef::new(2, 1), 0), None);
        crew.set_interest(5, 0, true);
        assert_eq!(crew.interests(5), 0);
    }

    #[test]
    fn interests_are_bits_of_workers() {
        let crew = crew();
        crew.set_interest(0, 0, true);
        crew.set_interest(0, 2, true);
        crew.set_interest(0, 0, false);
        assert_eq!(crew.interests(0), 4);
    }
}
