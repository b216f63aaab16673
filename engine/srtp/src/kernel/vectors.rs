//! Published vectors and the crypto library against every kernel that this processor has.

use std::vec;
use std::vec::Vec;

use aws_lc_rs::hmac as library;

use super::body::Body;
use super::gcm::{GcmKey, RTCP_TABLE, RTP_TABLE};
use super::hmac::{DIGEST_BYTES, HmacKey, LANES_MAX, Lanes, Message, hash_group};
use super::sha1::{BLOCK_BYTES, Words};
use super::{Cipher, Kernels, Set};
use crate::vectors::hex;

fn sets() -> impl Iterator<Item = (Kernels, Set)> {
    Kernels::supported().filter_map(|kernels| kernels.set.map(|set| (kernels, set)))
}

fn seal<const R: usize, const P: usize>(
    set: &Set,
    key: &GcmKey<R, P>,
    nonce: &[u8; 12],
    aad: &[u8],
    body: &mut Body<'_>,
) -> [u8; 16] {
    let mut tag = [0; 16];
    match set.cipher {
        Cipher::Vaes256(kernel) => kernel.seal(key, nonce, aad, body, &mut tag),
        Cipher::Vaes512(kernel) => kernel.seal(key, nonce, aad, body, &mut tag),
    }
    tag
}

/// Ciphertext and tag, in place and with the message elsewhere, under both tables of powers.
fn check_gcm(kernels: Kernels, set: &Set, [key, nonce, aad, message, sealed, tag]: &[Vec<u8>; 6]) {
    let nonce: &[u8; 12] = nonce[..].try_into().unwrap();
    let check = |seal: &dyn Fn(&mut Body<'_>) -> [u8; 16]| {
        let mut bytes = message.clone();
        assert_eq!(&seal(&mut Body::in_place(&mut bytes))[..], tag, "{kernels}");
        assert_eq!(&bytes, sealed, "{kernels}");
        let mut bytes = vec![0xEE; message.len()];
        assert_eq!(&seal(&mut Body::across(&mut bytes, 0, message))[..], tag, "{kernels}");
        assert_eq!(&bytes, sealed, "{kernels}");
    };
    if let Ok(short) = key[..].try_into() {
        let rounds = set.expand.expand_128(short);
        let (rtp, rtcp) = (set.expand.gcm_key::<11, RTP_TABLE>(rounds), set.expand.gcm_key::<11, RTCP_TABLE>(rounds));
        check(&|body| seal(set, &rtp, nonce, aad, body));
        check(&|body| seal(set, &rtcp, nonce, aad, body));
    } else {
        let rounds = set.expand.expand_256(key[..].try_into().unwrap());
        let (rtp, rtcp) = (set.expand.gcm_key::<15, RTP_TABLE>(rounds), set.expand.gcm_key::<15, RTCP_TABLE>(rounds));
        check(&|body| seal(set, &rtp, nonce, aad, body));
        check(&|body| seal(set, &rtcp, nonce, aad, body));
    }
}

const PLAIN: &str = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72
    1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255";
const AAD: &str = "feedfacedeadbeeffeedfacedeadbeefabaddad2";

#[test]
fn gcm_of_the_specification_submitted_to_nist() {
    let zero = [0; 32];
    let key = hex("feffe9928665731c6d6a8f9467308308");
    let nonce = hex("cafebabefacedbaddecaf888");
    let sealed = [
        "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e
         21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985",
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa
         8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad",
    ]
    .map(hex);
    let long = [&key[..], &key].concat();
    let cases: [(&[u8], &[u8], &[u8], &[u8], &[u8], &str); 8] = [
        (&zero[..16], &zero[..12], &[], &[], &[], "58e2fccefa7e3061367f1d57a4e7455a"),
        (
            &zero[..16],
            &zero[..12],
            &[],
            &zero[..16],
            &hex("0388dace60b6a392f328c2b971b2fe78"),
            "ab6e47d42cec13bdf53a67b21257bddf",
        ),
        (&key, &nonce, &[], &hex(PLAIN), &sealed[0], "4d5c2af327cd64a62cf35abd2ba6fab4"),
        (&key, &nonce, &hex(AAD), &hex(PLAIN)[..60], &sealed[0][..60], "5bc94fbc3221a5db94fae95ae7121a47"),
        (&zero, &zero[..12], &[], &[], &[], "530f8afbc74536b9a963b4f1c4cb738b"),
        (
            &zero,
            &zero[..12],
            &[],
            &zero[..16],
            &hex("cea7403d4d606b6e074ec5d3baf39d18"),
            "d0d1c8a799996bf0265b98b5d48ab919",
        ),
        (&long, &nonce, &[], &hex(PLAIN), &sealed[1], "b094dac5d93471bdec1a502270e3cc6c"),
        (&long, &nonce, &hex(AAD), &hex(PLAIN)[..60], &sealed[1][..60], "76fc6ece0f4e1768cddf8853bb2d551b"),
    ];
    for (kernels, set) in sets() {
        for (key, nonce, aad, message, sealed, tag) in cases {
            check_gcm(kernels, &set, &[key, nonce, aad, message, sealed, &hex(tag)].map(<[u8]>::to_vec));
        }
    }
}

#[test]
fn gcm_of_wycheproof() {
    let lines = include_str!("../../tests/data/wycheproof_aes_gcm.txt").lines().filter(|line| !line.starts_with('#'));
    let mut count = 0;
    for line in lines {
        let fields: Vec<_> = line.split(' ').map(hex).collect();
        let fields: [Vec<u8>; 6] = fields.try_into().unwrap();
        sets().for_each(|(kernels, set)| check_gcm(kernels, &set, &fields));
        count += 1;
    }
    assert_eq!(count, 79);
}

#[test]
fn key_stream_of_rfc_3711_b_2_with_its_carry() {
    let mut first = [0; 16];
    first.copy_from_slice(&hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000"));
    let mut key = [0; 16];
    key.copy_from_slice(&hex("2B7E151628AED2A6ABF7158809CF4F3C"));
    for (kernels, set) in sets() {
        let mut stream = vec![0u8; 0xFF02 * 16];
        let (keys, mut body) = (set.expand.expand_128(&key), Body::in_place(&mut stream));
        match set.cipher {
            Cipher::Vaes256(kernel) => kernel.crypt(&keys, &first, &mut body),
            Cipher::Vaes512(kernel) => kernel.crypt(&keys, &first, &mut body),
        }
        for (block, expected) in [
            (0, "E03EAD0935C95E80E166B16DD92B4EB4"),
            (1, "D23513162B02D0F72A43A2FE4A5F97AB"),
            (0xFEFF, "EC8CDF7398607CB0F2D21675EA9EA1E4"),
            (0xFF00, "362B7C3C6773516318A077D7FC5073AE"),
            (0xFF01, "6A2CC3787889374FBEB4C81B17BA6C44"),
        ] {
            assert_eq!(stream[block * 16..][..16], hex(expected), "block {block:x}, {kernels}");
        }
    }
}

/// Four lanes of the portable twin: the code of the vector lanes without their instructions.
#[derive(Clone, Copy)]
struct Words4([u32; 4]);

impl Words4 {
    fn zip(self, other: Self, f: impl Fn(u32, u32) -> u32) -> Self {
        Self(core::array::from_fn(|lane| f(self.0[lane], other.0[lane])))
    }
}

impl Words for Words4 {
    fn splat(word: u32) -> Self {
        Self([word; 4])
    }
    fn add(self, other: Self) -> Self {
        self.zip(other, u32::wrapping_add)
    }
    fn xor(self, other: Self) -> Self {
        self.zip(other, |a, b| a ^ b)
    }
    fn xor3(self, b: Self, c: Self) -> Self {
        self.xor(b).xor(c)
    }
    fn rotate_1(self) -> Self {
        Self(self.0.map(u32::rotate_1))
    }
    fn rotate_5(self) -> Self {
        Self(self.0.map(u32::rotate_5))
    }
    fn rotate_30(self) -> Self {
        Self(self.0.map(u32::rotate_30))
    }
    fn choose(self, c: Self, d: Self) -> Self {
        Self(core::array::from_fn(|lane| self.0[lane].choose(c.0[lane], d.0[lane])))
    }
    fn majority(self, c: Self, d: Self) -> Self {
        Self(core::array::from_fn(|lane| self.0[lane].majority(c.0[lane], d.0[lane])))
    }
}

impl Lanes for Words4 {
    const COUNT: usize = 4;
    fn transpose(blocks: &[&[u8; BLOCK_BYTES]]) -> [Self; 16] {
        let word = |lane: usize, at: usize| u32::from_le_bytes(blocks[lane].as_chunks::<4>().0[at]);
        core::array::from_fn(|at| Self(core::array::from_fn(|lane| word(lane, at))))
    }
    fn swap_bytes(self) -> Self {
        Self(self.0.map(u32::swap_bytes))
    }
    fn replace(self, new: Self, active: Self) -> Self {
        active.choose(new, self)
    }
    fn from_words(words: &[u32]) -> Self {
        Self(core::array::from_fn(|lane| words[lane]))
    }
    fn to_words(self, words: &mut [u32]) {
        words.copy_from_slice(&self.0);
    }
}

type Digests = [[u8; DIGEST_BYTES]; LANES_MAX];

/// Groups of up to 32 messages whose lengths are equal, near each other or far apart; with and without a ROC.
fn check_hmac(most: usize, hash: &dyn Fn(&[Message<'_>], &mut Digests)) {
    let secret = |number: usize| -> [u8; 20] { core::array::from_fn(|at| (number * 31 + at * 7) as u8) };
    let bytes: Vec<u8> = (0..1_600u32).map(|at| ((at * at) >> 3) as u8).collect();
    for round in 0..220 {
        let count = 1 + round % most;
        let len = |number: usize| (7 * round + [0, number % 3, 40 * number][round % 3]) % 1_600;
        let roc = |number: usize| (number % 5 != 4).then_some([1, 2, round as u8, number as u8]);
        let keys: Vec<_> = (0..count).map(|number| HmacKey::new(&secret(number + round))).collect();
        let messages: Vec<_> = keys
            .iter()
            .enumerate()
            .map(|(number, key)| Message { key, bytes: &bytes[..len(number)], roc: roc(number) })
            .collect();
        let mut digests = [[0; DIGEST_BYTES]; LANES_MAX];
        hash(&messages, &mut digests);
        for (number, message) in messages.iter().enumerate() {
            let key = library::Key::new(library::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &secret(number + round));
            let whole = [message.bytes, message.roc.as_ref().map_or(&[], |roc| &roc[..])].concat();
            let expected = library::sign(&key, &whole);
            assert_eq!(digests[number], expected.as_ref()[..DIGEST_BYTES], "round {round}, message {number}");
        }
    }
}

#[test]
fn hmac_of_every_kernel_is_the_library_s_in_groups_of_any_lengths() {
    for (_, set) in sets() {
        check_hmac(LANES_MAX, &|messages, digests| set.hash.hash(messages, &mut [[0; _]; LANES_MAX], digests));
        if let Some(lanes) = set.lanes {
            check_hmac(LANES_MAX, &|messages, digests| lanes.hash(messages, &mut [[0; _]; LANES_MAX], digests));
        }
    }
}

#[test]
fn hmac_of_portable_lanes_is_the_library_s_in_groups_of_any_lengths() {
    check_hmac(4, &|messages, digests| hash_group::<Words4, 1>(messages, &mut [[0; _]; LANES_MAX], digests));
    check_hmac(8, &|messages, digests| hash_group::<Words4, 2>(messages, &mut [[0; _]; LANES_MAX], digests));
}
