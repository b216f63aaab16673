//! One AES block, or one element of GHASH's field.

use core::arch::x86_64::*;

use super::instruction;
use crate::kernel::ctr::{AES_BLOCK, Blocks};
use crate::kernel::gcm::{Element, Products};

#[derive(Clone, Copy)]
pub(crate) struct Xmm(pub __m128i);

impl Blocks for Xmm {
    const COUNT: usize = 1;

    #[inline(always)]
    fn zero() -> Self {
        Self(instruction!(_mm_setzero_si128()))
    }

    #[inline(always)]
    fn load(bytes: &[u8]) -> Self {
        let bytes = &bytes[..Self::BYTES];
        // SAFETY: invariants 2 and 3 of `x86`: 16 bytes.
        Self(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
    }

    #[inline(always)]
    fn store(self, bytes: &mut [u8]) {
        let bytes = &mut bytes[..Self::BYTES];
        // SAFETY: invariants 2 and 3 of `x86`: 16 bytes.
        unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    fn broadcast(block: &[u8; AES_BLOCK]) -> Self {
        Self::load(block)
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        Self(instruction!(_mm_xor_si128(self.0, other.0)))
    }

    #[inline(always)]
    fn aes_round(self, key: Self) -> Self {
        Self(instruction!(_mm_aesenc_si128(self.0, key.0)))
    }

    #[inline(always)]
    fn aes_last_round(self, key: Self) -> Self {
        Self(instruction!(_mm_aesenclast_si128(self.0, key.0)))
    }

    #[inline(always)]
    fn reverse(self) -> Self {
        const ORDER: [u8; 16] = reversing();
        Self(instruction!(_mm_shuffle_epi8(self.0, Self::load(&ORDER).0)))
    }

    #[inline(always)]
    fn advance(self, blocks: u32) -> Self {
        Self(instruction!(_mm_add_epi32(self.0, _mm_set_epi32(0, 0, 0, blocks as i32))))
    }

    #[inline(always)]
    fn enumerate(self) -> Self {
        self
    }
}

impl Products for Xmm {
    type One = Xmm;

    #[inline(always)]
    fn low(self, other: Self) -> Self {
        Self(instruction!(_mm_clmulepi64_si128::<0x00>(self.0, other.0)))
    }

    #[inline(always)]
    fn high(self, other: Self) -> Self {
        Self(instruction!(_mm_clmulepi64_si128::<0x11>(self.0, other.0)))
    }

    #[inline(always)]
    fn cross(self, other: Self) -> Self {
        let one = Self(instruction!(_mm_clmulepi64_si128::<0x01>(self.0, other.0)));
        one.xor(Self(instruction!(_mm_clmulepi64_si128::<0x10>(self.0, other.0))))
    }

    #[inline(always)]
    fn sum(self) -> Xmm {
        self
    }

    #[inline(always)]
    fn first(block: Xmm) -> Self {
        block
    }
}

impl Element for Xmm {
    #[inline(always)]
    fn swap_halves(self) -> Self {
        Self(instruction!(_mm_shuffle_epi32::<0x4E>(self.0)))
    }

    #[inline(always)]
    fn high_down(self) -> Self {
        Self(instruction!(_mm_srli_si128::<8>(self.0)))
    }

    #[inline(always)]
    fn low_up(self) -> Self {
        Self(instruction!(_mm_slli_si128::<8>(self.0)))
    }
}

/// The order that reverses each block of a vector.
pub(super) const fn reversing<const N: usize>() -> [u8; N] {
    let mut order = [0; N];
    let mut at = 0;
    while at < N {
        order[at] = (at % AES_BLOCK) as u8 ^ 15;
        at += 1;
    }
    order
}
