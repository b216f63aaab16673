//! A decrypted packet → the header record of its slot. RTX packets are taken apart without moving a byte: the record points behind
//! the original sequence number.

use engine_base::{Codec, Drop, RtpTimestamp, SequenceNumber, Ssrc, TimeNs};
use engine_table::slots::packet_flags;
use engine_table::{IngressRow, NO_PAYLOAD_TYPE, PacketHeader, PayloadMapping, PictureNumbers};
use engine_wire::extension::value::{AudioLevel, transport_sequence as wide_sequence};
use engine_wire::{frame, red, rtp::RtpPacket, vp8};

/// Bytes of the original sequence number in front of an RTX payload (RFC 4588 §4).
const OSN_BYTES: usize = 2;

/// A packet understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// Without `sequence`, which `ReceiveStream::receive` extends. `payload_bytes` 0: padding only, which verdicts need to see
    /// so that they close its gap.
    pub header: PacketHeader,
    /// Of the media stream: the original number for RTX.
    pub sequence: SequenceNumber,
    /// Width and height, on key frames that tell them.
    pub size: Option<(u16, u16)>,
}

/// The transport-wide number of a packet, RTX and padding included: for feedback.
pub fn transport_sequence(packet: &RtpPacket<'_>, id: u8) -> Option<SequenceNumber> {
    packet.find_extension(id).and_then(wide_sequence).map(SequenceNumber)
}

/// **Input**: the decrypted packet as it stands in the slot, the row of its ingress, the media SSRC of its layer, and whether it came
/// on the RTX SSRC of that layer.
/// **Errors**: `RtpUnknownPayloadType`; `DescriptorMalformed`; `RtpTooLarge`; `RtpPaddingOnly` for a probe on the RTX SSRC.
pub fn inspect(
    packet: &RtpPacket<'_>,
    row: &IngressRow,
    media: Ssrc,
    rtx: bool,
    arrival: TimeNs,
) -> Result<Inspected, Drop> {
    let mapping = mapping(row, packet.payload_type(), rtx).ok_or(Drop::RtpUnknownPayloadType)?;
    let codec = Codec::from_u8(mapping.codec).ok_or(Drop::RowBad)?;
    let (sequence, payload) = if rtx { original(packet)? } else { (packet.sequence(), packet.payload()) };
    let narrow = |value: usize| u16::try_from(value).map_err(|_| Drop::RtpTooLarge);
    let mut header = PacketHeader {
        arrival,
        timestamp: RtpTimestamp(packet.timestamp().0),
        ssrc: media,
        payload_offset: narrow(packet.payload_range().end - payload.len())?,
        payload_bytes: narrow(payload.len())?,
        payload_type: mapping.payload_type,
        codec: mapping.codec,
        format: mapping.format,
        flags: flag(packet.marker(), packet_flags::MARKER) | flag(rtx, packet_flags::RECOVERED),
        ..PacketHeader::default()
    };
    read_extensions(&mut header, packet, row);
    let mut size = None;
    if !payload.is_empty() {
        let descriptor = packet.find_extension(row.extensions.dependency_descriptor);
        let info = frame::inspect(codec, payload, descriptor).map_err(|_| Drop::DescriptorMalformed)?;
        describe(&mut header, &info);
        read_payload(&mut header, codec, payload, row);
        size = info.size;
    }
    Ok(Inspected { header, sequence, size })
}

/// The mapping that names `payload_type`, as the RTX type of a codec for packets of an RTX SSRC.
fn mapping(row: &IngressRow, payload_type: u8, rtx: bool) -> Option<&PayloadMapping> {
    let named = |mapping: &PayloadMapping| if rtx { mapping.rtx_payload_type } else { mapping.payload_type };
    let mut used = row.payload_types.iter().take_while(|mapping| mapping.codec != 0);
    used.find(|mapping| named(mapping) == payload_type && payload_type != NO_PAYLOAD_TYPE)
}

fn original<'a>(packet: &RtpPacket<'a>) -> Result<(SequenceNumber, &'a [u8]), Drop> {
    match packet.payload().split_first_chunk::<OSN_BYTES>() {
        Some((osn, payload)) if !payload.is_empty() => Ok((SequenceNumber(u16::from_be_bytes(*osn)), payload)),
        _ => Err(Drop::RtpPaddingOnly),
    }
}

const fn flag(set: bool, flag: u16) -> u16 {
    if set { flag } else { 0 }
}

fn read_extensions(header: &mut PacketHeader, packet: &RtpPacket<'_>, row: &IngressRow) {
    let Some(block) = packet.extension() else { return };
    if let Some(level) = block.find(row.extensions.audio_level).and_then(AudioLevel::decode) {
        header.audio_level = level.encode()[0];
        header.flags |= packet_flags::HAS_AUDIO_LEVEL;
    }
    if let Some(range) = block.locate(row.extensions.dependency_descriptor) {
        // The block is the last part of the RTP header.
        let start = packet.header_len() - block.bytes.len() + range.start;
        if let (Ok(offset), Ok(bytes)) = (u16::try_from(start), u8::try_from(range.len())) {
            (header.descriptor_offset, header.descriptor_bytes) = (offset, bytes);
        }
    }
}

fn describe(header: &mut PacketHeader, info: &frame::FrameInfo) {
    let ends = info.frame_end || header.flags & packet_flags::MARKER != 0;
    header.flags |= flag(info.key_frame, packet_flags::KEY_FRAME)
        | flag(info.frame_start, packet_flags::FRAME_START)
        | flag(ends, packet_flags::FRAME_END)
        | flag(info.switching_up, packet_flags::SWITCH_UP)
        | flag(info.picture_id.is_some(), packet_flags::HAS_PICTURE_ID)
        | flag(info.tl0_picture_index.is_some(), packet_flags::HAS_TL0)
        | flag(info.key_index.is_some(), packet_flags::HAS_KEY_INDEX);
    (header.spatial, header.temporal) = (info.spatial, info.temporal);
    header.picture = PictureNumbers {
        id: info.picture_id.unwrap_or(0),
        tl0_index: info.tl0_picture_index.unwrap_or(0),
        key_index: info.key_index.unwrap_or(0),
    };
}

/// What of the payload's start is rewritten for subscribers.
fn read_payload(header: &mut PacketHeader, codec: Codec, payload: &[u8], row: &IngressRow) {
    match codec {
        Codec::Vp8 => {
            let Ok((descriptor, _)) = vp8::Descriptor::parse(payload) else { return };
            header.codec_header_bytes = descriptor.len() as u8;
            let long = matches!(descriptor.picture_id, Some(vp8::PictureId::Long(_)));
            header.flags |= flag(long, packet_flags::PICTURE_ID_15);
        }
        Codec::Red => {
            let is_opus = |block: red::Block<'_>| {
                mapping(row, block.payload_type, false).is_some_and(|mapping| mapping.codec == Codec::Opus as u8)
            };
            let Ok(parsed) = red::Red::parse(payload) else { return };
            let Some(primary) = parsed.primary().filter(|primary| !primary.data.is_empty()) else { return };
            // End-to-end encrypted payloads look like anything.
            if parsed.blocks().all(is_opus) {
                header.codec_header_bytes = (4 * parsed.blocks().count() - 3) as u8;
                header.primary_offset = (payload.len() - primary.data.len()) as u16;
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
