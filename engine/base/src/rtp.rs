//! RTP's number spaces as types, so that none is taken for another.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Synchronisation source (RFC 3550 §3). 0 stands for "not known yet" in rows.
#[repr(transparent)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Ssrc(pub u32);

impl Ssrc {
    pub const UNKNOWN: Self = Self(0);

    pub const fn is_unknown(self) -> bool {
        self.0 == 0
    }
}

/// 16-bit RTP sequence number: wraps, so it is compared by distance.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SequenceNumber(pub u16);

impl SequenceNumber {
    /// Signed distance from `other` to `self`, −32,768 to 32,767.
    pub const fn distance(self, other: Self) -> i16 {
        self.0.wrapping_sub(other.0) as i16
    }

    pub const fn is_newer_than(self, other: Self) -> bool {
        self.distance(other) > 0
    }

    pub const fn add(self, n: u16) -> Self {
        Self(self.0.wrapping_add(n))
    }
}

/// A sequence number with its roll-over count; never wraps in practice. Streams start at cycle 1, so that a packet a little
/// older than the first one still has a positive number.
#[repr(transparent)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct ExtendedSequence(pub u64);

impl ExtendedSequence {
    pub const fn first(sequence: SequenceNumber) -> Self {
        Self(0x1_0000 | sequence.0 as u64)
    }

    pub const fn sequence(self) -> SequenceNumber {
        SequenceNumber(self.0 as u16)
    }

    /// The extended number of `sequence` that lies nearest to `self`.
    pub const fn nearest(self, sequence: SequenceNumber) -> Self {
        let distance = sequence.distance(self.sequence());
        Self(self.0.wrapping_add_signed(distance as i64))
    }
}

/// 32-bit media clock: wraps.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RtpTimestamp(pub u32);

impl RtpTimestamp {
    pub const fn distance(self, other: Self) -> i32 {
        self.0.wrapping_sub(other.0) as i32
    }

    pub const fn add(self, ticks: u32) -> Self {
        Self(self.0.wrapping_add(ticks))
    }
}

#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    #[default]
    Audio = 0,
    Video = 1,
}

impl Kind {
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Audio),
            1 => Some(Self::Video),
            _ => None,
        }
    }
}

/// What a payload type carries. `Rtx` never stands alone: it is the `rtx_payload_type` of another codec.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Codec {
    #[default]
    None = 0,
    Opus = 1,
    /// RFC 2198 redundancy around Opus.
    Red = 2,
    Vp8 = 3,
    H264 = 4,
    Vp9 = 5,
    Av1 = 6,
    H265 = 7,
    Pcmu = 8,
    Pcma = 9,
}

impl Codec {
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            0 => Self::None,
            1 => Self::Opus,
            2 => Self::Red,
            3 => Self::Vp8,
            4 => Self::H264,
            5 => Self::Vp9,
            6 => Self::Av1,
            7 => Self::H265,
            8 => Self::Pcmu,
            9 => Self::Pcma,
            _ => return None,
        })
    }

    pub const fn kind(self) -> Kind {
        match self {
            Self::None | Self::Opus | Self::Red | Self::Pcmu | Self::Pcma => Kind::Audio,
            Self::Vp8 | Self::H264 | Self::Vp9 | Self::Av1 | Self::H265 => Kind::Video,
        }
    }

    /// RTP clock in Hz.
    pub const fn clock_rate(self) -> u32 {
        match self {
            Self::Opus | Self::Red => 48_000,
            Self::Pcmu | Self::Pcma => 8_000,
            _ => 90_000,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Opus => "opus",
            Self::Red => "red",
            Self::Vp8 => "VP8",
            Self::H264 => "H264",
            Self::Vp9 => "VP9",
            Self::Av1 => "AV1",
            Self::H265 => "H265",
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_follows_the_wrap_in_both_directions() {
        let last = ExtendedSequence(0x1_ffff);
        assert_eq!(last.nearest(SequenceNumber(0)), ExtendedSequence(0x2_0000));
        assert_eq!(ExtendedSequence(0x2_0001).nearest(SequenceNumber(0xfffe)), ExtendedSequence(0x1_fffe));
    }
}
