//! Data packets between participants of a room, through the courier and its tables.

use engine_base::{DataRef, Drop as DropReason, TransportRef};
use engine_courier::channels::Channel;
use engine_courier::limits;
use engine_courier::session::Role;
use engine_table::*;
use prost::Message;

use crate::messages::{DataPacket, Value};
use crate::node::{ALL_RIGHTS, Node};

const NAMES: [&str; 3] = ["alice", "bob", "carol"];

fn to(names: &[&str], payload: &[u8]) -> DataPacket {
    let destination_identities = names.iter().map(|name| (*name).to_owned()).collect();
    DataPacket { destination_identities, ..DataPacket::user(payload) }
}

fn sequenced(sequence: u32, payload: &[u8]) -> DataPacket {
    DataPacket { sequence, ..DataPacket::user(payload) }
}

#[test]
fn everybody_but_the_sender_gets_a_packet_stamped_by_the_server() {
    let mut node = Node::room(&NAMES);
    let forged = DataPacket { participant_identity: "eve".into(), kind: 1, ..sequenced(1, b"hello") };
    node.send("alice", Channel::Reliable, &forged);
    for name in ["bob", "carol"] {
        let messages = node.client(name).messages();
        assert_eq!(messages.len(), 1, "{name}");
        let message = &messages[0];
        assert_eq!((message.participant_identity.as_str(), message.participant_sid.as_str()), ("alice", "PA_alice"));
        assert_eq!((message.kind, message.sequence, message.payload()), (0, 1, &b"hello"[..]));
    }
    assert!(node.client("alice").messages().is_empty(), "no echo");
    assert_eq!(node.counter(CourierCounter::DataReceived), 1);
    assert_eq!(node.counter(CourierCounter::DataSent), 2);
}

#[test]
fn lossy_packets_come_on_the_lossy_channel_with_its_kind() {
    let mut node = Node::room(&NAMES);
    node.send("bob", Channel::Lossy, &DataPacket::user(b"fast"));
    assert_eq!(node.client("alice").messages()[0].kind, 1);
    assert_eq!(node.client("carol").payloads(), [b"fast"]);
}

#[test]
fn destinations_are_by_identity_or_by_sid_and_unknown_ones_are_counted() {
    let mut node = Node::room(&NAMES);
    node.send("alice", Channel::Reliable, &to(&["carol"], b"for carol"));
    let mut by_sid = DataPacket::user(b"for bob");
    if let Some(Value::User(user)) = &mut by_sid.value {
        user.destination_sids = vec!["PA_bob".into()];
    }
    node.send("alice", Channel::Reliable, &by_sid);
    node.send("alice", Channel::Reliable, &to(&["alice"], b"for myself"));
    node.send("alice", Channel::Reliable, &to(&["nobody"], b"for nobody"));
    assert_eq!(node.client("bob").payloads(), [b"for bob"]);
    assert_eq!(node.client("carol").payloads(), [b"for carol"]);
    assert!(node.client("alice").messages().is_empty());
    assert_eq!(node.drops(DropReason::DataNoReceiver), 2);
}

#[test]
fn permission_to_send_and_to_receive_is_asked_for_each_packet() {
    let mut node = Node::room(&NAMES);
    node.add_member("alice", data_flags::CAN_RECEIVE);
    node.send("alice", Channel::Reliable, &DataPacket::user(b"forbidden"));
    assert_eq!(node.drops(DropReason::DataNotPermitted), 1);
    node.add_member("alice", ALL_RIGHTS);
    node.add_member("bob", data_flags::CAN_PUBLISH);
    node.send("alice", Channel::Reliable, &DataPacket::user(b"allowed"));
    assert!(node.client("bob").messages().is_empty());
    assert_eq!(node.client("carol").payloads(), [b"allowed"]);
}

#[test]
fn hidden_senders_are_blank_and_rooms_are_apart() {
    let mut node = Node::room(&NAMES);
    node.add_member("alice", ALL_RIGHTS | data_flags::HIDDEN);
    let carol = node.client("carol").transport;
    let mut row = node.regions.signaling.datas().read(carol.index).unwrap().1;
    row.group += 1;
    node.regions.signaling.datas().publish(carol.index, &row);
    node.courier.handle_change(TableId::Data, carol.index, None, node.now);
    node.send("alice", Channel::Reliable, &DataPacket::user(b"whisper"));
    let messages = node.client("bob").messages();
    assert_eq!((messages[0].participant_identity.as_str(), messages[0].payload()), ("", &b"whisper"[..]));
    assert!(node.client("carol").messages().is_empty());
}

#[test]
fn a_sequence_that_was_seen_is_a_duplicate_and_the_last_is_in_the_session_row() {
    let mut node = Node::room(&NAMES);
    for (sequence, payload) in [(1, b"one"), (2, b"two"), (2, b"two"), (1, b"one"), (3, b"tri")] {
        node.send("alice", Channel::Reliable, &sequenced(sequence, payload));
    }
    assert_eq!(node.client("bob").payloads(), [b"one", b"two", b"tri"]);
    assert_eq!(node.drops(DropReason::DataDuplicate), 2);
    let transport = node.client("alice").transport;
    assert_eq!(node.session(transport).last_sequence, 3);
}

#[test]
fn a_resumed_receiver_gets_what_it_missed() {
    let mut node = Node::room(&NAMES);
    for (sequence, payload) in [(1, b"one"), (2, b"two"), (3, b"tri")] {
        node.send("alice", Channel::Reliable, &sequenced(sequence, payload));
    }
    let bob = node.client("bob").transport;
    let command = ReplayCommand {
        to: DataRef::new(bob.index, bob.generation),
        last_sequence: 1,
        reserved: 0,
        sender_sid: Text::cut("PA_alice"),
    };
    node.command(data_command::REPLAY, &command, &[]);
    assert_eq!(node.client("bob").payloads(), [b"one", b"two", b"tri", b"two", b"tri"]);
    assert_eq!(node.client("carol").payloads().len(), 3);
    assert_eq!(node.counter(CourierCounter::DataReplayed), 2);
}

#[test]
fn a_joiner_gets_what_was_sent_between_its_row_and_its_channel() {
    let mut node = Node::room(&NAMES);
    node.send("alice", Channel::Reliable, &sequenced(1, b"before"));
    node.add_client("dave");
    node.clients.get_mut("dave").unwrap().is_cut = true;
    node.add_member("dave", ALL_RIGHTS);
    node.send("alice", Channel::Reliable, &sequenced(2, b"during"));
    node.send("bob", Channel::Reliable, &DataPacket::user(b"unsequenced"));
    node.send("bob", Channel::Lossy, &DataPacket::user(b"lossy"));
    node.clients.get_mut("dave").unwrap().is_cut = false;
    node.run(3_000);
    node.send("alice", Channel::Reliable, &sequenced(3, b"after"));
    assert_eq!(node.client("dave").payloads(), [&b"during"[..], b"unsequenced", b"after"]);
}

#[test]
fn the_server_sends_its_own_packets_as_they_are() {
    let mut node = Node::room(&NAMES);
    let bob = node.client("bob").transport;
    let command = DataCommand { to: DataRef::new(bob.index, bob.generation), reliable: 1, reserved: 0 };
    let packet = DataPacket { participant_identity: "server".into(), ..DataPacket::user(b"api") };
    node.command(data_command::SEND, &command, &packet.encode_to_vec());
    assert_eq!(node.client("bob").messages(), std::slice::from_ref(&packet));
    let stale = DataCommand { to: DataRef::new(bob.index, bob.generation + 1), ..command };
    node.command(data_command::SEND, &stale, &packet.encode_to_vec());
    assert_eq!(node.drops(DropReason::DataNoReceiver), 1);
    node.courier.handle_command(data_command::SEND, &[0; 3], node.now);
    node.courier.handle_command(99, &[], node.now);
    assert_eq!(node.drops(DropReason::RowBad), 2);
}

#[test]
fn a_slow_receiver_loses_packets_and_nobody_waits() {
    let mut node = Node::room(&NAMES);
    node.clients.get_mut("bob").unwrap().is_cut = true;
    let payload = vec![3; 60_000];
    let count = 2 * limits::RELIABLE_QUEUE_BYTES / payload.len();
    for _ in 0..count {
        node.send("alice", Channel::Reliable, &DataPacket::user(&payload));
    }
    assert_eq!(node.client("carol").messages().len(), count);
    assert!(node.drops(DropReason::DataQueueFull) as usize >= count / 2 - 1);
}

#[test]
fn packets_on_the_data_track_channel_are_counted_and_malformed_ones_too() {
    let mut node = Node::room(&NAMES);
    node.send("alice", Channel::DataTrack, &DataPacket::user(b"frame"));
    assert_eq!(node.drops(DropReason::DataTrackUnserved), 1);
    let alice = node.clients.get_mut("alice").unwrap();
    alice.session.send(Channel::Reliable, &bytes::Bytes::from_static(&[0x0f, 0xff]), node.now).unwrap();
    alice.session.send(Channel::Reliable, &bytes::Bytes::new(), node.now).unwrap();
    node.run(50);
    assert_eq!(node.drops(DropReason::DataMalformed), 1);
}

#[test]
fn in_the_dual_layout_packets_go_down_on_channels_that_the_server_opens() {
    let mut node = Node::room(&["alice"]);
    let publisher = node.add_client("bob-up");
    let browser = Role { dtls_client: true, sctp: true, initiate: true, open_channels: false };
    let flags = transport_flags::SCTP | transport_flags::OPEN_CHANNELS;
    let subscriber = node.add_client_as("bob-down", browser, DTLS_SERVER, flags);
    node.set_member("bob", publisher, subscriber, ALL_RIGHTS);
    node.run(3_000);
    assert!(node.client("bob-down").is_open());
    let all = channel_bits::RELIABLE | channel_bits::LOSSY | channel_bits::DATA_TRACK;
    assert_eq!(node.session(subscriber).channels, all);
    node.send("alice", Channel::Reliable, &DataPacket::user(b"down"));
    node.send("bob-up", Channel::Reliable, &DataPacket::user(b"up"));
    assert_eq!(node.client("bob-down").payloads(), [b"down"]);
    assert!(node.client("bob-up").messages().is_empty());
    assert_eq!(node.client("alice").payloads(), [b"up"]);
}

#[test]
fn keys_are_published_before_they_are_announced_and_go_when_the_row_goes() {
    let mut node = Node::room(&["alice"]);
    let transport = node.client("alice").transport;
    let (keys, session) = (node.keys(transport), node.session(transport));
    assert_eq!((keys.generation, session.generation), (transport.generation, transport.generation));
    assert_eq!((session.dtls, session.dtls_version), (dtls_state::CONNECTED, 13));
    assert!(keys.profile != 0 && keys.profile == session.srtp_profile);
    let wakes = node.courier.take_wakes();
    assert!(wakes.workers && wakes.signaling);
    node.free_transport(transport);
    assert_eq!((node.keys(transport).profile, node.keys(transport).send_key), (0, [0; 32]));
    assert_eq!(node.session(transport).generation, 0);
    node.courier.handle_datagram(0, &node.header(transport), &[22; 40], node.now);
    assert_eq!(node.drops(DropReason::CourierDtls), 1);
}

#[test]
fn datagrams_go_to_the_owner_and_before_nomination_to_whence_the_last_one_came() {
    let mut node = Node::new();
    let browser = Role { dtls_client: true, sctp: true, initiate: true, open_channels: false };
    let transport = node.add_client_as("alice", browser, DTLS_SERVER, transport_flags::SCTP);
    node.set_observed(transport, transport_state::CHECKING);
    let hello = node.clients.get_mut("alice").unwrap().session.poll_transmit().unwrap();
    let header = node.header(transport);
    node.courier.handle_datagram(0, &header, &hello, node.now);
    let answer = node.courier.poll_transmit().unwrap();
    assert_eq!((answer.worker, answer.header.address), (0, header.address));
    while node.courier.poll_transmit().is_some() {}
    node.set_observed(transport, transport_state::CONNECTED);
    node.run(3_000);
    node.courier.handle_datagram(0, &header, &hello, node.now);
    node.now = node.now.add_ms(1);
    let flags = transport_flags::SCTP | transport_flags::CLOSING;
    let fingerprint = node.client("alice").fingerprint;
    node.set_transport(transport, DTLS_SERVER, flags, fingerprint);
    let bye = node.courier.poll_transmit().unwrap();
    assert_eq!((bye.worker, bye.header.address), (1, SocketAddress::NONE));
    assert_eq!(node.session(transport).dtls, dtls_state::CLOSED);
}

#[test]
fn a_fingerprint_that_differs_is_counted_and_no_key_is_published() {
    let mut node = Node::new();
    let transport = node.add_client("alice");
    let mut fingerprint = node.client("alice").fingerprint;
    fingerprint.digest[0] ^= 1;
    node.set_transport(transport, DTLS_CLIENT, transport_flags::SCTP, fingerprint);
    node.run(3_000);
    assert_eq!(node.session(transport).dtls, dtls_state::FAILED);
    assert_eq!(node.counter(CourierCounter::FingerprintMismatch), 1);
    assert_eq!(node.keys(transport).generation, 0);
    assert_eq!(node.courier.handshakes(), 0);
}

#[test]
fn handshakes_beyond_the_limit_wait_or_are_dropped_and_counted() {
    let limit = limits::HANDSHAKES_MAX as u32;
    let mut node = Node::with_transports(limit + 200);
    let browser = Role { dtls_client: true, sctp: true, initiate: true, open_channels: false };
    node.add_client_as("alice", browser, DTLS_SERVER, transport_flags::SCTP);
    let hello = node.clients.get_mut("alice").unwrap().session.poll_transmit().unwrap();
    let fingerprint = node.client("alice").fingerprint;
    for index in 100..limit + 102 {
        let transport = TransportRef::new(index, 1);
        node.set_transport(transport, DTLS_SERVER, 0, fingerprint);
        node.courier.handle_datagram(0, &node.header(transport), &hello, node.now);
        while node.courier.poll_transmit().is_some() {}
    }
    assert_eq!(node.courier.handshakes(), limits::HANDSHAKES_MAX);
    assert!(node.drops(DropReason::CourierHandshakeLimit) >= 2);
    node.add_client("bob");
    let bob = node.client("bob").transport;
    assert_eq!(node.session(bob).dtls, dtls_state::NONE);
    node.free_transport(TransportRef::new(105, 1));
    node.run(1);
    assert_ne!(node.session(bob).dtls, dtls_state::NONE, "it took the free place");
}

#[test]
fn a_bad_row_is_skipped_and_counted() {
    let mut node = Node::new();
    let transport = TransportRef::new(3, 9);
    node.set_transport(transport, 7, 0, crate::identity::unknown_fingerprint());
    let mut fingerprint = crate::identity::unknown_fingerprint();
    fingerprint.bytes = 200;
    node.set_transport(transport, DTLS_SERVER, 0, fingerprint);
    assert_eq!(node.drops(DropReason::RowBad), 2);
    assert_eq!(node.session(transport).generation, 0);
}
