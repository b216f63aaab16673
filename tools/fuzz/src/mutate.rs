//! Random changes of a message.

/// xorshift64*: the same numbers for the same seed everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

/// Inputs stay below the largest datagram that anybody sends, text below the largest description seen.
const BYTES_MAX: usize = 20_000;

/// Changes stacked on one mutant.
const CHANGES_MAX: u64 = 6;

/// Where lengths and counts tip over.
const TIPPING: [u8; 9] = [0, 1, 2, 0x7f, 0x80, 0xbf, 0xc0, 0xfe, 0xff];

impl Random {
    pub fn new(seed: u64) -> Self {
        // Zero would stay zero; the constant is the fraction of the golden ratio.
        Self(seed ^ 0x9e37_79b9_7f4a_7c15 | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        ((self.next() >> 33) as usize).checked_rem(bound).unwrap_or(0)
    }
}

/// A mutant of `input`; `other` lends parts.
pub fn mutate(input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(CHANGES_MAX as usize) {
        change(&mut bytes, other, random);
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(bytes.len());
    match random.below(9) {
        0 => set(bytes, at, |byte| byte ^ 1 << random.below(8)),
        1 => set(bytes, at, |_| random.below(256) as u8),
        2 => set(bytes, at, |_| TIPPING[random.below(TIPPING.len())]),
        3 => set(bytes, at, |byte| byte.wrapping_add([1, 255][random.below(2)])),
        4 => bytes.truncate(at),
        5 => drop(bytes.drain(at..(at + 1 + random.below(8)).min(bytes.len()))),
        6 => insert(bytes, at, &vec![random.below(256) as u8; 1 + random.below(8)]),
        // A part once more: a second attribute, block, line.
        7 => {
            let end = (at + 1 + random.below(64)).min(bytes.len());
            let part = bytes[at.min(end)..end].to_vec();
            insert(bytes, random.below(bytes.len() + 1), &part);
        }
        _ => {
            let from = random.below(other.len());
            let end = (from + 1 + random.below(64)).min(other.len());
            insert(bytes, at, &other[from.min(end)..end]);
        }
    }
}

fn set(bytes: &mut [u8], at: usize, to: impl FnOnce(u8) -> u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = to(*byte);
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, part: &[u8]) {
    let tail = bytes.split_off(at.min(bytes.len()));
    bytes.extend_from_slice(part);
    bytes.extend_from_slice(&tail);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutants_differ_and_come_again_with_the_same_seed() {
        let mutants = |seed| {
            let mut random = Random::new(seed);
            (0..200).map(|_| mutate(b"message", b"another", &mut random)).collect::<Vec<_>>()
        };
        assert_eq!(mutants(1), mutants(1));
        let changed = mutants(1).iter().filter(|mutant| mutant.as_slice() != b"message").count();
        assert!(changed > 150, "{changed}");
        // From nothing there is still something to make.
        let grown = (0..50).filter(|seed| !mutate(b"", b"", &mut Random::new(*seed)).is_empty()).count();
        assert!(grown > 0);
    }
}
