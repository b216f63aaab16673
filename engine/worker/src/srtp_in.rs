//! What comes from a client's validated address: SRTP and SRTCP are opened once by the owner of the transport; RTP goes on into its
//! ingress, a packet of no known stream is held for a moment.

use engine_base::{Drop as DropReason, IngressRef, TimeNs, TransportRef};
use engine_forward::StreamId;
use engine_forward::parse::transport_sequence;
use engine_table::{SlotRef, TransportCounter, WorkerCounter};
use engine_wire::{Class, RtpPacket, rtcp};
use zerocopy::IntoBytes;

use crate::addresses::Pair;
use crate::ingress::WAITING_MAX;
use crate::publisher::Desk;
use crate::records::{Addressed, FanOut, kind};
use crate::state::State;

/// Whose a datagram is.
enum Way {
    Mine,
    Of(u32),
    Nobody,
}

impl State {
    /// SRTP or SRTCP from the network.
    pub(crate) fn handle_protected(&mut self, bytes: &mut [u8], pair: Pair) {
        match self.addresses.find(&pair) {
            Some(reference) => self.deliver(reference, pair, bytes),
            None => self.site.drop(DropReason::SourceUnknown),
        }
    }

    /// Opens a datagram of a transport, or passes it to the worker that can.
    pub(crate) fn deliver(&mut self, reference: TransportRef, pair: Pair, bytes: &mut [u8]) {
        match self.way(reference) {
            Way::Mine => {
                let opened = match engine_wire::classify(bytes) {
                    Class::Srtcp => self.open_rtcp(reference, bytes),
                    _ => self.open_rtp(reference, bytes),
                };
                if let Err(reason) = opened {
                    self.site.drop(reason);
                }
            }
            Way::Of(owner) => {
                let head = Addressed::new(reference, pair, 0);
                self.rings.push(&self.site, owner, kind::DATAGRAM, &[head.as_bytes(), bytes]);
            }
            Way::Nobody => self.site.drop(DropReason::NoKeys),
        }
    }

    fn way(&mut self, reference: TransportRef) -> Way {
        let is_mine = |state: &Self| state.transports.get(reference).is_some_and(|transport| transport.owned.is_some());
        if is_mine(self) {
            return Way::Mine;
        }
        match self.site.crew.owner(reference) {
            Some(owner) if owner != self.site.me => Way::Of(owner),
            Some(_) => {
                // Handed over a moment ago: its state was posted before the word that names this worker.
                self.open_mailbox();
                if is_mine(self) { Way::Mine } else { Way::Nobody }
            }
            None => Way::Nobody,
        }
    }

    fn open_rtp(&mut self, reference: TransportRef, bytes: &mut [u8]) -> Result<(), DropReason> {
        let sealed = RtpPacket::parse_sealed(bytes).map_err(|_| DropReason::RtpMalformed)?;
        let (ssrc, sequence, received) = (sealed.ssrc(), sealed.sequence(), bytes.len() as u64);
        let transport = self.transports.get_mut(reference).ok_or(DropReason::SourceUnknown)?;
        let closing = transport.closing;
        let (Some(keys), Some(owned)) = (transport.keys.as_deref(), transport.owned.as_deref_mut()) else {
            return Err(DropReason::NoKeys);
        };
        if closing {
            return Err(DropReason::NoKeys);
        }
        // A repeated index is opened all the same: senders without RTX resend under it (PROTOCOL §5.1).
        let index = owned.windows.find(ssrc).map_or(u64::from(sequence.0), |window| window.estimate(sequence.0));
        let length = keys.receive.unprotect_rtp(bytes, index)?;
        owned.windows.accept(ssrc, index);
        owned.observed.changed |= owned.link.hear(self.now);
        self.site.count_transport(reference.index, TransportCounter::ReceivedPackets, 1);
        self.site.count_transport(reference.index, TransportCounter::ReceivedBytes, received);
        let plain = RtpPacket::parse(&bytes[..length]).map_err(|_| DropReason::RtpMalformed)?;
        if let Some(sequence) = transport_sequence(&plain, transport.receive_extensions.transport_cc) {
            owned.arrivals.record(sequence, ssrc, self.now, plain.marker());
        }
        self.work.touch(reference.index);
        let Some(id) = self.identify(reference, &plain) else {
            let held = self.transports.get_mut(reference).and_then(|transport| transport.owned.as_deref_mut());
            let kept = held.is_some_and(|owned| owned.held.push(plain.bytes(), self.now));
            return if kept { Ok(()) } else { Err(DropReason::RtpUnknownStream) };
        };
        self.receive_rtp(reference, id, &plain, self.now)
    }

    /// The stream of a packet by its SSRC, else by its mid and rid.
    fn identify(&mut self, reference: TransportRef, packet: &RtpPacket<'_>) -> Option<StreamId> {
        let State { transports, ingresses, .. } = self;
        let place = transports.at_mut(reference.index)?;
        let (transport, rows) = (place.transport.as_mut()?, &place.ingresses);
        let owned = transport.owned.as_deref_mut()?;
        if let Some(id) = owned.streams.find(packet.ssrc()) {
            return Some(id);
        }
        let rows = rows.iter().filter_map(|&index| Some((index, ingresses.at(index)?.row.as_ref()?)));
        owned.streams.learn(packet, &transport.receive_extensions, rows)
    }

    /// A plain packet of a known stream: into its slot, and on to everyone who has an egress.
    fn receive_rtp(
        &mut self,
        reference: TransportRef,
        id: StreamId,
        packet: &RtpPacket<'_>,
        arrival: TimeNs,
    ) -> Result<(), DropReason> {
        let State { site, transports, ingresses, slots, .. } = self;
        let owned = transports.get(reference).and_then(|transport| transport.owned.as_deref());
        let owned = owned.ok_or(DropReason::SourceUnknown)?;
        let media = if id.rtx { owned.streams.ssrc(StreamId { rtx: false, ..id }) } else { Some(packet.ssrc()) };
        let media = media.ok_or(DropReason::RtpUnknownStream)?;
        let place = ingresses.at_mut(id.ingress).ok_or(DropReason::RtpUnknownStream)?;
        let (Some(row), Some(publisher)) = (&place.row, place.publisher.as_deref_mut()) else {
            return Err(DropReason::RtpUnknownStream);
        };
        let interests = site.crew.interests(id.ingress);
        let desk = Desk { site, slots, row, wanted: interests != 0 };
        let received = publisher.receive(desk, id, media, packet, arrival);
        place.clocks = publisher.clocks;
        let (slot, ingress) = (received?, publisher.reference);
        self.announce(ingress, slot, interests);
        Ok(())
    }

    /// Queues a packet for this worker's egresses and tells the other workers that have some.
    fn announce(&mut self, ingress: IngressRef, slot: SlotRef, interests: u64) {
        self.wait_in_slot(ingress, slot);
        let others = interests & !(1 << self.site.me);
        if others == 0 {
            return;
        }
        let record = FanOut { ingress, slot };
        for worker in (0..self.rings.workers()).filter(|worker| others >> worker & 1 != 0) {
            self.rings.push(&self.site, worker, kind::FAN_OUT, &[record.as_bytes()]);
            self.site.count(WorkerCounter::FanOutRecords, 1);
        }
    }

    /// A packet in a slot waits for this turn's fan-out.
    pub(crate) fn wait_in_slot(&mut self, ingress: IngressRef, slot: SlotRef) {
        let Some(place) = self.ingresses.at_mut(ingress.index) else { return };
        if place.local.is_empty() || place.reference(ingress.index) != ingress {
            return;
        }
        if place.waiting.len() >= WAITING_MAX {
            self.site.drop(DropReason::WorkerRingFull);
            return;
        }
        place.waiting.push(slot);
        if !std::mem::replace(&mut place.queued, true) {
            place.waiting_since = self.now;
            self.work.queued.push(ingress.index);
        }
    }

    fn open_rtcp(&mut self, reference: TransportRef, bytes: &mut [u8]) -> Result<(), DropReason> {
        let sender = rtcp::sender_ssrc(bytes).map_err(|_| DropReason::RtcpMalformed)?;
        let received = bytes.len() as u64;
        let transport = self.transports.get_mut(reference).ok_or(DropReason::SourceUnknown)?;
        let closing = transport.closing;
        let (Some(keys), Some(owned)) = (transport.keys.as_deref(), transport.owned.as_deref_mut()) else {
            return Err(DropReason::NoKeys);
        };
        if closing {
            return Err(DropReason::NoKeys);
        }
        let claimed = keys.receive.rtcp_index(bytes).ok_or(DropReason::SrtpMalformed)?;
        if !owned.rtcp_windows.is_fresh(sender, claimed) {
            return Err(DropReason::SrtpReplayed);
        }
        let (length, index) = keys.receive.unprotect_rtcp(bytes)?;
        owned.rtcp_windows.accept(sender, index);
        owned.observed.changed |= owned.link.hear(self.now);
        self.site.count_transport(reference.index, TransportCounter::ReceivedPackets, 1);
        self.site.count_transport(reference.index, TransportCounter::ReceivedBytes, received);
        self.work.touch(reference.index);
        self.handle_rtcp(reference, &bytes[..length]);
        Ok(())
    }

    /// Tries the held packets of a transport again, after its streams were told anew.
    pub(crate) fn retry_held(&mut self, reference: TransportRef) {
        let Some(transport) = self.transports.get_mut(reference) else { return };
        let Some(owned) = transport.owned.as_deref_mut() else { return };
        if !std::mem::take(&mut owned.retry_held) || owned.held.is_empty() {
            return;
        }
        for held in owned.held.take() {
            let Ok(packet) = RtpPacket::parse(&held.bytes) else { continue };
            let result = match self.identify(reference, &packet) {
                Some(id) => self.receive_rtp(reference, id, &packet, held.arrival),
                None => {
                    let transport = self.transports.get_mut(reference);
                    let owned = transport.and_then(|transport| transport.owned.as_deref_mut());
                    let kept = owned.is_some_and(|owned| owned.held.push(&held.bytes, held.arrival));
                    if kept { Ok(()) } else { Err(DropReason::RtpUnknownStream) }
                }
            };
            if let Err(reason) = result {
                self.site.drop(reason);
            }
        }
    }
}
