//! Our client against the node's DTLS library as the server.

use engine_courier::clock::Clock;
use engine_courier::session::{Role, SessionEvent};
use engine_courier::{Session, Settings, Versions};
use engine_table::{IdentityRow, Text};
use proptest::prelude::*;

use super::*;
use crate::clock;

struct Party {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

fn party() -> Party {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["load".to_owned()]).unwrap().self_signed(&key).unwrap();
    Party { certificate: certificate.der().to_vec(), key: key.serialize_der() }
}

fn fingerprint(certificate: &[u8]) -> Fingerprint {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
    let mut fingerprint = Fingerprint { algorithm: 1, bytes: 32, reserved: [0; 6], digest: [0; 64] };
    fingerprint.digest[..32].copy_from_slice(hash.as_ref());
    fingerprint
}

fn server(server: &Party, client: &Party, versions: Versions, now: TimeNs) -> Session {
    let row = IdentityRow {
        certificate: Text::new(&server.certificate).unwrap(),
        private_key: Text::new(&server.key).unwrap(),
    };
    let settings = Settings::new(&row, versions, Clock::starting_at(now)).unwrap();
    let role = Role { dtls_client: false, sctp: false, initiate: false, open_channels: false };
    Session::new(&settings, role, fingerprint(&client.certificate), now)
}

/// Runs both for some seconds; `lose` says which datagrams of the client and of the server are lost, by their number.
fn converse(
    client: &mut Client,
    server: &mut Session,
    lose: impl Fn(usize) -> bool,
) -> (Vec<Event>, Vec<SessionEvent>) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut number = 0;
    let mut now = clock::now();
    for _ in 0..400 {
        while let Some(datagram) = client.poll_transmit() {
            number += 1;
            if !lose(number) {
                server.handle_packet(&datagram, now);
            }
        }
        while let Some(datagram) = server.poll_transmit() {
            number += 1;
            if !lose(number) {
                client.handle_packet(&datagram, now);
            }
        }
        ours.extend(std::iter::from_fn(|| client.poll_event()));
        theirs.extend(std::iter::from_fn(|| server.poll_event()));
        now = now.add_ms(10);
        client.handle_timeout(now);
        server.handle_timeout(now);
    }
    (ours, theirs)
}

fn shake(profiles: &[Profile], versions: Versions, lose: impl Fn(usize) -> bool) -> (Keys, Keys, Client) {
    let (ours, theirs) = (party(), party());
    let now = clock::now();
    let credentials = Credentials::new(&ours.certificate, &ours.key, profiles).unwrap();
    let mut server = server(&theirs, &ours, versions, now);
    let mut client = Client::new(&credentials, fingerprint(&theirs.certificate), now);
    let (mut client_events, mut server_events) = converse(&mut client, &mut server, lose);
    let (Some(Event::Connected(ours)), Some(SessionEvent::Connected(theirs))) =
        (client_events.pop(), server_events.pop())
    else {
        panic!("{client_events:?} {server_events:?}");
    };
    (*ours, *theirs, client)
}

#[test]
fn the_profile_is_the_one_that_the_client_offers() {
    for profile in Profile::ALL {
        let (ours, theirs, _) = shake(&[profile], Versions::Auto, |_| false);
        assert_eq!((ours.send.profile, &ours.send, &ours.receive), (profile, &theirs.receive, &theirs.send));
    }
}

#[test]
fn any_one_lost_datagram_is_repaired() {
    for lost in 1..=6 {
        shake(&[Profile::Aes128CmSha1_80], Versions::Dtls12, |number| number == lost);
    }
}

#[test]
fn a_finished_handshake_holds_no_more_than_the_traffic_keys() {
    let (.., client) = shake(&[Profile::Aes128CmSha1_80], Versions::Auto, |_| false);
    assert!(client.handshake.is_none() && client.poll_timeout().is_none());
}

#[test]
fn another_certificate_than_the_announced_one_is_refused() {
    let (ours, theirs) = (party(), party());
    let now = clock::now();
    let credentials = Credentials::new(&ours.certificate, &ours.key, &Profile::ALL).unwrap();
    let mut server = server(&theirs, &ours, Versions::Dtls12, now);
    let mut client = Client::new(&credentials, fingerprint(&ours.certificate), now);
    let (events, _) = converse(&mut client, &mut server, |_| false);
    assert!(matches!(events.as_slice(), [Event::Failed(reason)] if reason.contains("certificate")), "{events:?}");
}

#[test]
fn silence_ends_a_handshake() {
    let ours = party();
    let credentials = Credentials::new(&ours.certificate, &ours.key, &Profile::ALL).unwrap();
    let mut client = Client::new(&credentials, fingerprint(&ours.certificate), clock::now());
    let mut sent = 0;
    while let Some(at) = client.poll_timeout() {
        client.handle_timeout(at);
        sent += std::iter::from_fn(|| client.poll_transmit()).count();
    }
    assert_eq!(sent, 1 + RESENDS_MAX as usize);
    assert!(matches!(client.poll_event(), Some(Event::Failed(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_datagrams_never_panic(
        datagrams in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..80), any::<bool>(), 0u8..24), 1..8),
    ) {
        let ours = party();
        let credentials = Credentials::new(&ours.certificate, &ours.key, &Profile::ALL).unwrap();
        let mut client = Client::new(&credentials, fingerprint(&ours.certificate), clock::now());
        for (bytes, framed, kind) in &datagrams {
            let mut datagram = bytes.clone();
            if *framed {
                // As a record with one message: beyond the outer checks.
                let message = inbox::Message { kind: *kind, sequence: 0, body: bytes.clone() }.to_bytes();
                datagram = Epoch::plain().seal(0, Content::Handshake, &message).unwrap();
            }
            client.handle_packet(&datagram, clock::now());
        }
    }
}
