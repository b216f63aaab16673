//! What reads bytes from the network, each behind one function, with valid messages to begin with.

mod courier;
mod media;
mod sealed;
mod signaling;

pub struct Target {
    pub name: &'static str,
    /// What it reads, for `--list`.
    pub what: &'static str,
    /// Valid messages.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Reads one; gives what came of it, so that a new outcome can be told. Whatever it is, it must not panic.
    pub run: fn(&[u8]) -> u64,
}

pub fn all() -> Vec<Target> {
    [media::targets(), sealed::targets(), courier::targets(), signaling::targets()].into_iter().flatten().collect()
}

/// What came of an input, as a hash of small facts (FNV-1a).
#[derive(Clone, Copy)]
struct Outcome(u64);

impl Outcome {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, fact: impl Into<u64>) {
        self.0 = (self.0 ^ fact.into()).wrapping_mul(0x0100_0000_01b3);
    }

    /// A count by its magnitude: 7 and 8 items are much the same.
    fn count(&mut self, count: usize) {
        self.add(u64::from(usize::BITS - count.leading_zeros()));
    }

    /// A fieldless error or state, by its name.
    fn named(&mut self, value: &impl std::fmt::Debug) {
        format!("{value:?}").bytes().take(64).for_each(|byte| self.add(byte));
    }
}
