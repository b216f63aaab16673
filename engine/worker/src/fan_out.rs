//! The sending half of a turn: packets that wait in slots become, per egress, a train of sealed datagrams to one destination.
//! Audio goes before video. The order is egress by egress, so that a train's datagrams lie next to each other.

use std::sync::atomic::Ordering;

use engine_base::{Drop as DropReason, ExtendedSequence, Kind, NtpTime, TimeNs};
use engine_forward::nack::{EgressEntries, Retransmissions};
use engine_forward::write::{self, Written};
use engine_forward::{PacketHeader, Rewrite, SourceClocks, Verdict};
use engine_io::{Outgoing, Sender};
use engine_table::slots::packet_flags;
use engine_table::{EgressCounter, SlotRef, TransportCounter, Turn, WorkerCounter};
use smallvec::SmallVec;

use crate::addresses::Pair;
use crate::egress::Egress;
use crate::site::Site;
use crate::state::State;
use crate::transport::{Route, Transports};

/// Packets of one source taken together: longer trains per destination, and 2.6 KB of headers on the stack.
const TRAIN_PACKETS_MAX: usize = 32;
const ABS_SEND_TIME_BYTES: usize = 3;

/// A waiting packet, found in its slot.
struct Waiting<'a> {
    slot: SlotRef,
    layer: u8,
    header: PacketHeader,
    bytes: &'a [u8],
}

/// One destination in one turn.
#[derive(Clone, Copy)]
struct Lane<'a> {
    site: &'a Site,
    route: Route<'a>,
    now: TimeNs,
    ntp: NtpTime,
}

/// The number under which a packet is sealed, and whose it is.
#[derive(Clone, Copy)]
struct Numbered {
    egress: u32,
    rtx: bool,
    index: ExtendedSequence,
}

/// What a train amounted to.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    packets: u64,
    bytes: u64,
    frames: u64,
}

impl State {
    /// Forwards everything that waits.
    pub(crate) fn fan_out(&mut self, turn: &Turn, sender: &mut impl Sender) {
        for kind in [Kind::Audio, Kind::Video] {
            for position in 0..self.work.queued.len() {
                let Some(&index) = self.work.queued.get(position) else { break };
                if self.ingresses.at(index).is_some_and(|place| place.queued && place.kind == kind) {
                    self.forward_waiting(index, turn, sender);
                }
            }
        }
        self.work.queued.clear();
    }

    fn forward_waiting(&mut self, index: u32, turn: &Turn, sender: &mut impl Sender) {
        self.refresh_clocks(index);
        let ntp = self.site.ntp(self.now);
        let Some(place) = self.ingresses.at_mut(index) else { return };
        place.queued = false;
        let mut demands = [0u64; engine_base::limits::LAYERS];
        let mut packets: SmallVec<[Waiting<'_>; TRAIN_PACKETS_MAX]> = SmallVec::new();
        for chunk in place.waiting.chunks(TRAIN_PACKETS_MAX) {
            packets.clear();
            for &slot in chunk {
                match turn.packet(slot) {
                    Some((header, bytes)) => {
                        let layer = (slot.stream % engine_base::limits::LAYERS as u32) as u8;
                        packets.push(Waiting { slot, layer, header, bytes });
                    }
                    None => self.site.drop(DropReason::RtpTooOld),
                }
            }
            for egress in &mut place.local {
                let train = Train { transports: &self.transports, clocks: &place.clocks, now: self.now, ntp };
                if train.forward(&self.site, egress, &packets, sender) {
                    // The first sender report of a run shall be early.
                    self.work.touch(egress.transport.index);
                }
                if egress.has_changed(&place.clocks) {
                    self.work.observe_egress(egress.index);
                }
                if let Some(layer) = egress.poll_demand(&self.transports, &place.clocks, self.now) {
                    demands[layer] += 1;
                }
            }
        }
        place.waiting.clear();
        self.raise_demands(index, demands);
    }

    /// Answers the NACKs of this turn.
    pub(crate) fn resend_requested(&mut self, turn: &Turn, sender: &mut impl Sender) {
        let ntp = self.site.ntp(self.now);
        for position in 0..self.work.resends.len() {
            let Some(&(index, sequence)) = self.work.resends.get(position) else { break };
            let Some((ingress, egress)) = self.local_egress(index) else { continue };
            let now = self.now;
            let State { site, transports, ingresses, .. } = self;
            let Some(egress) = ingresses.at_mut(ingress).and_then(|place| place.local.get_mut(egress)) else {
                continue;
            };
            let Some(transport) = transports.get(egress.transport) else { continue };
            let Some(route) = transport.route() else { continue };
            let lane = Lane { site, route, now, ntp };
            if let Err(reason) = resend(&lane, egress, ingress, sequence, turn, sender) {
                site.drop(reason);
            }
        }
        self.work.resends.clear();
    }
}

/// What all egresses of a source have in common in a turn.
struct Train<'a> {
    transports: &'a Transports,
    clocks: &'a SourceClocks,
    now: TimeNs,
    ntp: NtpTime,
}

impl Train<'_> {
    /// Returns true when a new run has begun.
    fn forward(&self, site: &Site, egress: &mut Egress, packets: &[Waiting<'_>], sender: &mut impl Sender) -> bool {
        let Some(route) = self.transports.get(egress.transport).and_then(|transport| transport.route()) else {
            egress.state.pause();
            packets.iter().for_each(|_| site.drop(DropReason::EgressNotConnected));
            return false;
        };
        let lane = Lane { site, route, now: self.now, ntp: self.ntp };
        let (mut tally, runs) = (Tally::default(), egress.state.runs());
        for packet in packets {
            match egress.state.verdict(&egress.plan, packet.layer, &packet.header, self.clocks) {
                Verdict::Drop(reason) => site.drop(reason),
                Verdict::Forward(rewrite) => match lane.forward(egress, &rewrite, packet, sender) {
                    Ok(bytes) => {
                        tally.packets += 1;
                        tally.bytes += bytes as u64;
                        tally.frames += u64::from(packet.header.flags & packet_flags::FRAME_END != 0);
                    }
                    Err(reason) => site.drop(reason),
                },
            }
        }
        if tally.packets > 0 {
            lane.count(egress.index, &tally);
            site.count_egress(egress.index, EgressCounter::Frames, tally.frames);
        }
        let begun = egress.state.runs().wrapping_sub(runs);
        site.count_egress(egress.index, EgressCounter::Switches, u64::from(begun));
        egress.save(site);
        begun != 0
    }
}

impl Lane<'_> {
    fn forward(
        &self,
        egress: &mut Egress,
        rewrite: &Rewrite,
        packet: &Waiting<'_>,
        sender: &mut impl Sender,
    ) -> Result<usize, DropReason> {
        if egress.plan.nack {
            let entries = EgressEntries { media: &self.site.regions.media, egress: egress.index };
            Retransmissions(entries).remember(rewrite, packet.slot);
        }
        let numbered = Numbered { egress: egress.index, rtx: false, index: rewrite.sequence };
        self.send(numbered, packet.bytes, sender, |out| {
            write::packet(out, &egress.plan, rewrite, &packet.header, packet.bytes)
        })
    }

    /// Writes, stamps and seals one packet and queues its send. The index is stored before the send is published.
    fn send<S: Sender>(
        &self,
        numbered: Numbered,
        packet: &[u8],
        sender: &mut S,
        write: impl FnOnce(&mut [u8]) -> Result<Written, DropReason>,
    ) -> Result<usize, DropReason> {
        let mut slot = sender.reserve().ok_or(DropReason::SendQueueFull)?;
        let out = sender.bytes(&mut slot);
        let sealed = write(out).and_then(|written| self.seal(out, &written, numbered.index, packet));
        let bytes = match sealed {
            Ok(bytes) => bytes,
            Err(reason) => {
                sender.release(slot);
                return Err(reason);
            }
        };
        // A late packet has a lower index than those before it: the word holds the highest.
        let word = self.site.regions.media.egress_index(numbered.egress, numbered.rtx);
        word.store(numbered.index.0.max(word.load(Ordering::Relaxed)), Ordering::Release);
        let Pair { remote: destination, socket } = self.route.pair;
        sender.commit(slot, Outgoing { socket, destination, bytes: bytes as u32, segment_bytes: 0 });
        Ok(bytes)
    }

    fn seal(
        &self,
        out: &mut [u8],
        written: &Written,
        index: ExtendedSequence,
        packet: &[u8],
    ) -> Result<usize, DropReason> {
        if let Some(at) = written.abs_send_time {
            let [_, stamp @ ..] = self.ntp.abs_send_time().to_be_bytes();
            out.get_mut(at..at + ABS_SEND_TIME_BYTES).ok_or(DropReason::SendTooLarge)?.copy_from_slice(&stamp);
        }
        if let Some(at) = written.transport_sequence {
            let word = self.site.regions.media.transport_wide_sequence(self.route.transport);
            let next = word.load(Ordering::Relaxed).wrapping_add(1);
            word.store(next, Ordering::Relaxed);
            let stamp = (next as u16).to_be_bytes();
            out.get_mut(at..at + stamp.len()).ok_or(DropReason::SendTooLarge)?.copy_from_slice(&stamp);
        }
        let payload = packet.get(written.payload.clone()).ok_or(DropReason::RtpMalformed)?;
        let sealed =
            self.route.keys.send.seal_scatter(out, written.header_bytes, written.prefix_bytes, payload, index.0);
        sealed.map_err(DropReason::from)
    }

    fn count(&self, egress: u32, tally: &Tally) {
        self.site.count_egress(egress, EgressCounter::Packets, tally.packets);
        self.site.count_egress(egress, EgressCounter::Bytes, tally.bytes);
        self.site.count_transport(self.route.transport, TransportCounter::SentPackets, tally.packets);
        self.site.count_transport(self.route.transport, TransportCounter::SentBytes, tally.bytes);
        self.site.count(WorkerCounter::Sent, tally.packets);
        self.site.count(WorkerCounter::SentBytes, tally.bytes);
    }
}

/// Sends one packet again on the RTX SSRC.
fn resend(
    lane: &Lane<'_>,
    egress: &mut Egress,
    ingress: u32,
    sequence: engine_base::SequenceNumber,
    turn: &Turn,
    sender: &mut impl Sender,
) -> Result<(), DropReason> {
    if !egress.plan.nack {
        return Err(DropReason::NackTooOld);
    }
    let entries = EgressEntries { media: &lane.site.regions.media, egress: egress.index };
    let found = Retransmissions(entries).answer(&egress.state, ingress, sequence, lane.now)?;
    let (header, packet) = turn.packet(found.slot).ok_or(DropReason::NackTooOld)?;
    let (rewrite, payload_type) = found.rewrite(&egress.plan, &header)?;
    let index = egress.state.take_rtx_sequence();
    let bytes = lane.send(Numbered { egress: egress.index, rtx: true, index }, packet, sender, |out| {
        write::retransmission(out, &egress.plan, (&rewrite, payload_type), index, &header, packet)
    })?;
    lane.count(egress.index, &Tally { packets: 1, bytes: bytes as u64, frames: 0 });
    lane.site.count_egress(egress.index, EgressCounter::Retransmitted, 1);
    Ok(())
}
