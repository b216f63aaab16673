//! One clock for all processes: CLOCK_MONOTONIC nanoseconds, plus an offset to wall time that the holder stores once.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// CLOCK_MONOTONIC in nanoseconds. Always passed in, never read by protocol code.
#[repr(transparent)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct TimeNs(pub u64);

impl TimeNs {
    pub const ZERO: Self = Self(0);
    pub const MAX: Self = Self(u64::MAX);

    pub const fn from_ms(ms: u64) -> Self {
        Self(ms * 1_000_000)
    }

    /// Nanoseconds from `earlier` to `self`, 0 when `earlier` is later.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    pub const fn add_ns(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    pub const fn add_ms(self, ms: u64) -> Self {
        self.add_ns(ms.saturating_mul(1_000_000))
    }
}

/// Wall clock minus monotonic clock in nanoseconds, taken once by the holder, so that NTP time never jumps in a session.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct WallOffset(pub i64);

impl WallOffset {
    /// Nanoseconds since 1970-01-01 UTC.
    pub const fn wall_ns(self, now: TimeNs) -> u64 {
        now.0.wrapping_add_signed(self.0)
    }

    pub const fn ntp(self, now: TimeNs) -> NtpTime {
        NtpTime::from_unix_ns(self.wall_ns(now))
    }
}

/// 64-bit NTP time: seconds since 1900 in the upper half, the binary fraction of a second in the lower (RFC 3550 §4).
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct NtpTime(pub u64);

const SECONDS_1900_TO_1970: u64 = 2_208_988_800;

impl NtpTime {
    pub const fn from_unix_ns(unix_ns: u64) -> Self {
        let seconds = unix_ns / 1_000_000_000 + SECONDS_1900_TO_1970;
        let fraction = ((unix_ns % 1_000_000_000) << 32) / 1_000_000_000;
        Self((seconds << 32) | fraction)
    }

    pub const fn unix_ns(self) -> u64 {
        let seconds = (self.0 >> 32).saturating_sub(SECONDS_1900_TO_1970);
        seconds * 1_000_000_000 + (((self.0 & 0xffff_ffff) * 1_000_000_000) >> 32)
    }

    /// The middle 32 bits, as LSR and DLSR use them (RFC 3550 §6.4.1).
    pub const fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// 24-bit 6.18 fixed point seconds of the abs-send-time extension.
    pub const fn abs_send_time(self) -> u32 {
        ((self.0 >> 14) & 0x00ff_ffff) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp_and_unix_time_agree_to_a_nanosecond() {
        for unix_ns in [0, 1, 999_999_999, 1_795_000_000_123_456_789] {
            let back = NtpTime::from_unix_ns(unix_ns).unix_ns();
            assert!(unix_ns - back <= 1, "{unix_ns} became {back}");
        }
    }
}
