//! What an egress shall do, compiled from its desired row when the row changes.

use engine_base::{Codec, ExtensionIds, Kind, Ssrc};
use engine_table::{EgressRow, NO_PAYLOAD_TYPE, PayloadMapping, ROW_ACTIVE, Text, egress_flags};

use crate::extensions::Template;

/// Bytes that every packet of an egress reserves for the dependency descriptor: a delta frame's has 3 (frame start, end and
/// template; frame number) and its element header up to 2. A longer one makes the block longer.
const DEPENDENCY_DESCRIPTOR_RESERVE: usize = 4;

/// The compiled row. Shared by verdicts, writing and retransmission; holds no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EgressPlan {
    pub generation: u32,
    pub kind: Kind,
    pub enabled: bool,
    /// NACKs are answered, on the RTX SSRC.
    pub nack: bool,
    pub ssrc: Ssrc,
    pub rtx_ssrc: Ssrc,
    /// Highest simulcast layer wanted.
    pub layer_max: u8,
    /// Highest temporal layer wanted (VP8).
    pub temporal_max: u8,
    pub extensions: ExtensionIds,
    pub mid: Text<18>,
    payload_types: [PayloadMapping; 8],
    /// Without and with the mid.
    templates: [Option<Template>; 2],
}

/// How a packet's payload type appears to the subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadPlan {
    pub payload_type: u8,
    /// `None` without RTX.
    pub rtx_payload_type: Option<u8>,
    /// RED for a subscriber without RED: only the primary encoding is sent.
    pub primary_only: bool,
}

impl EgressPlan {
    /// `None` when the row is free or has a value out of range (count it as `Drop::RowBad`).
    pub fn compile(row: &EgressRow) -> Option<Self> {
        if row.state != ROW_ACTIVE {
            return None;
        }
        let mut plan = Self {
            generation: row.generation,
            kind: Kind::from_u8(row.kind)?,
            enabled: row.flags & egress_flags::ENABLED != 0,
            nack: row.flags & egress_flags::NACK != 0 && row.rtx_ssrc != Ssrc::UNKNOWN,
            ssrc: row.ssrc,
            rtx_ssrc: row.rtx_ssrc,
            layer_max: row.layer_max.min(engine_base::limits::LAYERS as u8 - 1),
            temporal_max: row.temporal_max.min(3),
            extensions: row.extensions,
            mid: row.mid,
            payload_types: row.payload_types,
            templates: [None; 2],
        };
        plan.templates = [false, true].map(|with_mid| Template::new(&plan, with_mid));
        Some(plan)
    }

    pub(crate) fn template(&self, with_mid: bool) -> Option<&Template> {
        self.templates[usize::from(with_mid)].as_ref()
    }

    /// The subscriber's payload type for an ingress format: the same codec and format, else the same codec with format 0; for RED
    /// without a mapping, Opus with the primary encoding alone. `None`: not negotiated.
    ///
    /// **Cost**: one or two passes over eight mappings.
    pub fn payload(&self, codec: u8, format: u8) -> Option<PayloadPlan> {
        let plan = |mapping: &PayloadMapping, primary_only| PayloadPlan {
            payload_type: mapping.payload_type & 0x7f,
            rtx_payload_type: (mapping.rtx_payload_type != NO_PAYLOAD_TYPE).then_some(mapping.rtx_payload_type & 0x7f),
            primary_only,
        };
        if let Some(mapping) = self.mapping(codec, format) {
            return Some(plan(mapping, false));
        }
        if codec != Codec::Red as u8 {
            return None;
        }
        self.mapping(Codec::Opus as u8, 0).map(|mapping| plan(mapping, true))
    }

    /// Bytes of the extension block of an ordinary packet, its 4-byte header included; 0 when nothing is negotiated. Fixed, so that
    /// packets of one size stay of one size (GSO); only a long dependency descriptor exceeds it.
    pub fn extension_block_bytes(&self, with_mid: bool) -> usize {
        let ids = &self.extensions;
        let element = |id: u8, bytes: usize| if id == 0 { 0 } else { 1 + bytes };
        let descriptor = if ids.dependency_descriptor == 0 { 0 } else { DEPENDENCY_DESCRIPTOR_RESERVE };
        let audio_level = if self.kind == Kind::Audio { element(ids.audio_level, 1) } else { 0 };
        let mid = if with_mid && !self.mid.is_empty() { element(ids.mid, self.mid.as_bytes().len()) } else { 0 };
        let data = element(ids.abs_send_time, 3) + element(ids.transport_cc, 2) + audio_level + descriptor + mid;
        if data == 0 { 0 } else { 4 + data.next_multiple_of(4) }
    }

    fn mapping(&self, codec: u8, format: u8) -> Option<&PayloadMapping> {
        let used = || self.payload_types.iter().take_while(|mapping| mapping.codec != 0).filter(|m| m.codec == codec);
        used().find(|mapping| mapping.format == format).or_else(|| used().find(|mapping| mapping.format == 0))
    }
}

#[cfg(test)]
mod tests;
