//! Every sequence number of one stream: what is missing, what came twice or late. It sees RTP headers only, which SRTP leaves
//! in the clear, so it costs no decryption.

use engine_srtp::{Replay, RtpWindow};

/// Counts of a measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SequenceCounts {
    /// From the first number after the beginning to the highest seen.
    pub expected: u64,
    pub received: u64,
    pub repeated: u64,
    /// Came after a later one; received all the same.
    pub reordered: u64,
}

impl SequenceCounts {
    pub fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.received)
    }
}

/// What a packet is to its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// With the packet's SRTP index.
    Fresh(u64),
    Repeated,
    /// Behind the window of 1,024 packets.
    TooOld,
}

#[derive(Clone, Debug, Default)]
pub struct SequenceChecker {
    window: RtpWindow,
    /// First index of the measurement.
    base: u64,
    counts: SequenceCounts,
}

impl SequenceChecker {
    pub fn record(&mut self, sequence: u16) -> Arrival {
        let index = self.window.estimate(sequence);
        match self.window.check(index) {
            Replay::Fresh => {}
            Replay::Repeated => {
                self.counts.repeated += 1;
                return Arrival::Repeated;
            }
            Replay::TooOld => return Arrival::TooOld,
        }
        let highest = self.window.highest();
        if highest.is_none() {
            self.base = index;
        }
        if highest.is_some_and(|highest| index < highest) {
            self.counts.reordered += 1;
        }
        if index >= self.base {
            self.counts.received += 1;
        }
        self.window.accept(index);
        Arrival::Fresh(index)
    }

    /// Starts a measurement: what came before no longer counts, nor what of it is still to come.
    pub fn begin(&mut self) {
        self.base = self.next();
        self.counts = SequenceCounts::default();
    }

    pub fn counts(&self) -> SequenceCounts {
        SequenceCounts { expected: self.next().saturating_sub(self.base), ..self.counts }
    }

    /// Roll-over count and highest sequence number, as receiver reports carry them.
    pub fn highest(&self) -> u32 {
        self.window.highest().unwrap_or(0) as u32
    }

    fn next(&self) -> u64 {
        self.window.highest().map_or(0, |highest| highest + 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(sequences: impl IntoIterator<Item = u16>) -> SequenceCounts {
        let mut checker = SequenceChecker::default();
        sequences.into_iter().for_each(|sequence| {
            checker.record(sequence);
        });
        checker.counts()
    }

    #[test]
    fn a_whole_stream_over_the_wrap_has_no_loss() {
        let counts = counts((65_000..=u16::MAX).chain(0..5_000));
        assert_eq!((counts.expected, counts.lost(), counts.repeated), (5_536, 0, 0));
    }

    #[test]
    fn a_gap_is_lost_until_its_packets_come() {
        assert_eq!(counts([1, 2, 5]).lost(), 2);
        let late = counts([1, 2, 5, 4, 3, 3]);
        assert_eq!((late.lost(), late.reordered, late.repeated), (0, 2, 1));
    }

    #[test]
    fn a_measurement_begins_behind_what_was_seen() {
        let mut checker = SequenceChecker::default();
        for sequence in [10, 11, 15] {
            checker.record(sequence);
        }
        checker.begin();
        assert_eq!(checker.counts(), SequenceCounts::default());
        checker.record(14);
        checker.record(17);
        assert_eq!((checker.counts().expected, checker.counts().lost()), (2, 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn loss_is_what_was_left_out(
            start in any::<u16>(), dropped in prop::collection::btree_set(1usize..1_999, 0..100), swap in 0usize..1_998,
        ) {
            // Anything from the start's neighbourhood would be taken as a jump ahead (RFC 3711 appendix A).
            let mut sent: Vec<usize> = (0..2_000).filter(|n| !dropped.contains(n)).collect();
            let at = swap.min(sent.len() - 2).max(1);
            sent.swap(at, at + 1);
            let counts = counts(sent.iter().map(|n| start.wrapping_add(*n as u16)));
            prop_assert_eq!(counts.expected, 2_000);
            prop_assert_eq!(counts.lost(), dropped.len() as u64);
        }
    }
}
