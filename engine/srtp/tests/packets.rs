//! Round trips, tampering and garbage, for every profile and packet shape.

#![forbid(unsafe_code)]

use engine_srtp::{MasterKey, Profile, RTCP_INDEX_MAX, RTP_INDEX_MAX, ReceiveContext, SendContext, SrtpError};
use proptest::prelude::*;

fn contexts(profile: Profile) -> (SendContext, ReceiveContext) {
    let master = MasterKey::new(profile, &[7; 32][..profile.key_len()], &[9; 14][..profile.salt_len()]).unwrap();
    (SendContext::new(&master).unwrap(), ReceiveContext::new(&master).unwrap())
}

fn profiles() -> impl Strategy<Value = Profile> {
    prop::sample::select(&Profile::ALL[..])
}

fn bytes(len: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), len)
}

/// A header with 0 to 15 CSRCs and, sometimes, an extension.
fn header(sequence: u16, fixed: [u8; 8], csrcs: &[u32], extension: Option<u8>) -> Vec<u8> {
    let mut header = vec![0x80 | csrcs.len() as u8 | if extension.is_some() { 0x10 } else { 0 }, 0x60];
    header.extend(sequence.to_be_bytes());
    header.extend(fixed);
    header.extend(csrcs.iter().flat_map(|csrc| csrc.to_be_bytes()));
    if let Some(words) = extension {
        header.extend([0xBE, 0xDE, 0, words]);
        header.extend((0..words).flat_map(|word| [word; 4]));
    }
    header
}

fn headers(index: u64) -> impl Strategy<Value = Vec<u8>> {
    (any::<[u8; 8]>(), prop::collection::vec(any::<u32>(), 0..=15), prop::option::of(0..12u8))
        .prop_map(move |(fixed, csrcs, extension)| header(index as u16, fixed, &csrcs, extension))
}

prop_compose! {
    fn rtp()(index in 0..=RTP_INDEX_MAX)(header in headers(index), payload in bytes(0..=1500), index in Just(index))
        -> (u64, Vec<u8>, Vec<u8>) {
        (index, header, payload)
    }
}

proptest! {
    #[test]
    fn rtp_round_trips(profile in profiles(), (index, header, payload) in rtp(), prefix in 0..8usize) {
        let (send, receive) = contexts(profile);
        let plain = [&header[..], &payload].concat();
        let mut packet = plain.clone();
        packet.resize(plain.len() + profile.tag_len(), 0xEE);
        prop_assert_eq!(send.protect_rtp(&mut packet, plain.len(), index), Ok(packet.len()));
        prop_assert_eq!(&packet[..header.len()], &header[..]);

        let prefix = prefix.min(payload.len());
        let mut out = plain[..header.len() + prefix].to_vec();
        out.resize(packet.len() + 3, 0);
        let sealed = send.seal_scatter(&mut out, header.len(), prefix, &payload[prefix..], index);
        prop_assert_eq!(sealed, Ok(packet.len()));
        prop_assert_eq!(&out[..packet.len()], &packet[..]);

        prop_assert_eq!(receive.unprotect_rtp(&mut packet, index), Ok(plain.len()));
        prop_assert_eq!(&packet[..plain.len()], &plain[..]);
    }

    #[test]
    fn rtp_with_one_changed_bit_is_refused(
        profile in profiles(),
        (index, header, payload) in rtp(),
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let (send, receive) = contexts(profile);
        let mut packet = [&header[..], &payload].concat();
        let len = packet.len();
        packet.resize(len + profile.tag_len(), 0);
        send.protect_rtp(&mut packet, len, index).unwrap();
        let at = at.index(packet.len());
        packet[at] ^= 1 << bit;
        let opened = receive.unprotect_rtp(&mut packet, index);
        // Version, CSRC count, extension length and sequence number are refused before the tag is looked at.
        prop_assert!(opened == Err(SrtpError::Auth) || (at < header.len() && opened == Err(SrtpError::Malformed)));
    }

    #[test]
    fn rtp_under_another_roc_is_refused(profile in profiles(), (index, header, payload) in rtp()) {
        let (send, receive) = contexts(profile);
        let mut packet = [&header[..], &payload].concat();
        let len = packet.len();
        packet.resize(len + profile.tag_len(), 0);
        send.protect_rtp(&mut packet, len, index).unwrap();
        prop_assert_eq!(receive.unprotect_rtp(&mut packet, index ^ 1 << 16), Err(SrtpError::Auth));
    }

    #[test]
    fn rtcp_round_trips_and_one_changed_bit_is_refused(
        profile in profiles(),
        index in 0..=RTCP_INDEX_MAX,
        tail in bytes(6..=1400),
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let (send, receive) = contexts(profile);
        let plain = [&[0x81, 0xC8][..], &tail].concat();
        let mut packet = plain.clone();
        packet.resize(plain.len() + profile.rtcp_overhead(), 0);
        prop_assert_eq!(send.protect_rtcp(&mut packet, plain.len(), index), Ok(packet.len()));
        prop_assert_eq!(receive.rtcp_index(&packet), Some(index));

        let mut changed = packet.clone();
        let at = at.index(changed.len());
        changed[at] ^= 1 << bit;
        let opened = receive.unprotect_rtcp(&mut changed);
        // A changed version (bits 6 and 7) and a cleared E flag (bit 7) are refused before the tag is looked at.
        prop_assert!(opened == Err(SrtpError::Auth) || (bit >= 6 && opened == Err(SrtpError::Malformed)));

        prop_assert_eq!(receive.unprotect_rtcp(&mut packet), Ok((plain.len(), index)));
        prop_assert_eq!(&packet[..plain.len()], &plain[..]);
    }

    #[test]
    fn garbage_is_an_error_in_every_direction(profile in profiles(), mut packet in bytes(0..=64), index in any::<u64>()) {
        let (send, receive) = contexts(profile);
        if let Some(first) = packet.first_mut() {
            *first = 0x80 | *first & 0x3F;
        }
        prop_assert!(receive.unprotect_rtp(&mut packet.clone(), index).is_err());
        let sequence = packet.get(2..4).map_or(0, |bytes| u64::from(u16::from_be_bytes([bytes[0], bytes[1]])));
        prop_assert!(receive.unprotect_rtp(&mut packet.clone(), sequence).is_err());
        prop_assert!(receive.unprotect_rtcp(&mut packet.clone()).is_err());
        receive.rtcp_index(&packet);
        for len in [0, 1, packet.len(), usize::MAX] {
            let _ = send.protect_rtp(&mut packet.clone(), len, index);
            let _ = send.protect_rtcp(&mut packet.clone(), len, index as u32);
            let _ = send.seal_scatter(&mut packet.clone(), len, usize::MAX, &[1; 8], index);
        }
    }
}

#[test]
fn every_truncation_of_a_sealed_packet_is_refused() {
    for profile in Profile::ALL {
        let (send, receive) = contexts(profile);
        let plain = [header(5, [1; 8], &[2, 3], Some(2)), vec![4; 20]].concat();
        let mut packet = plain.clone();
        packet.resize(plain.len() + profile.tag_len(), 0);
        send.protect_rtp(&mut packet, plain.len(), 5).unwrap();
        let mut report = [0u8; 128];
        report[..2].copy_from_slice(&[0x80, 0xC9]);
        let report_len = send.protect_rtcp(&mut report, 32, 1).unwrap();
        for len in 0..packet.len() {
            assert!(receive.unprotect_rtp(&mut packet[..len].to_vec(), 5).is_err());
        }
        for len in 0..report_len {
            assert!(receive.unprotect_rtcp(&mut report[..len].to_vec()).is_err());
        }
    }
}

#[test]
fn a_buffer_without_room_or_an_index_beyond_its_space_is_refused() {
    for profile in Profile::ALL {
        let (send, _) = contexts(profile);
        let plain = [header(0xFFFF, [1; 8], &[], None), vec![4; 20]].concat();
        let (tight, tight_rtcp) = (plain.len() + profile.tag_len() - 1, plain.len() + profile.rtcp_overhead() - 1);
        let mut packet = plain.clone();
        packet.resize(256, 0);
        assert_eq!(send.protect_rtp(&mut packet[..tight], plain.len(), 0xFFFF), Err(SrtpError::Capacity));
        assert_eq!(send.seal_scatter(&mut packet[..tight], 12, 0, &plain[12..], 0xFFFF), Err(SrtpError::Capacity));
        assert_eq!(send.protect_rtcp(&mut packet[..tight_rtcp], plain.len(), 1), Err(SrtpError::Capacity));
        assert_eq!(send.protect_rtp(&mut packet, plain.len(), (1 << 48) | 0xFFFF), Err(SrtpError::Capacity));
        assert_eq!(send.protect_rtcp(&mut packet, plain.len(), 1 << 31), Err(SrtpError::Capacity));
        assert_eq!(send.protect_rtp(&mut packet, plain.len(), 0xFFFE), Err(SrtpError::Malformed));
        assert_eq!(send.seal_scatter(&mut packet, 16, 0, &plain[16..], 0xFFFF), Err(SrtpError::Malformed));
        assert_eq!(packet[..plain.len()], plain);
    }
}

#[test]
fn unencrypted_rtcp_is_refused() {
    for profile in Profile::ALL {
        let (send, receive) = contexts(profile);
        let mut packet = [0u8; 64];
        packet[..2].copy_from_slice(&[0x80, 0xC9]);
        let len = send.protect_rtcp(&mut packet, 8, 3).unwrap();
        let word_at = if profile == Profile::Aes128CmSha1_80 { len - 14 } else { len - 4 };
        packet[word_at] &= 0x7F;
        assert_eq!(receive.rtcp_index(&packet[..len]), None);
        assert_eq!(receive.unprotect_rtcp(&mut packet[..len]), Err(SrtpError::Malformed));
    }
}
