//! Master keys: what DTLS exports, one per direction. Session keys are derived from them in `kdf`.

use core::fmt;

use crate::{Profile, SrtpError};

pub(crate) const KEY_LEN_MAX: usize = 32;
pub(crate) const SALT_LEN_MAX: usize = 14;

/// Master key and salt of one direction. Bytes beyond the profile's lengths are zero, so the salt is padded on the right
/// as RFC 7714 §11 wants it for key derivation. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    pub profile: Profile,
    pub key: [u8; KEY_LEN_MAX],
    pub salt: [u8; SALT_LEN_MAX],
}

impl MasterKey {
    /// **Errors** `Malformed` unless both lengths are the profile's.
    pub fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Result<Self, SrtpError> {
        if key.len() != profile.key_len() || salt.len() != profile.salt_len() {
            return Err(SrtpError::Malformed);
        }
        let mut master = Self { profile, key: [0; KEY_LEN_MAX], salt: [0; SALT_LEN_MAX] };
        master.key[..key.len()].copy_from_slice(key);
        master.salt[..salt.len()].copy_from_slice(salt);
        Ok(master)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// Splits the DTLS exporter's output (label `EXTRACTOR-dtls_srtp`) into the keys that we send and receive with.
///
/// **Input** `exported` is [`Profile::exported_len`] bytes; `local_is_client` is our DTLS role.
/// **Output** `(send, receive)`.
/// **Errors** `Malformed` if the length is another.
/// **Source** RFC 5764 §4.2: client key, server key, client salt, server salt.
pub fn split_exported(
    profile: Profile,
    exported: &[u8],
    local_is_client: bool,
) -> Result<(MasterKey, MasterKey), SrtpError> {
    if exported.len() != profile.exported_len() {
        return Err(SrtpError::Malformed);
    }
    let (keys, salts) = exported.split_at(2 * profile.key_len());
    let (client_key, server_key) = keys.split_at(profile.key_len());
    let (client_salt, server_salt) = salts.split_at(profile.salt_len());
    let client = MasterKey::new(profile, client_key, client_salt)?;
    let server = MasterKey::new(profile, server_key, server_salt)?;
    Ok(if local_is_client { (client, server) } else { (server, client) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exported_material_is_split_in_the_order_of_rfc_5764() {
        for profile in Profile::ALL {
            let mut exported = [0u8; 2 * (KEY_LEN_MAX + SALT_LEN_MAX)];
            let (key, salt) = (profile.key_len(), profile.salt_len());
            exported[..key].fill(1);
            exported[key..2 * key].fill(2);
            exported[2 * key..2 * key + salt].fill(3);
            exported[2 * key + salt..2 * (key + salt)].fill(4);
            let exported = &exported[..profile.exported_len()];
            let (send, receive) = split_exported(profile, exported, true).unwrap();
            assert_eq!(send, MasterKey::new(profile, &[1; 32][..key], &[3; 14][..salt]).unwrap());
            assert_eq!(receive, MasterKey::new(profile, &[2; 32][..key], &[4; 14][..salt]).unwrap());
            let (server_send, server_receive) = split_exported(profile, exported, false).unwrap();
            assert_eq!((server_send, server_receive), (receive, send));
            assert_eq!(split_exported(profile, &exported[1..], true), Err(SrtpError::Malformed));
        }
    }

    #[test]
    fn debug_output_has_no_key_bytes() {
        let master = MasterKey::new(Profile::AeadAes128Gcm, &[0xAB; 16], &[0xCD; 12]).unwrap();
        assert_eq!(std::format!("{master:?}"), "MasterKey { profile: AeadAes128Gcm, .. }");
    }
}
