//! Packets sealed by libsrtp 2 (through pylibsrtp 1.0.0) from master keys: derivation, header extension, CSRCs and the
//! roll-over of the sequence number agree with the library that Chromium carries.

#![forbid(unsafe_code)]

use engine_srtp::{MasterKey, Profile, ReceiveContext, RtpWindow, SendContext};

/// V=2, extension, two CSRCs; sequence 0xFFFF, then 0 under ROC 1. 37 bytes of payload.
const RTP: [&str; 2] = [
    "92e0ffff0001e240cafebabe0000000a0000000bbede0001113210ab\
     ff060d141b222930373e454c535a61686f767d848b9299a0a7aeb5bcc3cad1d8dfe6edf4fb",
    "92e000000001e240cafebabe0000000a0000000bbede0001113210ab\
     00070e151c232a31383f464d545b626970777e858c939aa1a8afb6bdc4cbd2d9e0e7eef5fc",
];
const RTP_INDEX: [u64; 2] = [0xFFFF, 0x1_0000];
const HEADER_LEN: usize = 28;
/// An empty receiver report and an SDES chunk.
const RTCP: &str = "80c90001cafebabe81ca0002cafebabe01026d7a";

/// Key bytes 0x10, 0x11, …; salt bytes 0xA0, 0xA1, …; two SRTP packets, then the RTCP packet under index 1 and 2.
const SEALED: [(Profile, [&str; 2], [&str; 2]); 3] = [
    (
        Profile::Aes128CmSha1_80,
        [
            "92e0ffff0001e240cafebabe0000000a0000000bbede0001113210ab\
             990d77ac8dad28447959e0e0f8a468ecb10c1c270d0896bb5807481231af3bb46eff619ec53646ef0c8ddb2ab65e0e",
            "92e000000001e240cafebabe0000000a0000000bbede0001113210ab\
             2e7cbe678d3f792ce6bd2187331a47bf9420c88c1c9dd1fcb92f81d2c77a741ca1c9fb5962c6b1d025522bf08715d6",
        ],
        [
            "80c90001cafebabecddcf9acce772d5b95fc2da3800000017b6199e0b08f84906121",
            "80c90001cafebabe43d662417538152194dde5cb80000002f6a1e5463f0435d283df",
        ],
    ),
    (
        Profile::AeadAes128Gcm,
        [
            "92e0ffff0001e240cafebabe0000000a0000000bbede0001113210ab\
             9d8599e8006db4e959c829a05106e8856e9da95bb14c5c244dbb96f86bb86de87fd1c0f5bae64b29164e11c770f9fcb108cd638fa1",
            "92e000000001e240cafebabe0000000a0000000bbede0001113210ab\
             91e7376baf8c9a54f06caacc93b2c531d10f1af83aec5538dd8fe4087a47b84ed9c4f4ee601b7627ab7d6dbfc89848df8c7517eb1d",
        ],
        [
            "80c90001cafebabefc7f52165fb162341b4f65b5bd215ffc93d3c144930f99825f36e87080000001",
            "80c90001cafebabed32a782c6bdee8cc2ac8dbf1eb9e2648b1e7cd5a964ebd61fdd6302780000002",
        ],
    ),
    (
        Profile::AeadAes256Gcm,
        [
            "92e0ffff0001e240cafebabe0000000a0000000bbede0001113210ab\
             97754b42c4dc65b7cde6d701cea77f7c309ad4292a5a541d79efe04bd9034d74b5e1850645b1bfa89c3483c92633708821c6a0747a",
            "92e000000001e240cafebabe0000000a0000000bbede0001113210ab\
             8dab84c1a4898e759a4444def8c21b1767e48df69f08092ff5fdcc6668cdd77ce5b48212be5079de8fc6065e9b678ea8e311781e57",
        ],
        [
            "80c90001cafebabe8b619034d1655dda20b2ebf0ace52ed6e2e6347b6f364352ddc91a5880000001",
            "80c90001cafebabedb460a6a5d1752b37d50a14517f00fe0c11cb6d4e72a44086f4c414280000002",
        ],
    ),
];

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn master(profile: Profile) -> MasterKey {
    let key: Vec<u8> = (0x10..).take(profile.key_len()).collect();
    let salt: Vec<u8> = (0xA0..).take(profile.salt_len()).collect();
    MasterKey::new(profile, &key, &salt).unwrap()
}

#[test]
fn we_seal_what_libsrtp_seals() {
    for (profile, srtp, srtcp) in SEALED {
        let send = SendContext::new(&master(profile)).unwrap();
        for (at, plain) in RTP.iter().enumerate() {
            let plain = hex(plain);
            let mut buffer = [0u8; 256];
            buffer[..plain.len()].copy_from_slice(&plain);
            let len = send.protect_rtp(&mut buffer, plain.len(), RTP_INDEX[at]).unwrap();
            assert_eq!(buffer[..len], hex(srtp[at]), "{profile:?}");

            for prefix in [0, 3] {
                let mut out = [0u8; 256];
                out[..HEADER_LEN + prefix].copy_from_slice(&plain[..HEADER_LEN + prefix]);
                let rest = &plain[HEADER_LEN + prefix..];
                let len = send.seal_scatter(&mut out, HEADER_LEN, prefix, rest, RTP_INDEX[at]).unwrap();
                assert_eq!(out[..len], hex(srtp[at]), "{profile:?}");
            }
        }
        for (index, sealed) in (1..).zip(srtcp) {
            let plain = hex(RTCP);
            let mut buffer = [0u8; 256];
            buffer[..plain.len()].copy_from_slice(&plain);
            let len = send.protect_rtcp(&mut buffer, plain.len(), index).unwrap();
            assert_eq!(buffer[..len], hex(sealed), "{profile:?}");
        }
    }
}

#[test]
fn we_open_what_libsrtp_seals() {
    for (profile, srtp, srtcp) in SEALED {
        let receive = ReceiveContext::new(&master(profile)).unwrap();
        let mut window = RtpWindow::default();
        for (at, sealed) in srtp.iter().enumerate() {
            let mut packet = hex(sealed);
            let index = window.estimate(u16::from_be_bytes([packet[2], packet[3]]));
            assert_eq!(index, RTP_INDEX[at]);
            let len = receive.unprotect_rtp(&mut packet, index).unwrap();
            assert_eq!(packet[..len], hex(RTP[at]));
            window.accept(index);
        }
        for (index, sealed) in (1..).zip(srtcp) {
            let mut packet = hex(sealed);
            assert_eq!(receive.rtcp_index(&packet), Some(index));
            let (len, opened_index) = receive.unprotect_rtcp(&mut packet).unwrap();
            assert_eq!((&packet[..len], opened_index), (&hex(RTCP)[..], index));
        }
    }
}
