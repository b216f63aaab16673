//! RTCP from clients: sender reports of publishers, and what subscribers say of the streams they get. Who says it is not asked, only
//! which of the transport's streams it is about: receive-only clients use any sender SSRC (PROTOCOL §10 item 48).

use engine_base::{Drop as DropReason, SequenceNumber, Ssrc, TransportRef};
use engine_forward::StreamId;
use engine_forward::source::PublisherClock;
use engine_table::EgressCounter;
use engine_wire::rtcp::report_block::ReportBlock;
use engine_wire::rtcp::sr::SenderInfo;
use engine_wire::rtcp::xr::{Block, ExtendedReport};
use engine_wire::{Compound, Rtcp};

use crate::egress::Egress;
use crate::state::State;

/// Sequence numbers of one NACK that are looked at: more than a client's receive buffer asks for at once.
const NACKED_MAX: usize = 512;
/// Resends of one turn.
pub const RESENDS_MAX: usize = 1_024;

impl State {
    /// A plain compound packet of a transport that this worker owns.
    pub(crate) fn handle_rtcp(&mut self, reference: TransportRef, packet: &[u8]) {
        for message in Compound::new(packet) {
            match message {
                Ok(Rtcp::SenderReport(report)) => {
                    self.handle_sender_report(reference, &report.info);
                    report.blocks().for_each(|block| self.handle_report_block(reference, &block));
                }
                Ok(Rtcp::ReceiverReport(report)) => {
                    report.blocks().for_each(|block| self.handle_report_block(reference, &block));
                }
                Ok(Rtcp::Nack(nack)) => self.handle_nack(reference, nack.media, nack.lost()),
                Ok(Rtcp::Pli(pli)) => self.handle_key_frame_request(reference, pli.media),
                Ok(Rtcp::Fir(fir)) => {
                    fir.entries().for_each(|entry| self.handle_key_frame_request(reference, entry.ssrc));
                }
                Ok(Rtcp::Remb(remb)) => self.handle_estimate(reference, remb.bits_per_second),
                Ok(Rtcp::ExtendedReport(report)) => self.handle_extended_report(reference, &report),
                // Transport-wide feedback from subscribers has no reader before bandwidth estimation.
                Ok(Rtcp::Twcc(_) | Rtcp::SourceDescription(_) | Rtcp::Goodbye(_) | Rtcp::Other(_)) => {}
                Err(_) => self.site.drop(DropReason::RtcpMalformed),
            }
        }
    }

    fn handle_sender_report(&mut self, reference: TransportRef, info: &SenderInfo) {
        let (now, wall) = (self.now, self.site.node.wall_offset);
        let State { transports, ingresses, .. } = self;
        let Some(place) = transports.at_mut(reference.index) else { return };
        let Some(owned) = place.transport.as_mut().and_then(|transport| transport.owned.as_deref_mut()) else { return };
        let Some(StreamId { ingress, layer, rtx: false }) = owned.streams.find(info.ssrc) else { return };
        PublisherClock::observe(&mut owned.clock, info.ntp, now, wall);
        let clock = owned.clock;
        let publisher = ingresses.at_mut(ingress).and_then(|place| place.publisher.as_deref_mut());
        let layer = publisher.and_then(|publisher| publisher.layers.get_mut(usize::from(layer))?.as_deref_mut());
        if let Some(layer) = layer
            && layer.stream.ssrc() == info.ssrc
        {
            layer.stream.handle_sender_report(info, now);
        }
        // All tracks of a publisher share the clock.
        for &index in &place.ingresses {
            let Some(place) = ingresses.at_mut(index) else { continue };
            if let Some(publisher) = place.publisher.as_deref_mut() {
                publisher.take_clock(clock);
                place.clocks = publisher.clocks;
            }
        }
    }

    fn handle_report_block(&mut self, reference: TransportRef, block: &ReportBlock) {
        let ntp = self.site.ntp(self.now);
        if let Some((index, egress)) = self.egress_of_ssrc(reference, block.ssrc) {
            egress.state.handle_report_block(block, ntp);
            self.work.observe_egress(index);
        }
    }

    fn handle_nack(&mut self, reference: TransportRef, media: Ssrc, lost: impl Iterator<Item = SequenceNumber>) {
        let Some((index, _)) = self.egress_of_ssrc(reference, media) else { return };
        for sequence in lost.take(NACKED_MAX) {
            self.site.count_egress(index, EgressCounter::NacksReceived, 1);
            if self.work.resends.len() < RESENDS_MAX {
                self.work.resends.push((index, sequence));
            } else {
                self.site.drop(DropReason::SendQueueFull);
            }
        }
    }

    fn handle_key_frame_request(&mut self, reference: TransportRef, media: Ssrc) {
        let Some((index, egress)) = self.egress_of_ssrc(reference, media) else { return };
        egress.state.handle_key_frame_request();
        self.site.count_egress(index, EgressCounter::PlisReceived, 1);
        self.ask_for_key_frame(index);
    }

    fn handle_estimate(&mut self, reference: TransportRef, bits_per_second: u64) {
        let now = self.now;
        let Some(transport) = self.transports.get_mut(reference) else { return };
        if let Some(owned) = transport.owned.as_deref_mut() {
            owned.estimate.handle_remb(bits_per_second, now);
        }
    }

    fn handle_extended_report(&mut self, reference: TransportRef, report: &ExtendedReport<'_>) {
        let now = self.now;
        let Some(transport) = self.transports.get_mut(reference) else { return };
        let Some(owned) = transport.owned.as_deref_mut() else { return };
        for block in report.blocks() {
            if let Block::ReceiverReferenceTime(time) = block {
                owned.reference_time = Some((report.sender, time.middle(), now));
            }
        }
    }

    /// The egress that a subscriber names by its media SSRC. Its RTX SSRC says nothing about the media stream.
    fn egress_of_ssrc(&mut self, reference: TransportRef, ssrc: Ssrc) -> Option<(u32, &mut Egress)> {
        let place = self.transports.at(reference.index)?;
        let index = place.sendings.iter().find(|sending| sending.ssrc == ssrc)?.egress;
        let (ingress, position) = self.local_egress(index)?;
        let egress = self.ingresses.at_mut(ingress)?.local.get_mut(position)?;
        (egress.transport == reference).then_some((index, egress))
    }
}
