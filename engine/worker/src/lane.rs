//! One destination in one turn: what is stamped into a packet on its way there, and the single packet that goes alone.

use std::sync::atomic::Ordering;

use engine_base::{Drop as DropReason, ExtendedSequence, NtpTime, TimeNs};
use engine_forward::nack::{EgressEntries, Retransmissions};
use engine_forward::write::{self, Written};
use engine_io::{Outgoing, Sender};
use engine_table::{EgressCounter, TransportCounter, Turn, WorkerCounter};

use crate::addresses::Pair;
use crate::egress::Egress;
use crate::site::Site;
use crate::state::State;
use crate::transport::Route;

const ABS_SEND_TIME_BYTES: usize = 3;

#[derive(Clone, Copy)]
pub struct Lane<'a> {
    pub site: &'a Site,
    pub route: Route<'a>,
    pub now: TimeNs,
    pub ntp: NtpTime,
}

impl Lane<'_> {
    /// A path that refused a train gets single datagrams for a while.
    pub fn takes_no_trains(&self) -> bool {
        self.now < self.route.no_trains_until
    }

    /// Writes what is known only at the send: the time and the transport-wide number.
    pub fn stamp(&self, out: &mut [u8], written: &Written) -> Result<(), DropReason> {
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
        Ok(())
    }

    /// Stores an SRTP index before its send is published: a successor begins behind it. A late packet has a lower one than those
    /// before it: the word holds the highest.
    pub fn store_index(&self, egress: u32, rtx: bool, index: ExtendedSequence) {
        let word = self.site.regions.media.egress_index(egress, rtx);
        word.store(index.0.max(word.load(Ordering::Relaxed)), Ordering::Release);
    }

    /// Sends one packet again on the RTX SSRC.
    fn resend(
        &self,
        egress: &mut Egress,
        ingress: u32,
        sequence: engine_base::SequenceNumber,
        turn: &Turn,
        sender: &mut impl Sender,
    ) -> Result<(), DropReason> {
        if !egress.plan.nack {
            return Err(DropReason::NackTooOld);
        }
        let entries = EgressEntries { media: &self.site.regions.media, egress: egress.index };
        let found = Retransmissions(entries).answer(&egress.state, ingress, sequence, self.now)?;
        let (header, packet) = turn.packet(found.slot).ok_or(DropReason::NackTooOld)?;
        let (rewrite, payload_type) = found.rewrite(&egress.plan, &header)?;
        let index = egress.state.take_rtx_sequence();
        let mut slot = sender.reserve().ok_or(DropReason::SendQueueFull)?;
        let out = sender.bytes(&mut slot);
        let plan = &egress.plan;
        let sealed = write::retransmission(out, plan, (&rewrite, payload_type), index, &header, packet)
            .and_then(|written| self.seal(out, &written, index, packet));
        let bytes = match sealed {
            Ok(bytes) => bytes,
            Err(reason) => {
                sender.release(slot);
                return Err(reason);
            }
        };
        self.store_index(egress.index, true, index);
        let Route { pair: Pair { remote: destination, socket }, connection, .. } = self.route;
        sender.commit(slot, Outgoing { socket, destination, bytes: bytes as u32, segment_bytes: 0, connection });
        self.count_resent(egress.index, bytes as u64);
        Ok(())
    }

    fn seal(
        &self,
        out: &mut [u8],
        written: &Written,
        index: ExtendedSequence,
        packet: &[u8],
    ) -> Result<usize, DropReason> {
        self.stamp(out, written)?;
        let payload = packet.get(written.payload.clone()).ok_or(DropReason::RtpMalformed)?;
        let sealed =
            self.route.keys.send.seal_scatter(out, written.header_bytes, written.prefix_bytes, payload, index.0);
        sealed.map_err(DropReason::from)
    }

    fn count_resent(&self, egress: u32, bytes: u64) {
        let Self { site, route, .. } = self;
        site.count_egress(egress, EgressCounter::Packets, 1);
        site.count_egress(egress, EgressCounter::Bytes, bytes);
        site.count_egress(egress, EgressCounter::Retransmitted, 1);
        site.count_transport(route.transport, TransportCounter::SentPackets, 1);
        site.count_transport(route.transport, TransportCounter::SentBytes, bytes);
        site.count(WorkerCounter::Sent, 1);
        site.count(WorkerCounter::SentBytes, bytes);
    }
}

impl State {
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
            let Some(route) = transports.get(egress.transport).and_then(|transport| transport.route()) else {
                continue;
            };
            let lane = Lane { site, route, now, ntp };
            if let Err(reason) = lane.resend(egress, ingress, sequence, turn, sender) {
                site.drop(reason);
            }
        }
        self.work.resends.clear();
    }
}
