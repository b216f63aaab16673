//! The receiving side of one ingress, on the worker that owns the publisher's transport: a decrypted packet goes into a slot and
//! may then be forwarded.

use engine_base::limits::{LAYERS, SLOT_PAYLOAD_BYTES};
use engine_base::{Codec, Drop as DropReason, ExtendedSequence, IngressRef, Kind, Ssrc, TimeNs};
use engine_forward::audio;
use engine_forward::ingress::{Activity, KeyFrameThrottle, LayerCheckpoint, Received};
use engine_forward::parse::{self, Inspected};
use engine_forward::source::PublisherClock;
use engine_forward::{Arrival, PacketHeader, ReceiveStream, SourceClocks, StreamId};
use engine_table::slots::packet_flags;
use engine_table::{
    IngressCounter, IngressObserved, IngressRow, LayerObserved, SlotRef, SlotStream, Slots, ingress_flags,
};
use engine_wire::RtpPacket;

use crate::site::Site;
use crate::transport::RtpWindows;

#[derive(Debug)]
pub struct Publisher {
    pub reference: IngressRef,
    pub layers: [Option<Box<Layer>>; LAYERS],
    pub clocks: SourceClocks,
    pub activity: Activity,
    /// What signaling sees changed beyond counters.
    pub changed: bool,
    pub published_at: TimeNs,
}

/// One received layer; made with its first packet.
#[derive(Debug)]
pub struct Layer {
    pub stream: ReceiveStream,
    pub rtx_ssrc: Ssrc,
    pub throttle: KeyFrameThrottle,
    pub next_report: TimeNs,
    slots: SlotStream,
    codec: Codec,
    payload_type: u8,
    size: (u16, u16),
    /// The checkpoint is older than the stream.
    unsaved: bool,
    frames: u64,
    lost: u64,
}

/// What the receiving side needs of its worker.
#[derive(Clone, Copy)]
pub struct Desk<'a> {
    pub site: &'a Site,
    pub slots: &'a Slots,
    pub row: &'a IngressRow,
    /// Some worker has an egress of it.
    pub wanted: bool,
}

impl Publisher {
    pub fn new(index: u32, row: &IngressRow) -> Self {
        Self {
            reference: IngressRef::new(index, row.generation),
            layers: [None, None, None],
            clocks: SourceClocks::default(),
            activity: Activity::default(),
            changed: true,
            published_at: TimeNs::ZERO,
        }
    }

    /// Takes a packet that arrived at `arrival`: the slot it lies in, if anybody wants it.
    ///
    /// **Input**: `media` is the SSRC of the layer's media stream, also for its RTX.
    /// **Errors**: why it goes no further.
    pub fn receive(
        &mut self,
        desk: Desk<'_>,
        id: StreamId,
        media: Ssrc,
        packet: &RtpPacket<'_>,
        arrival: TimeNs,
    ) -> Result<SlotRef, DropReason> {
        let inspected = parse::inspect(packet, desk.row, media, id.rtx, arrival)?;
        let number = usize::from(id.layer).min(LAYERS - 1);
        let index = self.reference.index;
        let layer = match &mut self.layers[number] {
            Some(layer) => layer,
            none => {
                self.changed = true;
                none.insert(Box::new(Layer::new(desk, index, number, media, &inspected.header, arrival)))
            }
        };
        self.changed |= layer.identify(id, media, packet, &inspected);
        let sequence = layer.number(desk.site, index, number, &inspected)?;
        let header = PacketHeader { sequence, ..inspected.header };
        let ends_frame = header.flags & packet_flags::FRAME_END != 0;
        if header.payload_bytes > 0 && self.activity.handle_packet(number as u8, ends_frame, arrival) {
            self.clocks.set_active(number as u8, true);
            self.changed = true;
        }
        layer.count(desk.site, index, number, &header);
        if !desk.wanted {
            return Err(DropReason::NoSubscriber);
        }
        layer.store(&header, packet.bytes())
    }

    /// Stores what a successor and other workers need to know of the layers that changed.
    pub fn save(&mut self, site: &Site, clock: Option<PublisherClock>, windows: &RtpWindows) {
        for (number, layer) in self.layers.iter_mut().enumerate() {
            let Some(layer) = layer.as_deref_mut().filter(|layer| layer.unsaved) else { continue };
            layer.unsaved = false;
            let checkpoint = LayerCheckpoint::new(
                self.reference.generation,
                &layer.stream,
                (layer.rtx_ssrc, windows.newest(layer.rtx_ssrc)),
                self.activity.is_active(number as u8),
                clock,
                windows.newest(layer.stream.ssrc()),
            );
            let row = self.reference.index * LAYERS as u32 + number as u32;
            site.tables.ingress_states.publish(row, &checkpoint.to_row());
        }
    }

    /// A sender report of one of the layers, or of any stream of the publisher: the clocks that subscribers' reports rest on.
    pub fn take_clock(&mut self, clock: Option<PublisherClock>) {
        self.clocks.publisher = clock;
        for (number, layer) in self.layers.iter_mut().enumerate() {
            let Some(layer) = layer.as_deref_mut() else { continue };
            self.clocks.layers[number] = layer.stream.sender_report();
            layer.unsaved = true;
        }
    }

    /// Ends a cycle of activity; returns when the next one ends.
    pub fn watch_activity(&mut self, now: TimeNs) -> TimeNs {
        if self.activity.handle_timeout(now) {
            self.clocks.active = self.activity.active();
            self.changed = true;
            self.layers.iter_mut().flatten().for_each(|layer| layer.unsaved = true);
        }
        self.activity.poll_timeout().unwrap_or(TimeNs::MAX)
    }

    pub fn observe(&self) -> IngressObserved {
        let observe = |number: u8| {
            let layer = self.layers[usize::from(number)].as_deref();
            layer.map_or_else(Default::default, |layer| layer.observe(self.activity.is_active(number)))
        };
        IngressObserved {
            generation: self.reference.generation,
            reserved: 0,
            layers: [observe(0), observe(1), observe(2)],
        }
    }
}

impl Layer {
    fn new(desk: Desk<'_>, index: u32, number: usize, media: Ssrc, header: &PacketHeader, now: TimeNs) -> Self {
        let codec = Codec::from_u8(header.codec).unwrap_or_default();
        let kind = Kind::from_u8(desk.row.kind).unwrap_or_default();
        let nack = desk.row.flags & ingress_flags::NACK != 0;
        let stored = desk.site.tables.ingress_states.read(index * LAYERS as u32 + number as u32);
        let checkpoint = stored.and_then(|(_, row)| LayerCheckpoint::from_row(&row, desk.row.generation));
        let stream = match checkpoint.filter(|checkpoint| checkpoint.ssrc == media) {
            Some(checkpoint) => checkpoint.restore(kind, codec.clock_rate(), nack),
            None => ReceiveStream::new(media, kind, codec.clock_rate(), nack),
        };
        let mut throttle = KeyFrameThrottle::new(number as u8);
        throttle.adopt(demand(desk.site, index, number));
        Self {
            stream,
            rtx_ssrc: Ssrc::UNKNOWN,
            throttle,
            next_report: now,
            slots: SlotStream::take_over(desk.slots, desk.site.me, index, number, kind),
            codec,
            payload_type: header.payload_type,
            size: (0, 0),
            unsaved: true,
            frames: 0,
            lost: 0,
        }
    }

    /// Notes under which SSRCs, payload type and size the layer comes; true when one is new.
    fn identify(&mut self, id: StreamId, media: Ssrc, packet: &RtpPacket<'_>, inspected: &Inspected) -> bool {
        let header = &inspected.header;
        let before = (self.stream.ssrc(), self.rtx_ssrc, self.payload_type, self.size);
        if media != self.stream.ssrc() {
            self.stream.change_ssrc(media);
        }
        if id.rtx {
            self.rtx_ssrc = packet.ssrc();
        }
        self.payload_type = header.payload_type;
        self.codec = Codec::from_u8(header.codec).unwrap_or_default();
        self.size = inspected.size.unwrap_or(self.size);
        before != (self.stream.ssrc(), self.rtx_ssrc, self.payload_type, self.size)
    }

    fn number(
        &mut self,
        site: &Site,
        index: u32,
        number: usize,
        inspected: &Inspected,
    ) -> Result<ExtendedSequence, DropReason> {
        let header = &inspected.header;
        let received = Received {
            sequence: inspected.sequence,
            timestamp: header.timestamp,
            arrival: header.arrival,
            bytes: u32::from(header.payload_bytes),
            recovered: header.flags & packet_flags::RECOVERED != 0,
        };
        self.unsaved = true;
        match self.stream.receive(&received) {
            Arrival::Fresh(sequence) => Ok(sequence),
            Arrival::Duplicate => {
                site.count_ingress(index, number, IngressCounter::Duplicates, 1);
                Err(DropReason::RtpDuplicate)
            }
            Arrival::TooOld => Err(DropReason::RtpTooOld),
        }
    }

    fn count(&mut self, site: &Site, index: u32, number: usize, header: &PacketHeader) {
        let count = |counter, amount| site.count_ingress(index, number, counter, amount);
        count(IngressCounter::Packets, 1);
        count(IngressCounter::Bytes, u64::from(header.payload_bytes));
        let frames = self.stream.totals().frames;
        count(IngressCounter::Frames, frames.saturating_sub(self.frames));
        self.frames = frames;
        if header.flags & packet_flags::RECOVERED != 0 {
            count(IngressCounter::Recovered, 1);
        }
        let begins_key_frame = packet_flags::KEY_FRAME | packet_flags::FRAME_START;
        if header.flags & begins_key_frame == begins_key_frame {
            count(IngressCounter::KeyFrames, 1);
            self.throttle.handle_key_frame();
        }
        audio::level_counts(header).for_each(|(counter, amount)| count(counter, amount));
    }

    fn store(&mut self, header: &PacketHeader, packet: &[u8]) -> Result<SlotRef, DropReason> {
        let end = usize::from(header.payload_offset) + usize::from(header.payload_bytes);
        let packet = packet.get(..end).filter(|packet| packet.len() <= SLOT_PAYLOAD_BYTES);
        let packet = packet.ok_or(DropReason::RtpTooLarge)?;
        let written = self.slots.write(|out| {
            out.get_mut(..end)?.copy_from_slice(packet);
            Some(*header)
        });
        written.map_err(|_| DropReason::SlotsBusy)?.ok_or(DropReason::RtpTooLarge)
    }

    /// Brings the loss counter up to what the stream shows; it never falls.
    pub fn count_lost(&mut self, site: &Site, index: u32, number: usize) {
        let lost = self.stream.lost();
        site.count_ingress(index, number, IngressCounter::Lost, lost.saturating_sub(self.lost));
        self.lost = self.lost.max(lost);
    }

    fn observe(&self, active: bool) -> LayerObserved {
        LayerObserved {
            ssrc: self.stream.ssrc(),
            rtx_ssrc: self.rtx_ssrc,
            active: u8::from(active),
            codec: self.codec as u8,
            payload_type: self.payload_type,
            reserved: 0,
            width: self.size.0,
            height: self.size.1,
            jitter: self.stream.jitter(),
            rtt_us: 0,
        }
    }
}

/// Key frames that all workers' egresses have asked of a layer so far.
pub fn demand(site: &Site, ingress: u32, layer: usize) -> u64 {
    let words = (0..site.limits.workers).map(|worker| site.regions.engine.key_frame_demand(worker, ingress, layer));
    words.fold(0, |sum, word| sum.wrapping_add(word.load(std::sync::atomic::Ordering::Acquire)))
}
