//! Desired rows from what was negotiated: parts that both kinds of connection share.

use engine_base::{Codec, ExtensionIds, Ssrc};
use engine_table::{EgressRow, IngressRow, NO_PAYLOAD_TYPE, PayloadMapping, Text, egress_flags, ingress_flags};
use signaling_sdp::{CodecKey, Fingerprint, HashFunction, NegotiatedSection, PayloadType, SendTrack};

use crate::error::NegotiationError;
use crate::streams::PublishedLayer;

/// The number that tells formats of one codec apart in rows: H.264 by profile and packetization mode, without the level.
/// 1 is 42e0 in mode 1, 2 in mode 0; 3 is 4200 in mode 1, 4 in mode 0; others are hashed into 5–255. 0 for other codecs.
pub fn format_of(key: &CodecKey) -> u8 {
    let Some(h264) = key.h264 else { return 0 };
    match (h264.profile_level_id >> 8, h264.packetization_mode) {
        (0x42e0, 1) => 1,
        (0x42e0, 0) => 2,
        (0x4200, 1) => 3,
        (0x4200, 0) => 4,
        (profile, mode) => {
            let hash = (profile << 8 | u32::from(mode)).wrapping_mul(0x9e37_79b1) >> 16;
            5 + (hash % 251) as u8
        }
    }
}

fn mapping(pt: &PayloadType, rtx: Option<u8>, key: &CodecKey) -> PayloadMapping {
    PayloadMapping {
        payload_type: pt.payload_type,
        rtx_payload_type: rtx.unwrap_or(NO_PAYLOAD_TYPE),
        codec: pt.codec as u8,
        format: format_of(key),
    }
}

/// What a published section says about its ingress; `state`, `generation`, `label` and the flags of the track itself (muted,
/// SVC, microphone) are the room's.
pub(crate) fn fill_ingress(section: &NegotiatedSection, layers: &[PublishedLayer], mid: &str, row: &mut IngressRow) {
    row.payload_types = Default::default();
    for (place, pt) in row.payload_types.iter_mut().zip(&section.payload_types) {
        *place = mapping(pt, pt.rtx, &pt.key());
    }
    row.layers = Default::default();
    for (place, layer) in row.layers.iter_mut().zip(layers) {
        place.ssrc = Ssrc(layer.ssrc);
        place.rtx_ssrc = Ssrc(layer.rtx_ssrc);
        place.rid = Text::new(layer.rid.as_bytes()).unwrap_or_default();
    }
    row.layer_count = layers.len().clamp(1, row.layers.len()) as u8;
    row.extensions = section.extension_ids();
    row.mid = Text::new(mid.as_bytes()).unwrap_or_default();
    let feedback = |name: &str| section.payload_types.iter().any(|pt| pt.has_feedback(name));
    let transport_cc = feedback("transport-cc") && row.extensions.transport_cc != 0;
    set(&mut row.flags, ingress_flags::NACK, feedback("nack"));
    set(&mut row.flags, ingress_flags::TRANSPORT_CC, transport_cc);
}

/// What a section that we send on says about its egress; `false` when no payload type of it carries any codec of `source`.
///
/// Every format of the source gets a mapping under the source's own format number, to the payload type that carries it best.
pub(crate) fn fill_egress(
    section: &NegotiatedSection,
    track: &SendTrack,
    source: &[CodecKey],
    mid: &str,
    row: &mut EgressRow,
) -> bool {
    let mut mappings: Vec<PayloadMapping> = Vec::new();
    for key in source {
        let Some(pt) = section.payload_type_for(key) else { continue };
        let rtx = pt.rtx.filter(|_| track.rtx_ssrc.is_some());
        let next = mapping(pt, rtx, key);
        if !mappings.iter().any(|known| (known.codec, known.format) == (next.codec, next.format)) {
            mappings.push(next);
        }
    }
    row.payload_types = Default::default();
    for (place, mapping) in row.payload_types.iter_mut().zip(&mappings) {
        *place = *mapping;
    }
    row.ssrc = Ssrc(track.ssrc);
    row.rtx_ssrc = Ssrc(track.rtx_ssrc.unwrap_or_default());
    row.extensions = section.extension_ids();
    // Negotiated for the client's own packets. A client that sees no transport-wide number estimates by abs-send-time (REMB).
    (row.extensions.rid, row.extensions.repaired_rid, row.extensions.transport_cc) = (0, 0, 0);
    row.mid = Text::new(mid.as_bytes()).unwrap_or_default();
    row.cname = Text::cut(&track.cname);
    let resends = |mapping: &PayloadMapping| mapping.rtx_payload_type != NO_PAYLOAD_TYPE;
    set(&mut row.flags, egress_flags::NACK, mappings.iter().any(resends));
    !mappings.is_empty()
}

pub(crate) fn carries(section: &NegotiatedSection, source: &[CodecKey]) -> bool {
    source.iter().any(|key| section.payload_type_for(key).is_some())
}

/// A track without its RTX SSRC where the section cannot resend.
pub(crate) fn fitted(mut track: SendTrack, section: &NegotiatedSection) -> SendTrack {
    if section.payload_types.iter().all(|pt| pt.rtx.is_none()) {
        track.rtx_ssrc = None;
    }
    track
}

/// Ids that the client's packets carry; the sections of a BUNDLE agree (RFC 9143 §9), the first one wins where they do not.
pub(crate) fn merge_extensions<'a>(sections: impl Iterator<Item = &'a NegotiatedSection>) -> ExtensionIds {
    let mut merged = ExtensionIds::NONE;
    for extension in sections.flat_map(|section| &section.extensions) {
        if merged.get(&extension.uri) == 0 {
            merged.set(&extension.uri, extension.id);
        }
    }
    merged
}

pub(crate) fn fingerprint_row(fingerprint: &Fingerprint) -> Option<engine_table::Fingerprint> {
    let algorithm = algorithm(fingerprint.hash)?;
    let mut digest = [0; 64];
    digest.get_mut(..fingerprint.bytes.len())?.copy_from_slice(&fingerprint.bytes);
    Some(engine_table::Fingerprint { algorithm, bytes: fingerprint.bytes.len() as u8, reserved: [0; 6], digest })
}

pub(crate) const NO_FINGERPRINT: engine_table::Fingerprint =
    engine_table::Fingerprint { algorithm: 0, bytes: 0, reserved: [0; 6], digest: [0; 64] };

const fn algorithm(hash: HashFunction) -> Option<u8> {
    match hash {
        HashFunction::Sha256 => Some(1),
        HashFunction::Sha384 => Some(2),
        HashFunction::Sha512 => Some(3),
        HashFunction::Sha1 | HashFunction::Sha224 => None,
    }
}

pub(crate) fn set(flags: &mut u8, flag: u8, on: bool) {
    *flags = if on { *flags | flag } else { *flags & !flag };
}

/// Names that travel in a header extension and fit a row.
pub(crate) fn check_name(name: &str, what: &'static str) -> Result<(), NegotiationError> {
    if name.len() <= Text::<18>::CAPACITY { Ok(()) } else { Err(NegotiationError::Capacity { what }) }
}

pub(crate) fn codec_keys(section: &NegotiatedSection) -> Vec<CodecKey> {
    section.payload_types.iter().filter(|pt| pt.codec != Codec::None).map(PayloadType::key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use signaling_sdp::H264;

    fn h264(profile_level_id: u32, packetization_mode: u8) -> CodecKey {
        CodecKey { codec: Codec::H264, h264: Some(H264 { profile_level_id, packetization_mode }) }
    }

    #[test]
    fn formats_differ_by_profile_and_mode_but_not_by_level() {
        let formats = [h264(0x42e01f, 1), h264(0x42e01f, 0), h264(0x42001f, 1), h264(0x42001f, 0)];
        assert_eq!(formats.map(|key| format_of(&key)), [1, 2, 3, 4]);
        assert_eq!(format_of(&h264(0x42e034, 1)), 1);
        assert!(format_of(&h264(0x42c01f, 1)) >= 5);
        assert_ne!(format_of(&h264(0x42c01f, 1)), format_of(&h264(0x42c01f, 0)));
        assert_eq!(format_of(&CodecKey::of(Codec::Vp9)), 0);
    }
}
