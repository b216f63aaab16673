//! What the courier reads: DTLS, SCTP with its data channels, and LiveKit's data packets.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use engine_base::TimeNs;
use engine_courier::channels::{Channel, Channels};
use engine_courier::clock::Clock;
use engine_courier::data::packet::{Packet, Sender};
use engine_courier::session::Role;
use engine_courier::{Session, Settings, Versions, dcep};
use engine_table::{Fingerprint, IdentityRow, Text};

use super::{Outcome, Target};

const NOW: TimeNs = TimeNs::from_ms(1_000);

pub fn targets() -> Vec<Target> {
    vec![
        Target {
            name: "dtls",
            what: "a datagram in a DTLS handshake; byte 0 is the role and how far it has come",
            seeds: dtls_seeds,
            run: dtls,
        },
        Target {
            name: "sctp",
            what: "chunks in an open association (with a right checksum)",
            seeds: sctp_seeds,
            run: sctp,
        },
        Target { name: "dcep", what: "DATA_CHANNEL_OPEN and ACK", seeds: dcep_seeds, run: dcep },
        Target { name: "data", what: "LiveKit data packets, and how they are rewritten", seeds: data_seeds, run: data },
    ]
}

/// One certificate for all: a fresh one per input would cost more than the input.
fn settings() -> &'static Arc<Settings> {
    static SETTINGS: OnceLock<Arc<Settings>> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key can be made");
        let parameters = rcgen::CertificateParams::new(vec!["fuzz".to_owned()]).expect("a name");
        let certificate = parameters.self_signed(&key).expect("a certificate can be signed");
        let identity = IdentityRow {
            certificate: Text::new(certificate.der()).expect("it fits a row"),
            private_key: Text::new(&key.serialize_der()).expect("it fits a row"),
        };
        Settings::new(&identity, Versions::Auto, Clock::starting_at(NOW)).expect("settings of a good identity")
    })
}

fn session(dtls_client: bool) -> Session {
    let role = Role { dtls_client, sctp: true, initiate: dtls_client, open_channels: !dtls_client };
    let nobody = Fingerprint { algorithm: 0, bytes: 0, reserved: [0; 6], digest: [0; 64] };
    Session::new(settings(), role, nobody, NOW)
}

fn outgoing(session: &mut Session) -> Vec<Vec<u8>> {
    session.handle_timeout(NOW);
    std::iter::from_fn(|| session.poll_transmit()).collect()
}

/// Client and server after `flights` flights, and the flight that is on its way.
fn handshake(flights: u8) -> ([Session; 2], Vec<Vec<u8>>) {
    let mut pair = [session(true), session(false)];
    let mut flight = outgoing(&mut pair[0]);
    for number in 0..usize::from(flights) {
        let to = &mut pair[1 - number % 2];
        flight.iter().for_each(|datagram| to.handle_packet(datagram, NOW));
        flight = outgoing(to);
    }
    (pair, flight)
}

const FLIGHTS: u8 = 4;

fn dtls_seeds() -> Vec<Vec<u8>> {
    let of = |flights: u8| handshake(flights).1.into_iter().map(move |datagram| [&[flights][..], &datagram].concat());
    (0..FLIGHTS).flat_map(of).collect()
}

fn dtls(bytes: &[u8]) -> u64 {
    let mut outcome = Outcome::new();
    let Some((&flights, datagram)) = bytes.split_first() else { return 0 };
    let flights = flights % FLIGHTS;
    let (pair, _) = handshake(flights);
    for mut session in pair {
        session.handle_packet(datagram, NOW);
        outcome.count(outgoing(&mut session).len());
        session.handle_timeout(NOW.add_ms(200));
        outcome.named(&session.phase());
        outcome.count(std::iter::from_fn(|| session.poll_event()).count());
    }
    outcome.add(flights);
    outcome.0
}

/// CRC32c (RFC 9260 appendix A): without the right one nothing is read.
fn checksum(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// A client with an open association, the tag that it wants to see, and chunks as its peer sent them.
fn connected() -> (Channels, u32, Vec<Vec<u8>>) {
    let mut pair = [true, false].map(|client| Channels::new(settings(), client, client, NOW));
    let (mut tag, mut chunks) = (0, Vec::new());
    pair[1].open();
    pair[0].handle_timeout(NOW);
    loop {
        let mut moved = false;
        for from in 0..2 {
            while let Some(packet) = pair[from].poll_transmit(NOW) {
                moved = true;
                if from == 1 && packet.len() > 12 {
                    tag = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
                    chunks.push(packet[12..].to_vec());
                }
                pair[1 - from].handle_packet(packet, NOW);
            }
        }
        if !moved {
            let [client, _] = pair;
            return (client, tag, chunks);
        }
    }
}

fn sctp_seeds() -> Vec<Vec<u8>> {
    let mut chunks = connected().2;
    // HEARTBEAT, RE-CONFIG of an outgoing stream, FORWARD-TSN, SHUTDOWN, ERROR.
    let more =
        ["0400000c 00010008 01020304", "82000018 000d0012 00000001 00000001 00000001 0001 0000", "c0000008 00000001"];
    chunks.extend(more.map(super::media::hex));
    chunks.extend(["07000008 00000001", "09000008 00080004"].map(super::media::hex));
    chunks
}

fn sctp(bytes: &[u8]) -> u64 {
    let mut outcome = Outcome::new();
    let (mut client, tag, _) = connected();
    let mut packet = vec![0x13, 0x88, 0x13, 0x88];
    packet.extend_from_slice(&tag.to_be_bytes());
    packet.extend_from_slice(&[0; 4]);
    packet.extend_from_slice(bytes);
    let crc = checksum(&packet);
    packet[8..12].copy_from_slice(&crc.to_le_bytes());
    client.handle_packet(Bytes::from(packet), NOW);
    let drain = |client: &mut Channels, outcome: &mut Outcome| {
        while let Some(packet) = client.poll_transmit(NOW) {
            outcome.add(packet.get(12).copied().unwrap_or_default());
        }
        outcome.count(std::iter::from_fn(|| client.poll_event()).count());
    };
    drain(&mut client, &mut outcome);
    client.handle_timeout(NOW.add_ms(5_000));
    let sent = client.send(Channel::Reliable, &Bytes::from_static(b"x"));
    outcome.add(u64::from(sent.is_ok()) << 1 | u64::from(client.is_open(Channel::Reliable)));
    drain(&mut client, &mut outcome);
    outcome.0
}

fn dcep_seeds() -> Vec<Vec<u8>> {
    vec![super::media::hex("03 00 0100 00000000 0009 0000 5f72656c6961626c65"), vec![2]]
}

fn dcep(bytes: &[u8]) -> u64 {
    let mut outcome = Outcome::new();
    match dcep::Message::parse(bytes) {
        Ok(message) => {
            let again = message.to_bytes();
            outcome.count(again.len());
            outcome.add(again.get(1).copied().unwrap_or_default());
            assert_eq!(dcep::Message::parse(&again), Ok(message));
        }
        Err(error) => outcome.named(&error),
    }
    outcome.0
}

/// DataPackets in protobuf: a user packet with destinations, a chat message, a stream header, a transcription.
fn data_seeds() -> Vec<Vec<u8>> {
    let list = [
        "0801 12 10 12 02 6869 22 03 746f70 4a 05 616c696365 22 03 626f62",
        "1a 0a 12 02 6869 22 04 63686174 2a 03 626f62",
        "6a 12 0a 03 616263 18 05 22 04 746f7069 5a 03 0a 01 61",
        "3a 06 12 04 54525f31 2a 03 626f62 8001 05",
    ];
    list.map(super::media::hex).into()
}

fn data(bytes: &[u8]) -> u64 {
    let mut outcome = Outcome::new();
    match Packet::parse(bytes) {
        Ok(packet) => {
            outcome.count(packet.destinations.identities.len());
            outcome.add(u64::from(packet.is_metrics()));
            for (hidden, agent) in [(false, false), (true, false), (false, true)] {
                let sender = Sender { identity: b"alice", sid: b"PA_1", hidden, agent };
                match packet.rewrite(sender, agent) {
                    Ok(rewritten) => outcome.count(rewritten.len()),
                    Err(reason) => outcome.named(&reason),
                }
            }
        }
        Err(reason) => outcome.named(&reason),
    }
    outcome.0
}
