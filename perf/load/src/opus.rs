//! Opus-like audio: 20 ms packets of one size. The bytes behind the first are filler.

use crate::stamp::STAMP_BYTES;

pub const PACKETS_PER_SECOND: u64 = 50;
/// CELT, full band, 20 ms, mono, one frame (RFC 6716 §3.1: configuration 31, s = 0, c = 0).
const TABLE_OF_CONTENTS: u8 = 0xF8;
pub const PAYLOAD_BYTES_MAX: usize = 1_200;

/// Bytes of every packet at this bitrate, with room for a stamp.
pub fn payload_bytes(bitrate: u64) -> usize {
    let bytes = usize::try_from(bitrate / 8 / PACKETS_PER_SECOND).unwrap_or(PAYLOAD_BYTES_MAX);
    bytes.clamp(1 + STAMP_BYTES, PAYLOAD_BYTES_MAX)
}

/// Writes a payload over all of `out`.
pub fn write(out: &mut [u8]) {
    out.fill(0x5A);
    if let Some(first) = out.first_mut() {
        *first = TABLE_OF_CONTENTS;
    }
}

/// Speech in words of 1.2 s with pauses of 0.4 s: what the audio level extension says, −dBov.
pub fn level(packet: u64) -> u8 {
    if packet % 80 < 60 { 18 + (packet % 7) as u8 } else { 90 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forty_eight_kbit_are_120_bytes_and_every_size_holds_a_stamp() {
        assert_eq!(payload_bytes(48_000), 120);
        assert_eq!(payload_bytes(0), 1 + STAMP_BYTES);
        assert_eq!(payload_bytes(u64::MAX), PAYLOAD_BYTES_MAX);
    }
}
