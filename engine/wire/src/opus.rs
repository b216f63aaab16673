//! The first byte of an Opus packet (RFC 6716 §3.1): how long it plays, and whether it is silence.

use crate::error::{Result, WireError};

/// RTP clock of Opus.
pub const CLOCK_RATE: u32 = 48_000;

/// Table of contents byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Toc {
    /// 0–31: mode, bandwidth and frame size.
    pub config: u8,
    pub stereo: bool,
    /// Frames in the packet: 1–48.
    pub frames: u8,
}

impl Toc {
    pub const fn parse(payload: &[u8]) -> Result<Self> {
        let (first, frames) = match *payload {
            [] => return Err(WireError::Truncated),
            [first, ..] if first & 3 == 0 => (first, 1),
            [first, ..] if first & 3 != 3 => (first, 2),
            [first, second, ..] => (first, second & 0x3f),
            [_] => return Err(WireError::Truncated),
        };
        if frames == 0 || frames > 48 {
            return Err(WireError::Malformed);
        }
        Ok(Self { config: first >> 3, stereo: first & 4 != 0, frames })
    }

    /// Samples of one frame at 48 kHz (RFC 6716 §3.1, table 2).
    pub const fn frame_samples(self) -> u32 {
        match (self.config, self.config & 3) {
            // SILK: 10, 20, 40, 60 ms.
            (0..=11, 0) => 480,
            (0..=11, 1) => 960,
            (0..=11, 2) => 1_920,
            (0..=11, _) => 2_880,
            // Hybrid: 10, 20 ms.
            (12..=15, size) => 480 << (size & 1),
            // CELT: 2.5, 5, 10, 20 ms.
            (_, size) => 120 << size,
        }
    }

    /// Samples of the packet at 48 kHz.
    pub const fn samples(self) -> u32 {
        self.frame_samples() * self.frames as u32
    }
}

/// A packet of at most two bytes holds no coded audio: the encoder is in discontinuous transmission (RFC 6716 §2.1.9;
/// libopus calls a frame of at most 2 bytes DTX).
pub const fn is_dtx(payload: &[u8]) -> bool {
    !payload.is_empty() && payload.len() <= 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn common_packets_have_their_duration() {
        // Silence of Chromium (CELT fullband 20 ms), SILK 60 ms, hybrid 20 ms twice.
        assert_eq!(Toc::parse(&[0xf8, 0xff, 0xfe]).unwrap().samples(), 960);
        assert_eq!(Toc::parse(&[3 << 3]).unwrap().samples(), 2_880);
        assert_eq!(Toc::parse(&[13 << 3 | 1]).unwrap().samples(), 1_920);
        assert_eq!(Toc::parse(&[16 << 3 | 3, 48]).unwrap().samples(), 5_760);
        assert_eq!(Toc::parse(&[3, 0]).unwrap_err(), WireError::Malformed);
    }

    #[test]
    fn only_tiny_packets_are_silence() {
        assert!(is_dtx(&[0x78]) && is_dtx(&[0x78, 0]) && !is_dtx(&[]) && !is_dtx(&[0xf8, 0xff, 0xfe]));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(payload in prop::collection::vec(any::<u8>(), 0..4)) {
            prop_assert!(Toc::parse(&payload).map_or(0, Toc::samples) <= 48 * 2_880);
        }
    }
}
