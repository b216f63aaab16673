//! A client with valid keys that sends anything at all.

use engine_base::Kind;
use engine_srtp::Profile;
use proptest::prelude::*;

use crate::forward::pair;
use crate::peer::Peer;
use crate::stage::Stage;

fn stage() -> (Stage, Peer, Peer) {
    let mut stage = Stage::new(2);
    let (publisher, subscriber) = pair(&mut stage, Profile::AeadAes128Gcm, 1);
    for (kind, ssrcs) in [(Kind::Video, &[(0x0101_0101, 0x0202_0202)][..]), (Kind::Audio, &[(0x0303_0303, 0)])] {
        let ingress = stage.add_ingress(&publisher, kind, ssrcs);
        stage.add_egress(&subscriber, ingress, kind);
        // The hostile client is subscribed as well, so that its feedback has something to be about.
        stage.add_egress(&publisher, ingress, kind);
    }
    stage.settle();
    (stage, publisher, subscriber)
}

/// RTP with a plausible head: known SSRCs and payload types more often than not, any extensions, any payload.
fn rtp() -> impl Strategy<Value = Vec<u8>> {
    let ssrc = prop_oneof![Just(0x0101_0101u32), Just(0x0202_0202), Just(0x0303_0303), any::<u32>()];
    let payload_type = prop_oneof![Just(96u8), Just(97), Just(111), 0u8..128];
    let extension = prop::collection::vec(any::<u8>(), 0..40);
    (any::<u8>(), payload_type, any::<u16>(), any::<u32>(), ssrc, extension, prop::collection::vec(any::<u8>(), 0..80))
        .prop_map(|(first, payload_type, sequence, timestamp, ssrc, extension, payload)| {
            let mut bytes = vec![0x80 | first & 0x30, payload_type | first & 0x80];
            bytes.extend_from_slice(&(sequence & 0x3ff).to_be_bytes());
            bytes.extend_from_slice(&timestamp.to_be_bytes());
            bytes.extend_from_slice(&ssrc.to_be_bytes());
            if first & 0x10 != 0 {
                bytes.extend_from_slice(&[0xbe, 0xde, 0, (extension.len() / 4) as u8]);
                bytes.extend_from_slice(&extension[..extension.len() / 4 * 4]);
            }
            bytes.extend_from_slice(&payload);
            bytes
        })
}

/// Messages framed well with bodies of anything, media SSRCs of egresses among them.
fn rtcp() -> impl Strategy<Value = Vec<u8>> {
    let words =
        prop_oneof![Just(0x5000_0004u32), Just(0x5000_0005), Just(0x5000_0006), Just(0x0101_0101), any::<u32>()];
    let message = (0u8..32, 200u8..208, prop::collection::vec(words, 1..12));
    prop::collection::vec(message, 1..6).prop_map(|messages| {
        let mut bytes = Vec::new();
        for (count, packet_type, words) in messages {
            bytes.extend_from_slice(&[0x80 | count, packet_type, 0, words.len() as u8]);
            words.iter().for_each(|word| bytes.extend_from_slice(&word.to_be_bytes()));
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn authentic_nonsense_panics_nobody_and_others_are_served(
        packets in prop::collection::vec(prop_oneof![rtp().prop_map(|b| (false, b)), rtcp().prop_map(|b| (true, b))], 1..40),
    ) {
        let (mut stage, mut publisher, mut subscriber) = stage();
        for (is_rtcp, plain) in packets {
            let sealed = if is_rtcp { Some(publisher.rtcp(&plain)) } else { publisher.seal_plain(&plain) };
            let Some(sealed) = sealed else { continue };
            stage.inject(0, &publisher, &sealed);
            stage.advance_ms(3);
        }
        let mut other = stage.add_peer(Profile::Aes128CmSha1_80);
        stage.connect(0, &mut other);
        let ingress = stage.add_ingress(&other, Kind::Audio, &[(9, 0)]);
        let (_, row) = stage.add_egress(&subscriber, ingress, Kind::Audio);
        stage.settle();
        let packet = other.rtp(Kind::Audio, 9, 1, 0, &[7; 9]);
        stage.inject(0, &other, &packet);
        stage.advance_ms(3);
        let datagrams = stage.take_sent_to(subscriber.address);
        let received = subscriber.open(datagrams);
        prop_assert!(received.media.iter().any(|media| media.ssrc == row.ssrc.0 && media.payload == [7; 9]));
    }
}
