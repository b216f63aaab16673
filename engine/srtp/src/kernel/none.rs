//! Kernels of a processor that has none: their tokens cannot exist.

use super::body::Body;
use super::ctr::RoundKeys;
use super::gcm::{GcmKey, TAG_BYTES};
use super::hmac::{DIGEST_BYTES, Message, Tail};

macro_rules! absent_cipher {
    ($name:ident) => {
        #[derive(Clone, Copy)]
        pub(crate) enum $name {}

        impl $name {
            pub fn detect() -> Option<Self> {
                None
            }

            pub fn crypt(self, _: &RoundKeys<11>, _: &[u8; 16], _: &mut Body<'_>) {
                match self {}
            }

            pub fn seal<const R: usize, const P: usize>(
                self,
                _: &GcmKey<R, P>,
                _: &[u8; 12],
                _: &[u8],
                _: &mut Body<'_>,
                _: &mut [u8; TAG_BYTES],
            ) {
                match self {}
            }
        }
    };
}

absent_cipher!(Vaes256);
absent_cipher!(Vaes512);

impl Vaes256 {
    pub fn expand_128(self, _: &[u8; 16]) -> RoundKeys<11> {
        match self {}
    }

    pub fn expand_256(self, _: &[u8; 32]) -> RoundKeys<15> {
        match self {}
    }

    pub fn gcm_key<const R: usize, const P: usize>(self, _: RoundKeys<R>) -> GcmKey<R, P> {
        match self {}
    }
}

macro_rules! absent_hash {
    ($name:ident) => {
        #[derive(Clone, Copy)]
        pub(crate) enum $name {}

        impl $name {
            pub fn detect() -> Option<Self> {
                None
            }

            pub fn hash(self, _: &[Message<'_>], _: &mut [Tail], _: &mut [[u8; DIGEST_BYTES]]) {
                match self {}
            }
        }
    };
}

absent_hash!(Avx512);
absent_hash!(ShaNi);
