//! AES-GCM with a 16-byte tag (RFC 7714), for both key sizes.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::SrtpError;
use crate::kdf::SessionKeys;
use crate::master::KEY_LEN_MAX;

pub(crate) const TAG_LEN: usize = 16;
const SALT_LEN: usize = 12;

pub(crate) struct AesGcm {
    key: LessSafeKey,
    salt: [u8; SALT_LEN],
}

impl AesGcm {
    pub fn new(keys: &SessionKeys, key_len: usize) -> Result<Self, SrtpError> {
        let algorithm = if key_len == KEY_LEN_MAX { &AES_256_GCM } else { &AES_128_GCM };
        let key = UnboundKey::new(algorithm, &keys.cipher_key[..key_len]).map_err(|_| SrtpError::Malformed)?;
        let mut salt = [0; SALT_LEN];
        salt.copy_from_slice(&keys.salt[..SALT_LEN]);
        Ok(Self { key: LessSafeKey::new(key), salt })
    }

    /// Encrypts `data` in place; `tag` is [`TAG_LEN`] bytes.
    pub fn seal(&self, nonce: Nonce, aad: &[u8], data: &mut [u8], tag: &mut [u8]) -> Result<(), SrtpError> {
        self.key.seal_in_place_scatter(nonce, Aad::from(aad), data, &[], tag).map_err(|_| SrtpError::Capacity)
    }

    /// Encrypts `plaintext` into `out` of the same length; `tag` is [`TAG_LEN`] bytes.
    pub fn seal_from(
        &self,
        nonce: Nonce,
        aad: &[u8],
        plaintext: &[u8],
        out: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), SrtpError> {
        self.key
            .seal_out_of_place_scatter(nonce, Aad::from(aad), plaintext, out, &[], tag)
            .map_err(|_| SrtpError::Capacity)
    }

    /// Decrypts `data` in place. On `Auth`, `data` is spoilt.
    pub fn open(&self, nonce: Nonce, aad: &[u8], data: &mut [u8], tag: &[u8]) -> Result<(), SrtpError> {
        self.key.open_in_place_separate_tag(nonce, Aad::from(aad), tag, data).map(drop).map_err(|_| SrtpError::Auth)
    }

    /// Fails once on purpose: the library allocates a thread's error queue at its first failed tag, and no packet of a
    /// stranger shall be the one that does it.
    pub fn provoke_error_queue(&self) {
        let _ = self.open(self.nonce([0; 4], 0), &[], &mut [], &[0; TAG_LEN]);
    }

    pub fn nonce(&self, ssrc: [u8; 4], index: u64) -> Nonce {
        Nonce::assume_unique_for_key(nonce(&self.salt, ssrc, index))
    }
}

/// (0^16 ‖ SSRC ‖ index as 48 bits) XOR salt, for RTP (RFC 7714 §8.1) and, with its 31-bit index, for RTCP (§9.1).
pub(crate) fn nonce(salt: &[u8; SALT_LEN], ssrc: [u8; 4], index: u64) -> [u8; SALT_LEN] {
    let mut nonce = [0u8; SALT_LEN];
    nonce[2..6].copy_from_slice(&ssrc);
    nonce[6..].copy_from_slice(&index.to_be_bytes()[2..]);
    for (byte, salt) in nonce.iter_mut().zip(salt) {
        *byte ^= salt;
    }
    nonce
}
