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
        let (roc, last) = ((highest & RTP_INDEX_MAX) >> 16, highest as u16);
        let roc = if last < 0x8000 {
            let wrapped_back = sequence.saturating_sub(last) > 0x8000;
            if wrapped_back { roc.saturating_sub(1) } else { roc }
        } else {
            let wrapped = last - 0x8000 > sequence;
            if wrapped { (roc + 1).min(u64::from(u32::MAX)) } else { roc }
        };
        (roc << 16) | u64::from(sequence)
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn window_at(highest: u64) -> RtpWindow {
        let mut window = RtpWindow::default();
        window.accept(highest);
        window
    }

    #[test]
    fn first_packet_has_roc_0_whatever_its_sequence() {
        for sequence in [0, 1, 0x7FFF, 0x8000, 0xFFFF] {
            assert_eq!(RtpWindow::default().estimate(sequence), u64::from(sequence));
            assert_eq!(RtpWindow::default().check(u64::from(sequence)), Replay::Fresh);
        }
    }

    #[test]
    fn estimates_follow_the_table_of_rfc_3711() {
        for (highest, sequence, index) in [
            (0xFFFF, 0x0000, 0x1_0000),
            (0xFFFF, 0x7FFE, 0x1_7FFE),
            (0xFFFF, 0x7FFF, 0x0_7FFF),
            (0x1_0000, 0xFFFF, 0x0_FFFF),
            (0x1_0000, 0x8000, 0x1_8000),
            (0x1_0000, 0x8001, 0x0_8001),
            (0x1_7FFF, 0xFFFF, 0x1_FFFF),
            (0x1_8000, 0x0000, 0x1_0000),
            (0x1_8001, 0x0000, 0x2_0000),
            (5, 0xFFFF, 0xFFFF),
            (RTP_INDEX_MAX, 0, RTP_INDEX_MAX & !0xFFFF),
        ] {
            assert_eq!(window_at(highest).estimate(sequence), index, "{highest:x} then {sequence:x}");
        }
    }

    #[test]
    fn estimates_stay_right_over_three_roll_overs_with_loss_and_reordering() {
        let mut window = RtpWindow::default();
        let mut index = 64_000u64;
        while index < 4 << 16 {
            for index in [index + 700, index, index + 3] {
                assert_eq!(window.estimate(index as u16), index);
                assert_eq!(window.check(index), Replay::Fresh);
                window.accept(index);
            }
            index += 1_009;
        }
    }

    #[test]
    fn srtcp_window_is_128_wide() {
        let mut window = RtcpWindow::default();
        window.accept(1_000);
        assert_eq!(window.check(1_000), Replay::Repeated);
        assert_eq!(window.check(1_000 - 127), Replay::Fresh);
        assert_eq!(window.check(1_000 - 128), Replay::TooOld);
    }

    #[test]
    fn any_bytes_of_shared_memory_are_a_window_that_does_not_panic() {
        for bytes in [[0xFF; 136], [0xA5; 136], [0; 136]] {
            let mut window = RtpWindow::read_from_bytes(&bytes).unwrap();
            for index in [0, 1, 1 << 47, RTP_INDEX_MAX, u64::MAX] {
                assert!(window.estimate(index as u16) <= RTP_INDEX_MAX);
                window.check(index);
                window.accept(index);
                window.check(index);
            }
        }
    }

    proptest! {
        #[test]
        fn estimate_finds_every_index_within_half_a_circle(highest in 0..=RTP_INDEX_MAX, offset in -0x7FFF..=0x7FFFi64) {
            let index = highest.wrapping_add_signed(offset);
            prop_assume!(index <= RTP_INDEX_MAX);
            prop_assert_eq!(window_at(highest).estimate(index as u16), index);
        }

        #[test]
        fn window_agrees_with_a_set_of_all_accepted(
            start in 0..RTP_INDEX_MAX - 2_000_000,
            steps in prop::collection::vec((-1_500i64..1_600, any::<bool>()), 1..200),
        ) {
            let (mut window, mut accepted, mut highest) = (RtpWindow::default(), HashSet::new(), start);
            let mut order: Vec<u64> = Vec::new();
            for (offset, repeat) in steps {
                let index = match order.last() {
                    Some(&last) if repeat => last,
                    _ => highest.saturating_add_signed(offset),
                };
                let expected = match order.is_empty() || index > highest {
                    true => Replay::Fresh,
                    false if highest - index >= 1_024 => Replay::TooOld,
                    false if accepted.contains(&index) => Replay::Repeated,
                    false => Replay::Fresh,
                };
                prop_assert_eq!(window.check(index), expected);
                window.accept(index);
                highest = if order.is_empty() { index } else { highest.max(index) };
                accepted.insert(index);
                order.push(index);
                prop_assert_eq!(window.highest(), Some(highest));
            }
        }
    }
}
