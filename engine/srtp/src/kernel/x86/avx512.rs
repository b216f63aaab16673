//! HMAC-SHA1 over 16 lanes of AVX-512, two sets at a time: 32 registers hold both, and one set alone cannot fill units
//! whose instructions take two cycles and more.

use core::arch::x86_64::*;

use super::instruction;
use crate::kernel::hmac::{DIGEST_BYTES, Lanes, Message, Tail, hash_group};
use crate::kernel::sha1::{BLOCK_BYTES, Words};

// Truth tables of three inputs, the first one as 0xF0, the second 0xCC, the third 0xAA.
const XOR3: i32 = 0xF0 ^ 0xCC ^ 0xAA;
const CHOOSE: i32 = (0xF0 & 0xCC) | (!0xF0 & 0xAA & 0xFF);
const MAJORITY: i32 = (0xF0 & 0xCC) | (0xF0 & 0xAA) | (0xCC & 0xAA);

#[derive(Clone, Copy)]
struct Words16(__m512i);

impl Words for Words16 {
    #[inline(always)]
    fn splat(word: u32) -> Self {
        Self(instruction!(_mm512_set1_epi32(word as i32)))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(instruction!(_mm512_add_epi32(self.0, other.0)))
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        Self(instruction!(_mm512_xor_si512(self.0, other.0)))
    }

    #[inline(always)]
    fn xor3(self, b: Self, c: Self) -> Self {
        Self(instruction!(_mm512_ternarylogic_epi32::<XOR3>(self.0, b.0, c.0)))
    }

    #[inline(always)]
    fn rotate_1(self) -> Self {
        Self(instruction!(_mm512_rol_epi32::<1>(self.0)))
    }

    #[inline(always)]
    fn rotate_5(self) -> Self {
        Self(instruction!(_mm512_rol_epi32::<5>(self.0)))
    }

    #[inline(always)]
    fn rotate_30(self) -> Self {
        Self(instruction!(_mm512_rol_epi32::<30>(self.0)))
    }

    #[inline(always)]
    fn choose(self, c: Self, d: Self) -> Self {
        Self(instruction!(_mm512_ternarylogic_epi32::<CHOOSE>(self.0, c.0, d.0)))
    }

    #[inline(always)]
    fn majority(self, c: Self, d: Self) -> Self {
        Self(instruction!(_mm512_ternarylogic_epi32::<MAJORITY>(self.0, c.0, d.0)))
    }
}

impl Lanes for Words16 {
    const COUNT: usize = 16;

    #[inline(always)]
    fn transpose(blocks: &[&[u8; BLOCK_BYTES]]) -> [Self; 16] {
        let mut rows = [Self::splat(0); 16];
        for lane in 0..16 {
            // SAFETY: invariants 2 and 3 of `x86`: a block is 64 bytes.
            rows[lane] = Self(unsafe { _mm512_loadu_si512(blocks[lane].as_ptr().cast()) });
        }
        transpose_16(rows)
    }

    #[inline(always)]
    fn swap_bytes(self) -> Self {
        const ORDER: [u8; 64] = {
            let mut order = [0; 64];
            let mut at = 0;
            while at < 64 {
                order[at] = (at % 16) as u8 ^ 3;
                at += 1;
            }
            order
        };
        // SAFETY: invariants 2 and 3 of `x86`: 64 bytes.
        let order = unsafe { _mm512_loadu_si512(ORDER.as_ptr().cast()) };
        Self(instruction!(_mm512_shuffle_epi8(self.0, order)))
    }

    #[inline(always)]
    fn replace(self, new: Self, active: Self) -> Self {
        Self(instruction!(_mm512_ternarylogic_epi32::<CHOOSE>(active.0, new.0, self.0)))
    }

    #[inline(always)]
    fn from_words(words: &[u32]) -> Self {
        let words = &words[..16];
        // SAFETY: invariants 2 and 3 of `x86`: 64 bytes.
        Self(unsafe { _mm512_loadu_si512(words.as_ptr().cast()) })
    }

    #[inline(always)]
    fn to_words(self, words: &mut [u32]) {
        let words = &mut words[..16];
        // SAFETY: invariants 2 and 3 of `x86`: 64 bytes.
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), self.0) }
    }
}

/// Rows of 16 words become columns: pairs of rows, fours, then quarters of vectors as a 4 × 4 square.
#[inline(always)]
fn transpose_16(rows: [Words16; 16]) -> [Words16; 16] {
    let mut fours = rows;
    for base in [0, 4, 8, 12] {
        let (a, b, c, d) = (rows[base].0, rows[base + 1].0, rows[base + 2].0, rows[base + 3].0);
        let (ab, cd) = instruction!((_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d)));
        fours[base] = Words16(instruction!(_mm512_unpacklo_epi64(ab, cd)));
        fours[base + 1] = Words16(instruction!(_mm512_unpackhi_epi64(ab, cd)));
        let (ab, cd) = instruction!((_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d)));
        fours[base + 2] = Words16(instruction!(_mm512_unpacklo_epi64(ab, cd)));
        fours[base + 3] = Words16(instruction!(_mm512_unpackhi_epi64(ab, cd)));
    }
    let mut columns = fours;
    for at in 0..4 {
        let (a, b, c, d) = (fours[at].0, fours[at + 4].0, fours[at + 8].0, fours[at + 12].0);
        // 0x88 takes quarters 0 and 2 of both, 0xDD quarters 1 and 3.
        let (ab, cd) = instruction!((_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0x88>(c, d)));
        columns[at] = Words16(instruction!(_mm512_shuffle_i32x4::<0x88>(ab, cd)));
        columns[at + 8] = Words16(instruction!(_mm512_shuffle_i32x4::<0xDD>(ab, cd)));
        let (ab, cd) = instruction!((_mm512_shuffle_i32x4::<0xDD>(a, b), _mm512_shuffle_i32x4::<0xDD>(c, d)));
        columns[at + 4] = Words16(instruction!(_mm512_shuffle_i32x4::<0x88>(ab, cd)));
        columns[at + 12] = Words16(instruction!(_mm512_shuffle_i32x4::<0xDD>(ab, cd)));
    }
    columns
}

/// AVX-512 is there, with its byte instructions.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    pub fn detect() -> Option<Self> {
        let found = std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512bw");
        found.then_some(Self(()))
    }

    /// Up to [`crate::kernel::hmac::LANES_MAX`] messages; there must be a tail and a digest for each of so many.
    pub fn hash(self, messages: &[Message<'_>], tails: &mut [Tail], digests: &mut [[u8; DIGEST_BYTES]]) {
        // SAFETY: invariant 1 of `x86`.
        unsafe {
            if messages.len() > Words16::COUNT {
                hash_2_by_16(messages, tails, digests);
            } else {
                hash_16(messages, tails, digests);
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn hash_16(messages: &[Message<'_>], tails: &mut [Tail], digests: &mut [[u8; DIGEST_BYTES]]) {
    hash_group::<Words16, 1>(messages, tails, digests);
}

#[target_feature(enable = "avx512f,avx512bw")]
fn hash_2_by_16(messages: &[Message<'_>], tails: &mut [Tail], digests: &mut [[u8; DIGEST_BYTES]]) {
    hash_group::<Words16, 2>(messages, tails, digests);
}
