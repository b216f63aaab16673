//! Index estimation and replay windows, as plain data that lives in shared memory. All-zero bytes are a fresh window.
//!
//! A window only answers; it refuses nothing. RTP packets may come twice for a good reason: Rust publishers without RTX
//! resend on the same SSRC and sequence number, so the same index (observed: LiveKit Rust SDK). The caller opens such a
//! packet and lets the RTP-level duplicate check decide. For SRTCP the caller drops whatever is not `Fresh`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::RTP_INDEX_MAX;

/// What a window knows of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    Fresh,
    Repeated,
    /// Older than the window: it may or may not have been seen.
    TooOld,
}

/// SRTP window of one SSRC: 1,024 packets, about 2 s of 5 Mbit/s video, so that late retransmissions still count as fresh.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RtpWindow {
    /// Highest accepted index + 1; 0 before the first packet.
    next: u64,
    /// Bit `index % 1024` is set if `index` was accepted.
    seen: [u64; 16],
}

/// SRTCP window of one sender: 128 packets.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RtcpWindow {
    /// Highest accepted index + 1; 0 before the first packet.
    next: u64,
    /// Bit `index % 128` is set if `index` was accepted.
    seen: [u64; 2],
}

const _: () = assert!(size_of::<RtpWindow>() == 136 && size_of::<RtcpWindow>() == 24);

impl RtpWindow {
    /// Highest accepted index.
    pub fn highest(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    /// The index that a packet with this sequence number most likely has: the one nearest to the highest accepted.
    ///
    /// Before the first packet the ROC is 0, and no estimate is below ROC 0: a sequence number that seems to lie before the
    /// stream's start is taken as a jump ahead.
    /// **Source** RFC 3711 §3.3.1 and appendix A.
    pub fn estimate(&self, sequence: u16) -> u64 {
        let Some(highest) = self.highest() else { return u64::from(sequence) };
        // The signed distance on the circle of 2^16; exactly half way counts as ahead only from the lower half of the
        // circle, as the RFC's comparisons have it.
        let (roc, last) = ((highest >> 16) & 0xFFFF_FFFF, highest as u16);
        let roc = if last < 0x8000 {
            if sequence - last.min(sequence) > 0x8000 { roc.saturating_sub(1) } else { roc }
        } else if last - 0x8000 > sequence {
            roc + 1
        } else {
            roc
        };
        ((roc << 16) | u64::from(sequence)) & RTP_INDEX_MAX
    }

    pub fn check(&self, index: u64) -> Replay {
        check(self.next, &self.seen, index)
    }

    /// Marks `index` as seen; call it only after the packet was authenticated.
    pub fn accept(&mut self, index: u64) {
        accept(&mut self.next, &mut self.seen, index);
    }
}

impl RtcpWindow {
    pub fn check(&self, index: u32) -> Replay {
        check(self.next, &self.seen, u64::from(index))
    }

    /// Marks `index` as seen; call it only after the packet was authenticated.
    pub fn accept(&mut self, index: u32) {
        accept(&mut self.next, &mut self.seen, u64::from(index));
    }
}

fn check(next: u64, seen: &[u64], index: u64) -> Replay {
    let bits = seen.len() as u64 * 64;
    if index >= next {
        Replay::Fresh
    } else if next - index > bits {
        Replay::TooOld
    } else if seen[word(index, bits)] & bit(index) != 0 {
        Replay::Repeated
    } else {
        Replay::Fresh
    }
}

fn accept(next: &mut u64, seen: &mut [u64], index: u64) {
    let bits = seen.len() as u64 * 64;
    if index >= *next {
        if index - *next >= bits {
            seen.fill(0);
        } else {
            for skipped in *next..index {
                seen[word(skipped, bits)] &= !bit(skipped);
            }
        }
        *next = index.saturating_add(1);
    } else if *next - index > bits {
        return;
    }
    seen[word(index, bits)] |= bit(index);
}

fn word(index: u64, bits: u64) -> usize {
    ((index % bits) / 64) as usize
}

fn bit(index: u64) -> u64 {
    1 << (index % 64)
}
