//! Key derivation: the AES-CM pseudo-random function of RFC 3711 §4.3, with AES-256 as RFC 6188 §3 for 32-byte keys.
//! The key derivation rate is 0, as DTLS-SRTP fixes it, so each label is derived once per master key.

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;

use crate::SrtpError;
use crate::master::{KEY_LEN_MAX, MasterKey, SALT_LEN_MAX};

pub(crate) const AUTH_KEY_LEN: usize = 20;

/// Which half of RFC 3711 §4.3.2's labels: 0, 1, 2 for SRTP and 3, 4, 5 for SRTCP.
#[derive(Clone, Copy)]
pub(crate) enum Stream {
    Rtp = 0,
    Rtcp = 3,
}

/// Keys of one stream kind and direction. Bytes beyond the profile's lengths are zero.
pub(crate) struct SessionKeys {
    pub cipher_key: [u8; KEY_LEN_MAX],
    pub auth_key: [u8; AUTH_KEY_LEN],
    pub salt: [u8; SALT_LEN_MAX],
}

impl SessionKeys {
    pub fn derive(master: &MasterKey, stream: Stream) -> Result<Self, SrtpError> {
        let profile = master.profile;
        let prf = counter_key(&master.key[..profile.key_len()])?;
        let label = stream as u8;
        let mut keys = Self { cipher_key: [0; KEY_LEN_MAX], auth_key: [0; AUTH_KEY_LEN], salt: [0; SALT_LEN_MAX] };
        fill(&prf, &master.salt, label, &mut keys.cipher_key[..profile.key_len()])?;
        fill(&prf, &master.salt, label + 1, &mut keys.auth_key)?;
        fill(&prf, &master.salt, label + 2, &mut keys.salt[..profile.salt_len()])?;
        Ok(keys)
    }
}

/// An AES counter-mode key; `key` is 16 or 32 bytes. **Errors** `Malformed` for other lengths.
pub(crate) fn counter_key(key: &[u8]) -> Result<EncryptingKey, SrtpError> {
    let algorithm = if key.len() == KEY_LEN_MAX { &AES_256 } else { &AES_128 };
    let key = UnboundCipherKey::new(algorithm, key).map_err(|_| SrtpError::Malformed)?;
    EncryptingKey::ctr(key).map_err(|_| SrtpError::Malformed)
}

/// Encrypts or decrypts `data` in place with the key stream that starts at counter block `iv`.
pub(crate) fn apply_keystream(key: &EncryptingKey, iv: [u8; 16], data: &mut [u8]) -> Result<(), SrtpError> {
    let context = EncryptionContext::Iv128(FixedLength::from(iv));
    key.less_safe_encrypt(data, context).map(drop).map_err(|_| SrtpError::Malformed)
}

/// x = (label ‖ 48-bit r) XOR salt with r = 0, aligned at the right end of 112 bits; the key stream starts at x · 2^16.
fn fill(prf: &EncryptingKey, salt: &[u8; SALT_LEN_MAX], label: u8, out: &mut [u8]) -> Result<(), SrtpError> {
    let mut iv = [0u8; 16];
    iv[..SALT_LEN_MAX].copy_from_slice(salt);
    iv[7] ^= label;
    out.fill(0);
    apply_keystream(prf, iv, out)
}
