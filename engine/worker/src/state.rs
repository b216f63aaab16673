//! All that a worker has but its port: tables, sessions, rings, timers, and what this turn has put aside.

use std::sync::mpsc::Receiver;

use engine_base::{Drop as DropReason, IngressRef, TimeNs, TransportRef};
use engine_io::{Datagram, Sender};
use engine_srtp::Sealer;
use engine_table::{ChangeLog, Slots};
use engine_wire::Class;
use zerocopy::FromBytes;

use crate::addresses::{Addresses, Pair};
use crate::egress::Facts;
use crate::hold::Hold;
use crate::ingress::Ingresses;
use crate::link::Wish;
use crate::moves::Moved;
use crate::records::{Addressed, FanOut, kind};
use crate::rings::{Bells, RECORDS_PER_TURN, Rings};
use crate::rows::Rows;
use crate::site::Site;
use crate::timers::Timers;
use crate::transport::Transports;
use crate::work::Work;

/// Transports whose deadlines are served in one turn.
const SERVED_PER_TURN: usize = 256;
/// How long a path gets single datagrams after it refused a train.
const NO_TRAINS_NS: u64 = 60_000_000_000;
/// A deadline that could not be met is tried again after this.
const RETRY_NS: u64 = 1_000_000;

pub(crate) struct State {
    pub site: Site,
    /// Read once per turn.
    pub now: TimeNs,
    pub rows: Rows,
    pub rings: Rings,
    pub mailbox: Receiver<Moved>,
    /// Letters taken out of the mailbox so far.
    pub opened: u64,
    pub addresses: Addresses,
    pub transports: Transports,
    pub ingresses: Ingresses,
    /// Of the egress rows.
    pub facts: Facts,
    pub slots: Slots,
    pub timers: Timers,
    /// This worker's log of observed rows.
    pub log: ChangeLog,
    pub work: Work,
    pub sealer: Sealer,
    pub hold: Hold,
}

impl State {
    pub fn new(site: Site, bells: Bells, mailbox: Receiver<Moved>, now: TimeNs) -> Self {
        let limits = site.limits;
        Self {
            now,
            rows: Rows::new(&site),
            rings: Rings::new(&site, bells),
            mailbox,
            opened: 0,
            addresses: Addresses::new(&limits),
            transports: Transports::new(limits.transports),
            ingresses: Ingresses::new(limits.ingresses),
            facts: Facts::new(),
            slots: site.regions.media.slots(&site.regions.engine),
            timers: Timers::new(limits.transports, now),
            log: site.regions.engine.log(site.me),
            work: Work::new(limits.transports, limits.ingresses, limits.egresses),
            sealer: Sealer::new(),
            hold: Hold::new(u64::from(site.node.video_hold_us) * 1_000, site.node.video_hold_load, now),
            site,
        }
    }

    /// Something waits to be done without a datagram or a deadline.
    pub fn has_work(&self) -> bool {
        self.rings.has_work() || self.rows.has_work() || self.work.has_touched() || self.has_letters()
    }

    /// Another worker has released something to this one.
    pub fn has_letters(&self) -> bool {
        self.site.crew.posted(self.site.me) != self.opened
    }

    /// The earliest deadline.
    pub fn poll_timeout(&self) -> Option<TimeNs> {
        let held = self.work.held_until;
        self.timers.next().map_or(held, |next| Some(held.map_or(next, |held| held.min(next))))
    }

    /// One datagram from the network.
    pub fn handle_datagram(&mut self, datagram: Datagram<'_>, sender: &mut impl Sender) {
        let pair = Pair { remote: datagram.source, socket: datagram.socket };
        match engine_wire::classify(datagram.bytes) {
            Class::Srtp | Class::Srtcp => self.handle_protected(datagram.bytes, pair),
            Class::Stun => self.handle_stun(datagram.bytes, pair, sender),
            Class::Dtls => self.handle_dtls(datagram.bytes, pair),
            Class::Unknown if datagram.bytes.is_empty() => self.site.drop(DropReason::Empty),
            Class::Unknown => self.site.drop(DropReason::UnknownFirstByte),
        }
    }

    /// What other workers have put into their rings.
    pub fn take_records(&mut self, sender: &mut impl Sender) {
        let mut scratch = std::mem::take(&mut self.rings.scratch);
        for from in 0..self.rings.workers() {
            for _ in 0..RECORDS_PER_TURN {
                let Some((kind, length)) = self.rings.pop(from, &mut scratch) else { break };
                let record = scratch.get_mut(..length).unwrap_or_default();
                if self.take_record(from, kind, record, sender).is_none() {
                    self.site.drop(DropReason::RowBad);
                }
            }
        }
        self.rings.scratch = scratch;
    }

    fn take_record(&mut self, from: u32, kind: u32, record: &mut [u8], sender: &mut impl Sender) -> Option<()> {
        match kind {
            kind::FAN_OUT => {
                let (record, _) = FanOut::read_from_prefix(record).ok()?;
                self.wait_in_slot(record.ingress, record.slot);
            }
            kind::DATAGRAM => {
                let (head, datagram) = record.split_at_mut_checked(size_of::<Addressed>())?;
                let head = Addressed::read_from_bytes(head).ok()?;
                self.deliver(head.transport, head.pair(), datagram);
            }
            kind::MOVE => {
                let (head, _) = Addressed::read_from_prefix(record).ok()?;
                let wish = Wish { worker: from, pair: head.pair(), credentials: head.credentials as u8 & 1 };
                self.nominate_elsewhere(head.transport, wish);
            }
            kind::DEMAND => {
                let (ingress, _) = IngressRef::read_from_prefix(record).ok()?;
                let row = self.ingresses.at(ingress.index).and_then(|place| place.row.as_ref());
                if let Some(row) = row.filter(|row| row.generation == ingress.generation) {
                    self.work.touch(row.transport.index);
                }
            }
            kind::SEND => {
                let (head, datagram) = Addressed::read_from_prefix(record).ok()?;
                self.send_for_courier(head.transport, head.pair(), datagram, sender);
            }
            _ => return None,
        }
        Some(())
    }

    /// Another worker authenticated a nominating check of a transport that this one owns.
    fn nominate_elsewhere(&mut self, reference: TransportRef, wish: Wish) {
        let Some(transport) = self.transports.get_mut(reference) else { return };
        let Some(owned) = transport.owned.as_deref_mut() else { return };
        owned.observed.changed |= owned.link.hear(self.now);
        self.nominate(reference, wish);
    }

    /// Serves what was touched in this turn and whatever deadlines have passed, a bounded number.
    pub fn serve_transports(&mut self, sender: &mut impl Sender) {
        self.work.disconnects.drain(..).for_each(|connection| sender.disconnect(connection));
        for _ in 0..SERVED_PER_TURN {
            let Some(index) = self.work.pop_touched() else { break };
            self.serve(index, sender);
        }
        for _ in 0..SERVED_PER_TURN {
            let Some(index) = self.timers.pop(self.now) else { break };
            self.serve(index, sender);
        }
    }

    fn serve(&mut self, index: u32, sender: &mut impl Sender) {
        let now = self.now;
        let Some(transport) = self.transports.at_mut(index).and_then(|place| place.transport.as_mut()) else { return };
        let reference = transport.reference;
        let Some(owned) = transport.owned.as_deref_mut() else { return };
        owned.observed.changed |= owned.link.handle_timeout(now);
        for _ in 0..owned.held.handle_timeout(now) {
            self.site.drop(DropReason::RtpUnknownStream);
        }
        if let Some(wish) = owned.link.due_wish(now) {
            self.nominate(reference, wish);
        }
        self.retry_held(reference);
        self.settle_connection(index, sender);
        let transport = self.transports.get(reference).and_then(|transport| transport.owned.as_deref());
        // Released by the wish.
        let Some(owned) = transport else { return };
        let changed = owned.observed.changed;
        let next = owned.link.poll_timeout().min(owned.held.poll_timeout());
        let next = next.min(self.feed_back(index, sender)).min(self.report_to_subscriber(index, sender));
        if changed {
            self.ask_for_key_frames_of(index);
        }
        self.observe_transport(index);
        self.timers.set(index, next.max(now.add_ns(RETRY_NS)));
    }

    /// Counts the packets of sends that the kernel refused. A path that is too narrow for a train gets none for a minute.
    pub fn take_failures(&mut self, sender: &mut impl Sender) {
        while let Some(failure) = sender.poll_failure() {
            let reason = failure.reason();
            (0..failure.packets()).for_each(|_| self.site.drop(reason));
            if reason != DropReason::SendTooLarge || !failure.is_train() {
                continue;
            }
            let pair = Pair { remote: failure.outgoing.destination, socket: failure.outgoing.socket };
            let reference = self.addresses.find(&pair);
            let transport = reference.and_then(|reference| self.transports.get_mut(reference));
            if let Some(owned) = transport.and_then(|transport| transport.owned.as_deref_mut()) {
                owned.link.no_trains_until = self.now.add_ns(NO_TRAINS_NS);
            }
        }
    }
}

/// Where a stream's numbers begin cannot be guessed (RFC 3550 §5.1).
pub(crate) fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    // A failure leaves zero, which is still a valid beginning.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}
