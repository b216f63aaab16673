//! AES-CM and AES-GCM with VAES and VPCLMULQDQ on vectors of four blocks.

use core::arch::x86_64::*;

use super::instruction;
use super::vaes256::Ymm;
use super::xmm::{Xmm, reversing};
use crate::kernel::body::Body;
use crate::kernel::ctr::{self, AES_BLOCK, Blocks, RoundKeys};
use crate::kernel::gcm::{self, GcmKey, Products, TAG_BYTES};

#[derive(Clone, Copy)]
pub(crate) struct Zmm(pub __m512i);

impl Blocks for Zmm {
    const COUNT: usize = 4;

    #[inline(always)]
    fn zero() -> Self {
        Self(instruction!(_mm512_setzero_si512()))
    }

    #[inline(always)]
    fn load(bytes: &[u8]) -> Self {
        let bytes = &bytes[..Self::BYTES];
        // SAFETY: invariants 2 and 3 of `x86`: 64 bytes.
        Self(unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) })
    }

    #[inline(always)]
    fn store(self, bytes: &mut [u8]) {
        let bytes = &mut bytes[..Self::BYTES];
        // SAFETY: invariants 2 and 3 of `x86`: 64 bytes.
        unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    fn broadcast(block: &[u8; AES_BLOCK]) -> Self {
        Self(instruction!(_mm512_broadcast_i32x4(Xmm::load(block).0)))
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        Self(instruction!(_mm512_xor_si512(self.0, other.0)))
    }

    #[inline(always)]
    fn aes_round(self, key: Self) -> Self {
        Self(instruction!(_mm512_aesenc_epi128(self.0, key.0)))
    }

    #[inline(always)]
    fn aes_last_round(self, key: Self) -> Self {
        Self(instruction!(_mm512_aesenclast_epi128(self.0, key.0)))
    }

    #[inline(always)]
    fn reverse(self) -> Self {
        const ORDER: [u8; 64] = reversing();
        Self(instruction!(_mm512_shuffle_epi8(self.0, Self::load(&ORDER).0)))
    }

    #[inline(always)]
    fn advance(self, blocks: u32) -> Self {
        let blocks = instruction!(_mm512_set4_epi32(0, 0, 0, blocks as i32));
        Self(instruction!(_mm512_add_epi32(self.0, blocks)))
    }

    #[inline(always)]
    fn enumerate(self) -> Self {
        let places = instruction!(_mm512_set_epi32(0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0));
        Self(instruction!(_mm512_add_epi32(self.0, places)))
    }
}

impl Products for Zmm {
    type One = Xmm;

    #[inline(always)]
    fn low(self, other: Self) -> Self {
        Self(instruction!(_mm512_clmulepi64_epi128::<0x00>(self.0, other.0)))
    }

    #[inline(always)]
    fn high(self, other: Self) -> Self {
        Self(instruction!(_mm512_clmulepi64_epi128::<0x11>(self.0, other.0)))
    }

    #[inline(always)]
    fn cross(self, other: Self) -> Self {
        let one = Self(instruction!(_mm512_clmulepi64_epi128::<0x01>(self.0, other.0)));
        one.xor(Self(instruction!(_mm512_clmulepi64_epi128::<0x10>(self.0, other.0))))
    }

    #[inline(always)]
    fn sum(self) -> Xmm {
        let (low, high) = instruction!((_mm512_castsi512_si256(self.0), _mm512_extracti64x4_epi64::<1>(self.0)));
        Ymm(low).xor(Ymm(high)).sum()
    }

    #[inline(always)]
    fn first(block: Xmm) -> Self {
        Self(instruction!(_mm512_zextsi128_si512(block.0)))
    }
}

/// VAES and VPCLMULQDQ are there, and AVX-512 for vectors of 512 bits.
#[derive(Clone, Copy)]
pub(crate) struct Vaes512(());

impl Vaes512 {
    pub fn detect() -> Option<Self> {
        let found = std::is_x86_feature_detected!("aes")
            && std::is_x86_feature_detected!("pclmulqdq")
            && std::is_x86_feature_detected!("avx2")
            && std::is_x86_feature_detected!("vaes")
            && std::is_x86_feature_detected!("vpclmulqdq")
            && std::is_x86_feature_detected!("avx512f")
            && std::is_x86_feature_detected!("avx512bw");
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

#[target_feature(enable = "aes,pclmulqdq,avx2,vaes,vpclmulqdq,avx512f,avx512bw")]
fn crypt(keys: &RoundKeys<11>, first: &[u8; AES_BLOCK], body: &mut Body<'_>) {
    ctr::crypt::<Zmm, 4, 11>(keys, first, body);
}

#[target_feature(enable = "aes,pclmulqdq,avx2,vaes,vpclmulqdq,avx512f,avx512bw")]
fn seal<const R: usize, const P: usize>(
    key: &GcmKey<R, P>,
    nonce: &[u8; 12],
    aad: &[u8],
    body: &mut Body<'_>,
    tag: &mut [u8; TAG_BYTES],
) {
    gcm::seal::<Zmm, 4, R, P>(key, nonce, aad, body, tag);
}
