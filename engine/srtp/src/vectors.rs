//! Published vectors that start from session keys, which the public interface does not take.

use std::vec::Vec;

use crate::aes_cm::AesCm;
use crate::kdf::{AUTH_KEY_LEN, SessionKeys, Stream, apply_keystream, counter_key};
use crate::suite::Suite;
use crate::{Job, Kernels, MasterKey, Profile, SendContext};

pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn session(key: &[u8], salt: &[u8]) -> SessionKeys {
    let mut keys = SessionKeys { cipher_key: [0; 32], auth_key: [0; AUTH_KEY_LEN], salt: [0; 14] };
    keys.cipher_key[..key.len()].copy_from_slice(key);
    keys.salt[..salt.len()].copy_from_slice(salt);
    keys
}

#[test]
fn aes_cm_keystream_of_rfc_3711_b_2() {
    let key = counter_key(&hex("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap();
    // 65,282 blocks: the counter runs from 0 to 0xFF01.
    let mut stream = std::vec![0u8; 0xFF02 * 16];
    apply_keystream(&key, hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000").try_into().unwrap(), &mut stream).unwrap();
    for (block, expected) in [
        (0, "E03EAD0935C95E80E166B16DD92B4EB4"),
        (1, "D23513162B02D0F72A43A2FE4A5F97AB"),
        (2, "41E95B3BB0A2E8DD477901E4FCA894C0"),
        (0xFEFF, "EC8CDF7398607CB0F2D21675EA9EA1E4"),
        (0xFF00, "362B7C3C6773516318A077D7FC5073AE"),
        (0xFF01, "6A2CC3787889374FBEB4C81B17BA6C44"),
    ] {
        assert_eq!(stream[block * 16..][..16], hex(expected), "block {block:x}");
    }
}

#[test]
fn aes_cm_counter_block_of_rfc_3711_b_2() {
    let keys = session(&hex("2B7E151628AED2A6ABF7158809CF4F3C"), &hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD"));
    let mut data = [0u8; 16];
    AesCm::new(&keys, 16).unwrap().crypt([0; 4], 0, &mut data).unwrap();
    assert_eq!(data[..], hex("E03EAD0935C95E80E166B16DD92B4EB4"));
}

#[test]
fn session_keys_of_rfc_3711_b_3() {
    let master = MasterKey::new(
        Profile::Aes128CmSha1_80,
        &hex("E1F97A0D3E018BE0D64FA32C06DE4139"),
        &hex("0EC675AD498AFEEBB6960B3AABE6"),
    )
    .unwrap();
    let keys = SessionKeys::derive(&master, Stream::Rtp).unwrap();
    assert_eq!(keys.cipher_key[..16], hex("C61E7A93744F39EE10734AFE3FF7A087"));
    assert_eq!(keys.salt[..], hex("30CBBC08863D8C85D49DB34A9AE1"));
    // The RFC prints 94 bytes of authentication key; HMAC-SHA1 takes the first 20.
    assert_eq!(keys.auth_key[..], hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"));
}

const RTP: &str = "8040f17b 8041f8d3 5501a0b2
    47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573";
const RTCP: &str = "81c8000d 4d617273
    4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef deadbeef deadbeef deadbeef";

/// The library opens what every set of kernels seals, the library's own included.
fn check_rfc_7714(profile: Profile, srtp: &str, srtcp: &str) {
    let key: Vec<u8> = (0..profile.key_len() as u8).collect();
    let keys = session(&key, b"Quid pro quo");
    let receive = Suite::new(profile, &keys).unwrap();
    let (rtp, srtp, rtcp, srtcp) = (hex(RTP), hex(srtp), hex(RTCP), hex(srtcp));
    for kernels in Kernels::supported() {
        let send = SendContext::from_session_keys(profile, &keys, &keys, kernels).unwrap();
        let mut packet = rtp.clone();
        packet.resize(rtp.len() + 16, 0);
        assert_eq!(send.protect_rtp(&mut packet, rtp.len(), 0xf17b), Ok(srtp.len()));
        assert_eq!(packet, srtp, "{kernels}");
        packet[12..].fill(0);
        let mut job = Job::new(&send, &mut packet, 12, 0, &rtp[12..], 0, 0xf17b).unwrap();
        send.rtp().seal(&mut job);
        assert_eq!(packet, srtp, "{kernels}");
        let len = receive.open_rtp(&mut packet, 12, 0xf17b).unwrap();
        assert_eq!(packet[..len], rtp);

        let mut packet = rtcp.clone();
        packet.resize(rtcp.len() + 20, 0);
        assert_eq!(send.protect_rtcp(&mut packet, rtcp.len(), 0x5d4), Ok(srtcp.len()));
        assert_eq!(packet, srtcp, "{kernels}");
        assert_eq!(receive.rtcp_index(&packet), Some(0x5d4));
        assert_eq!(receive.open_rtcp(&mut packet), Ok((rtcp.len(), 0x5d4)));
        assert_eq!(packet[..rtcp.len()], rtcp);
    }
}

#[test]
fn aead_aes_128_gcm_of_rfc_7714_16_1_and_17_1() {
    check_rfc_7714(
        Profile::AeadAes128Gcm,
        "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf
         8833899d 7f27beb1 6a9152cf 765ee439 0cce",
        "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda 4ce09b46 86303ded
         0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4",
    );
}

#[test]
fn aead_aes_256_gcm_of_rfc_7714_16_2_and_17_3() {
    check_rfc_7714(
        Profile::AeadAes256Gcm,
        "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02 76ffae0f 1ba63799
         b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13",
        "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50 a2eaa5c1 110555be 8415f658 c61de047
         6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4",
    );
}
