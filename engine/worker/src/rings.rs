//! A worker's ends of the rings to and from the other workers and the courier, and the wake-ups that its turn owes them.

use std::os::fd::OwnedFd;
use std::sync::atomic::{Ordering, fence};

use engine_base::Drop as DropReason;
use engine_io::Sender;
use engine_table::{RingConsumer, RingProducer};

use crate::records::RECORD_BYTES_MAX;
use crate::site::Site;

/// Records taken from one ring in one turn.
pub const RECORDS_PER_TURN: usize = 1_024;

/// Eventfds of the other processes; `None` in tests.
#[derive(Debug, Default)]
pub struct Bells {
    pub courier: Option<OwnedFd>,
    pub signaling: Option<OwnedFd>,
}

#[derive(Debug)]
pub struct Rings {
    /// By target; `None` for this worker itself.
    producers: Vec<Option<RingProducer>>,
    /// By source.
    consumers: Vec<Option<RingConsumer>>,
    punts: RingProducer,
    courier: RingConsumer,
    /// Bit n: something was pushed for worker n in this turn.
    pushed: u64,
    punted: bool,
    bells: Bells,
    /// Where a record is copied to; taken out while it is handled.
    pub scratch: Vec<u8>,
}

impl Rings {
    /// Takes the ends over from a predecessor where it stood.
    pub fn new(site: &Site, bells: Bells) -> Self {
        let media = &site.regions.media;
        let others = |other: u32| other != site.me;
        let workers = 0..site.limits.workers;
        Self {
            producers: workers
                .clone()
                .map(|to| others(to).then(|| media.worker_ring(site.me, to).producer()))
                .collect(),
            consumers: workers.map(|from| others(from).then(|| media.worker_ring(from, site.me).consumer())).collect(),
            punts: site.regions.engine.punt_ring(&site.regions.courier, site.me).producer(),
            courier: site.regions.courier.worker_ring(&site.regions.engine, site.me).consumer(),
            pushed: 0,
            punted: false,
            bells,
            scratch: vec![0; RECORD_BYTES_MAX],
        }
    }

    pub fn workers(&self) -> u32 {
        self.consumers.len() as u32
    }

    /// Tells another worker something; a full ring is a counted drop.
    pub fn push(&mut self, site: &Site, to: u32, kind: u32, parts: &[&[u8]]) {
        let Some(Some(producer)) = self.producers.get_mut(to as usize) else { return };
        if producer.push(kind, parts) {
            self.pushed |= 1 << to;
        } else {
            site.drop(DropReason::WorkerRingFull);
        }
    }

    /// That worker is owed a wake-up though nothing was pushed: its mailbox has something.
    pub fn owe(&mut self, to: u32) {
        self.pushed |= 1 << to;
    }

    pub fn punt(&mut self, kind: u32, parts: &[&[u8]]) -> Result<(), DropReason> {
        if !self.punts.push(kind, parts) {
            return Err(DropReason::PuntRingFull);
        }
        self.punted = true;
        Ok(())
    }

    /// The next record of another worker: kind and length in `out`.
    pub fn pop(&mut self, from: u32, out: &mut [u8]) -> Option<(u32, usize)> {
        self.consumers.get_mut(from as usize)?.as_mut()?.pop(out)
    }

    /// The next record of the courier.
    pub fn pop_courier(&mut self, out: &mut [u8]) -> Option<(u32, usize)> {
        self.courier.pop(out)
    }

    pub fn has_work(&self) -> bool {
        !self.courier.is_empty() || self.consumers.iter().flatten().any(|consumer| !consumer.is_empty())
    }

    /// Wakes whoever sleeps on what this turn has published. **Cost**: a word per worker that got something; a syscall each for
    /// courier and signaling when they did.
    pub fn wake_others(&mut self, site: &Site, sender: &mut impl Sender, observed: bool) {
        if self.pushed != 0 {
            // Orders the rings' heads before the sleepers' words; the sleepers do the reverse.
            fence(Ordering::SeqCst);
            for worker in (0..site.limits.workers).filter(|worker| self.pushed >> worker & 1 != 0) {
                if site.regions.engine.sleeping(worker).load(Ordering::SeqCst) == 1 {
                    sender.wake(worker);
                }
            }
        }
        if self.punted || observed {
            ring(&self.bells.courier);
        }
        if observed {
            ring(&self.bells.signaling);
        }
        (self.pushed, self.punted) = (0, false);
    }
}

/// Adds 1 to an eventfd. A failure is no loss: readers look at levels.
fn ring(bell: &Option<OwnedFd>) {
    if let Some(fd) = bell {
        let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
    }
}
