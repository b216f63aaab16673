//! Two sessions joined by a link: handshakes in both roles and versions, keys, channels, loss.

use std::sync::Arc;

use bytes::Bytes;
use engine_base::TimeNs;
use engine_courier::channels::{Channel, SendError};
use engine_courier::clock::Clock;
use engine_courier::limits;
use engine_courier::session::{Failure, Keys, Phase, Role, SessionEvent};
use engine_courier::{Session, Settings, Versions};

use crate::identity::{fingerprint, identity, unknown_fingerprint};

const START: TimeNs = TimeNs::from_ms(1_000_000);
const CLIENT: Role = Role { dtls_client: true, sctp: true, initiate: false, open_channels: false };
const SERVER: Role = Role { dtls_client: false, sctp: true, initiate: true, open_channels: true };

fn settings(versions: Versions) -> (Arc<Settings>, engine_table::Fingerprint) {
    let identity = identity();
    (Settings::new(&identity, versions, Clock::starting_at(START)).unwrap(), fingerprint(&identity))
}

struct Pair {
    sessions: [Session; 2],
    events: [Vec<SessionEvent>; 2],
    now: TimeNs,
    /// Datagrams so far, lost or not.
    datagrams: u64,
    is_lost: fn(u64) -> bool,
}

impl Pair {
    fn new(versions: [Versions; 2], roles: [Role; 2], is_lost: fn(u64) -> bool) -> Self {
        let [(a, a_print), (b, b_print)] = versions.map(settings);
        let sessions = [Session::new(&a, roles[0], b_print, START), Session::new(&b, roles[1], a_print, START)];
        Self { sessions, events: [Vec::new(), Vec::new()], now: START, datagrams: 0, is_lost }
    }

    fn exchange(&mut self) {
        loop {
            let mut moved = false;
            for from in 0..2 {
                while let Some(datagram) = self.sessions[from].poll_transmit() {
                    moved = true;
                    self.datagrams += 1;
                    if !(self.is_lost)(self.datagrams) {
                        self.sessions[1 - from].handle_packet(&datagram, self.now);
                    }
                }
                while let Some(event) = self.sessions[from].poll_event() {
                    self.events[from].push(event);
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// Until `done` or for `ms` of simulated time.
    fn run(&mut self, ms: u64, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now.add_ms(ms);
        loop {
            self.exchange();
            if done(self) {
                return true;
            }
            let next = self.sessions.iter().filter_map(Session::poll_timeout).min().unwrap_or(end);
            self.now = next.max(self.now.add_ms(1));
            if self.now > end {
                return false;
            }
            for session in &mut self.sessions {
                session.handle_timeout(self.now);
            }
        }
    }

    fn are_channels_open(&self) -> bool {
        self.events
            .iter()
            .all(|events| Channel::ALL.iter().all(|channel| events.contains(&SessionEvent::ChannelOpen(*channel))))
    }

    fn keys(&self, side: usize) -> &Keys {
        let keys = self.events[side].iter().find_map(|event| match event {
            SessionEvent::Connected(keys) => Some(keys),
            _ => None,
        });
        keys.expect("connected")
    }

    fn messages(&self, side: usize) -> Vec<(Channel, Bytes)> {
        let messages = self.events[side].iter().filter_map(|event| match event {
            SessionEvent::Message(channel, bytes) => Some((*channel, bytes.clone())),
            _ => None,
        });
        messages.collect()
    }
}

fn assert_connects(versions: [Versions; 2], roles: [Role; 2], expected: u8) {
    let mut pair = Pair::new(versions, roles, |_| false);
    assert!(pair.run(5_000, Pair::are_channels_open), "{versions:?} {roles:?}: {:?}", pair.events);
    assert_eq!(pair.sessions.each_ref().map(Session::dtls_version), [expected; 2]);
    let (a, b) = (pair.keys(0), pair.keys(1));
    assert_eq!((&a.send, &a.receive), (&b.receive, &b.send));
    assert_ne!(a.send, a.receive);
}

#[test]
fn every_pair_of_versions_connects_in_both_roles_and_keys_agree() {
    use Versions::{Auto, Dtls12, Dtls13};
    for (versions, expected) in
        [([Auto, Auto], 13), ([Auto, Dtls13], 13), ([Dtls13, Auto], 13), ([Auto, Dtls12], 12), ([Dtls12, Auto], 12)]
    {
        assert_connects(versions, [CLIENT, SERVER], expected);
        assert_connects(versions, [SERVER, CLIENT], expected);
    }
}

#[test]
fn the_dtls_server_may_open_the_channels_or_the_client() {
    for (dtls_client, open_channels) in [(true, true), (true, false), (false, true), (false, false)] {
        let first = Role { dtls_client, sctp: true, initiate: open_channels, open_channels };
        let second =
            Role { dtls_client: !dtls_client, open_channels: !open_channels, initiate: !open_channels, ..first };
        assert_connects([Versions::Auto; 2], [first, second], 13);
    }
}

#[test]
fn two_passive_or_two_active_associations_find_each_other() {
    for initiate in [false, true] {
        let roles = [Role { initiate, ..CLIENT }, Role { initiate, ..SERVER }];
        assert_connects([Versions::Auto; 2], roles, 13);
    }
}

/// A plaintext record as anybody can write it who knows the addresses.
fn plaintext(content: u8, sequence: u64, body: &[u8]) -> Vec<u8> {
    let mut record = vec![content, 0xfe, 0xfd, 0, 0];
    record.extend_from_slice(&sequence.to_be_bytes()[2..]);
    record.extend_from_slice(&(body.len() as u16).to_be_bytes());
    record.extend_from_slice(body);
    record
}

/// A whole handshake message of four bytes in one fragment.
fn handshake(kind: u8, message: u16) -> Vec<u8> {
    let [high, low] = message.to_be_bytes();
    vec![kind, 0, 0, 4, high, low, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4]
}

#[test]
fn forged_plaintext_does_not_end_an_established_session() {
    for versions in [Versions::Dtls12, Versions::Dtls13] {
        let mut pair = Pair::new([versions; 2], [CLIENT, SERVER], |_| false);
        assert!(pair.run(5_000, Pair::are_channels_open));
        for number in 0..300u16 {
            let sequence = 1_000 + u64::from(number);
            let forged = [
                plaintext(20, sequence, &[1]),
                plaintext(21, sequence, &[2, 40]),
                plaintext(21, sequence, &[1, 0]),
                plaintext(22, sequence, &handshake(1, number)),
                plaintext(22, sequence, &handshake(20, number)),
                plaintext(23, sequence, b"data"),
                plaintext(26, sequence, &[0, 0]),
                plaintext(22, sequence, b"short"),
            ];
            for (side, datagram) in [0, 1].into_iter().flat_map(|side| forged.iter().map(move |bytes| (side, bytes))) {
                pair.sessions[side].handle_packet(datagram, pair.now);
            }
        }
        assert_eq!(pair.sessions.each_ref().map(Session::phase), [Phase::Connected; 2], "{versions:?}");
        let message = Bytes::from_static(b"still here");
        let now = pair.now;
        pair.sessions[0].send(Channel::Reliable, &message, now).unwrap();
        assert!(pair.run(5_000, |pair| pair.messages(1) == [(Channel::Reliable, message.clone())]), "{versions:?}");
    }
}

/// One in five, without a period.
fn is_fifth(n: u64) -> bool {
    (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).is_multiple_of(5)
}

#[test]
fn a_link_that_loses_every_fifth_datagram_still_connects_and_delivers_in_order() {
    for versions in [Versions::Dtls12, Versions::Dtls13] {
        let mut pair = Pair::new([versions; 2], [CLIENT, SERVER], is_fifth);
        assert!(pair.run(30_000, Pair::are_channels_open), "{versions:?}: {:?}", pair.events);
        let message = |n: u8| Bytes::from(vec![n; 20_000]);
        for n in 0..20 {
            let now = pair.now;
            pair.sessions[0].send(Channel::Reliable, &message(n), now).unwrap();
        }
        assert!(pair.run(120_000, |pair| pair.messages(1).len() == 20), "{}", pair.messages(1).len());
        let expected: Vec<_> = (0..20).map(|n| (Channel::Reliable, message(n))).collect();
        assert_eq!(pair.messages(1), expected);
    }
}

#[test]
fn lossy_messages_pass_and_the_largest_message_passes() {
    let mut pair = Pair::new([Versions::Auto; 2], [CLIENT, SERVER], |_| false);
    assert!(pair.run(5_000, Pair::are_channels_open));
    let largest = Bytes::from(vec![7; limits::MESSAGE_BYTES_MAX - 1]);
    let now = pair.now;
    pair.sessions[0].send(Channel::Reliable, &largest, now).unwrap();
    pair.sessions[1].send(Channel::Lossy, &Bytes::from_static(b"lossy"), now).unwrap();
    assert!(pair.run(5_000, |pair| pair.messages(1).len() + pair.messages(0).len() == 2));
    assert_eq!(pair.messages(1), [(Channel::Reliable, largest)]);
    assert_eq!(pair.messages(0), [(Channel::Lossy, Bytes::from_static(b"lossy"))]);
}

#[test]
fn a_peer_that_reads_nothing_fills_its_queue_and_nothing_else() {
    let mut pair = Pair::new([Versions::Auto; 2], [CLIENT, SERVER], |_| false);
    assert!(pair.run(5_000, Pair::are_channels_open));
    pair.is_lost = |_| true;
    let message = Bytes::from(vec![1; 60_000]);
    let results: Vec<_> = (0..100)
        .map(|_| {
            let now = pair.now;
            let result = pair.sessions[0].send(Channel::Reliable, &message, now);
            pair.exchange();
            result
        })
        .collect();
    let accepted = results.iter().take_while(|result| result.is_ok()).count();
    assert_eq!(accepted, limits::RELIABLE_QUEUE_BYTES / message.len());
    assert!(results[accepted..].iter().all(|result| *result == Err(SendError::Full)));
}

#[test]
fn keys_wait_for_the_fingerprint_and_an_early_association_is_not_lost() {
    let (a, a_print) = settings(Versions::Auto);
    let (b, b_print) = settings(Versions::Auto);
    let ours = Session::new(&a, CLIENT, unknown_fingerprint(), START);
    let mut pair = Pair::new([Versions::Auto; 2], [CLIENT, SERVER], |_| false);
    pair.sessions = [ours, Session::new(&b, SERVER, a_print, START)];
    assert!(!pair.run(2_000, |pair| pair.sessions[0].phase() == Phase::Connected));
    assert_eq!(pair.sessions[0].phase(), Phase::Unverified);
    let now = pair.now;
    pair.sessions[0].update(true, false, b_print, now);
    assert!(pair.run(3_000, Pair::are_channels_open), "{:?}", pair.events);
}

#[test]
fn another_certificate_fails_and_so_does_a_fingerprint_that_never_comes() {
    let (_, other) = settings(Versions::Auto);
    for (expected, failure) in
        [(other, Failure::FingerprintMismatch), (unknown_fingerprint(), Failure::FingerprintUnknown)]
    {
        let (a, a_print) = settings(Versions::Auto);
        let (b, _) = settings(Versions::Auto);
        let mut pair = Pair::new([Versions::Auto; 2], [CLIENT, SERVER], |_| false);
        pair.sessions = [Session::new(&a, CLIENT, expected, START), Session::new(&b, SERVER, a_print, START)];
        assert!(pair.run(limits::FINGERPRINT_WAIT_MS + 2_000, |pair| pair.sessions[0].phase() == Phase::Failed));
        assert_eq!(pair.events[0][0], SessionEvent::Failed(failure));
        assert!(!pair.events[0].iter().any(|event| matches!(event, SessionEvent::Connected(_))));
        assert_eq!(pair.sessions[0].poll_timeout(), None);
    }
}

#[test]
fn a_silent_peer_ends_the_handshake_in_half_a_minute() {
    let mut pair = Pair::new([Versions::Auto; 2], [CLIENT, SERVER], |_| true);
    assert!(pair.run(40_000, |pair| pair.sessions[0].phase() == Phase::Failed));
    assert_eq!(pair.events[0], [SessionEvent::Failed(Failure::Dtls)]);
}

#[test]
fn closing_is_heard_by_the_peer() {
    for versions in [Versions::Dtls12, Versions::Dtls13] {
        let mut pair = Pair::new([versions; 2], [CLIENT, SERVER], |_| false);
        assert!(pair.run(5_000, Pair::are_channels_open));
        let now = pair.now;
        pair.sessions[0].close(now);
        pair.exchange();
        assert!(pair.events[1].contains(&SessionEvent::Closed), "{versions:?}");
        assert_eq!(pair.sessions[0].send(Channel::Reliable, &Bytes::new(), now), Err(SendError::NotOpen));
    }
}
