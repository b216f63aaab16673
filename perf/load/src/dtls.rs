//! A DTLS 1.2 client (RFC 6347) for synthetic participants, because the node's own DTLS library offers SRTP profiles in one
//! fixed order and a load must choose. Sans-IO: datagrams in, datagrams and events out.
//!
//! It speaks what WebRTC needs and nothing else: ECDHE with ECDSA P-256 certificates on both sides, AES-128-GCM, the extended
//! master secret (RFC 7627), `use_srtp` (RFC 5764). The server's certificate must have the fingerprint that signaling told, and
//! its key must have signed the exchange. No renegotiation, no resumption, no replay window: what it carries is SCTP, which
//! sorts out repetitions itself. It is not for production peers.
//!
//! ```text
//! ClientHello ──▶ (HelloVerify ──▶ ClientHello) ──▶ flight 4 ──▶ flight 5 ──▶ Finished ──▶ Connected
//!                                 handshake.rs: what is said · record.rs: how it is sealed · inbox.rs: fragments
//! ```

mod handshake;
mod hello;
mod inbox;
mod reader;
mod record;
mod secrets;

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use engine_base::TimeNs;
use engine_courier::session::Keys;
use engine_srtp::Profile;
use engine_table::Fingerprint;

use handshake::{Handshake, Step};
use record::{Content, Epoch, Record, Sealer};

/// First resend of a flight; loopback and LAN answer in less, and a server busy with many joins is not pressed.
const RESEND_MS: u64 = 250;
/// 250 ms × (2⁶ − 1) = 16 s until it is given up.
const RESENDS_MAX: u32 = 5;
/// Room for IPv6, UDP and a tunnel in 1,280 bytes.
const DATAGRAM_BYTES_MAX: usize = 1_200;

/// What all clients of a load share.
pub struct Credentials {
    certificate: Vec<u8>,
    key: EcdsaKeyPair,
    /// In the order of preference.
    profiles: Vec<Profile>,
}

impl Credentials {
    /// **Input**: a certificate of a P-256 key and that key as PKCS#8, both DER.
    pub fn new(certificate: &[u8], key: &[u8], profiles: &[Profile]) -> Result<Arc<Self>> {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key)
            .map_err(|refused| anyhow!("{refused}"))
            .context("not a P-256 key")?;
        Ok(Arc::new(Self { certificate: certificate.to_vec(), key, profiles: profiles.to_vec() }))
    }
}

#[derive(Debug)]
pub enum Event {
    Connected(Box<Keys>),
    /// Application data: an SCTP packet.
    Data(Vec<u8>),
    Failed(&'static str),
    /// By the peer's close_notify.
    Closed,
}

pub struct Client {
    /// `None` when it is done.
    handshake: Option<Box<Handshake>>,
    epochs: [Epoch; 2],
    resend_at: TimeNs,
    resends: u32,
    is_over: bool,
    outgoing: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
}

impl Client {
    /// Begins at once: poll it.
    pub fn new(credentials: &Arc<Credentials>, expected: Fingerprint, now: TimeNs) -> Self {
        let mut client = Self {
            handshake: Some(Box::new(Handshake::new(credentials, expected))),
            epochs: [Epoch::plain(), Epoch::plain()],
            resend_at: TimeNs::MAX,
            resends: 0,
            is_over: false,
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
        };
        client.send_flight(now);
        client
    }

    pub fn handle_packet(&mut self, datagram: &[u8], now: TimeNs) {
        for record in record::records(datagram) {
            if self.is_over {
                return;
            }
            self.handle_record(&record, now);
        }
    }

    pub fn handle_timeout(&mut self, now: TimeNs) {
        if self.is_over || self.handshake.is_none() || self.resend_at > now {
            return;
        }
        if self.resends == RESENDS_MAX {
            return self.fail("the server did not answer the DTLS handshake");
        }
        self.resends += 1;
        self.send_flight(now);
    }

    pub fn poll_timeout(&self) -> Option<TimeNs> {
        (!self.is_over && self.handshake.is_some()).then_some(self.resend_at)
    }

    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.outgoing.pop_front()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Sends application data. Nothing happens before the handshake is done or after the end.
    pub fn send(&mut self, data: &[u8]) {
        if !self.is_over && self.handshake.is_none() {
            self.outgoing.extend(self.epochs[1].seal(1, Content::ApplicationData, data));
        }
    }

    fn handle_record(&mut self, record: &Record<'_>, now: TimeNs) {
        let Some(epoch) = self.epochs.get(usize::from(record.epoch)) else { return };
        // What cannot be opened is dropped in silence (RFC 6347 §4.1.2.7).
        let Some(body) = epoch.open(record) else { return };
        match Content::from_u8(record.content) {
            Some(Content::Handshake) => self.handle_handshake(record.epoch, &body, now),
            Some(Content::ApplicationData) if record.epoch == 1 && self.handshake.is_none() => {
                self.events.push_back(Event::Data(body));
            }
            Some(Content::Alert) => self.handle_alert(record.epoch, &body),
            // The keys of epoch 1 are known before the server changes to them.
            _ => {}
        }
    }

    fn handle_handshake(&mut self, epoch: u16, body: &[u8], now: TimeNs) {
        let Some(handshake) = &mut self.handshake else { return };
        handshake.take_fragments(epoch, body);
        loop {
            let Some(handshake) = &mut self.handshake else { return };
            match handshake.advance() {
                Ok(Step::Wait) => return,
                Ok(Step::Send(ciphers)) => {
                    if let Some((ours, theirs)) = ciphers {
                        self.epochs[1] = Epoch::sealed(ours, theirs);
                    }
                    self.resends = 0;
                    self.send_flight(now);
                }
                Ok(Step::Done(keys)) => {
                    self.handshake = None;
                    self.events.push_back(Event::Connected(keys));
                    return;
                }
                Err(reason) => return self.fail(reason),
            }
        }
    }

    fn handle_alert(&mut self, epoch: u16, body: &[u8]) {
        let (Some(level), Some(description)) = (body.first(), body.get(1)) else { return };
        // An alert in the clear may be anybody's once there are keys.
        if epoch == 0 && self.epochs[1].is_sealed() {
            return;
        }
        match (*level, *description) {
            (_, 0) => {
                self.is_over = true;
                self.events.push_back(Event::Closed);
            }
            (2, _) => self.fail("the server refused the DTLS handshake"),
            _ => {}
        }
    }

    fn fail(&mut self, reason: &'static str) {
        self.is_over = true;
        self.handshake = None;
        self.events.push_back(Event::Failed(reason));
    }

    /// Seals the current flight anew, several records to a datagram.
    fn send_flight(&mut self, now: TimeNs) {
        let Some(handshake) = &self.handshake else { return };
        let mut datagram = Vec::new();
        for message in handshake.flight() {
            let epoch = message.epoch;
            let Some(record) = self
                .epochs
                .get_mut(usize::from(epoch))
                .and_then(|sealer| sealer.seal(epoch, message.content, &message.body))
            else {
                continue;
            };
            if !datagram.is_empty() && datagram.len() + record.len() > DATAGRAM_BYTES_MAX {
                self.outgoing.push_back(std::mem::take(&mut datagram));
            }
            datagram.extend(record);
        }
        self.outgoing.push_back(datagram);
        self.resend_at = now.add_ms(RESEND_MS << self.resends);
    }
}

/// Both directions' ciphers: ours, then the peer's.
type Ciphers = (Sealer, Sealer);

#[cfg(test)]
mod tests;
