//! A courier that takes over the rows of one that was killed.

use engine_base::Drop as DropReason;
use engine_courier::channels::Channel;
use engine_table::*;

use crate::messages::DataPacket;
use crate::node::{ALL_RIGHTS, Node};

#[test]
fn established_sessions_are_lost_but_keep_their_keys_and_sequence() {
    let mut node = Node::room(&["alice", "bob"]);
    let [alice, bob] = ["alice", "bob"].map(|name| node.client(name).transport);
    node.send("alice", Channel::Reliable, &DataPacket { sequence: 9, ..DataPacket::user(b"x") });
    let (keys, version) = (node.keys(alice), node.regions.keys.keys().version(alice.index));
    node.restart_courier();
    let session = node.session(alice);
    assert_eq!((session.dtls, session.needs_reconnect, session.last_sequence), (dtls_state::LOST, 0, 9));
    assert_eq!(node.session(bob).dtls, dtls_state::LOST);
    assert!(node.keys(alice) == keys && node.regions.keys.keys().version(alice.index) == version);
    node.restart_courier();
    assert_eq!(node.session(alice).dtls, dtls_state::LOST, "a second death changes nothing");
}

#[test]
fn data_of_a_lost_session_asks_for_a_reconnect_and_small_control_traffic_does_not() {
    let mut node = Node::room(&["alice", "bob"]);
    let [alice, bob] = ["alice", "bob"].map(|name| node.client(name).transport);
    node.restart_courier();
    // A DTLS 1.3 record of 28 bytes of SCTP: a HEARTBEAT or SACK.
    node.courier.handle_datagram(0, &node.header(alice), &[0x2f; 50], node.now);
    assert_eq!(node.session(alice).needs_reconnect, 0);
    node.send("alice", Channel::Reliable, &DataPacket::user(b"hello"));
    assert_eq!(node.session(alice).needs_reconnect, 1);
    assert_eq!(node.session(bob).needs_reconnect, 0);
    assert_eq!(node.session(alice).dtls, dtls_state::LOST);
}

#[test]
fn data_for_a_lost_session_asks_for_a_reconnect_and_arrives_after_it() {
    let mut node = Node::room(&["alice", "bob"]);
    let bob = node.client("bob").transport;
    let bob_row = engine_base::DataRef::new(bob.index, bob.generation);
    node.restart_courier();
    node.add_client("carol");
    node.add_member("carol", ALL_RIGHTS);
    node.run(3_000);
    node.send("carol", Channel::Lossy, &DataPacket::user(b"lossy"));
    node.send("carol", Channel::Reliable, &DataPacket::user(b"kept"));
    assert_eq!(node.session(bob).needs_reconnect, 1);
    // Bob comes back with a new session after his old rows went.
    node.free_member(bob_row);
    node.free_transport(bob);
    node.clients.remove("bob");
    let again = node.add_client("bob-again");
    node.set_member("bob", again, again, ALL_RIGHTS);
    node.run(3_000);
    assert_eq!(node.client("bob-again").payloads(), [b"kept"]);
}

#[test]
fn a_replaced_participant_inherits_what_waited_for_its_lost_session() {
    let mut node = Node::room(&["alice", "bob"]);
    node.restart_courier();
    node.add_client("carol");
    node.add_member("carol", ALL_RIGHTS);
    node.run(3_000);
    node.send("carol", Channel::Reliable, &DataPacket::user(b"kept"));
    let again = node.add_client("bob-again");
    node.run(3_000);
    node.set_member("bob", again, again, ALL_RIGHTS);
    node.run(50);
    assert_eq!(node.client("bob-again").payloads(), [b"kept"]);
}

#[test]
fn a_handshake_cut_in_two_has_failed_at_once_and_new_ones_work() {
    let mut node = Node::new();
    let alice = node.add_client("alice");
    node.clients.get_mut("alice").unwrap().is_cut = true;
    node.run(100);
    assert_eq!(node.session(alice).dtls, dtls_state::HANDSHAKE);
    node.restart_courier();
    assert_eq!(node.session(alice).dtls, dtls_state::FAILED);
    assert_eq!(node.keys(alice).generation, 0);
    assert_eq!(node.counter(CourierCounter::HandshakesFailed), 1);
    let bob = node.add_client("bob");
    node.run(3_000);
    assert_eq!(node.session(bob).dtls, dtls_state::CONNECTED);
}

#[test]
fn a_transport_that_came_while_no_courier_ran_begins_and_one_that_went_is_cleared() {
    let mut node = Node::room(&["alice"]);
    let alice = node.client("alice").transport;
    node.regions.signaling.transports().publish(alice.index, &zerocopy::FromZeros::new_zeroed());
    let bob = node.add_client("bob");
    while node.courier.poll_transmit().is_some() {}
    let (keys, sessions) = (node.regions.keys.keys(), node.regions.courier.sessions());
    sessions.publish(bob.index, &zerocopy::FromZeros::new_zeroed());
    node.restart_courier();
    assert_eq!((keys.own(alice.index).profile, sessions.own(alice.index).generation), (0, 0));
    node.run(3_000);
    assert_eq!(node.session(bob).dtls, dtls_state::CONNECTED);
}

#[test]
fn a_lost_session_that_closes_frees_its_rows() {
    let mut node = Node::room(&["alice"]);
    let alice = node.client("alice").transport;
    node.restart_courier();
    node.free_transport(alice);
    assert_eq!((node.keys(alice).profile, node.session(alice).generation), (0, 0));
    node.courier.handle_datagram(0, &node.header(alice), &[23; 100], node.now);
    assert_eq!(node.drops(DropReason::CourierDtls), 1);
}
