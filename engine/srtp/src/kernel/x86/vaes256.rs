//! AES-CM and AES-GCM with VAES and VPCLMULQDQ on vectors of two blocks.

use core::arch::x86_64::*;

use super::instruction;
use super::xmm::{Xmm, reversing};
use crate::kernel::body::Body;
use crate::kernel::ctr::{self, AES_BLOCK, Blocks, RoundKeys};
use crate::kernel::gcm::{self, GcmKey, Products, TAG_BYTES};

#[derive(Clone, Copy)]
pub(crate) struct Ymm(pub __m256i);

impl Blocks for Ymm {
    const COUNT: usize = 2;

    #[inline(always)]
    fn zero() -> Self {
        Self(instruction!(_mm256_setzero_si256()))
    }

    #[inline(always)]
    fn load(bytes: &[u8]) -> Self {
        let bytes = &bytes[..Self::BYTES];
        // SAFETY: invariants 2 and 3 of `x86`: 32 bytes.
        Self(unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) })
    }

    #[inline(always)]
    fn store(self, bytes: &mut [u8]) {
        let bytes = &mut bytes[..Self::BYTES];
        // SAFETY: invariants 2 and 3 of `x86`: 32 bytes.
        unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    fn broadcast(block: &[u8; AES_BLOCK]) -> Self {
        Self(instruction!(_mm256_broadcastsi128_si256(Xmm::load(block).0)))
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        Self(instruction!(_mm256_xor_si256(self.0, other.0)))
    }

    #[inline(always)]
    fn aes_round(self, key: Self) -> Self {
        Self(instruction!(_mm256_aesenc_epi128(self.0, key.0)))
    }

    #[inline(always)]
    fn aes_last_round(self, key: Self) -> Self {
        Self(instruction!(_mm256_aesenclast_epi128(self.0, key.0)))
    }

    #[inline(always)]
    fn reverse(self) -> Self {
        const ORDER: [u8; 32] = reversing();
        Self(instruction!(_mm256_shuffle_epi8(self.0, Self::load(&ORDER).0)))
    }

    #[inline(always)]
    fn advance(self, blocks: u32) -> Self {
        let blocks = blocks as i32;
        Self(instruction!(_mm256_add_epi32(self.0, _mm256_set_epi32(0, 0, 0, blocks, 0, 0, 0, blocks))))
    }

    #[inline(always)]
    fn enumerate(self) -> Self {
        Self(instruction!(_mm256_add_epi32(self.0, _mm256_set_epi32(0, 0, 0, 1, 0, 0, 0, 0))))
    }
}

impl Products for Ymm {
    type One = Xmm;

    #[inline(always)]
    fn low(self, other: Self) -> Self {
        Self(instruction!(_mm256_clmulepi64_epi128::<0x00>(self.0, other.0)))
    }

    #[inline(always)]
    fn high(self, other: Self) -> Self {
        Self(instruction!(_mm256_clmulepi64_epi128::<0x11>(self.0, other.0)))
    }

    #[inline(always)]
    fn cross(self, other: Self) -> Self {
        let one = Self(instruction!(_mm256_clmulepi64_epi128::<0x01>(self.0, other.0)));
        one.xor(Self(instruction!(_mm256_clmulepi64_epi128::<0x10>(self.0, other.0))))
    }

    #[inline(always)]
    fn sum(self) -> Xmm {
        let (low, high) = instruction!((_mm256_castsi256_si128(self.0), _mm256_extracti128_si256::<1>(self.0)));
        Xmm(low).xor(Xmm(high))
    }

    #[inline(always)]
    fn first(block: Xmm) -> Self {
        Self(instruction!(_mm256_zextsi128_si256(block.0)))
    }
}

/// VAES and VPCLMULQDQ are there, for vectors of 256 bits.
#[derive(Clone, Copy)]
pub(crate) struct Vaes256(());

impl Vaes256 {
    pub fn detect() -> Option<Self> {
        let found = std::is_x86_feature_detected!("aes")
            && std::is_x86_feature_detected!("pclmulqdq")
            && std::is_x86_feature_detected!("avx2")
            && std::is_x86_feature_detected!("vaes")
            && std::is_x86_feature_detected!("vpclmulqdq");
        found.then_some(Self(()))
    }

    /// AES-CM: the key stream from counter block `first` on.
    pub fn crypt(self, keys: &RoundKeys<11>, first: &[u8; AES_BLOCK], body: &mut Body<'_>) {
        // SAFETY: invariant 1 of `x86`.
        unsafe { crypt(keys, first, body) }
    }

    /// AES-GCM.
    pub fn seal<const R: usize, const P: usize>(
        self,
        key: &GcmKey<R, P>,
        nonce: &[u8; 12],
        aad: &[u8],
        body: &mut Body<'_>,
        tag: &mut [u8; TAG_BYTES],
    ) {
        // SAFETY: invariant 1 of `x86`.
        unsafe { seal(key, nonce, aad, body, tag) }
    }
}

#[target_feature(enable = "aes,pclmulqdq,avx2,vaes,vpclmulqdq")]
fn crypt(keys: &RoundKeys<11>, first: &[u8; AES_BLOCK], body: &mut Body<'_>) {
    ctr::crypt::<Ymm, 8, 11>(keys, first, body);
}

#[target_feature(enable = "aes,pclmulqdq,avx2,vaes,vpclmulqdq")]
fn seal<const R: usize, const P: usize>(
    key: &GcmKey<R, P>,
    nonce: &[u8; 12],
    aad: &[u8],
    body: &mut Body<'_>,
    tag: &mut [u8; TAG_BYTES],
) {
    gcm::seal::<Ymm, 8, R, P>(key, nonce, aad, body, tag);
}
