use engine_base::Drop as DropReason;
use engine_srtp::Profile;
use engine_table::{NO_OWNER, transport_state};
use engine_wire::stun::{IceRole, MessageClass, StunMessage};

use crate::stage::Stage;

#[test]
fn a_nominating_check_connects_the_transport() {
    let mut stage = Stage::new(2);
    let mut peer = stage.add_peer(Profile::AeadAes128Gcm);
    stage.settle();
    stage.connect(1, &mut peer);
    let observed = stage.observed(&peer);
    assert_eq!((observed.owner, observed.state, observed.has_keys), (1, transport_state::CONNECTED, 1));
    assert_eq!((observed.remote, observed.moves), (peer.address, 1));
    assert_eq!(stage.all_drops(), []);
}

#[test]
fn a_check_is_answered_before_its_row_is_adopted() {
    let mut stage = Stage::new(1);
    let mut peer = stage.add_peer(Profile::AeadAes128Gcm);
    stage.connect(0, &mut peer);
    assert_eq!(stage.observed(&peer).state, transport_state::CONNECTED);
}

#[test]
fn a_check_without_nomination_validates_only() {
    let mut stage = Stage::new(1);
    let mut peer = stage.add_peer(Profile::AeadAes128Gcm);
    let check = peer.check(false);
    stage.inject(0, &peer, &check);
    stage.settle();
    let answers = stage.take_sent_to(peer.address);
    assert!(peer.accepts_answer(&answers[0]));
    assert_eq!(stage.observed(&peer).state, transport_state::CHECKING);
}

#[test]
fn unknown_ufrags_and_wrong_passwords_get_no_answer() {
    let mut stage = Stage::new(1);
    let mut peer = stage.add_peer(Profile::AeadAes128Gcm);
    stage.settle();
    peer.password[0] ^= 1;
    let forged = peer.check(true);
    peer.ufrag[7] = if peer.ufrag[7] == b'A' { b'B' } else { b'A' };
    let stale = peer.check(true);
    peer.ufrag = b"someone-elses".to_vec();
    let foreign = peer.check(true);
    for check in [&forged, &stale, &foreign] {
        stage.inject(0, &peer, check);
    }
    stage.settle();
    assert_eq!(stage.sent_count(), 0);
    assert_eq!(stage.drops(DropReason::StunBadIntegrity), 1);
    assert_eq!(stage.drops(DropReason::StunUnknownUfrag), 2);
    assert!(stage.regions.engine.transports().read(peer.transport.index).is_none());
}

#[test]
fn a_client_that_claims_to_be_controlled_is_told_to_switch() {
    let mut stage = Stage::new(1);
    let mut peer = stage.add_peer(Profile::AeadAes128Gcm);
    peer.role = IceRole::Controlled(9);
    let check = peer.check(true);
    stage.inject(0, &peer, &check);
    stage.settle();
    let answers = stage.take_sent_to(peer.address);
    let answer = StunMessage::parse(&answers[0]).unwrap();
    assert_eq!((answer.class, answer.error.map(|error| error.code)), (MessageClass::Error, Some(487)));
    peer.role = IceRole::Controlling(9);
    stage.connect(0, &mut peer);
}

#[test]
fn silence_disconnects_then_fails_and_a_check_revives() {
    let mut stage = Stage::new(1);
    let mut peer = stage.add_peer(Profile::AeadAes128Gcm);
    stage.connect(0, &mut peer);
    stage.advance_ms(9_990);
    assert_eq!(stage.observed(&peer).state, transport_state::CONNECTED);
    stage.advance_ms(20);
    assert_eq!(stage.observed(&peer).state, transport_state::DISCONNECTED);
    stage.advance_ms(5_000);
    assert_eq!(stage.observed(&peer).state, transport_state::FAILED);
    stage.connect(0, &mut peer);
    assert_eq!(stage.observed(&peer).state, transport_state::CONNECTED);
}

#[test]
fn a_second_nomination_moves_path_and_owner_after_half_a_second() {
    let mut stage = Stage::new(2);
    let mut peer = stage.add_peer(Profile::AeadAes128Gcm);
    stage.connect(0, &mut peer);
    let first = peer.address;
    peer.move_to("198.51.100.7:4000");
    stage.advance_ms(100);
    stage.connect(1, &mut peer);
    assert_eq!((stage.observed(&peer).owner, stage.observed(&peer).remote), (0, first));
    stage.advance_ms(401);
    let observed = stage.observed(&peer);
    assert_eq!((observed.owner, observed.remote, observed.moves), (1, peer.address, 2));
    assert_eq!(stage.all_drops(), []);
}

#[test]
fn a_freed_row_ends_the_transport() {
    let mut stage = Stage::new(1);
    let mut peer = stage.add_peer(Profile::AeadAes128Gcm);
    stage.connect(0, &mut peer);
    let mut row = stage.regions.signaling.transports().own(peer.transport.index);
    row.state = engine_table::ROW_FREE;
    stage.publish_transport(peer.transport.index, &row);
    stage.settle();
    assert_eq!(stage.observed(&peer).owner, NO_OWNER);
    let check = peer.check(true);
    stage.inject(0, &peer, &check);
    stage.settle();
    assert_eq!(stage.drops(DropReason::StunUnknownUfrag), 1);
}

#[test]
fn adopted_positions_follow_the_logs() {
    let mut stage = Stage::new(2);
    for _ in 0..40 {
        stage.add_peer(Profile::Aes128CmSha1_80);
    }
    let head = stage.regions.signaling.log().head();
    assert!(!stage.regions.engine.all_adopted(head));
    stage.settle();
    assert!(stage.regions.engine.all_adopted(head));
    assert_eq!(stage.all_drops(), []);
}

#[test]
fn dtls_needs_a_check_first_and_the_couriers_answer_goes_back() {
    use engine_table::{PuntHeader, SocketAddress, punt};
    use zerocopy::{FromBytes, IntoBytes};

    let mut stage = Stage::new(2);
    let mut peer = stage.add_unkeyed_peer(Profile::AeadAes128Gcm);
    stage.settle();
    let hello = [22u8, 254, 253, 1, 2, 3];
    stage.inject(0, &peer, &hello);
    stage.settle();
    assert_eq!(stage.drops(DropReason::DtlsBeforeCheck), 1);
    stage.connect(0, &mut peer);
    stage.inject(0, &peer, &hello);
    stage.settle();
    let (engine, courier) = (&stage.regions.engine, &stage.regions.courier);
    let mut out = [0; 256];
    let (kind, length) = engine.punt_ring(courier, 0).consumer().pop(&mut out).unwrap();
    let (head, datagram) = PuntHeader::read_from_prefix(&out[..length]).unwrap();
    assert_eq!((kind, head.transport, head.address, datagram), (punt::DTLS, peer.transport, peer.address, &hello[..]));
    // By the address it came from, and by the transport's own pair even through the wrong worker.
    let anywhere = PuntHeader { address: SocketAddress::NONE, ..head };
    assert!(courier.worker_ring(engine, 0).producer().push(punt::DTLS, &[head.as_bytes(), b"one"]));
    assert!(courier.worker_ring(engine, 1).producer().push(punt::DTLS, &[anywhere.as_bytes(), b"two"]));
    stage.settle();
    assert_eq!(stage.take_sent_to(peer.address), [b"one".to_vec(), b"two".to_vec()]);
}

#[test]
fn garbage_changes_nothing() {
    let mut stage = Stage::new(1);
    let mut peer = stage.add_peer(Profile::Aes128CmSha1_80);
    stage.connect(0, &mut peer);
    let stranger = {
        let mut stranger = stage.add_peer(Profile::Aes128CmSha1_80);
        stranger.move_to("203.0.113.5:9");
        stranger
    };
    stage.settle();
    let mut seed = 1u64;
    for round in 0..4_000u32 {
        let mut bytes = [0u8; 120];
        for byte in &mut bytes {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (seed >> 33) as u8;
        }
        bytes[0] = [0, 22, 0x80, 0x80, 0xff][round as usize % 5];
        bytes[1] = if round % 2 == 0 { bytes[1] } else { 200 };
        let from = if round % 3 == 0 { &peer } else { &stranger };
        stage.inject(0, from, &bytes[..(round as usize % 120)]);
    }
    stage.settle();
    assert_eq!(stage.sent_count(), 0);
    let dropped: u64 = stage.all_drops().iter().map(|(_, count)| count).sum();
    let punted = stage.regions.engine.counter(0, engine_table::WorkerCounter::Punted);
    assert_eq!(dropped + punted.load(std::sync::atomic::Ordering::Relaxed), 4_000);
    assert_eq!(stage.observed(&peer).remote, peer.address);
}
