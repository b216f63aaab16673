//! AES-128 counter mode with HMAC-SHA1-80 (RFC 3711 §4.1.1, §4.2.1): the transform of Chromium's default profile.

use aws_lc_rs::cipher::EncryptingKey;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

use crate::SrtpError;
use crate::kdf::{SessionKeys, apply_keystream, counter_key};
use crate::master::SALT_LEN_MAX;

pub(crate) const TAG_LEN: usize = 10;

pub(crate) struct AesCm {
    cipher: EncryptingKey,
    auth: hmac::Key,
    salt: [u8; SALT_LEN_MAX],
}

impl AesCm {
    pub fn new(keys: &SessionKeys, key_len: usize) -> Result<Self, SrtpError> {
        Ok(Self {
            cipher: counter_key(&keys.cipher_key[..key_len])?,
            auth: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &keys.auth_key),
            salt: keys.salt,
        })
    }

    /// Encrypts or decrypts in place. The low 16 bits of the counter block count blocks: 1 MiB per packet, so they never
    /// carry into the index.
    pub fn crypt(&self, ssrc: [u8; 4], index: u64, data: &mut [u8]) -> Result<(), SrtpError> {
        apply_keystream(&self.cipher, iv(&self.salt, ssrc, index), data)
    }

    /// The tag over `authenticated ‖ trailer`; the trailer is the ROC for RTP, nothing for RTCP.
    pub fn tag(&self, authenticated: &[u8], trailer: &[u8]) -> [u8; TAG_LEN] {
        let mut context = hmac::Context::with_key(&self.auth);
        context.update(authenticated);
        context.update(trailer);
        let full = context.sign();
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(&full.as_ref()[..TAG_LEN]);
        tag
    }

    /// Compares in constant time.
    pub fn verify(&self, authenticated: &[u8], trailer: &[u8], tag: &[u8]) -> Result<(), SrtpError> {
        verify_slices_are_equal(&self.tag(authenticated, trailer), tag).map_err(|_| SrtpError::Auth)
    }
}

/// The first counter block: (k_s · 2^16) XOR (SSRC · 2^64) XOR (index · 2^16), that is salt in bytes 0..14, SSRC in 4..8,
/// index in 8..14.
pub(crate) fn iv(salt: &[u8; SALT_LEN_MAX], ssrc: [u8; 4], index: u64) -> [u8; 16] {
    let mut iv = [0u8; 16];
    iv[4..8].copy_from_slice(&ssrc);
    iv[8..].copy_from_slice(&(index << 16).to_be_bytes());
    for (byte, salt) in iv.iter_mut().zip(salt) {
        *byte ^= salt;
    }
    iv
}
