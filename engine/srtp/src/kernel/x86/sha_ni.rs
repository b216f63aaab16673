//! HMAC-SHA1 with the SHA instructions, up to four messages side by side: one alone waits for their latency, four fill the
//! unit (on Zen 3 60 cycles a block at best and 66 here; 8 lanes of AVX2 needed as many, and equal lengths).

use core::arch::x86_64::*;

use crate::kernel::hmac::{DIGEST_BYTES, Message, Split, Tail, digest_bytes, outer_block};
use crate::kernel::sha1::BLOCK_BYTES;

/// The SHA instructions are there, and the shuffles that they need.
#[derive(Clone, Copy)]
pub(crate) struct ShaNi(());

impl ShaNi {
    pub fn detect() -> Option<Self> {
        let found = std::is_x86_feature_detected!("sha")
            && std::is_x86_feature_detected!("ssse3")
            && std::is_x86_feature_detected!("sse4.1");
        found.then_some(Self(()))
    }

    /// Any number of messages, each with a tail and a digest.
    pub fn hash(self, messages: &[Message<'_>], tails: &mut [Tail], digests: &mut [[u8; DIGEST_BYTES]]) {
        // SAFETY: invariant 1 of `x86`.
        unsafe { hash(messages, tails, digests) }
    }
}

/// The five words of a state, as the instructions want them: the first word at the top.
#[derive(Clone, Copy)]
struct State {
    abcd: __m128i,
    e: __m128i,
}

impl State {
    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn load(words: [u32; 5]) -> Self {
        let [a, b, c, d, e] = words.map(|word| word as i32);
        Self { abcd: _mm_set_epi32(a, b, c, d), e: _mm_set_epi32(e, 0, 0, 0) }
    }

    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn words(self) -> [u32; 5] {
        [
            _mm_extract_epi32::<3>(self.abcd),
            _mm_extract_epi32::<2>(self.abcd),
            _mm_extract_epi32::<1>(self.abcd),
            _mm_extract_epi32::<0>(self.abcd),
            _mm_extract_epi32::<3>(self.e),
        ]
        .map(|word| word as u32)
    }
}

#[target_feature(enable = "sha,ssse3,sse4.1")]
fn hash(messages: &[Message<'_>], tails: &mut [Tail], digests: &mut [[u8; DIGEST_BYTES]]) {
    let mut at = 0;
    while at < messages.len() {
        let (messages, tails, digests) = (&messages[at..], &mut tails[at..], &mut digests[at..]);
        at += match messages.len() {
            1 => hash_set::<1>(messages, tails, digests),
            2 => hash_set::<2>(messages, tails, digests),
            3 => hash_set::<3>(messages, tails, digests),
            _ => hash_set::<4>(messages, tails, digests),
        };
    }
}

/// The first `I` messages, side by side as far as the shortest goes. **Output** `I`.
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn hash_set<const I: usize>(messages: &[Message<'_>], tails: &mut [Tail], digests: &mut [[u8; DIGEST_BYTES]]) -> usize {
    let mut splits = [Split::EMPTY; I];
    for ((split, tail), message) in splits.iter_mut().zip(tails).zip(messages) {
        *split = message.split(tail);
    }
    let mut states = [State::load([0; 5]); I];
    let mut least = usize::MAX;
    for set in 0..I {
        states[set] = State::load(messages[set].key.inner());
        least = least.min(splits[set].len());
    }
    for at in 0..least {
        compress::<I>(&mut states, splits.each_ref().map(|split| split.block(at)));
    }
    for set in 0..I {
        for at in least..splits[set].len() {
            let mut state = [states[set]];
            compress::<1>(&mut state, [splits[set].block(at)]);
            states[set] = state[0];
        }
    }
    let blocks = states.map(|state| outer_block(state.words()));
    for set in 0..I {
        states[set] = State::load(messages[set].key.outer());
    }
    compress::<I>(&mut states, blocks.each_ref().map(Some));
    for set in 0..I {
        digests[set] = digest_bytes(states[set].words());
    }
    I
}

/// Four rounds of each message. The function changes every 20 rounds.
macro_rules! rounds {
    ($states:ident, $w:ident: $($group:literal)*) => {$(
        for set in 0..I {
            let w = &mut $w[set];
            if $group >= 4 {
                let (first, second) = (w[$group % 4], w[($group + 1) % 4]);
                let (third, fourth) = (w[($group + 2) % 4], w[($group + 3) % 4]);
                w[$group % 4] = _mm_sha1msg2_epu32(_mm_xor_si128(_mm_sha1msg1_epu32(first, second), third), fourth);
            }
            let State { abcd, e } = $states[set];
            // In the first group `e` is the fifth word itself, later it is what the words were four rounds ago.
            let sum = if $group == 0 { _mm_add_epi32(e, w[0]) } else { _mm_sha1nexte_epu32(e, w[$group % 4]) };
            $states[set] = State { abcd: _mm_sha1rnds4_epu32::<{ $group / 5 }>(abcd, sum), e: abcd };
        }
    )*};
}

#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn compress<const I: usize>(states: &mut [State; I], blocks: [Option<&[u8; BLOCK_BYTES]>; I]) {
    let order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let mut w = [[_mm_setzero_si128(); 4]; I];
    for set in 0..I {
        let Some(block) = blocks[set] else { return };
        for (w, bytes) in w[set].iter_mut().zip(block.as_chunks::<16>().0) {
            // SAFETY: invariant 3 of `x86`: 16 bytes.
            *w = _mm_shuffle_epi8(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }, order);
        }
    }
    let mut working = *states;
    rounds!(working, w: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);
    for set in 0..I {
        let (before, after) = (states[set], working[set]);
        states[set] = State { abcd: _mm_add_epi32(before.abcd, after.abcd), e: _mm_sha1nexte_epu32(after.e, before.e) };
    }
}
