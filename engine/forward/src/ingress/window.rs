//! The last 1,024 sequence numbers of a stream: extended and de-duplicated. Senders without RTX resend under the same number, so a
//! packet may come twice, and late.

use engine_base::{ExtendedSequence, SequenceNumber};

use super::Arrival;

pub const WINDOW: u64 = 1_024;
pub(crate) const WORDS: usize = WINDOW as usize / 64;

#[derive(Clone, Debug)]
pub(super) struct ReceiveWindow {
    /// 0 before the first packet.
    highest: u64,
    /// The next packet begins in this cycle, whatever came before.
    begin_cycle: Option<u64>,
    /// Bit `number % 1024`, for the last 1,024 numbers.
    received: [u64; WORDS],
}

impl ReceiveWindow {
    pub(super) const fn new() -> Self {
        Self { highest: 0, begin_cycle: Some(1), received: [0; WORDS] }
    }

    pub(super) const fn from_parts(highest: u64, received: [u64; WORDS]) -> Self {
        let begin_cycle = if highest == 0 { Some(1) } else { None };
        Self { highest, begin_cycle, received }
    }

    pub(super) const fn parts(&self) -> (u64, [u64; WORDS]) {
        (self.highest, self.received)
    }

    /// Highest number of the present run.
    pub(super) const fn highest(&self) -> Option<u64> {
        if self.begin_cycle.is_some() { None } else { Some(self.highest) }
    }

    /// The next packet begins a new run, two cycles up so that a packet older than it still lies above the old run.
    pub(super) const fn restart(&mut self) {
        if self.begin_cycle.is_none() {
            self.begin_cycle = Some((self.highest >> 16) + 2);
        }
    }

    pub(super) fn receive(&mut self, sequence: SequenceNumber) -> Arrival {
        let number = match self.begin_cycle.take() {
            Some(cycle) => {
                self.received = [0; WORDS];
                self.highest = cycle << 16 | u64::from(sequence.0);
                self.highest
            }
            None => ExtendedSequence(self.highest).nearest(sequence).0,
        };
        let bit = 1 << (number % 64);
        let word = (number % WINDOW / 64) as usize;
        if number > self.highest {
            for passed in (self.highest + 1).max((number + 1).saturating_sub(WINDOW))..=number {
                self.received[(passed % WINDOW / 64) as usize] &= !(1 << (passed % 64));
            }
            self.highest = number;
        } else if number + WINDOW <= self.highest {
            return Arrival::TooOld;
        } else if self.received[word] & bit != 0 {
            return Arrival::Duplicate;
        }
        self.received[word] |= bit;
        Arrival::Fresh(ExtendedSequence(number))
    }
}
