//! One egress: whether a packet is forwarded to one subscriber, and what it becomes there. The state is plain bytes, so that its
//! worker can checkpoint it and a successor goes on with the same numbers.

use engine_base::limits::LAYERS;
use engine_base::{Codec, Drop, ExtendedSequence, Kind, RtpTimestamp, SequenceNumber, Ssrc, TimeNs};
use engine_table::slots::packet_flags;
use engine_table::{PacketHeader, StateRow};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::pictures::{Picture, PictureMap};
use crate::plan::{EgressPlan, PayloadPlan};
use crate::sequences::{Place, SequenceMap};
use crate::source::{SourceClocks, best_layer};
use crate::timeline::Timeline;

mod demand;
mod rewrite;

pub use rewrite::{Payload, Rewrite, Verdict, Vp8Fields};

/// `layer` of an egress that forwards none.
pub const NO_LAYER: u8 = 255;
/// Runs whose packets can still be resent.
const EPOCHS: usize = 4;

mod flags {
    /// A packet was forwarded: numbers go on instead of beginning.
    pub(super) const STARTED: u8 = 1;
    /// The subscriber reported on the stream.
    pub(super) const REPORTED: u8 = 2;
    /// The subscriber asked for a key frame that has not come yet.
    pub(super) const KEY_FRAME_ASKED: u8 = 4;
}

/// Constants of one run: an uninterrupted stretch of one source stream.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(crate) struct Epoch {
    /// own − source.
    pub(crate) timestamp_offset: u32,
    /// own − source.
    pub(crate) tl0_offset: u8,
    /// own − source, of which 5 bits are sent.
    pub(crate) key_index_offset: u8,
    pub(crate) layer: u8,
    /// Counts runs; its place in the list is `number % 4`.
    pub(crate) number: u8,
}

/// As sender reports count; both wrap.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Sent {
    packets: u32,
    payload_bytes: u32,
}

/// What the subscriber said of the stream.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Reported {
    /// 0 unknown.
    rtt_us: u32,
    fraction_lost: u8,
    reserved: [u8; 3],
}

/// Where an egress stands in its source's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    offset: u64,
    epoch: u8,
    layer: u8,
}

/// Rewriting state of one egress: 192 B, three cache lines.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct EgressState {
    sequences: SequenceMap,
    timeline: Timeline,
    source_ssrc: Ssrc,
    generation: u32,
    sent: Sent,
    layer: u8,
    layer_target: u8,
    temporal: u8,
    epoch: u8,
    flags: u8,
    codec: u8,
    reserved: u8,
    /// Layer that `waiting_highest` is about.
    waiting_layer: u8,
    reported: Reported,
    /// Newest source number seen of the layer whose key frame is awaited.
    waiting_highest: u64,
    pictures: PictureMap,
    epochs: [Epoch; EPOCHS],
    next_demand: TimeNs,
    /// Own numbers below are not resent.
    nack_floor: u64,
    next_rtx: u64,
}

const _: () = assert!(size_of::<EgressState>() == 192 && size_of::<EgressState>() <= size_of::<StateRow>());

impl EgressState {
    /// A fresh egress. `seed` is random: from it come the first sequence number (below 2^15, so that the subscriber cannot
    /// mistake the roll-over count, RFC 3711 §3.3.1), the first timestamp and the first RTX number.
    pub fn new(generation: u32, seed: u64) -> Self {
        let mut state = Self::new_zeroed();
        state.sequences = SequenceMap::beginning_at(1 + seed % 0x1_0000 / 2);
        state.timeline = Timeline::beginning_at(RtpTimestamp((seed >> 32) as u32));
        state.next_rtx = 1 + (seed >> 16) % 0x1_0000 / 2;
        state.generation = generation;
        (state.layer, state.layer_target, state.waiting_layer) = (NO_LAYER, NO_LAYER, NO_LAYER);
        state
    }

    /// The own number of the next packet, if none closes a gap before it.
    #[inline]
    pub(crate) const fn next_own(&self) -> u64 {
        self.sequences.next_own()
    }

    /// What [`Self::restore`] cannot tell from the SRTP index alone. While it stays the same, an older checkpoint does.
    pub const fn standing(&self) -> Standing {
        Standing { offset: self.sequences.offset(), epoch: self.epoch, layer: self.layer }
    }

    /// As the worker stores it, at once when its [`Standing`] has changed.
    pub fn checkpoint(&self) -> StateRow {
        let mut row = StateRow { words: [0; 28] };
        if let Some(bytes) = row.as_mut_bytes().first_chunk_mut::<{ size_of::<Self>() }>() {
            bytes.copy_from_slice(self.as_bytes());
        }
        row
    }

    /// Goes on where a predecessor stood; `None` when the row is about another generation. `index` and `rtx_index` are the last
    /// SRTP indexes stored for the two SSRCs: what was sealed after the checkpoint keeps its numbers and is not sent again, and
    /// older packets are refused.
    pub fn restore(row: &StateRow, generation: u32, index: u64, rtx_index: u64) -> Option<Self> {
        let mut state = Self::read_from_prefix(row.as_bytes()).ok()?.0;
        let layer_exists = state.layer == NO_LAYER || usize::from(state.layer) < LAYERS;
        if state.generation != generation || !layer_exists || !state.sequences.is_sane() {
            return None;
        }
        state.next_rtx = state.next_rtx.max(rtx_index + 1);
        if index >= state.sequences.next_own() {
            state.sequences.advance_to_own(index);
        }
        state.sequences.is_sane().then_some(state)
    }

    /// Decides about one packet. Call it for every packet of the source that arrived for the first time, in the order of arrival,
    /// padding-only ones (no payload) and those of other layers included: what is not shown here looks like loss to the
    /// subscriber. While packets cannot be sent at all (no address, no keys) call [`Self::pause`] instead.
    ///
    /// **Input**: `clocks` of the source; if no layer is marked active, that of `header` counts as the only one.
    /// **Cost**: no allocation; O(1), at most 256 steps for a late packet.
    pub fn verdict(&mut self, plan: &EgressPlan, layer: u8, header: &PacketHeader, clocks: &SourceClocks) -> Verdict {
        if !plan.enabled {
            self.pause();
            return Verdict::Drop(Drop::EgressPaused);
        }
        if usize::from(layer) >= LAYERS {
            return Verdict::Drop(Drop::RowBad);
        }
        let payload = plan.payload(header.codec, header.format).filter(|payload| {
            // A RED payload that cannot be split (end-to-end encrypted) is of no use without RED.
            !payload.primary_only || header.primary_offset != 0 || header.payload_bytes == 0
        });
        let admitted = match plan.kind {
            Kind::Audio => self.admit_audio(layer, header),
            Kind::Video => self.admit_video(plan, layer, header, clocks, payload.is_some()),
        };
        match (admitted, payload) {
            (Err(drop), _) => Verdict::Drop(drop),
            (Ok(()), None) => self.close(header, Drop::EgressCodec, None),
            (Ok(()), Some(payload)) => self.place(plan, header, payload),
        }
    }

    /// Stops forwarding until the next key frame (video) or packet (audio). The subscriber sees no gap.
    pub fn pause(&mut self) {
        self.layer = NO_LAYER;
        self.waiting_layer = NO_LAYER;
    }

    fn admit_audio(&mut self, layer: u8, header: &PacketHeader) -> Result<(), Drop> {
        let same = self.layer == layer && self.source_ssrc == header.ssrc;
        if same && !self.is_discontinuous(header) {
            return Ok(());
        }
        if header.payload_bytes == 0 {
            return Err(Drop::RtpPaddingOnly);
        }
        self.layer_target = layer;
        self.begin_run(layer, header, None);
        Ok(())
    }

    fn admit_video(
        &mut self,
        plan: &EgressPlan,
        layer: u8,
        header: &PacketHeader,
        clocks: &SourceClocks,
        served: bool,
    ) -> Result<(), Drop> {
        let target = best_layer(clocks.active, plan.layer_max).unwrap_or(layer);
        self.layer_target = target;
        if self.layer == layer {
            if self.source_ssrc == header.ssrc && !self.is_discontinuous(header) {
                return Ok(());
            }
            // Another stream under the same layer: begin again.
            self.layer = NO_LAYER;
        }
        if layer != target {
            return Err(if self.layer == NO_LAYER { Drop::EgressWaitsForKeyFrame } else { Drop::EgressOtherLayer });
        }
        let begins = header.flags & packet_flags::KEY_FRAME != 0 && header.flags & packet_flags::FRAME_START != 0;
        let newest = self.waiting_layer != layer || header.sequence.0 > self.waiting_highest;
        if newest {
            (self.waiting_layer, self.waiting_highest) = (layer, header.sequence.0);
        }
        // Behind a key frame start that comes late its other packets were already refused: the next key frame is sooner complete.
        if !begins || !newest || !served || header.payload_bytes == 0 {
            return Err(if self.layer == NO_LAYER { Drop::EgressWaitsForKeyFrame } else { Drop::EgressOtherLayer });
        }
        self.temporal = plan.temporal_max;
        self.begin_run(layer, header, Some(clocks));
        Ok(())
    }

    /// Begins a run with `header`: numbers go on behind what was sent.
    fn begin_run(&mut self, layer: u8, header: &PacketHeader, clocks: Option<&SourceClocks>) {
        let first = self.flags & flags::STARTED == 0;
        let clock_rate = clock_rate(header.codec);
        let timestamp = if first {
            self.timeline.start(header.arrival)
        } else {
            let mapped = self.map_timestamp(layer, header, clocks);
            self.timeline.resume(mapped, header.arrival, clock_rate)
        };
        self.sequences.begin(header.sequence.0, self.sequences.next_own());
        if header.flags & packet_flags::HAS_PICTURE_ID != 0 {
            self.pictures.begin(header.picture.id, first);
        }
        let continued = |last: u8, source: u8| if first { 0 } else { last.wrapping_add(1).wrapping_sub(source) };
        self.epoch = self.epoch.wrapping_add(1);
        self.epochs[usize::from(self.epoch) % EPOCHS] = Epoch {
            timestamp_offset: timestamp.0.wrapping_sub(header.timestamp.0),
            tl0_offset: continued(self.pictures.tl0_picture_index, header.picture.tl0_index),
            key_index_offset: continued(self.pictures.key_index, header.picture.key_index),
            layer,
            number: self.epoch,
        };
        self.timeline.sent(timestamp, header.arrival);
        (self.layer, self.source_ssrc, self.waiting_layer) = (layer, header.ssrc, NO_LAYER);
        self.flags |= flags::STARTED;
    }

    /// The time at which the present run would show the packet: the same clock goes on, or the sender reports of the two layers
    /// relate theirs.
    fn map_timestamp(&self, layer: u8, header: &PacketHeader, clocks: Option<&SourceClocks>) -> Option<RtpTimestamp> {
        let epoch = self.current_epoch();
        if header.ssrc == self.source_ssrc {
            return Some(header.timestamp.add(epoch.timestamp_offset));
        }
        let clocks = clocks?;
        let (old, new) = (clocks.layers.get(usize::from(epoch.layer))?, clocks.layers.get(usize::from(layer))?);
        if epoch.layer == layer {
            return None;
        }
        let rate = clock_rate(header.codec);
        let captured = (*new)?.ntp_at(header.timestamp, rate);
        Some((*old)?.timestamp_at(captured, rate).add(epoch.timestamp_offset))
    }

    /// The packet belongs to the present run: gives it its numbers, or closes its gap.
    fn place(&mut self, plan: &EgressPlan, header: &PacketHeader, payload: PayloadPlan) -> Verdict {
        if header.payload_bytes == 0 {
            return self.close(header, Drop::RtpPaddingOnly, Some((plan, payload)));
        }
        let picture = match self.choose_picture(plan, header) {
            Ok(picture) => picture,
            Err(drop) => return self.close(header, drop, Some((plan, payload))),
        };
        let own = match self.sequences.place(header.sequence.0) {
            Place::Newest | Place::Late => self.sequences.forward(header.sequence.0),
            Place::BeforeRun => return Verdict::Drop(Drop::EgressOldLayer),
            Place::Gone => return Verdict::Drop(Drop::RtpTooOld),
        };
        let vp8 = picture.map(|picture_id| Vp8Fields::new(header, picture_id, self.current_epoch()));
        let newest = own + 1 == self.sequences.next_own();
        if newest {
            self.timeline.sent(header.timestamp.add(self.current_epoch().timestamp_offset), header.arrival);
            if let Some(fields) = vp8 {
                (self.pictures.tl0_picture_index, self.pictures.key_index) =
                    (fields.tl0_picture_index, fields.key_index);
            }
        }
        if self.flags & flags::KEY_FRAME_ASKED != 0 && header.flags & packet_flags::KEY_FRAME != 0 {
            self.flags &= !flags::KEY_FRAME_ASKED;
            self.nack_floor = own;
        }
        self.codec = header.codec;
        let part = if payload.primary_only { Payload::Primary } else { Payload::Whole };
        let rewrite = self.rewrite(plan, header, payload, own, part, vp8);
        self.sent.packets = self.sent.packets.wrapping_add(1);
        self.sent.payload_bytes = self.sent.payload_bytes.wrapping_add(rewrite.payload_bytes(header));
        Verdict::Forward(rewrite)
    }

    /// The picture id to send, or that the picture is dropped: one above the temporal layer. A picture is decided when its first
    /// packet comes. `Ok(None)` for packets without a VP8 picture id.
    fn choose_picture(&mut self, plan: &EgressPlan, header: &PacketHeader) -> Result<Option<u16>, Drop> {
        if header.codec != Codec::Vp8 as u8 || header.flags & packet_flags::HAS_PICTURE_ID == 0 {
            return Ok(None);
        }
        let picture = self.pictures.extend(header.picture.id, header.flags & packet_flags::PICTURE_ID_15 != 0);
        let place = self.pictures.place(picture);
        if place == Picture::New {
            let switches_up = header.flags & packet_flags::SWITCH_UP != 0 && header.temporal > self.temporal;
            if plan.temporal_max < self.temporal || header.flags & packet_flags::KEY_FRAME != 0 {
                self.temporal = plan.temporal_max;
            } else if switches_up && header.temporal <= plan.temporal_max {
                self.temporal = header.temporal;
            }
        }
        let above = header.temporal > self.temporal;
        match place {
            Picture::New if above => {
                self.pictures.close(picture);
                Err(Drop::EgressOtherLayer)
            }
            Picture::Known if above => Err(Drop::EgressOtherLayer),
            Picture::New | Picture::Known => Ok(Some(self.pictures.forward(picture))),
            Picture::Dropped => Err(Drop::EgressOtherLayer),
            Picture::TooOld => Err(Drop::RtpTooOld),
        }
    }

    /// Drops a packet of the present run on purpose. A new one closes its gap; a late one, whose number the subscriber already
    /// misses, is sent as padding in its place, so that the subscriber stops asking.
    fn close(&mut self, header: &PacketHeader, drop: Drop, fill: Option<(&EgressPlan, PayloadPlan)>) -> Verdict {
        match (self.sequences.place(header.sequence.0), fill) {
            (Place::Newest, _) => self.sequences.close(header.sequence.0),
            (Place::Late, Some((plan, payload))) => {
                let own = self.sequences.forward(header.sequence.0);
                self.sent.packets = self.sent.packets.wrapping_add(1);
                return Verdict::Forward(self.rewrite(plan, header, payload, own, Payload::Fill, None));
            }
            _ => {}
        }
        Verdict::Drop(drop)
    }

    fn rewrite(
        &self,
        plan: &EgressPlan,
        header: &PacketHeader,
        payload: PayloadPlan,
        own: u64,
        part: Payload,
        vp8: Option<Vp8Fields>,
    ) -> Rewrite {
        Rewrite {
            sequence: ExtendedSequence(own),
            timestamp: header.timestamp.add(self.current_epoch().timestamp_offset),
            payload_type: payload.payload_type,
            marker: header.flags & packet_flags::MARKER != 0 && part != Payload::Fill,
            with_mid: self.flags & flags::REPORTED == 0 && !plan.mid.is_empty(),
            payload: part,
            vp8,
            epoch: self.epoch,
        }
    }

    fn is_discontinuous(&self, header: &PacketHeader) -> bool {
        let timestamp = header.timestamp.add(self.current_epoch().timestamp_offset);
        self.sequences.place(header.sequence.0) == Place::Newest
            && self.timeline.is_discontinuous(timestamp, header.arrival, clock_rate(header.codec))
    }

    const fn current_epoch(&self) -> &Epoch {
        &self.epochs[self.epoch as usize % EPOCHS]
    }

    /// The run `number`, while it is remembered.
    pub(crate) fn epoch(&self, number: u8) -> Option<&Epoch> {
        Some(&self.epochs[usize::from(number) % EPOCHS]).filter(|epoch| epoch.number == number)
    }

    /// Layer forwarded now, [`NO_LAYER`] if none.
    pub const fn layer(&self) -> u8 {
        self.layer
    }

    /// Layer wanted, [`NO_LAYER`] before the first packet.
    pub const fn layer_target(&self) -> u8 {
        self.layer_target
    }

    pub const fn temporal(&self) -> u8 {
        self.temporal
    }

    /// Of the last forwarded packet.
    pub fn codec(&self) -> Codec {
        Codec::from_u8(self.codec).unwrap_or_default()
    }

    /// Packets and payload bytes sent, as sender reports count them.
    pub const fn sent(&self) -> (u32, u32) {
        (self.sent.packets, self.sent.payload_bytes)
    }

    /// Runs so far: it grows at the start and with each switch of layer.
    pub const fn runs(&self) -> u8 {
        self.epoch
    }

    /// Newest source number of the layer forwarded now that was forwarded or dropped on purpose.
    pub const fn newest_source(&self) -> ExtendedSequence {
        ExtendedSequence(self.sequences.newest())
    }

    /// Extended number, and SRTP index, of the next RTX packet; each call takes one.
    pub fn take_rtx_sequence(&mut self) -> ExtendedSequence {
        self.next_rtx += 1;
        ExtendedSequence(self.next_rtx - 1)
    }

    /// The sent packet that `sequence` names: the nearest to the newest.
    pub(crate) fn extend_own(&self, sequence: SequenceNumber) -> ExtendedSequence {
        ExtendedSequence(self.sequences.next_own().wrapping_sub(1)).nearest(sequence)
    }

    pub(crate) const fn has_started(&self) -> bool {
        self.flags & flags::STARTED != 0
    }

    pub(crate) fn timestamp_offset(&self) -> u32 {
        self.current_epoch().timestamp_offset
    }
}

fn clock_rate(codec: u8) -> u32 {
    Codec::from_u8(codec).unwrap_or_default().clock_rate()
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
