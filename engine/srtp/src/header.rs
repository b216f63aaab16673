//! How long the clear part of a packet is. Everything else about RTP and RTCP belongs to engine-wire.

use crate::SrtpError;

const RTP_FIXED: usize = 12;
/// First header and sender SSRC of a compound packet stay clear (RFC 3711 §3.4).
pub(crate) const RTCP_CLEAR: usize = 8;

/// Bytes before the payload: fixed header, CSRCs, extension (RFC 3550 §5.1, §5.3.1).
pub(crate) fn rtp_header_len(packet: &[u8]) -> Result<usize, SrtpError> {
    let &[first, ..] = packet else { return Err(SrtpError::Malformed) };
    if first >> 6 != 2 {
        return Err(SrtpError::Malformed);
    }
    let mut len = RTP_FIXED + 4 * usize::from(first & 0x0F);
    if first & 0x10 != 0 {
        let words = packet.get(len + 2..len + 4).and_then(be16).ok_or(SrtpError::Malformed)?;
        len += 4 + 4 * usize::from(words);
    }
    if len > packet.len() { Err(SrtpError::Malformed) } else { Ok(len) }
}

pub(crate) fn rtp_sequence(packet: &[u8]) -> Result<u16, SrtpError> {
    packet.get(2..4).and_then(be16).ok_or(SrtpError::Malformed)
}

pub(crate) fn rtp_ssrc(packet: &[u8]) -> Result<[u8; 4], SrtpError> {
    packet.get(8..12).and_then(|bytes| bytes.try_into().ok()).ok_or(SrtpError::Malformed)
}

/// Sender SSRC of the first packet of a compound, after the checks that every compound must pass.
pub(crate) fn rtcp_ssrc(packet: &[u8]) -> Result<[u8; 4], SrtpError> {
    match packet.first_chunk::<RTCP_CLEAR>() {
        Some(&[first, _, _, _, a, b, c, d]) if first >> 6 == 2 => Ok([a, b, c, d]),
        _ => Err(SrtpError::Malformed),
    }
}

fn be16(bytes: &[u8]) -> Option<u16> {
    bytes.try_into().ok().map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_length_counts_csrcs_and_extension() {
        let mut packet = [0u8; 64];
        packet[0] = 0x80;
        assert_eq!(rtp_header_len(&packet), Ok(12));
        packet[0] = 0x83;
        assert_eq!(rtp_header_len(&packet), Ok(24));
        packet[0] = 0x93;
        packet[27] = 2;
        assert_eq!(rtp_header_len(&packet), Ok(36));
        assert_eq!(rtp_header_len(&packet[..36]), Ok(36));
        assert_eq!(rtp_header_len(&packet[..35]), Err(SrtpError::Malformed));
        assert_eq!(rtp_header_len(&packet[..26]), Err(SrtpError::Malformed));
        packet[0] = 0x40;
        assert_eq!(rtp_header_len(&packet), Err(SrtpError::Malformed));
        assert_eq!(rtp_header_len(&[]), Err(SrtpError::Malformed));
    }
}
