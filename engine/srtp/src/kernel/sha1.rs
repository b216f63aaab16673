//! The compression function of SHA-1 (FIPS 180-4 §6.1.2) over words that may be vectors: each vector element is a stream
//! of its own. One source serves the portable twin (`u32`) and every vector width.

/// A 32-bit word of each of several streams.
pub(crate) trait Words: Copy {
    fn splat(word: u32) -> Self;
    fn add(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    fn xor3(self, b: Self, c: Self) -> Self;
    fn rotate_1(self) -> Self;
    fn rotate_5(self) -> Self;
    fn rotate_30(self) -> Self;
    /// Bits of `c` where `self` is set, of `d` elsewhere.
    fn choose(self, c: Self, d: Self) -> Self;
    fn majority(self, c: Self, d: Self) -> Self;
}

impl Words for u32 {
    #[inline(always)]
    fn splat(word: u32) -> Self {
        word
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        self ^ other
    }

    #[inline(always)]
    fn xor3(self, b: Self, c: Self) -> Self {
        self ^ b ^ c
    }

    #[inline(always)]
    fn rotate_1(self) -> Self {
        self.rotate_left(1)
    }

    #[inline(always)]
    fn rotate_5(self) -> Self {
        self.rotate_left(5)
    }

    #[inline(always)]
    fn rotate_30(self) -> Self {
        self.rotate_left(30)
    }

    #[inline(always)]
    fn choose(self, c: Self, d: Self) -> Self {
        d ^ (self & (c ^ d))
    }

    #[inline(always)]
    fn majority(self, c: Self, d: Self) -> Self {
        (self & c) | (d & (self | c))
    }
}

pub(crate) const INITIAL: [u32; 5] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0];
const CONSTANTS: [u32; 4] = [0x5A82_7999, 0x6ED9_EBA1, 0x8F1B_BCDC, 0xCA62_C1D6];

/// Round `T`. The five working words keep their places and change their names: in round `T`, `a` stands at `-T mod 5`.
/// Index arithmetic vanishes because `T` is a constant; a loop over `T` at run time costs twice as much (measured).
#[inline(always)]
fn round<V: Words, const I: usize, const T: usize>(working: &mut [[V; 5]; I], schedule: &mut [[V; 16]; I]) {
    let k = V::splat(CONSTANTS[T / 20]);
    for stream in 0..I {
        let w = &mut schedule[stream];
        if T >= 16 {
            w[T % 16] = w[(T + 13) % 16].xor3(w[(T + 8) % 16], w[(T + 2) % 16]).xor(w[T % 16]).rotate_1();
        }
        let s = &mut working[stream];
        let (b, c, d) = (s[(81 - T) % 5], s[(82 - T) % 5], s[(83 - T) % 5]);
        let f = match T / 20 {
            0 => b.choose(c, d),
            2 => b.majority(c, d),
            _ => b.xor3(c, d),
        };
        let sum = s[(84 - T) % 5].add(w[T % 16].add(k)).add(f);
        s[(84 - T) % 5] = sum.add(s[(80 - T) % 5].rotate_5());
        s[(81 - T) % 5] = b.rotate_30();
    }
}

macro_rules! rounds {
    ($working:ident, $schedule:ident: $($t:literal)*) => { $(round::<V, I, $t>(&mut $working, $schedule);)* };
}

/// Compresses one block of each stream: `I` sets of vectors side by side, for processors whose vector instructions take
/// longer than one set can fill. `schedule` is the block in big-endian words; it is overwritten.
#[inline(always)]
pub(crate) fn compress<V: Words, const I: usize>(state: &mut [[V; 5]; I], schedule: &mut [[V; 16]; I]) {
    let mut working = *state;
    rounds!(working, schedule: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);
    rounds!(working, schedule: 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39);
    rounds!(working, schedule: 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59);
    rounds!(working, schedule: 60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79);
    for stream in 0..I {
        for word in 0..5 {
            state[stream][word] = state[stream][word].add(working[stream][word]);
        }
    }
}

pub(crate) const BLOCK_BYTES: usize = 64;

/// The portable twin: one block of one stream.
pub(crate) fn compress_portable(state: &mut [u32; 5], block: &[u8; BLOCK_BYTES]) {
    let mut schedule = [[0u32; 16]];
    for (word, bytes) in schedule[0].iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    let mut states = [*state];
    compress(&mut states, &mut schedule);
    *state = states[0];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_block_message_of_fips_180_has_the_published_digest() {
        let mut block = [0; BLOCK_BYTES];
        block[..4].copy_from_slice(b"abc\x80");
        block[63] = 24;
        let mut state = INITIAL;
        compress_portable(&mut state, &block);
        assert_eq!(state, [0xA999_3E36, 0x4706_816A, 0xBA3E_2571, 0x7850_C26C, 0x9CD0_D89D]);
    }
}
