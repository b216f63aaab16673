//! Retransmission to subscribers: which packet an own number was, and how often it may be sent again. The entries lie in shared
//! memory (two words each), the packets in their slots, the constants of a run in the egress's state.
//!
//! ```text
//! word 0   own number, low 24 bits (40–63)      source number, low 40 bits (0–39)
//! word 1   own number, low 8 bits  (56–63)      part (54–55)      epoch (46–53)      picture id (31–45)
//!          slot (20–30)            spare (18–19)  resent (16–17)  time of the last resend in ms (0–15)
//! ```
//! A kill between the two stores leaves words whose own numbers differ: no entry.

use std::sync::atomic::{AtomicU64, Ordering};

use engine_base::limits::{LAYERS, NACK_ENTRIES};
use engine_base::{Drop, ExtendedSequence, SequenceNumber, TimeNs};
use engine_table::regions::NACK_WORDS;
use engine_table::slots::packet_flags;
use engine_table::{MediaRegion, PacketHeader, SlotRef, prefetch_value};

use crate::egress::{EgressState, Epoch, Payload, Rewrite, Vp8Fields};
use crate::plan::EgressPlan;

/// A packet is resent at most this often.
const RESENDS_MAX: u64 = 3;
/// A request within this time of the last resend is a repetition of the same one: min(100 ms, 2·RTT).
const REPEAT_MS: u64 = 100;

const _: () = assert!(NACK_WORDS == 2 && NACK_ENTRIES.is_power_of_two());
const _: () = assert!(engine_base::limits::VIDEO_SLOTS <= 1 << 11 && engine_base::limits::AUDIO_SLOTS <= 1 << 11);

/// Where the words of one egress are.
pub trait Entries {
    /// `index` is below `NACK_ENTRIES`.
    fn entry(&self, index: usize) -> [&AtomicU64; NACK_WORDS];
}

/// The words of an egress in the media region.
#[derive(Clone, Copy, Debug)]
pub struct EgressEntries<'a> {
    pub media: &'a MediaRegion,
    pub egress: u32,
}

impl Entries for EgressEntries<'_> {
    fn entry(&self, index: usize) -> [&AtomicU64; NACK_WORDS] {
        self.media.nack_entry(self.egress, index)
    }
}

impl Entries for [[AtomicU64; NACK_WORDS]; NACK_ENTRIES] {
    fn entry(&self, index: usize) -> [&AtomicU64; NACK_WORDS] {
        self[index].each_ref()
    }
}

/// The last 512 packets of one egress.
#[derive(Clone, Copy, Debug)]
pub struct Retransmissions<E>(pub E);

/// A packet to send again.
#[derive(Clone, Copy, Debug)]
pub struct Resend {
    /// Where its bytes are; gone from there (`None` of `Turn::packet`), it is `Drop::NackTooOld`.
    pub slot: SlotRef,
    sequence: ExtendedSequence,
    picture_id: u16,
    part: Payload,
    epoch: Epoch,
}

impl<E: Entries> Retransmissions<E> {
    /// Notes a packet that is being sent. `ingress` is the table index of the source.
    ///
    /// **Cost**: three stores. Packets without payload are not noted: padding is never resent.
    pub fn remember(&self, rewrite: &Rewrite, slot: SlotRef) {
        if rewrite.payload == Payload::Fill {
            return;
        }
        let own = rewrite.sequence.0;
        let [first, second] = self.0.entry(own as usize % NACK_ENTRIES);
        first.store(0, Ordering::Relaxed);
        let picture_id = rewrite.vp8.map_or(0, |fields| u64::from(fields.picture_id));
        let part = u64::from(rewrite.payload == Payload::Primary);
        second.store(
            own << 56
                | part << 54
                | u64::from(rewrite.epoch) << 46
                | picture_id << 31
                | u64::from(slot.slot & 0x7ff) << 20,
            Ordering::Release,
        );
        first.store(own << 40 | slot.sequence.0 & 0xff_ffff_ffff, Ordering::Release);
    }

    /// Asks the processor for the entry of the packet that `state` forwards next.
    #[inline]
    pub fn prefetch_next(&self, state: &EgressState) {
        let [first, _] = self.0.entry(state.next_own() as usize % NACK_ENTRIES);
        prefetch_value(first);
    }

    /// Answers one sequence number of a NACK.
    ///
    /// **Input**: `ingress` is the table index of the egress's source.
    /// **Errors**: `NackTooOld` when it is no longer known, was given up for a key frame or was never sent; `NackRepeated` when it
    /// was resent three times, or within min(100 ms, 2·RTT).
    pub fn answer(
        &self,
        state: &EgressState,
        ingress: u32,
        sequence: SequenceNumber,
        now: TimeNs,
    ) -> Result<Resend, Drop> {
        let own = state.extend_own(sequence);
        let [first, second] = self.0.entry(own.0 as usize % NACK_ENTRIES);
        let (first, word) = (first.load(Ordering::Acquire), second.load(Ordering::Acquire));
        let is_this = first >> 40 == own.0 & 0xff_ffff && word >> 56 == own.0 & 0xff;
        let epoch = state.epoch((word >> 46) as u8).filter(|epoch| usize::from(epoch.layer) < LAYERS);
        let (true, Some(&epoch)) = (is_this && own.0 >= state.nack_floor(), epoch) else {
            return Err(Drop::NackTooOld);
        };
        let now_ms = (now.0 / 1_000_000) & 0xffff;
        let resent = word >> 16 & 3;
        let since = now_ms.wrapping_sub(word) & 0xffff;
        if resent >= RESENDS_MAX || resent > 0 && since < repeat_ms(state.rtt_us()) {
            return Err(Drop::NackRepeated);
        }
        second.store(word & !0x3_ffff | (resent + 1) << 16 | now_ms, Ordering::Relaxed);
        let slot = SlotRef {
            stream: ingress * LAYERS as u32 + u32::from(epoch.layer),
            slot: (word >> 20 & 0x7ff) as u32,
            sequence: ExtendedSequence(first & 0xff_ffff_ffff),
        };
        let part = if word >> 54 & 3 == 0 { Payload::Whole } else { Payload::Primary };
        Ok(Resend { slot, sequence: own, picture_id: (word >> 31 & 0x7fff) as u16, part, epoch })
    }
}

fn repeat_ms(rtt_us: u32) -> u64 {
    if rtt_us == 0 { REPEAT_MS } else { (u64::from(rtt_us) / 500).min(REPEAT_MS) }
}

impl Resend {
    /// The fields of the first send, bit for bit, and the RTX payload type.
    ///
    /// **Errors**: `EgressCodec` when the subscriber no longer has this codec, or has it without RTX.
    pub fn rewrite(&self, plan: &EgressPlan, header: &PacketHeader) -> Result<(Rewrite, u8), Drop> {
        let payload = plan.payload(header.codec, header.format).ok_or(Drop::EgressCodec)?;
        let rtx_payload_type = payload.rtx_payload_type.ok_or(Drop::EgressCodec)?;
        let is_vp8 = header.codec == engine_base::Codec::Vp8 as u8 && header.flags & packet_flags::HAS_PICTURE_ID != 0;
        let rewrite = Rewrite {
            sequence: self.sequence,
            timestamp: header.timestamp.add(self.epoch.timestamp_offset),
            payload_type: payload.payload_type,
            marker: header.flags & packet_flags::MARKER != 0,
            with_mid: false,
            payload: self.part,
            vp8: is_vp8.then(|| Vp8Fields::new(header, self.picture_id, &self.epoch)),
            epoch: self.epoch.number,
        };
        Ok((rewrite, rtx_payload_type))
    }
}

#[cfg(test)]
mod tests;
