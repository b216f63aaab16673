//! ClientHello and ServerHello: what we offer, and whether the server took it.

use engine_srtp::Profile;

use super::reader::{Reader, push_vector16};

const VERSION: [u8; 2] = [0xFE, 0xFD];
/// TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256.
const SUITE: u16 = 0xC02B;
pub const X25519: u16 = 29;
pub const SECP256R1: u16 = 23;
/// ecdsa_secp256r1_sha256.
pub const SIGNATURE: u16 = 0x0403;

const EXTENSION_GROUPS: u16 = 10;
const EXTENSION_POINT_FORMATS: u16 = 11;
const EXTENSION_SIGNATURES: u16 = 13;
const EXTENSION_USE_SRTP: u16 = 14;
const EXTENSION_EXTENDED_MASTER_SECRET: u16 = 23;
const EXTENSION_RENEGOTIATION: u16 = 0xFF01;

pub fn client_hello(random: &[u8; 32], cookie: &[u8], profiles: &[Profile]) -> Vec<u8> {
    let mut out = VERSION.to_vec();
    out.extend(random);
    // No session to resume.
    out.push(0);
    out.push(u8::try_from(cookie.len()).unwrap_or(0));
    out.extend(cookie);
    push_vector16(&mut out, &SUITE.to_be_bytes());
    // No compression.
    out.extend([1, 0]);
    let mut extensions = Vec::new();
    push_list(&mut extensions, EXTENSION_GROUPS, &[X25519, SECP256R1]);
    push_extension(&mut extensions, EXTENSION_POINT_FORMATS, &[1, 0]);
    push_list(&mut extensions, EXTENSION_SIGNATURES, &[SIGNATURE]);
    let mut srtp = Vec::new();
    push_vector16(&mut srtp, &profiles.iter().flat_map(|profile| (*profile as u16).to_be_bytes()).collect::<Vec<_>>());
    // No master key identifier.
    srtp.push(0);
    push_extension(&mut extensions, EXTENSION_USE_SRTP, &srtp);
    push_extension(&mut extensions, EXTENSION_EXTENDED_MASTER_SECRET, &[]);
    push_extension(&mut extensions, EXTENSION_RENEGOTIATION, &[0]);
    push_vector16(&mut out, &extensions);
    out
}

fn push_extension(out: &mut Vec<u8>, kind: u16, body: &[u8]) {
    out.extend(kind.to_be_bytes());
    push_vector16(out, body);
}

fn push_list(out: &mut Vec<u8>, kind: u16, values: &[u16]) {
    let mut body = Vec::new();
    push_vector16(&mut body, &values.iter().flat_map(|value| value.to_be_bytes()).collect::<Vec<_>>());
    push_extension(out, kind, &body);
}

/// The cookie of a HelloVerifyRequest.
pub fn cookie(body: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader::new(body);
    reader.u16()?;
    reader.vector8().map(<[u8]>::to_vec)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerHello {
    pub random: [u8; 32],
    pub profile: Profile,
}

impl ServerHello {
    /// **Errors**: what the server did not take of our offer.
    pub fn parse(body: &[u8], offered: &[Profile]) -> Result<Self, &'static str> {
        let (random, suite, extensions) = Self::split(body).ok_or("a ServerHello that is cut off")?;
        if suite != SUITE {
            return Err("the server chose a cipher suite that was not offered");
        }
        let (mut profile, mut extended) = (None, false);
        let mut reader = Reader::new(extensions);
        while let (Some(kind), Some(body)) = (reader.u16(), reader.vector16()) {
            match kind {
                EXTENSION_USE_SRTP => profile = Reader::new(body).vector16().and_then(|list| Reader::new(list).u16()),
                EXTENSION_EXTENDED_MASTER_SECRET => extended = true,
                _ => {}
            }
        }
        if !extended {
            return Err("the server does not speak the extended master secret");
        }
        let profile = profile.and_then(Profile::from_u16).filter(|profile| offered.contains(profile));
        Ok(Self { random, profile: profile.ok_or("the server takes none of the SRTP profiles offered")? })
    }

    fn split(body: &[u8]) -> Option<([u8; 32], u16, &[u8])> {
        let mut reader = Reader::new(body);
        reader.u16()?;
        let random = reader.array()?;
        reader.vector8()?;
        let suite = reader.u16()?;
        reader.u8()?;
        Some((random, suite, reader.vector16().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(profile: &[u8], extended: bool) -> Vec<u8> {
        let mut out = VERSION.to_vec();
        out.extend([7; 32]);
        out.push(0);
        out.extend(SUITE.to_be_bytes());
        out.push(0);
        let mut extensions = Vec::new();
        push_extension(&mut extensions, EXTENSION_USE_SRTP, profile);
        if extended {
            push_extension(&mut extensions, EXTENSION_EXTENDED_MASTER_SECRET, &[]);
        }
        push_vector16(&mut out, &extensions);
        out
    }

    #[test]
    fn a_server_hello_must_take_an_offered_profile_and_the_extended_secret() {
        let offered = [Profile::Aes128CmSha1_80];
        let taken = ServerHello::parse(&answer(&[0, 2, 0, 1, 0], true), &offered).unwrap();
        assert_eq!((taken.profile, taken.random), (Profile::Aes128CmSha1_80, [7; 32]));
        assert!(ServerHello::parse(&answer(&[0, 2, 0, 8, 0], true), &offered).is_err());
        assert!(ServerHello::parse(&answer(&[0, 2, 0, 1, 0], false), &offered).is_err());
        let whole = answer(&[0, 2, 0, 1, 0], true);
        for length in 0..whole.len() {
            assert!(ServerHello::parse(&whole[..length], &offered).is_err(), "{length}");
        }
    }

    #[test]
    fn the_offer_has_the_profiles_in_their_order() {
        let hello = client_hello(&[1; 32], &[], &[Profile::Aes128CmSha1_80, Profile::AeadAes256Gcm]);
        let expected = [0, 14, 0, 7, 0, 4, 0, 1, 0, 8, 0];
        assert!(hello.windows(expected.len()).any(|window| window == expected));
    }
}
