//! Values of the header extensions that Millrace reads or writes. A value of the wrong length reads as `None`.

use engine_base::NtpTime;

use crate::error::{Result, WireError};

/// Audio level (RFC 6464 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioLevel {
    /// The encoder believes that the packet holds speech.
    pub voice: bool,
    /// −dBov: 0 is loudest, 127 is silence.
    pub level: u8,
}

impl AudioLevel {
    pub const fn decode(data: &[u8]) -> Option<Self> {
        // The two-byte form may carry a padding byte behind the level (RFC 6464 §3, figure 2).
        match *data {
            [first] | [first, _] => Some(Self { voice: first & 0x80 != 0, level: first & 0x7f }),
            _ => None,
        }
    }

    /// `level` above 127 is written as 127.
    pub const fn encode(self) -> [u8; 1] {
        let level = if self.level > 127 { 127 } else { self.level };
        [(self.voice as u8) << 7 | level]
    }
}

/// abs-send-time: seconds as 6.18 fixed point, wraps every 64 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbsSendTime(pub u32);

impl AbsSendTime {
    pub const fn decode(data: &[u8]) -> Option<Self> {
        match *data {
            [a, b, c] => Some(Self(u32::from_be_bytes([0, a, b, c]))),
            _ => None,
        }
    }

    pub const fn encode(self) -> [u8; 3] {
        let [_, a, b, c] = self.0.to_be_bytes();
        [a, b, c]
    }

    pub const fn from_ntp(time: NtpTime) -> Self {
        Self(time.abs_send_time())
    }
}

/// Transport-wide sequence number (draft-holmer-rmcat-transport-wide-cc-extensions-01 §2).
pub const fn transport_sequence(data: &[u8]) -> Option<u16> {
    match *data {
        // Four bytes: version 2, which appends a feedback request.
        [a, b] | [a, b, _, _] => Some(u16::from_be_bytes([a, b])),
        _ => None,
    }
}

/// Text of mid, rid and repaired-rid (RFC 8852 §3, RFC 9143 §15): visible ASCII. Trailing zeroes, with which a sender may
/// pad a value to a fixed size, are cut.
pub fn identifier(data: &[u8]) -> Option<&[u8]> {
    let end = data.iter().position(|&byte| byte == 0).unwrap_or(data.len());
    let text = data.get(..end)?;
    let valid = !text.is_empty() && text.iter().all(|byte| byte.is_ascii_graphic());
    valid.then_some(text)
}

/// abs-capture-time: when the frame was captured, on the capturer's clock, and that clock's offset to the sender's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbsCaptureTime {
    pub capture: NtpTime,
    /// Q32.32 seconds; the short form of the extension has none.
    pub clock_offset: Option<i64>,
}

impl AbsCaptureTime {
    pub const BYTES_MAX: usize = 16;

    pub const fn decode(data: &[u8]) -> Option<Self> {
        let Some((capture, rest)) = data.split_first_chunk::<8>() else { return None };
        let clock_offset = match rest.split_first_chunk::<8>() {
            Some((offset, [])) => Some(i64::from_be_bytes(*offset)),
            None if rest.is_empty() => None,
            _ => return None,
        };
        Some(Self { capture: NtpTime(u64::from_be_bytes(*capture)), clock_offset })
    }

    /// Writes 8 or 16 bytes to `out` and returns them.
    pub fn encode(self, out: &mut [u8; Self::BYTES_MAX]) -> &[u8] {
        let joined = u128::from(self.capture.0) << 64 | u128::from(self.clock_offset.unwrap_or(0).cast_unsigned());
        *out = joined.to_be_bytes();
        if self.clock_offset.is_some() { out } else { out.split_at(8).0 }
    }
}

/// playout-delay: two 12-bit counts of 10 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlayoutDelay {
    pub min_10ms: u16,
    pub max_10ms: u16,
}

impl PlayoutDelay {
    pub const fn decode(data: &[u8]) -> Option<Self> {
        match *data {
            [a, b, c] => Some(Self {
                min_10ms: u16::from_be_bytes([a >> 4, a << 4 | b >> 4]),
                max_10ms: u16::from_be_bytes([b & 15, c]),
            }),
            _ => None,
        }
    }

    /// **Errors**: `Capacity` for a value above 4,095.
    pub const fn encode(self) -> Result<[u8; 3]> {
        if self.min_10ms > 0xfff || self.max_10ms > 0xfff {
            return Err(WireError::Capacity);
        }
        let [_, a, b, c] = ((self.min_10ms as u32) << 12 | self.max_10ms as u32).to_be_bytes();
        Ok([a, b, c])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn identifiers_end_at_zero_padding_and_are_never_empty() {
        assert_eq!(identifier(b"f\0\0"), Some(&b"f"[..]));
        assert_eq!(identifier(b"\0"), None);
        assert_eq!(identifier(b"a b"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn values_come_back(
            voice in any::<bool>(), level in 0u8..128, time in 0u32..1 << 24, capture in any::<u64>(),
            clock_offset in any::<Option<i64>>(), min_10ms in 0u16..4096, max_10ms in 0u16..4096,
        ) {
            let audio = AudioLevel { voice, level };
            prop_assert_eq!(AudioLevel::decode(&audio.encode()), Some(audio));
            prop_assert_eq!(AbsSendTime::decode(&AbsSendTime(time).encode()), Some(AbsSendTime(time)));
            let captured = AbsCaptureTime { capture: NtpTime(capture), clock_offset };
            prop_assert_eq!(AbsCaptureTime::decode(captured.encode(&mut [0; 16])), Some(captured));
            let delay = PlayoutDelay { min_10ms, max_10ms };
            prop_assert_eq!(PlayoutDelay::decode(&delay.encode().unwrap()), Some(delay));
        }

        #[test]
        fn arbitrary_bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..20)) {
            AudioLevel::decode(&data);
            AbsSendTime::decode(&data);
            transport_sequence(&data);
            identifier(&data);
            AbsCaptureTime::decode(&data);
            PlayoutDelay::decode(&data);
        }
    }
}
