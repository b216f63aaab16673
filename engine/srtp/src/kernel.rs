//! What seals packets: vector kernels where the processor has the instructions, the crypto library everywhere else. The
//! algorithms are written once, in safe code over any vector width; `x86` has the instructions and is all that is unsafe.
//!
//! No branch and no index depends on a key, on plain bytes or on a tag; lengths are public. Received tags are not checked
//! here: that stays with the library.
//!
//! ```text
//! ctr, gcm     over Blocks, Products     x86: vaes256, vaes512 (keys: expand, xmm)
//! hmac, sha1   over Lanes, Words         x86: avx512; a few messages at a time: sha_ni; portable: u32
//! ```

// Iterators' closures would not have the instructions of the function that they are used in.
#![allow(clippy::needless_range_loop)]

use core::fmt;

pub(crate) mod body;
pub(crate) mod ctr;
pub(crate) mod gcm;
pub(crate) mod hmac;
#[cfg(not(target_arch = "x86_64"))]
mod none;
pub(crate) mod sha1;
#[cfg(test)]
mod vectors;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)] // invariants there
mod x86;

#[cfg(not(target_arch = "x86_64"))]
pub(crate) use none::{Avx512, ShaNi, Vaes256, Vaes512};
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx512, ShaNi, Vaes256, Vaes512};

/// Encrypts on vectors of this many bits.
#[derive(Clone, Copy)]
pub(crate) enum Cipher {
    Vaes256(Vaes256),
    Vaes512(Vaes512),
}

/// Kernels that go together. Every x86-64 processor that has VAES has the SHA instructions too.
#[derive(Clone, Copy)]
pub(crate) struct Set {
    pub cipher: Cipher,
    /// Expands keys, for either cipher.
    pub expand: Vaes256,
    pub hash: ShaNi,
    /// Hashes larger groups.
    pub lanes: Option<Avx512>,
}

/// What contexts and sealers use, by name, for logs and `ctl`.
#[derive(Clone, Copy)]
pub struct Kernels {
    pub(crate) set: Option<Set>,
}

impl Kernels {
    /// The crypto library alone: right on any processor.
    pub const LIBRARY: Self = Self { set: None };

    /// The fastest that this processor has.
    pub fn detect() -> Self {
        Self::supported().next().unwrap_or(Self::LIBRARY)
    }

    /// Every set that this processor can run, the fastest first and the library last: for tests and comparisons.
    pub fn supported() -> impl Iterator<Item = Self> {
        let (expand, lanes) = (Vaes256::detect(), Avx512::detect());
        let ciphers = [Vaes512::detect().map(Cipher::Vaes512), expand.map(Cipher::Vaes256)];
        let pairs = ciphers.into_iter().flatten().zip([expand.zip(ShaNi::detect()); 2]);
        let with_lanes = pairs.flat_map(move |(cipher, rest)| {
            let lanes = [lanes.map(Some), Some(None)].into_iter().flatten();
            lanes.filter_map(move |lanes| rest.map(|(expand, hash)| Set { cipher, expand, hash, lanes }))
        });
        with_lanes.map(|set| Self { set: Some(set) }).chain([Self::LIBRARY])
    }

    /// What runs AES, for AES-CM and GCM alike.
    pub fn cipher(&self) -> &'static str {
        match self.set {
            Some(Set { cipher: Cipher::Vaes512(_), .. }) => "vaes-512",
            Some(Set { cipher: Cipher::Vaes256(_), .. }) => "vaes-256",
            None => "library",
        }
    }

    /// What runs HMAC-SHA1.
    pub fn hash(&self) -> &'static str {
        match self.set {
            Some(Set { lanes: Some(_), .. }) => "avx512-2x16",
            Some(Set { lanes: None, .. }) => "sha-ni-4",
            None => "library",
        }
    }
}

impl fmt::Display for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "aes {}, sha1 {}", self.cipher(), self.hash())
    }
}

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
