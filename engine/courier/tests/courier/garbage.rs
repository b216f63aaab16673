//! Hostile bytes: nothing panics, nobody else notices.

use std::sync::Arc;

use bytes::Bytes;
use engine_base::TimeNs;
use engine_courier::channels::{Channel, Channels};
use engine_courier::clock::Clock;
use engine_courier::session::Role;
use engine_courier::{Session, Settings, Versions};
use proptest::prelude::*;

use crate::identity::{identity, unknown_fingerprint};
use crate::messages::DataPacket;
use crate::node::Node;

const NOW: TimeNs = TimeNs::from_ms(1_000);

fn settings() -> Arc<Settings> {
    static SETTINGS: std::sync::OnceLock<Arc<Settings>> = std::sync::OnceLock::new();
    let make = || Settings::new(&identity(), Versions::Auto, Clock::starting_at(NOW)).unwrap();
    SETTINGS.get_or_init(make).clone()
}

/// CRC32c (RFC 9260 appendix A), so that chunks are parsed at all.
fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

fn sctp_packet(tag: u32, chunks: &[u8]) -> Bytes {
    let mut packet = vec![0x13, 0x88, 0x13, 0x88];
    packet.extend_from_slice(&tag.to_be_bytes());
    packet.extend_from_slice(&[0; 4]);
    packet.extend_from_slice(chunks);
    let crc = checksum(&packet);
    packet[8..12].copy_from_slice(&crc.to_le_bytes());
    Bytes::from(packet)
}

/// Two associations that have found each other, with the tag that each wants to see.
fn connected() -> ([Channels; 2], [u32; 2]) {
    let mut pair = [true, false].map(|client| Channels::new(&settings(), client, client, NOW));
    let mut tags = [0; 2];
    pair[1].open();
    pair[0].handle_timeout(NOW);
    loop {
        let mut moved = false;
        for from in 0..2 {
            while let Some(packet) = pair[from].poll_transmit(NOW) {
                moved = true;
                tags[1 - from] = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
                pair[1 - from].handle_packet(packet, NOW);
            }
        }
        if !moved {
            assert!(pair.iter().all(|channels| channels.is_open(Channel::Reliable)));
            return (pair, tags);
        }
    }
}

fn chunk() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![0u8..16, Just(64), Just(130), Just(192), Just(193), any::<u8>()];
    (kind, any::<u8>(), prop::collection::vec(any::<u8>(), 0..48), any::<Option<u16>>()).prop_map(
        |(kind, flags, body, length)| {
            let length = length.unwrap_or(4 + body.len() as u16);
            let mut chunk = vec![kind, flags, (length >> 8) as u8, length as u8];
            chunk.extend_from_slice(&body);
            chunk.resize(chunk.len().next_multiple_of(4), 0);
            chunk
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn sctp_chunks_in_any_state_never_panic(chunks in prop::collection::vec(chunk(), 1..4), early: bool) {
        let ([mut client, _], [tag, _]) = connected();
        let mut fresh = Channels::new(&settings(), false, false, NOW);
        let packet = sctp_packet(if early { 0 } else { tag }, &chunks.concat());
        for channels in [&mut client, &mut fresh] {
            channels.handle_packet(packet.clone(), NOW);
            while channels.poll_transmit(NOW).is_some() {}
            while channels.poll_event().is_some() {}
            channels.handle_timeout(NOW.add_ms(5_000));
            let _ = channels.send(Channel::Reliable, &Bytes::from_static(b"x"));
        }
    }

    #[test]
    fn datagrams_before_and_in_a_handshake_never_panic(
        datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..4),
        first in prop_oneof![20u8..26, 32u8..64], dtls_client: bool,
    ) {
        let role = Role { dtls_client, sctp: true, initiate: false, open_channels: false };
        let mut session = Session::new(&settings(), role, unknown_fingerprint(), NOW);
        for mut datagram in datagrams {
            if let Some(byte) = datagram.first_mut() {
                *byte = first;
            }
            session.handle_packet(&datagram, NOW);
            while session.poll_transmit().is_some() {}
            while session.poll_event().is_some() {}
            session.handle_timeout(NOW.add_ms(200));
        }
    }

    #[test]
    fn a_handshake_with_a_changed_byte_never_panics(at in any::<prop::sample::Index>(), byte: u8, flight in 0usize..6) {
        let roles = [true, false].map(|dtls_client| Role { dtls_client, sctp: true, initiate: true, open_channels: true });
        let mut sessions = roles.map(|role| Session::new(&settings(), role, unknown_fingerprint(), NOW));
        let mut count = 0;
        for turn in 0..6 {
            let from = turn % 2;
            while let Some(mut datagram) = sessions[from].poll_transmit() {
                if count == flight {
                    let at = at.index(datagram.len());
                    datagram[at] = byte;
                }
                count += 1;
                sessions[1 - from].handle_packet(&datagram, NOW);
            }
        }
        sessions.iter_mut().for_each(|session| session.handle_timeout(NOW.add_ms(60_000)));
    }
}

#[test]
fn garbage_for_one_session_leaves_it_and_its_neighbours_alone() {
    let mut node = Node::room(&["alice", "bob", "carol"]);
    let alice = node.client("alice").transport;
    let mut seed = 1u64;
    for _ in 0..2_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let length = (seed >> 33) as usize % 120;
        let mut datagram = vec![(seed >> 40) as u8; length];
        if let Some(byte) = datagram.first_mut() {
            *byte = [20, 21, 22, 23, 0x2f, 0x3c][(seed >> 50) as usize % 6];
        }
        node.courier.handle_datagram(0, &node.header(alice), &datagram, node.now);
    }
    node.run(100);
    node.send("bob", Channel::Reliable, &DataPacket::user(b"still here"));
    assert_eq!(node.client("carol").payloads(), [b"still here"]);
    assert_eq!(node.client("alice").payloads(), [b"still here"]);
}
