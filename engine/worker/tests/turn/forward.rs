use engine_base::{Drop as DropReason, Kind, RtpTimestamp, SequenceNumber, Ssrc};
use engine_srtp::Profile;
use engine_table::{EgressCounter, IngressCounter, egress_flags, egress_state};
use engine_wire::RtpHeader;

use crate::peer::{EXTENSIONS, Media, Peer};
use crate::stage::{Stage, vp8};

/// A publisher on worker 0 and a subscriber on the given worker, both connected.
pub fn pair(stage: &mut Stage, profile: Profile, subscriber_worker: u32) -> (Peer, Peer) {
    let mut publisher = stage.add_peer(profile);
    let mut subscriber = stage.add_peer(profile);
    stage.connect(0, &mut publisher);
    stage.connect(subscriber_worker, &mut subscriber);
    (publisher, subscriber)
}

pub fn receive(stage: &mut Stage, peer: &mut Peer) -> crate::peer::Received {
    let datagrams = stage.take_sent_to(peer.address);
    peer.open(datagrams)
}

fn assert_contiguous(media: &[Media]) {
    for (a, b) in media.iter().zip(&media[1..]) {
        assert_eq!(b.sequence, a.sequence.wrapping_add(1));
    }
}

#[test]
fn audio_arrives_under_the_subscribers_numbers_with_every_profile() {
    for profile in Profile::ALL {
        let mut stage = Stage::new(1);
        let (mut publisher, mut subscriber) = pair(&mut stage, profile, 0);
        let ingress = stage.add_ingress(&publisher, Kind::Audio, &[(1_111, 0)]);
        let (_, row) = stage.add_egress(&subscriber, ingress, Kind::Audio);
        stage.settle();
        for n in 0..20u16 {
            let packet =
                publisher.rtp(Kind::Audio, 1_111, 65_530u16.wrapping_add(n), 960 * u32::from(n), &[n as u8; 50]);
            stage.inject(0, &publisher, &packet);
            stage.advance_ms(20);
        }
        let received = receive(&mut stage, &mut subscriber).media;
        assert_eq!(received.len(), 20, "{profile:?} {:?}", stage.all_drops());
        assert!(received.iter().all(|media| media.ssrc == row.ssrc.0 && media.payload_type == 63));
        assert_contiguous(&received);
        for (a, b) in received.iter().zip(&received[1..]) {
            assert_eq!(b.timestamp.wrapping_sub(a.timestamp), 960);
        }
        assert_eq!(received[7].payload, [7; 50]);
        assert_eq!(stage.observed(&subscriber).srtp_profile, profile as u16);
        assert_eq!(stage.all_drops(), []);
    }
}

#[test]
fn video_begins_at_a_key_frame_and_keeps_the_gaps_of_loss() {
    let mut stage = Stage::new(1);
    let (mut publisher, mut subscriber) = pair(&mut stage, Profile::Aes128CmSha1_80, 0);
    let ingress = stage.add_ingress(&publisher, Kind::Video, &[(2_222, 2_223)]);
    let (egress, row) = stage.add_egress(&subscriber, ingress, Kind::Video);
    stage.settle();
    let key_frames = [3, 9];
    let lost = [6];
    for n in 0..12u16 {
        let payload = vp8(key_frames.contains(&n), 100 + n, 900);
        let packet = publisher.rtp(Kind::Video, 2_222, 500 + n, 3_000 * u32::from(n), &payload);
        if !lost.contains(&n) {
            stage.inject(0, &publisher, &packet);
        }
        stage.advance_ms(33);
    }
    let received = receive(&mut stage, &mut subscriber).media;
    assert_eq!(received.len(), 8);
    let first = received[0].sequence;
    let numbers: Vec<u16> = received.iter().map(|media| media.sequence.wrapping_sub(first)).collect();
    assert_eq!(numbers, [0, 1, 2, 4, 5, 6, 7, 8]);
    assert!(received.iter().all(|media| media.ssrc == row.ssrc.0 && media.payload_type == 100));
    assert_eq!(stage.drops(DropReason::EgressWaitsForKeyFrame), 3);
    let observed = stage.regions.engine.egresses().read(egress.index).unwrap().1;
    assert_eq!((observed.state, observed.layer), (egress_state::FORWARDING, 0));
    let count =
        |counter| stage.regions.engine.egress_counter(egress.index, counter).load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!((count(EgressCounter::Packets), count(EgressCounter::Switches)), (8, 1));
}

#[test]
fn a_subscriber_on_another_worker_gets_the_same() {
    let mut stage = Stage::new(3);
    let (mut publisher, mut subscriber) = pair(&mut stage, Profile::AeadAes128Gcm, 2);
    let ingress = stage.add_ingress(&publisher, Kind::Video, &[(5, 6)]);
    stage.add_egress(&subscriber, ingress, Kind::Video);
    stage.settle();
    for n in 0..30u16 {
        let packet = publisher.rtp(Kind::Video, 5, n, 3_000 * u32::from(n), &vp8(n == 0, n, 700));
        stage.inject(0, &publisher, &packet);
        stage.settle();
    }
    let received = receive(&mut stage, &mut subscriber).media;
    assert_eq!(received.len(), 30, "{:?}", stage.all_drops());
    assert_contiguous(&received);
    assert_eq!(stage.all_drops(), []);
}

#[test]
fn a_packet_that_reaches_the_wrong_worker_goes_to_the_owner_unopened() {
    let mut stage = Stage::new(2);
    let (mut publisher, mut subscriber) = pair(&mut stage, Profile::AeadAes256Gcm, 1);
    let ingress = stage.add_ingress(&publisher, Kind::Audio, &[(5, 0)]);
    stage.add_egress(&subscriber, ingress, Kind::Audio);
    stage.settle();
    // A second pair, validated on worker 1 and not nominated.
    let nominated = publisher.address;
    publisher.move_to("198.51.100.1:1");
    let check = publisher.check(false);
    stage.inject(1, &publisher, &check);
    stage.settle();
    stage.take_sent_to(publisher.address);
    let packet = publisher.rtp(Kind::Audio, 5, 10, 960, &[1, 2, 3]);
    stage.inject(1, &publisher, &packet);
    stage.settle();
    assert_eq!(receive(&mut stage, &mut subscriber).media[0].payload, [1, 2, 3]);
    assert_eq!(stage.observed(&publisher).remote, nominated);
    assert_eq!(stage.all_drops(), []);
}

#[test]
fn a_disabled_egress_is_paused_and_comes_back_without_a_gap() {
    let mut stage = Stage::new(1);
    let (mut publisher, mut subscriber) = pair(&mut stage, Profile::AeadAes128Gcm, 0);
    let ingress = stage.add_ingress(&publisher, Kind::Audio, &[(5, 0)]);
    let (egress, mut row) = stage.add_egress(&subscriber, ingress, Kind::Audio);
    let mut send = |stage: &mut Stage, n: u16| {
        let packet = publisher.rtp(Kind::Audio, 5, n, 960 * u32::from(n), &[0; 10]);
        stage.inject(0, &publisher, &packet);
        stage.advance_ms(20);
    };
    stage.settle();
    (0..5).for_each(|n| send(&mut stage, n));
    row.flags &= !egress_flags::ENABLED;
    stage.publish_egress(egress.index, &row);
    stage.settle();
    (5..15).for_each(|n| send(&mut stage, n));
    assert_eq!(stage.drops(DropReason::EgressPaused), 10);
    assert_eq!(stage.regions.engine.egresses().read(egress.index).unwrap().1.state, egress_state::PAUSED);
    row.flags |= egress_flags::ENABLED;
    stage.publish_egress(egress.index, &row);
    stage.settle();
    (15..20).for_each(|n| send(&mut stage, n));
    let received = receive(&mut stage, &mut subscriber).media;
    assert_eq!(received.len(), 10);
    assert_contiguous(&received);
}

#[test]
fn without_keys_or_address_nothing_is_sent_and_the_keys_start_it() {
    let mut stage = Stage::new(1);
    let mut publisher = stage.add_peer(Profile::AeadAes128Gcm);
    let mut subscriber = stage.add_unkeyed_peer(Profile::AeadAes128Gcm);
    stage.connect(0, &mut publisher);
    stage.connect(0, &mut subscriber);
    let ingress = stage.add_ingress(&publisher, Kind::Audio, &[(5, 0)]);
    stage.add_egress(&subscriber, ingress, Kind::Audio);
    stage.settle();
    let packet = publisher.rtp(Kind::Audio, 5, 0, 0, &[1]);
    stage.inject(0, &publisher, &packet);
    stage.settle();
    assert_eq!(stage.drops(DropReason::EgressNotConnected), 1);
    stage.publish_keys(&mut subscriber);
    stage.settle();
    let packet = publisher.rtp(Kind::Audio, 5, 1, 960, &[2]);
    stage.inject(0, &publisher, &packet);
    stage.settle();
    assert_eq!(receive(&mut stage, &mut subscriber).media[0].payload, [2]);
}

#[test]
fn a_stream_without_ssrc_is_found_by_mid_and_its_first_packets_are_held() {
    let mut stage = Stage::new(1);
    let (mut publisher, mut subscriber) = pair(&mut stage, Profile::AeadAes128Gcm, 0);
    let mut packet = |n: u16, mid: bool| {
        let header = RtpHeader {
            payload_type: 111,
            sequence: SequenceNumber(n),
            timestamp: RtpTimestamp(960 * u32::from(n)),
            ssrc: Ssrc(77),
            ..RtpHeader::default()
        };
        let elements: &[(u8, &[u8])] = if mid { &[(EXTENSIONS.mid, b"0")] } else { &[] };
        publisher.seal_rtp(&header, elements, &[n as u8; 20])
    };
    // Before the answer's rows: held.
    let early = [packet(0, true), packet(1, true)];
    let publisher_address = packet(2, false);
    let publisher = &publisher;
    for bytes in &early {
        stage.inject(0, publisher, bytes);
    }
    stage.advance_ms(50);
    let mut row = stage.ingress_row(publisher, Kind::Audio, &[(0, 0)]);
    row.layers[0].ssrc = Ssrc::UNKNOWN;
    stage.publish_ingress(9, &row);
    stage.add_egress(&subscriber, engine_base::IngressRef::new(9, row.generation), Kind::Audio);
    stage.settle();
    stage.inject(0, publisher, &publisher_address);
    stage.advance_ms(1);
    let received = receive(&mut stage, &mut subscriber).media;
    // The egress came with the ingress or just after it, so at least the packet after both is there.
    assert_eq!(received.last().unwrap().payload, [2; 20]);
    assert_eq!(stage.drops(DropReason::RtpUnknownStream), 0);
    let packets = stage.regions.engine.ingress_counter(9, 0, IngressCounter::Packets);
    assert_eq!(packets.load(std::sync::atomic::Ordering::Relaxed), 3);
}

#[test]
fn packets_of_no_stream_are_given_up() {
    let mut stage = Stage::new(1);
    let mut publisher = stage.add_peer(Profile::AeadAes128Gcm);
    stage.connect(0, &mut publisher);
    for n in 0..12 {
        let packet = publisher.rtp(Kind::Audio, 99, n, 0, &[1]);
        stage.inject(0, &publisher, &packet);
    }
    stage.settle();
    assert_eq!(stage.drops(DropReason::RtpUnknownStream), 4);
    stage.advance_ms(105);
    assert_eq!(stage.drops(DropReason::RtpUnknownStream), 12);
}

#[test]
fn forged_and_repeated_packets_are_dropped_once_counted() {
    let mut stage = Stage::new(1);
    let (mut publisher, mut subscriber) = pair(&mut stage, Profile::Aes128CmSha1_80, 0);
    let ingress = stage.add_ingress(&publisher, Kind::Audio, &[(5, 0)]);
    stage.add_egress(&subscriber, ingress, Kind::Audio);
    stage.settle();
    let packet = publisher.rtp(Kind::Audio, 5, 1, 0, &[1; 30]);
    let mut forged = publisher.rtp(Kind::Audio, 5, 2, 0, &[1; 30]);
    *forged.last_mut().unwrap() ^= 1;
    let report = publisher.rtcp(&[0x80, 201, 0, 1, 0, 0, 0, 9]);
    for bytes in [&packet, &packet, &forged, &report, &report] {
        stage.inject(0, &publisher, bytes);
    }
    stage.settle();
    assert_eq!(receive(&mut stage, &mut subscriber).media.len(), 1);
    assert_eq!(stage.all_drops(), [("srtp_replayed", 1), ("srtp_auth", 1), ("rtp_duplicate", 1)]);
}

#[test]
fn a_closing_transport_carries_no_media() {
    let mut stage = Stage::new(1);
    let (mut publisher, mut subscriber) = pair(&mut stage, Profile::AeadAes128Gcm, 0);
    let ingress = stage.add_ingress(&publisher, Kind::Audio, &[(5, 0)]);
    stage.add_egress(&subscriber, ingress, Kind::Audio);
    let mut row = stage.regions.signaling.transports().own(subscriber.transport.index);
    row.flags |= engine_table::transport_flags::CLOSING;
    stage.publish_transport(subscriber.transport.index, &row);
    stage.settle();
    let packet = publisher.rtp(Kind::Audio, 5, 1, 0, &[1; 30]);
    stage.inject(0, &publisher, &packet);
    stage.settle();
    assert!(receive(&mut stage, &mut subscriber).media.is_empty());
    assert_eq!(stage.drops(DropReason::EgressNotConnected), 1);
}

#[test]
fn a_failed_send_is_counted_and_harms_nothing() {
    let mut stage = Stage::new(1);
    let (mut publisher, mut subscriber) = pair(&mut stage, Profile::AeadAes128Gcm, 0);
    let ingress = stage.add_ingress(&publisher, Kind::Audio, &[(5, 0)]);
    stage.add_egress(&subscriber, ingress, Kind::Audio);
    stage.settle();
    let first = publisher.rtp(Kind::Audio, 5, 0, 0, &[0]);
    stage.inject(0, &publisher, &first);
    stage.settle();
    stage.workers[0].port_mut().fail_sends(&[11]);
    for n in 1..4u16 {
        let packet = publisher.rtp(Kind::Audio, 5, n, 960 * u32::from(n), &[n as u8]);
        stage.inject(0, &publisher, &packet);
    }
    stage.settle();
    let media = receive(&mut stage, &mut subscriber).media;
    // The three were one train.
    assert_eq!(media.iter().map(|media| media.payload[0]).collect::<Vec<_>>(), [0]);
    assert_eq!(stage.drops(DropReason::SendBufferFull), 3);
    let packet = publisher.rtp(Kind::Audio, 5, 4, 3_840, &[4]);
    stage.inject(0, &publisher, &packet);
    stage.settle();
    assert_eq!(receive(&mut stage, &mut subscriber).media[0].payload, [4]);
}

#[test]
fn media_flows_on_a_valid_pair_before_it_is_nominated() {
    let mut stage = Stage::new(1);
    let mut publisher = stage.add_peer(Profile::AeadAes128Gcm);
    let mut subscriber = stage.add_peer(Profile::AeadAes128Gcm);
    stage.connect(0, &mut publisher);
    let check = subscriber.check(false);
    stage.inject(0, &subscriber, &check);
    let ingress = stage.add_ingress(&publisher, Kind::Audio, &[(1_111, 0)]);
    stage.add_egress(&subscriber, ingress, Kind::Audio);
    stage.settle();
    stage.take_sent_to(subscriber.address);
    let packet = publisher.rtp(Kind::Audio, 1_111, 1, 960, &[7; 50]);
    stage.inject(0, &publisher, &packet);
    stage.advance_ms(20);
    assert_eq!(stage.observed(&subscriber).state, engine_table::transport_state::CHECKING);
    assert_eq!(receive(&mut stage, &mut subscriber).media.len(), 1, "{:?}", stage.all_drops());
}
