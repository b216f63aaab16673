//! Round keys and powers of H, made once per key. (FIPS 197 §5.2; its substitution table would be indexed by secrets, the
//! instruction is not.)

use core::arch::x86_64::*;

use super::Vaes256;
use super::xmm::Xmm;
use crate::kernel::ctr::{AES_BLOCK, Blocks, RoundKeys};
use crate::kernel::gcm::GcmKey;

impl Vaes256 {
    pub fn expand_128(self, key: &[u8; 16]) -> RoundKeys<11> {
        // SAFETY: invariant 1 of `x86`.
        unsafe { expand_128(key) }
    }

    pub fn expand_256(self, key: &[u8; 32]) -> RoundKeys<15> {
        // SAFETY: invariant 1 of `x86`.
        unsafe { expand_256(key) }
    }

    pub fn gcm_key<const R: usize, const P: usize>(self, rounds: RoundKeys<R>) -> GcmKey<R, P> {
        // SAFETY: invariant 1 of `x86`.
        unsafe { gcm_key(rounds) }
    }
}

#[target_feature(enable = "aes,pclmulqdq,avx2")]
fn gcm_key<const R: usize, const P: usize>(rounds: RoundKeys<R>) -> GcmKey<R, P> {
    GcmKey::new::<Xmm>(rounds)
}

/// Every word of `key` plus all words before it, plus `assist` in each.
#[inline]
#[target_feature(enable = "aes,avx2")]
fn mix(key: __m128i, assist: __m128i) -> __m128i {
    let key = _mm_xor_si128(key, _mm_slli_si128::<4>(key));
    let key = _mm_xor_si128(key, _mm_slli_si128::<8>(key));
    _mm_xor_si128(key, assist)
}

#[target_feature(enable = "aes,avx2")]
fn expand_128(key: &[u8; 16]) -> RoundKeys<11> {
    let mut keys = [[0; AES_BLOCK]; 11];
    keys[0] = *key;
    let mut round = Xmm::load(key).0;
    macro_rules! rounds {
        ($($at:literal: $constant:literal),*) => {$(
            round = mix(round, _mm_shuffle_epi32::<0xFF>(_mm_aeskeygenassist_si128::<$constant>(round)));
            Xmm(round).store(&mut keys[$at]);
        )*};
    }
    rounds!(1: 0x01, 2: 0x02, 3: 0x04, 4: 0x08, 5: 0x10, 6: 0x20, 7: 0x40, 8: 0x80, 9: 0x1B, 10: 0x36);
    keys
}

#[target_feature(enable = "aes,avx2")]
fn expand_256(key: &[u8; 32]) -> RoundKeys<15> {
    let mut keys = [[0; AES_BLOCK]; 15];
    let (mut even, mut odd) = (Xmm::load(key).0, Xmm::load(&key[16..]).0);
    Xmm(even).store(&mut keys[0]);
    Xmm(odd).store(&mut keys[1]);
    macro_rules! rounds {
        ($($at:literal: $constant:literal),*) => {$(
            even = mix(even, _mm_shuffle_epi32::<0xFF>(_mm_aeskeygenassist_si128::<$constant>(odd)));
            Xmm(even).store(&mut keys[$at]);
            if $at < 14 {
                odd = mix(odd, _mm_shuffle_epi32::<0xAA>(_mm_aeskeygenassist_si128::<0>(even)));
                Xmm(odd).store(&mut keys[($at + 1) % 15]);
            }
        )*};
    }
    rounds!(2: 0x01, 4: 0x02, 6: 0x04, 8: 0x08, 10: 0x10, 12: 0x20, 14: 0x40);
    keys
}
