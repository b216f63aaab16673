//! A client: real STUN checks, real SRTP both ways, no decisions.

use std::collections::HashMap;
use std::net::SocketAddr;

use engine_base::{ExtensionIds, Kind, RtpTimestamp, SequenceNumber, Ssrc, TransportRef};
use engine_srtp::{MasterKey, Profile, ReceiveContext, RtpWindow, SendContext};
use engine_table::{KeyRow, NO_PAYLOAD_TYPE, PayloadMapping, SocketAddress, TransportRow};
use engine_wire::stun::{BindingRequest, IceRole, MessageClass, StunMessage, TransactionId};
use engine_wire::{RtpHeader, RtpPacket};

/// What every test's publisher negotiates.
pub const EXTENSIONS: ExtensionIds = ExtensionIds {
    mid: 4,
    rid: 10,
    repaired_rid: 11,
    transport_cc: 5,
    abs_send_time: 2,
    audio_level: 1,
    ..ExtensionIds::NONE
};

pub fn mapping(kind: Kind) -> PayloadMapping {
    match kind {
        Kind::Audio => PayloadMapping { payload_type: 111, rtx_payload_type: NO_PAYLOAD_TYPE, codec: 1, format: 0 },
        Kind::Video => PayloadMapping { payload_type: 96, rtx_payload_type: 97, codec: 3, format: 0 },
    }
}

/// The subscriber's numbers differ from the publisher's.
pub fn subscriber_mapping(kind: Kind) -> PayloadMapping {
    match kind {
        Kind::Audio => PayloadMapping { payload_type: 63, ..mapping(kind) },
        Kind::Video => PayloadMapping { payload_type: 100, rtx_payload_type: 101, ..mapping(kind) },
    }
}

pub struct Peer {
    pub transport: TransportRef,
    pub address: SocketAddress,
    pub ufrag: Vec<u8>,
    pub password: Vec<u8>,
    pub profile: Profile,
    pub role: IceRole,
    send: SendContext,
    receive: ReceiveContext,
    windows: HashMap<u32, RtpWindow>,
    /// Next SRTP index per SSRC that we send.
    indices: HashMap<u32, u64>,
    rtcp_index: u32,
    checks: u8,
    transport_sequence: u16,
}

/// An RTP packet as a test reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    pub ssrc: u32,
    pub sequence: u16,
    pub timestamp: u32,
    pub payload_type: u8,
    pub marker: bool,
    pub payload: Vec<u8>,
    pub bytes: Vec<u8>,
}

/// What a peer received, opened.
#[derive(Clone, Debug, Default)]
pub struct Received {
    pub media: Vec<Media>,
    /// Plain compound packets.
    pub rtcp: Vec<Vec<u8>>,
    pub stun: Vec<Vec<u8>>,
    pub other: Vec<Vec<u8>>,
}

fn keys(transport: TransportRef, profile: Profile) -> (MasterKey, MasterKey) {
    let fill = |byte: u8| {
        let (key, salt) = ([byte; 32], [byte ^ 0x55; 14]);
        MasterKey::new(profile, &key[..profile.key_len()], &salt[..profile.salt_len()]).unwrap()
    };
    (fill(transport.index as u8 ^ 0x10), fill(transport.index as u8 ^ 0x80))
}

impl Peer {
    pub fn new(transport: TransportRef, row: &TransportRow, profile: Profile, port: u16) -> Self {
        let (to_server, from_server) = keys(transport, profile);
        let address: SocketAddr = format!("192.0.2.9:{port}").parse().unwrap();
        Self {
            transport,
            address: SocketAddress::new(address),
            ufrag: row.credentials[0].local_ufrag.as_bytes().to_vec(),
            password: row.credentials[0].local_password.as_bytes().to_vec(),
            profile,
            role: IceRole::Controlling(7),
            send: SendContext::new(&to_server).unwrap(),
            receive: ReceiveContext::new(&from_server).unwrap(),
            windows: HashMap::new(),
            indices: HashMap::new(),
            rtcp_index: 0,
            checks: 0,
            transport_sequence: 0,
        }
    }

    /// The row that the courier would write after the handshake.
    pub fn key_row(&self) -> KeyRow {
        let (to_server, from_server) = keys(self.transport, self.profile);
        let salt = |key: &MasterKey| {
            let mut salt = [0; 16];
            salt[..14].copy_from_slice(&key.salt);
            salt
        };
        KeyRow {
            generation: self.transport.generation,
            profile: self.profile as u16,
            reserved: 0,
            send_key: from_server.key,
            receive_key: to_server.key,
            send_salt: salt(&from_server),
            receive_salt: salt(&to_server),
        }
    }

    /// The client's address changes, as by another network.
    pub fn move_to(&mut self, address: &str) {
        self.address = SocketAddress::new(address.parse().unwrap());
    }

    pub fn check(&mut self, use_candidate: bool) -> Vec<u8> {
        self.checks += 1;
        let username = [&self.ufrag[..], b":remote"].concat();
        let request = BindingRequest {
            transaction: TransactionId([self.checks; 12]),
            username: &username,
            priority: 1,
            role: self.role,
            use_candidate,
        };
        let mut out = [0; 256];
        let bytes = request.write(&mut out, |parts| hmac(&self.password, parts)).unwrap();
        out[..bytes].to_vec()
    }

    /// A success for our last check, signed with the server's password, that names our address.
    pub fn accepts_answer(&self, bytes: &[u8]) -> bool {
        StunMessage::parse(bytes).is_ok_and(|message| {
            message.class == MessageClass::Success
                && message.transaction == TransactionId([self.checks; 12])
                && message.verify_integrity(|parts| hmac(&self.password, parts))
                && message.verify_fingerprint()
                && message.mapped_address == self.address.get()
        })
    }

    /// Seals an RTP packet with the next index of its SSRC when `sequence` follows, else under its own index.
    pub fn seal_rtp(&mut self, header: &RtpHeader<'_>, elements: &[(u8, &[u8])], payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0; 1_600];
        let transport_sequence = self.transport_sequence.to_be_bytes();
        self.transport_sequence = self.transport_sequence.wrapping_add(1);
        let length = header
            .write_with(&mut out, None, |block| {
                block.put(EXTENSIONS.transport_cc, &transport_sequence)?;
                elements.iter().try_for_each(|(id, data)| block.put(*id, data))
            })
            .unwrap();
        out[length..length + payload.len()].copy_from_slice(payload);
        let highest = self.indices.entry(header.ssrc.0).or_insert(u64::from(header.sequence.0));
        let distance = header.sequence.distance(SequenceNumber(*highest as u16));
        let index = highest.wrapping_add_signed(i64::from(distance));
        *highest = index.max(*highest);
        let sealed = self.send.protect_rtp(&mut out, length + payload.len(), index).unwrap();
        out.truncate(sealed);
        out
    }

    /// Seals any bytes as RTP under the index that their sequence number has next; `None` when they have no RTP header.
    pub fn seal_plain(&mut self, plain: &[u8]) -> Option<Vec<u8>> {
        let packet = RtpPacket::parse_sealed(plain).ok()?;
        let highest = self.indices.entry(packet.ssrc().0).or_insert(u64::from(packet.sequence().0));
        let distance = packet.sequence().distance(SequenceNumber(*highest as u16));
        let index = highest.checked_add_signed(i64::from(distance))?;
        *highest = index.max(*highest);
        let mut out = plain.to_vec();
        out.resize(plain.len() + Profile::RTP_OVERHEAD_MAX, 0);
        let sealed = self.send.protect_rtp(&mut out, plain.len(), index).ok()?;
        out.truncate(sealed);
        Some(out)
    }

    pub fn rtp(&mut self, kind: Kind, ssrc: u32, sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
        let header = RtpHeader {
            marker: true,
            payload_type: mapping(kind).payload_type,
            sequence: SequenceNumber(sequence),
            timestamp: RtpTimestamp(timestamp),
            ssrc: Ssrc(ssrc),
            ..RtpHeader::default()
        };
        self.seal_rtp(&header, &[], payload)
    }

    pub fn rtcp(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut out = plain.to_vec();
        out.resize(plain.len() + Profile::RTCP_OVERHEAD_MAX, 0);
        let sealed = self.send.protect_rtcp(&mut out, plain.len(), self.rtcp_index).unwrap();
        self.rtcp_index += 1;
        out.truncate(sealed);
        out
    }

    /// Opens what the server sent. Panics on a packet that does not authenticate or repeats an index.
    pub fn open(&mut self, datagrams: Vec<Vec<u8>>) -> Received {
        let mut received = Received::default();
        for mut bytes in datagrams {
            match engine_wire::classify(&bytes) {
                engine_wire::Class::Stun => received.stun.push(bytes),
                engine_wire::Class::Srtcp => {
                    let (length, _) = self.receive.unprotect_rtcp(&mut bytes).expect("authentic RTCP");
                    bytes.truncate(length);
                    received.rtcp.push(bytes);
                }
                engine_wire::Class::Srtp => received.media.push(self.open_rtp(bytes)),
                _ => received.other.push(bytes),
            }
        }
        received
    }

    fn open_rtp(&mut self, mut bytes: Vec<u8>) -> Media {
        let sealed = RtpPacket::parse_sealed(&bytes).unwrap();
        let window = self.windows.entry(sealed.ssrc().0).or_default();
        let index = window.estimate(sealed.sequence().0);
        assert_eq!(window.check(index), engine_srtp::Replay::Fresh, "an index is sealed once");
        let length = self.receive.unprotect_rtp(&mut bytes, index).expect("an authentic packet");
        window.accept(index);
        bytes.truncate(length);
        let packet = RtpPacket::parse(&bytes).unwrap();
        Media {
            ssrc: packet.ssrc().0,
            sequence: packet.sequence().0,
            timestamp: packet.timestamp().0,
            payload_type: packet.payload_type(),
            marker: packet.marker(),
            payload: packet.payload().to_vec(),
            bytes: bytes.clone(),
        }
    }
}

pub fn hmac(password: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password);
    let mut context = aws_lc_rs::hmac::Context::with_key(&key);
    parts.iter().for_each(|part| context.update(part));
    context.sign().as_ref().try_into().unwrap()
}
