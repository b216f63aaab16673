//! `livekit.DataPacket`, read and rewritten in its wire form: what the server must stamp is replaced, every other byte stays as it
//! came, known to us or not (PROTOCOL §4.2).
//!
//! ```text
//! 1 kind  2 user  3 speaker  4 participant_identity  5 destination_identities  6 sip_dtmf  7 transcription  8 metrics
//! 9 chat_message  10 rpc_request  11 rpc_ack  12 rpc_response  13 stream_header  14 stream_chunk  15 stream_trailer
//! 16 sequence  17 participant_sid  18 encrypted_packet
//! user: 1 participant_sid  2 payload  3 destination_sids  4 topic  5 participant_identity  6 destination_identities …
//! ```

use std::collections::BTreeSet;

use engine_base::Drop as DropReason;

use super::protobuf::{Malformed, fields, put_bytes, put_text, put_uint};

const KIND: u32 = 1;
const USER: u32 = 2;
const SPEAKER: u32 = 3;
const IDENTITY: u32 = 4;
const DESTINATIONS: u32 = 5;
const SIP_DTMF: u32 = 6;
const TRANSCRIPTION: u32 = 7;
const METRICS: u32 = 8;
const CHAT: u32 = 9;
const STREAM_HEADER: u32 = 13;
const STREAM_TRAILER: u32 = 15;
const SEQUENCE: u32 = 16;
const SID: u32 = 17;
const ENCRYPTED: u32 = 18;

const USER_SID: u32 = 1;
const USER_DESTINATION_SIDS: u32 = 3;
const USER_IDENTITY: u32 = 5;
const USER_DESTINATIONS: u32 = 6;
const CHAT_GENERATED: u32 = 6;
const HEADER_TEXT: u32 = 9;
const TEXT_GENERATED: u32 = 5;

/// `DataPacket.Kind.LOSSY`; RELIABLE is 0 and not written.
const KIND_LOSSY: u64 = 1;

impl From<Malformed> for DropReason {
    fn from(_: Malformed) -> Self {
        Self::DataMalformed
    }
}

/// To whom a packet goes. Sets, because a message of 64 KiB can name 20,000, and each member of the room looks itself up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destinations {
    pub identities: BTreeSet<Vec<u8>>,
    pub sids: BTreeSet<Vec<u8>>,
}

/// A name's `Vec` and its allocation, besides its text: 24 B and about as much.
const NAME_BYTES: usize = 48;

impl Destinations {
    /// Everybody but the sender.
    pub fn is_everybody(&self) -> bool {
        self.identities.is_empty() && self.sids.is_empty()
    }

    pub fn includes(&self, identity: &[u8], sid: &[u8]) -> bool {
        self.is_everybody() || self.identities.contains(identity) || self.sids.contains(sid)
    }

    /// Bytes that they take in memory, about.
    pub fn bytes(&self) -> usize {
        self.identities.iter().chain(&self.sids).map(|name| NAME_BYTES + name.len()).sum()
    }
}

/// What the server knows of the sender.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    pub identity: &'a [u8],
    pub sid: &'a [u8],
    /// Nobody may learn who sent it.
    pub hidden: bool,
    /// May send transcriptions, and text in the name of another participant.
    pub agent: bool,
}

/// What a client's packet says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    bytes: &'a [u8],
    pub sequence: u32,
    pub destinations: Destinations,
    /// Whom the client names as the sender.
    claimed_identity: &'a [u8],
    /// Field number of the value; the last one counts.
    value: u32,
    text_stream: bool,
}

impl<'a> Packet<'a> {
    /// **Input**: one message of a data channel.
    /// **Errors**: `DataMalformed` when it is not a DataPacket, `DataKind` when any value in it is none that clients may send.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        let mut packet = Self {
            bytes,
            sequence: 0,
            destinations: Destinations::default(),
            claimed_identity: &[],
            value: 0,
            text_stream: false,
        };
        let mut user_destinations = BTreeSet::new();
        for field in fields(bytes) {
            let field = field?;
            match field.number {
                IDENTITY => {
                    packet.claimed_identity = field.bytes()?;
                    text(packet.claimed_identity)?;
                }
                DESTINATIONS => drop(packet.destinations.identities.insert(text(field.bytes()?)?)),
                SEQUENCE => packet.sequence = field.uint32()?,
                USER => {
                    packet.read_user(field.bytes()?, &mut user_destinations)?;
                    packet.value = USER;
                }
                STREAM_HEADER => {
                    packet.text_stream = is_text_stream(field.bytes()?)?;
                    packet.value = STREAM_HEADER;
                }
                SPEAKER => return Err(DropReason::DataKind),
                SIP_DTMF..=STREAM_TRAILER | ENCRYPTED => {
                    field.bytes()?;
                    packet.value = field.number;
                }
                _ => {}
            }
        }
        if packet.value == 0 {
            return Err(DropReason::DataKind);
        }
        if packet.destinations.identities.is_empty() {
            packet.destinations.identities = user_destinations;
        }
        Ok(packet)
    }

    fn read_user(&mut self, user: &'a [u8], destinations: &mut BTreeSet<Vec<u8>>) -> Result<(), DropReason> {
        for field in fields(user) {
            let field = field?;
            match field.number {
                USER_DESTINATION_SIDS => drop(self.destinations.sids.insert(text(field.bytes()?)?)),
                USER_DESTINATIONS => drop(destinations.insert(text(field.bytes()?)?)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Metrics are for the server and go to nobody.
    pub fn is_metrics(&self) -> bool {
        self.value == METRICS
    }

    /// The packet as receivers get it: kind, identity and sid are the server's words, two senders excepted: a hidden one is blank
    /// (its sequence too, which receivers would compare with that of other hidden ones), and an agent may name another
    /// participant for chat and text streams, which are then marked as generated.
    ///
    /// **Errors**: `DataKind` for a transcription of somebody who is no agent. **Cost**: one allocation.
    pub fn rewrite(&self, sender: Sender<'_>, reliable: bool) -> Result<Vec<u8>, DropReason> {
        let (identity, sid) = if sender.hidden { (&[][..], &[][..]) } else { (sender.identity, sender.sid) };
        let other = sender.agent && !self.claimed_identity.is_empty() && self.claimed_identity != sender.identity;
        let in_other_name = other && (self.value == CHAT || self.value == STREAM_HEADER && self.text_stream);
        let mut out = Vec::with_capacity(self.bytes.len() + 2 * (identity.len() + sid.len()) + 16);
        put_uint(&mut out, KIND, if reliable { 0 } else { KIND_LOSSY });
        for field in fields(self.bytes) {
            let field = field?;
            match field.number {
                KIND | IDENTITY | SID => {}
                SEQUENCE if sender.hidden => {}
                TRANSCRIPTION if !sender.agent => return Err(DropReason::DataKind),
                USER => put_bytes(&mut out, USER, &rewrite_user(field.bytes()?, identity, sid)?),
                CHAT if in_other_name => put_bytes(&mut out, CHAT, &generated(field.bytes()?, CHAT_GENERATED)),
                STREAM_HEADER if in_other_name => {
                    put_bytes(&mut out, STREAM_HEADER, &generated_stream(field.bytes()?)?)
                }
                _ => out.extend_from_slice(field.raw),
            }
        }
        put_text(&mut out, IDENTITY, if in_other_name { self.claimed_identity } else { identity });
        put_text(&mut out, SID, sid);
        Ok(out)
    }
}

fn rewrite_user(user: &[u8], identity: &[u8], sid: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(user.len() + identity.len() + sid.len() + 8);
    for field in fields(user) {
        let field = field?;
        if !matches!(field.number, USER_SID | USER_IDENTITY) {
            out.extend_from_slice(field.raw);
        }
    }
    put_text(&mut out, USER_SID, sid);
    put_text(&mut out, USER_IDENTITY, identity);
    Ok(out)
}

/// Of two values of one field the last counts.
fn generated(message: &[u8], number: u32) -> Vec<u8> {
    let mut out = message.to_vec();
    put_uint(&mut out, number, 1);
    out
}

fn generated_stream(header: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(header.len() + 8);
    for field in fields(header) {
        let field = field?;
        match field.number {
            HEADER_TEXT => put_bytes(&mut out, HEADER_TEXT, &generated(field.bytes()?, TEXT_GENERATED)),
            _ => out.extend_from_slice(field.raw),
        }
    }
    Ok(out)
}

fn is_text_stream(header: &[u8]) -> Result<bool, Malformed> {
    let mut text = false;
    for field in fields(header) {
        text |= field?.number == HEADER_TEXT;
    }
    Ok(text)
}

/// proto3 strings are UTF-8; receivers refuse a packet where one is not.
fn text(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    std::str::from_utf8(bytes).map(|_| bytes.to_vec()).map_err(|_| Malformed)
}
