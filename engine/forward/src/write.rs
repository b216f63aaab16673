//! Writes the head of an outgoing packet: RTP header, header extensions, and what stands before the part of the payload that is
//! sealed from the slot (OSN of RTX, VP8 descriptor, RED block headers).
//!
//! ```text
//! | RTP header, extension block | prefix |  payload[range] of the slot's packet  | tag |
//! |<------ header_bytes ------->|<- prefix_bytes ->|
//! ```

use std::ops::Range;

use engine_base::{Codec, Drop, ExtendedSequence, Kind, SequenceNumber, Ssrc};
use engine_table::PacketHeader;
use engine_table::slots::packet_flags;
use engine_wire::error::WireError;
use engine_wire::extension::{BLOCK_HEADER_BYTES, ExtensionWriter};
use engine_wire::rtp::{FIXED_HEADER_BYTES, RtpHeader};
use engine_wire::vp8;

use crate::egress::{Payload, Rewrite};
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
    let rtp = RtpHeader {
        padding: rewrite.payload == Payload::Fill,
        marker: rewrite.marker,
        payload_type: stream.payload_type,
        sequence: stream.sequence,
        timestamp: rewrite.timestamp,
        ssrc: stream.ssrc,
        ..RtpHeader::default()
    };
    let elements = Elements::collect(plan, rewrite.with_mid, header, packet);
    let mut places = [None; 2];
    let block = Some(elements.block_bytes(plan.extension_block_bytes(rewrite.with_mid))).filter(|&bytes| bytes != 0);
    let header_bytes = rtp.write_with(out, block, |writer| elements.put(writer, &mut places)).map_err(too_large)?;
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
        abs_send_time: places[0],
        transport_sequence: places[1],
    })
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

const ABS_SEND_TIME: usize = 0;
const TRANSPORT_SEQUENCE: usize = 1;
const ELEMENTS: usize = 5;

/// The extension elements of one packet. The order is that of the list, but elements that need the two-byte form come first, so that
/// nothing moves after it was put.
struct Elements<'a> {
    list: [(u8, &'a [u8]); ELEMENTS],
    two_byte: bool,
}

impl<'a> Elements<'a> {
    fn collect(plan: &'a EgressPlan, with_mid: bool, header: &'a PacketHeader, packet: &'a [u8]) -> Self {
        let ids = &plan.extensions;
        let level = plan.kind == Kind::Audio && header.flags & packet_flags::HAS_AUDIO_LEVEL != 0;
        let descriptor_start = usize::from(header.descriptor_offset);
        let descriptor = packet
            .get(descriptor_start..descriptor_start + usize::from(header.descriptor_bytes))
            .filter(|descriptor| !descriptor.is_empty());
        let mid = plan.mid.as_bytes();
        let when = |present: bool, id: u8| if present { id } else { 0 };
        let list = [
            (ids.abs_send_time, &[0; 3][..]),
            (ids.transport_cc, &[0; 2][..]),
            (when(level, ids.audio_level), std::slice::from_ref(&header.audio_level)),
            (when(descriptor.is_some(), ids.dependency_descriptor), descriptor.unwrap_or(&[])),
            (when(with_mid && !mid.is_empty(), ids.mid), mid),
        ];
        Self { list, two_byte: list.iter().any(needs_two_byte) }
    }

    /// Bytes of the block: `fixed`, or more when the elements do not fit.
    fn block_bytes(&self, fixed: usize) -> usize {
        let element = if self.two_byte { 2 } else { 1 };
        let data: usize = self.list.iter().filter(|(id, _)| *id != 0).map(|(_, data)| element + data.len()).sum();
        let needed = if data == 0 { 0 } else { BLOCK_HEADER_BYTES + data.next_multiple_of(4) };
        needed.max(fixed)
    }

    fn put(&self, writer: &mut ExtensionWriter<'_>, places: &mut [Option<usize>; 2]) -> Result<(), WireError> {
        for two_byte in [true, false] {
            for (position, element) in self.list.iter().enumerate().filter(|(_, e)| needs_two_byte(e) == two_byte) {
                let &(id, data) = element;
                if id == 0 {
                    continue;
                }
                writer.put(id, data)?;
                if let Some(place @ None) = places.get_mut(position) {
                    *place = Some(FIXED_HEADER_BYTES + writer.len() - data.len());
                }
            }
        }
        Ok(())
    }
}

fn needs_two_byte(&(id, data): &(u8, &[u8])) -> bool {
    id > 14 || id != 0 && (data.is_empty() || data.len() > 16)
}

const _: () = assert!(ABS_SEND_TIME == 0 && TRANSPORT_SEQUENCE == 1 && ELEMENTS > TRANSPORT_SEQUENCE);

fn too_large(_: WireError) -> Drop {
    Drop::SendTooLarge
}

#[cfg(test)]
mod tests;
