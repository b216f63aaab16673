//! Writes the head of an outgoing packet: RTP header, header extensions, and what stands before the part of the payload that is
//! sealed from the slot (OSN of RTX, VP8 descriptor, RED block headers).
//!
//! ```text
//! | RTP header, extension block | prefix |  payload[range] of the slot's packet  | tag |
//! |<------ header_bytes ------->|<- prefix_bytes ->|
//! ```

use std::ops::Range;

use engine_base::{Codec, Drop, ExtendedSequence, SequenceNumber, Ssrc};
use engine_table::PacketHeader;
use engine_table::slots::packet_flags;
use engine_wire::error::WireError;
use engine_wire::rtp::FIXED_HEADER_BYTES;
use engine_wire::vp8;

use crate::egress::{Payload, Rewrite};
use crate::extensions::{Places, write_block};
use crate::plan::EgressPlan;

/// What was written, and what is to follow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// RTP header with its extension block: what SRTP authenticates in the clear.
    pub header_bytes: usize,
    /// Payload bytes that stand in `out` behind the header.
    pub prefix_bytes: usize,
    /// The rest of the payload in the slot's packet.
    pub payload: Range<usize>,
    /// Where the 3 bytes of abs-send-time are in `out`, to be stamped at the send.
    pub abs_send_time: Option<usize>,
    /// Where the 2 bytes of the transport-wide number are in `out`.
    pub transport_sequence: Option<usize>,
}

/// Which SSRC a packet is sent on.
#[derive(Clone, Copy, Debug)]
struct Stream {
    ssrc: Ssrc,
    payload_type: u8,
    sequence: SequenceNumber,
    /// On RTX: the number of the packet that is resent (OSN).
    original: Option<SequenceNumber>,
}

/// Writes a packet of the media SSRC.
///
/// **Input**: `packet` is what the slot holds of `header`.
/// **Errors**: `RtpMalformed` when `header` does not fit `packet`, `SendTooLarge` when `out` is too short.
/// **Cost**: no allocation; ~50 bytes written.
pub fn packet(
    out: &mut [u8],
    plan: &EgressPlan,
    rewrite: &Rewrite,
    header: &PacketHeader,
    packet: &[u8],
) -> Result<Written, Drop> {
    let stream = Stream {
        ssrc: plan.ssrc,
        payload_type: rewrite.payload_type,
        sequence: rewrite.sequence.sequence(),
        original: None,
    };
    write(out, plan, stream, rewrite, header, packet)
}

/// Writes a retransmission on the RTX SSRC (RFC 4588 §4): `rewrite` and `payload_type` are those of `Resend::rewrite`, `sequence` is
/// the next of the RTX stream.
pub fn retransmission(
    out: &mut [u8],
    plan: &EgressPlan,
    (rewrite, payload_type): (&Rewrite, u8),
    sequence: ExtendedSequence,
    header: &PacketHeader,
    packet: &[u8],
) -> Result<Written, Drop> {
    let stream = Stream {
        ssrc: plan.rtx_ssrc,
        payload_type,
        sequence: sequence.sequence(),
        original: Some(rewrite.sequence.sequence()),
    };
    write(out, plan, stream, rewrite, header, packet)
}

fn write(
    out: &mut [u8],
    plan: &EgressPlan,
    stream: Stream,
    rewrite: &Rewrite,
    header: &PacketHeader,
    packet: &[u8],
) -> Result<Written, Drop> {
    let start = usize::from(header.payload_offset);
    let payload = packet.get(start..start + usize::from(header.payload_bytes)).ok_or(Drop::RtpMalformed)?;
    let (header_bytes, places) = write_header(out, plan, stream, rewrite, (header, packet))?;
    let mut rest = out.get_mut(header_bytes..).ok_or(Drop::SendTooLarge)?;
    let mut prefix_bytes = 0;
    if let Some(original) = stream.original {
        let (osn, behind) = rest.split_first_chunk_mut::<2>().ok_or(Drop::SendTooLarge)?;
        *osn = original.0.to_be_bytes();
        (rest, prefix_bytes) = (behind, 2);
    }
    let (replaced, skipped) = write_prefix(rest, plan, rewrite, header, payload)?;
    let end = if rewrite.payload == Payload::Fill { start + skipped } else { start + payload.len() };
    Ok(Written {
        header_bytes,
        prefix_bytes: prefix_bytes + replaced,
        payload: (start + skipped).min(end)..end,
        abs_send_time: places.abs_send_time(),
        transport_sequence: places.transport_sequence(),
    })
}

/// The RTP header with its extension block: from the plan's template, except for packets with a dependency descriptor.
fn write_header(
    out: &mut [u8],
    plan: &EgressPlan,
    stream: Stream,
    rewrite: &Rewrite,
    (header, packet): (&PacketHeader, &[u8]),
) -> Result<(usize, Places), Drop> {
    let level = (header.flags & packet_flags::HAS_AUDIO_LEVEL != 0).then_some(&header.audio_level);
    let described = header.descriptor_bytes != 0 && plan.extensions.dependency_descriptor != 0;
    let (bytes, places) = match plan.template(rewrite.with_mid).filter(|_| !described) {
        Some(template) => template.write(out, level.copied()).ok_or(Drop::SendTooLarge)?,
        None => {
            let start = usize::from(header.descriptor_offset);
            let descriptor = packet.get(start..start + usize::from(header.descriptor_bytes)).unwrap_or(&[]);
            write_block(out, plan, rewrite.with_mid, level, descriptor).map_err(too_large)?
        }
    };
    let fixed = out.first_chunk_mut::<FIXED_HEADER_BYTES>().ok_or(Drop::SendTooLarge)?;
    let (sequence, timestamp, ssrc) =
        (stream.sequence.0.to_be_bytes(), rewrite.timestamp.0.to_be_bytes(), stream.ssrc.0.to_be_bytes());
    fixed[0] |= u8::from(rewrite.payload == Payload::Fill) << 5;
    fixed[1] = u8::from(rewrite.marker) << 7 | stream.payload_type;
    fixed[2..4].copy_from_slice(&sequence);
    fixed[4..8].copy_from_slice(&timestamp);
    fixed[8..12].copy_from_slice(&ssrc);
    Ok((bytes, places))
}

/// Writes what replaces the first bytes of the payload; returns how many bytes were written and how many they replace.
fn write_prefix(
    out: &mut [u8],
    plan: &EgressPlan,
    rewrite: &Rewrite,
    header: &PacketHeader,
    payload: &[u8],
) -> Result<(usize, usize), Drop> {
    let codec_header = usize::from(header.codec_header_bytes);
    match (rewrite.payload, rewrite.vp8) {
        (Payload::Fill, _) => {
            // One byte of padding, which counts itself.
            *out.first_mut().ok_or(Drop::SendTooLarge)? = 1;
            Ok((1, 0))
        }
        (Payload::Primary, _) => Ok((0, usize::from(header.primary_offset))),
        (Payload::Whole, Some(fields)) => {
            let (mut descriptor, _) = vp8::Descriptor::parse(payload).map_err(|_| Drop::DescriptorMalformed)?;
            let source_bytes = descriptor.len();
            let set = |present: bool, value: u8| present.then_some(value);
            descriptor.picture_id = Some(vp8::PictureId::Long(fields.picture_id));
            descriptor.tl0_picture_index = set(descriptor.tl0_picture_index.is_some(), fields.tl0_picture_index);
            descriptor.key_index = set(descriptor.key_index.is_some(), fields.key_index);
            Ok((descriptor.write(out).map_err(too_large)?, source_bytes))
        }
        (Payload::Whole, None) if header.codec == Codec::Red as u8 && header.primary_offset != 0 => {
            let headers = payload.get(..codec_header).ok_or(Drop::DescriptorMalformed)?;
            rewrite_red_headers(out, plan, headers)
        }
        (Payload::Whole, None) => Ok((0, 0)),
    }
}

/// The block headers of a RED packet name the publisher's Opus payload type; the subscriber may have another (RFC 2198 §3).
fn rewrite_red_headers(out: &mut [u8], plan: &EgressPlan, headers: &[u8]) -> Result<(usize, usize), Drop> {
    let Some(opus) = plan.payload(Codec::Opus as u8, 0) else { return Ok((0, 0)) };
    if headers.chunks(4).all(|block| block[0] & 0x7f == opus.payload_type) {
        return Ok((0, 0));
    }
    let written = out.get_mut(..headers.len()).ok_or(Drop::SendTooLarge)?;
    written.copy_from_slice(headers);
    written.chunks_mut(4).for_each(|block| block[0] = block[0] & 0x80 | opus.payload_type);
    Ok((headers.len(), headers.len()))
}

fn too_large(_: WireError) -> Drop {
    Drop::SendTooLarge
}

#[cfg(test)]
mod tests;
