use engine_base::{Kind, RtpTimestamp, SequenceNumber, Ssrc};
use engine_srtp::Profile;
use engine_wire::RtpHeader;

use crate::forward::{pair, receive};
use crate::peer::{EXTENSIONS, Media, Peer};
use crate::stage::{Stage, vp8};

/// The peer is nominated from another address on another worker, once the last move is old enough.
fn rebind(stage: &mut Stage, peer: &mut Peer, worker: u32, address: &str) {
    stage.advance_ms(600);
    peer.move_to(address);
    stage.connect(worker, peer);
    stage.settle();
    assert_eq!((stage.observed(peer).owner, stage.observed(peer).remote), (worker as u8, peer.address));
}

#[test]
fn a_subscriber_that_moves_goes_on_with_the_same_numbers() {
    let mut stage = Stage::new(2);
    let (mut publisher, mut subscriber) = pair(&mut stage, Profile::AeadAes128Gcm, 0);
    let ingress = stage.add_ingress(&publisher, Kind::Video, &[(21, 22)]);
    stage.add_egress(&subscriber, ingress, Kind::Video);
    stage.settle();
    let mut media = Vec::new();
    let mut n = 0;
    for (worker, address) in [(1, "198.51.100.1:1"), (0, "198.51.100.2:2"), (0, "198.51.100.3:3")] {
        for _ in 0..10 {
            let packet = publisher.rtp(Kind::Video, 21, n, 3_000 * u32::from(n), &vp8(n == 0, n, 500));
            stage.inject(0, &publisher, &packet);
            stage.advance_ms(33);
            media.extend(receive(&mut stage, &mut subscriber).media);
            n += 1;
        }
        rebind(&mut stage, &mut subscriber, worker, address);
    }
    assert_eq!(media.len(), 30, "{:?}", stage.all_drops());
    for (a, b) in media.iter().zip(&media[1..]) {
        assert_eq!(b.sequence, a.sequence.wrapping_add(1));
    }
    assert_eq!(stage.all_drops(), []);
}

#[test]
fn a_subscriber_has_a_socket_of_its_own_wherever_it_is_and_gives_it_back() {
    let mut stage = Stage::new(2);
    let (publisher, mut subscriber) = pair(&mut stage, Profile::AeadAes128Gcm, 0);
    let ingress = stage.add_ingress(&publisher, Kind::Video, &[(21, 22)]);
    let connected = |stage: &mut Stage| -> Vec<Vec<_>> {
        stage.advance_ms(200);
        stage.workers.iter_mut().map(|worker| worker.port_mut().connected().collect()).collect()
    };
    assert_eq!(connected(&mut stage), [[], []], "nothing is sent to either yet");
    let (egress, mut row) = stage.add_egress(&subscriber, ingress, Kind::Video);
    assert_eq!(connected(&mut stage), [vec![subscriber.address], vec![]]);
    rebind(&mut stage, &mut subscriber, 0, "198.51.100.3:3");
    assert_eq!(connected(&mut stage), [vec![subscriber.address], vec![]]);
    rebind(&mut stage, &mut subscriber, 1, "198.51.100.1:1");
    assert_eq!(connected(&mut stage), [vec![], vec![subscriber.address]]);
    row.state = engine_table::ROW_FREE;
    stage.publish_egress(egress.index, &row);
    assert_eq!(connected(&mut stage), [[], []]);
}

#[test]
fn what_comes_while_a_subscriber_moves_is_not_lost() {
    let mut stage = Stage::new(3);
    let (mut publisher, mut subscriber) = pair(&mut stage, Profile::AeadAes128Gcm, 1);
    let ingress = stage.add_ingress(&publisher, Kind::Video, &[(21, 22)]);
    stage.add_egress(&subscriber, ingress, Kind::Video);
    stage.settle();
    let mut n = 0;
    let mut media = Vec::new();
    // From and to the publisher's worker, and between two others.
    for (round, (from, to)) in [(1, 2), (2, 0), (0, 1)].into_iter().enumerate() {
        let mut inject = |stage: &mut Stage| {
            let packet = publisher.rtp(Kind::Video, 21, n, 3_000 * u32::from(n), &vp8(n == 0, n, 500));
            stage.inject(0, &publisher, &packet);
            n += 1;
        };
        stage.advance_ms(600);
        inject(&mut stage);
        stage.settle();
        media.extend(receive(&mut stage, &mut subscriber).media);
        subscriber.move_to(&format!("198.51.100.1:{}", 1 + round));
        let check = subscriber.check(true);
        stage.inject(to, &subscriber, &check);
        let now = stage.now;
        // The new worker hears the check. The old one learns of a packet and of the wish in one turn and lets go before its fan-out;
        // the new one has not looked into its mailbox yet.
        stage.workers[to as usize].turn(now);
        inject(&mut stage);
        stage.workers[0].turn(now);
        stage.workers[from as usize].turn(now);
        for _ in 0..3 {
            inject(&mut stage);
        }
        stage.workers[0].turn(now);
        stage.settle();
        inject(&mut stage);
        stage.settle();
        media.extend(receive(&mut stage, &mut subscriber).media);
        assert_eq!(stage.observed(&subscriber).owner, to as u8);
    }
    assert_eq!(media.len(), 18, "{:?}", stage.all_drops());
    for (a, b) in media.iter().zip(&media[1..]) {
        assert_eq!(b.sequence, a.sequence.wrapping_add(1));
    }
    assert_eq!(stage.all_drops(), []);
}

#[test]
fn a_publisher_that_moves_keeps_its_streams() {
    let mut stage = Stage::new(2);
    let (mut publisher, mut subscriber) = pair(&mut stage, Profile::Aes128CmSha1_80, 0);
    let ingress = stage.add_ingress(&publisher, Kind::Video, &[(21, 22)]);
    stage.add_egress(&subscriber, ingress, Kind::Video);
    stage.settle();
    let mut n = 0u16;
    let mut media = Vec::new();
    for (worker, address) in [(0, "192.0.2.9:1"), (1, "198.51.100.1:1"), (0, "198.51.100.2:2")] {
        rebind(&mut stage, &mut publisher, worker, address);
        for _ in 0..10 {
            // Over the wrap of the sequence number, so that a lost roll-over count would show.
            let sequence = 65_520u16.wrapping_add(n);
            let packet = publisher.rtp(Kind::Video, 21, sequence, 3_000 * u32::from(n), &vp8(n == 0, n, 500));
            stage.inject(worker, &publisher, &packet);
            stage.advance_ms(33);
            media.extend(receive(&mut stage, &mut subscriber).media);
            n += 1;
        }
    }
    assert_eq!(media.len(), 30, "{:?}", stage.all_drops());
    for (a, b) in media.iter().zip(&media[1..]) {
        assert_eq!(b.sequence, a.sequence.wrapping_add(1));
    }
    assert_eq!(stage.all_drops(), []);
}

#[test]
fn a_check_on_another_worker_before_any_nomination_takes_the_transport() {
    let mut stage = Stage::new(2);
    let mut peer = stage.add_peer(Profile::AeadAes128Gcm);
    let check = peer.check(false);
    stage.inject(0, &peer, &check);
    stage.settle();
    assert_eq!(stage.observed(&peer).owner, 0);
    stage.take_sent_to(peer.address);
    peer.move_to("198.51.100.1:1");
    stage.connect(1, &mut peer);
    assert_eq!((stage.observed(&peer).owner, stage.observed(&peer).moves), (1, 1));
}

/// The second generation of credentials stands beside the first until a pair of it is nominated.
#[test]
fn an_ice_restart_keeps_keys_and_numbers() {
    let mut stage = Stage::new(2);
    let (mut publisher, mut subscriber) = pair(&mut stage, Profile::AeadAes128Gcm, 0);
    let ingress = stage.add_ingress(&publisher, Kind::Audio, &[(5, 0)]);
    stage.add_egress(&subscriber, ingress, Kind::Audio);
    stage.settle();
    let mut send = |stage: &mut Stage, n: u16| {
        let packet = publisher.rtp(Kind::Audio, 5, n, 960 * u32::from(n), &[0; 10]);
        stage.inject(0, &publisher, &packet);
        stage.advance_ms(20);
    };
    (0..10).for_each(|n| send(&mut stage, n));
    let old = (subscriber.ufrag.clone(), subscriber.password.clone());
    stage.restart_ice(&mut subscriber);
    stage.settle();
    // Both generations are answered, and the old pair goes on carrying media.
    let new = (subscriber.ufrag.clone(), subscriber.password.clone());
    (subscriber.ufrag, subscriber.password) = old;
    let before = receive(&mut stage, &mut subscriber);
    stage.connect(0, &mut subscriber);
    assert_eq!(stage.observed(&subscriber).credentials, 0);
    (10..20).for_each(|n| send(&mut stage, n));
    let between = receive(&mut stage, &mut subscriber);
    (subscriber.ufrag, subscriber.password) = new;
    rebind(&mut stage, &mut subscriber, 1, "198.51.100.9:9");
    assert_eq!(stage.observed(&subscriber).credentials, 1);
    (20..30).for_each(|n| send(&mut stage, n));
    let after = receive(&mut stage, &mut subscriber);
    let media: Vec<_> = [before, between, after].into_iter().flat_map(|received| received.media).collect();
    assert_eq!(media.len(), 30);
    assert!(media.iter().zip(&media[1..]).all(|(a, b)| b.sequence == a.sequence.wrapping_add(1)));
    assert_eq!(stage.all_drops(), []);
}

/// 27 packets, a kill, 20 packets: what the subscriber gets. By then the stored state is old, so that it alone would repeat packets.
fn media_over_a_kill(ssrcs: &[(u32, u32)], packet: impl Fn(&mut Peer, u16, &[u8]) -> Vec<u8>) -> Vec<Media> {
    let mut stage = Stage::new(2);
    let (mut publisher, mut subscriber) = pair(&mut stage, Profile::AeadAes128Gcm, 1);
    let ingress = stage.add_ingress(&publisher, Kind::Video, ssrcs);
    stage.add_egress(&subscriber, ingress, Kind::Video);
    stage.settle();
    let send = |stage: &mut Stage, publisher: &mut Peer, n: u16| {
        let packet = packet(publisher, n, &vp8(n.is_multiple_of(10), n, 500));
        stage.inject(0, publisher, &packet);
        stage.advance_ms(33);
    };
    (0..27).for_each(|n| send(&mut stage, &mut publisher, n));
    let mut media = receive(&mut stage, &mut subscriber).media;
    receive(&mut stage, &mut publisher);
    stage.restart_engine();
    // No check comes: media must not wait for one.
    (27..47).for_each(|n| send(&mut stage, &mut publisher, n));
    // Opening refuses a repeated index.
    media.extend(receive(&mut stage, &mut subscriber).media);
    assert_eq!(media.len(), 47, "{:?}", stage.all_drops());
    media
}

#[test]
fn a_successor_engine_repeats_no_index() {
    let media = media_over_a_kill(&[(21, 22)], |publisher, n, payload| {
        publisher.rtp(Kind::Video, 21, n, 3_000 * u32::from(n), payload)
    });
    // Nor is anything sent twice or left out.
    assert!(media.iter().zip(&media[1..]).all(|(a, b)| b.sequence.wrapping_sub(a.sequence) == 1));
}

/// Clients name a simulcast layer until it is reported on, and never send the roll-over count of SRTP.
#[test]
fn a_successor_engine_knows_streams_that_were_named_once() {
    media_over_a_kill(&[], |publisher, n, payload| {
        let header = RtpHeader {
            marker: true,
            payload_type: 96,
            sequence: SequenceNumber(65_530_u16.wrapping_add(n)),
            timestamp: RtpTimestamp(3_000 * u32::from(n)),
            ssrc: Ssrc(0x73),
            ..RtpHeader::default()
        };
        let names: &[(u8, &[u8])] = &[(EXTENSIONS.mid, b"1"), (EXTENSIONS.rid, b"f")];
        publisher.seal_rtp(&header, if n < 5 { names } else { &[] }, payload)
    });
}

#[test]
fn an_idle_node_is_at_rest() {
    let mut stage = Stage::new(1);
    let (publisher, subscriber) = pair(&mut stage, Profile::AeadAes128Gcm, 0);
    let ingress = stage.add_ingress(&publisher, Kind::Video, &[(21, 22)]);
    stage.add_egress(&subscriber, ingress, Kind::Video);
    stage.settle();
    let mut turns = 0;
    let end = stage.now.add_ms(5_000);
    while let Some(due) = stage.workers[0].poll_timeout().filter(|due| *due < end) {
        assert!(due > stage.now);
        stage.now = due;
        stage.settle();
        turns += 1;
    }
    assert!(turns <= 5_000 / 250 + 5, "{turns} turns in 5 s");
}
