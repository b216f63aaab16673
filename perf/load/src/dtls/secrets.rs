//! The key schedule (RFC 5246 §8, RFC 7627, RFC 5705): everything by one PRF with SHA-256.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::tls_prf::{P_SHA256, Secret};
use engine_courier::session::Keys;
use engine_srtp::{Profile, split_exported};

use super::Ciphers;
use super::record::{KEY_BYTES, SALT_BYTES, Sealer};

const MASTER_BYTES: usize = 48;
const VERIFY_BYTES: usize = 12;

pub struct Master(Vec<u8>);

impl Master {
    /// Bound to the transcript up to the ClientKeyExchange.
    pub fn new(premaster: &[u8], transcript: &[u8]) -> Option<Self> {
        derive(premaster, b"extended master secret", digest(&SHA256, transcript).as_ref(), MASTER_BYTES).map(Self)
    }

    pub fn verify_data(&self, label: &[u8], transcript: &[u8]) -> Option<Vec<u8>> {
        derive(&self.0, label, digest(&SHA256, transcript).as_ref(), VERIFY_BYTES)
    }

    /// The client's cipher, then the server's.
    pub fn ciphers(&self, client_random: &[u8; 32], server_random: &[u8; 32]) -> Option<Ciphers> {
        let seed = [server_random.as_slice(), client_random].concat();
        let block = derive(&self.0, b"key expansion", &seed, 2 * (KEY_BYTES + SALT_BYTES))?;
        let (keys, salts) = block.split_at_checked(2 * KEY_BYTES)?;
        let (client, server) = keys.split_at_checked(KEY_BYTES)?;
        let (client_salt, server_salt) = salts.split_at_checked(SALT_BYTES)?;
        Some((Sealer::new(client, client_salt.try_into().ok()?)?, Sealer::new(server, server_salt.try_into().ok()?)?))
    }

    /// Ours as the client (RFC 5764 §4.2).
    pub fn srtp_keys(&self, profile: Profile, client_random: &[u8; 32], server_random: &[u8; 32]) -> Option<Keys> {
        let seed = [client_random.as_slice(), server_random].concat();
        let exported = derive(&self.0, b"EXTRACTOR-dtls_srtp", &seed, profile.exported_len())?;
        let (send, receive) = split_exported(profile, &exported, true).ok()?;
        Some(Keys { send, receive })
    }
}

fn derive(secret: &[u8], label: &[u8], seed: &[u8], bytes: usize) -> Option<Vec<u8>> {
    let derived = Secret::new(&P_SHA256, secret).ok()?.derive(label, seed, bytes).ok()?;
    Some(derived.as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The PRF's published vector for SHA-256 (IETF TLS list, 2009).
    #[test]
    fn the_prf_gives_the_published_bytes() {
        let secret = [0x9b, 0xbe, 0x43, 0x6b, 0xa9, 0x40, 0xf0, 0x17, 0xb1, 0x76, 0x52, 0x84, 0x9a, 0x71, 0xdb, 0x35];
        let seed = [0xa0, 0xba, 0x9f, 0x93, 0x6c, 0xda, 0x31, 0x18, 0x27, 0xa6, 0xf7, 0x96, 0xff, 0xd5, 0x19, 0x8c];
        let expected = [0xe3, 0xf2, 0x29, 0xba, 0x72, 0x7b, 0xe1, 0x7b, 0x8d, 0x12, 0x26, 0x20, 0x55, 0x7c, 0xd4, 0x53];
        assert_eq!(derive(&secret, b"test label", &seed, 100).unwrap()[..16], expected);
    }
}
