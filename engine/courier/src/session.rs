//! One transport's DTLS connection and the data channels inside it. Sans-IO: datagrams in, datagrams and events out.
//!
//! ```text
//! Handshake ──finished──▶ Unverified ──fingerprint equal──▶ Connected ──close──▶ Closed
//!     └──────────── timeout, bad peer, other fingerprint ─────────▶ Failed
//! ```
//! SRTP keys and data are given out only when the peer's certificate has the fingerprint of the client's description (RFC 8122
//! §5), which may be known later than the handshake ends.

mod fingerprint;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use dimpl::{Dtls, Output, SrtpProfile};
use engine_base::{Drop as DropReason, TimeNs};
use engine_srtp::{MasterKey, Profile, split_exported};
use engine_table::Fingerprint;

use crate::channels::{Channel, ChannelEvent, Channels, SendError};
use crate::limits;
use crate::settings::{Settings, Versions};
pub use fingerprint::{is_fingerprint_valid, matches};

/// Output buffer of the DTLS library: one datagram, or one record. A larger record, which few clients send, has one of its own.
const OUTPUT_BYTES: usize = 1 << 11;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Handshake,
    Unverified,
    Connected,
    Closed,
    Failed,
}

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The peer broke the protocol, or did not answer.
    Dtls,
    /// The certificate is not the one that the client's description announced.
    FingerprintMismatch,
    /// Signaling did not write a fingerprint in time.
    FingerprintUnknown,
    /// No SRTP profile in common.
    NoProfile,
}

/// SRTP master keys of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    pub send: MasterKey,
    pub receive: MasterKey,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    Connected(Box<Keys>),
    Failed(Failure),
    /// By the peer's close_notify.
    Closed,
    ChannelOpen(Channel),
    ChannelClosed(Channel),
    Message(Channel, Bytes),
    Dropped(DropReason),
}

/// What signaling wants of a session.
#[derive(Clone, Copy, Debug)]
pub struct Role {
    /// We send the ClientHello.
    pub dtls_client: bool,
    pub sctp: bool,
    /// We send the SCTP INIT at once, as clients do.
    pub initiate: bool,
    /// We open the channels.
    pub open_channels: bool,
}

pub struct Session {
    settings: Arc<Settings>,
    role: Role,
    dtls: Dtls,
    phase: Phase,
    expected: Fingerprint,
    /// The peer's, until it is verified.
    certificate: Vec<u8>,
    keys: Option<Box<Keys>>,
    verify_by: TimeNs,
    /// Application data that came before the certificate was verified.
    early: Vec<Bytes>,
    channels: Option<Channels>,
    dtls_timeout: TimeNs,
    outgoing: VecDeque<Vec<u8>>,
    events: VecDeque<SessionEvent>,
}

impl Session {
    /// A client begins at once: poll it.
    pub fn new(settings: &Arc<Settings>, role: Role, expected: Fingerprint, now: TimeNs) -> Self {
        let (config, certificate) = (settings.dtls.clone(), settings.certificate.clone());
        let instant = settings.clock.instant(now);
        let mut dtls = match settings.versions {
            Versions::Auto => Dtls::new_auto(config, certificate, instant),
            Versions::Dtls12 => Dtls::new_12(config, certificate, instant),
            Versions::Dtls13 => Dtls::new_13(config, certificate, instant),
        };
        dtls.set_active(role.dtls_client);
        let mut session = Self {
            settings: settings.clone(),
            role,
            dtls,
            phase: Phase::Handshake,
            expected,
            certificate: Vec::new(),
            keys: None,
            verify_by: TimeNs::MAX,
            early: Vec::new(),
            channels: None,
            dtls_timeout: TimeNs::MAX,
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
        };
        session.handle_timeout(now);
        session
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// 12 or 13, 0 before it is known.
    pub fn dtls_version(&self) -> u8 {
        match self.dtls.protocol_version() {
            Some(dimpl::ProtocolVersion::DTLS1_2) => 12,
            Some(dimpl::ProtocolVersion::DTLS1_3) => 13,
            _ => 0,
        }
    }

    /// The row has changed: the fingerprint may be known now, channels may be wanted now.
    pub fn update(&mut self, sctp: bool, open_channels: bool, expected: Fingerprint, now: TimeNs) {
        self.role.sctp = sctp;
        self.role.open_channels = open_channels;
        if self.phase != Phase::Connected {
            self.expected = expected;
        }
        self.progress(now);
    }

    pub fn handle_packet(&mut self, datagram: &[u8], now: TimeNs) {
        if self.is_over() {
            return self.events.push_back(SessionEvent::Dropped(DropReason::CourierDtls));
        }
        let advanced = self.dtls.handle_timeout(self.settings.clock.instant(now));
        let result = advanced.and_then(|()| self.dtls.handle_packet(datagram));
        match result {
            Ok(()) => {}
            // The library keeps its state here: a stray datagram must not end a handshake that has not begun.
            Err(dimpl::Error::UnexpectedMessage(dimpl::UnexpectedMessageError::UnrecognizedAutoServerResponse)) => {
                self.events.push_back(SessionEvent::Dropped(DropReason::CourierDtls));
            }
            Err(_) => return self.fail(Failure::Dtls),
        }
        self.progress(now);
    }

    pub fn handle_timeout(&mut self, now: TimeNs) {
        if self.is_over() {
            return;
        }
        if self.dtls.handle_timeout(self.settings.clock.instant(now)).is_err() {
            return self.fail(Failure::Dtls);
        }
        if let Some(channels) = &mut self.channels {
            channels.handle_timeout(now);
        }
        self.progress(now);
        if self.phase == Phase::Unverified && self.verify_by <= now {
            self.fail(Failure::FingerprintUnknown);
        }
    }

    pub fn poll_timeout(&self) -> Option<TimeNs> {
        if self.is_over() {
            return None;
        }
        let channels = self.channels.as_ref().and_then(Channels::poll_timeout);
        let verify = (self.phase == Phase::Unverified).then_some(self.verify_by);
        [Some(self.dtls_timeout), channels, verify].into_iter().flatten().min()
    }

    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        take(&mut self.outgoing)
    }

    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        take(&mut self.events)
    }

    /// Sends one message on a channel. **Errors**: see [`SendError`]; nobody is made to wait.
    pub fn send(&mut self, channel: Channel, message: &Bytes, now: TimeNs) -> Result<(), SendError> {
        let channels = self.channels.as_mut().ok_or(SendError::NotOpen)?;
        channels.send(channel, message)?;
        self.progress(now);
        Ok(())
    }

    /// Tells the peer that it is over (close_notify, RFC 8446 §6.1), once. An unfinished handshake just ends.
    pub fn close(&mut self, now: TimeNs) {
        if self.is_over() {
            return;
        }
        if self.dtls.close().is_ok() {
            self.drain_dtls(&mut Vec::new(), now);
        }
        self.phase = Phase::Closed;
        self.channels = None;
    }

    fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Closed | Phase::Failed)
    }

    fn fail(&mut self, failure: Failure) {
        self.phase = Phase::Failed;
        self.channels = None;
        self.early = Vec::new();
        self.events.push_back(SessionEvent::Failed(failure));
    }

    /// Moves everything as far as it goes: DTLS output, verification, SCTP both ways.
    fn progress(&mut self, now: TimeNs) {
        let mut received = Vec::new();
        self.drain_dtls(&mut received, now);
        self.verify(now);
        loop {
            if self.is_over() {
                return;
            }
            for data in received.drain(..) {
                self.handle_data(data, now);
            }
            self.take_channel_events();
            let Some(channels) = &mut self.channels else { return };
            let Some(packet) = channels.poll_transmit(now) else { return };
            match self.dtls.send_application_data(&packet) {
                Ok(_) => self.drain_dtls(&mut received, now),
                Err(_) => return self.fail(Failure::Dtls),
            }
        }
    }

    fn drain_dtls(&mut self, received: &mut Vec<Bytes>, now: TimeNs) {
        let mut small = [0; OUTPUT_BYTES];
        let mut large = Vec::new();
        loop {
            let output = if large.is_empty() { &mut small[..] } else { &mut large[..] };
            match self.dtls.poll_output(output) {
                Output::Packet(datagram) => self.outgoing.push_back(datagram.to_vec()),
                Output::BufferTooSmall { needed } => large.resize(needed, 0),
                Output::Timeout(instant) => {
                    self.dtls_timeout = self.settings.clock.time(instant);
                    return;
                }
                Output::Connected if self.phase == Phase::Handshake => {
                    self.phase = Phase::Unverified;
                    self.verify_by = now.add_ms(limits::FINGERPRINT_WAIT_MS);
                }
                Output::PeerCert(certificate) => self.certificate = certificate.to_vec(),
                Output::KeyingMaterial(exported, profile) => {
                    self.keys = export(&exported, profile, self.role.dtls_client).map(Box::new);
                }
                Output::ApplicationData(data) => received.push(Bytes::copy_from_slice(data)),
                Output::CloseNotify => self.closed_by_peer(),
                _ => {}
            }
        }
    }

    fn closed_by_peer(&mut self) {
        if !self.is_over() {
            self.phase = Phase::Closed;
            self.channels = None;
            self.events.push_back(SessionEvent::Closed);
        }
    }

    fn verify(&mut self, now: TimeNs) {
        if self.phase == Phase::Unverified && self.expected.bytes != 0 {
            if !matches(&self.certificate, &self.expected) {
                return self.fail(Failure::FingerprintMismatch);
            }
            let Some(keys) = self.keys.take() else { return self.fail(Failure::NoProfile) };
            self.phase = Phase::Connected;
            self.certificate = Vec::new();
            self.events.push_back(SessionEvent::Connected(keys));
        }
        if self.phase == Phase::Connected && self.role.sctp {
            let Role { dtls_client, initiate, open_channels, .. } = self.role;
            let channels =
                self.channels.get_or_insert_with(|| Channels::new(&self.settings, dtls_client, initiate, now));
            if open_channels {
                channels.open();
            }
            for data in self.early.drain(..) {
                channels.handle_packet(data, now);
            }
        }
    }

    fn handle_data(&mut self, data: Bytes, now: TimeNs) {
        match &mut self.channels {
            Some(channels) => channels.handle_packet(data, now),
            None if self.early.len() < limits::EARLY_DATAGRAMS_MAX => self.early.push(data),
            None => self.events.push_back(SessionEvent::Dropped(DropReason::CourierSctp)),
        }
    }

    fn take_channel_events(&mut self) {
        while let Some(event) = self.channels.as_mut().and_then(Channels::poll_event) {
            self.events.push_back(match event {
                ChannelEvent::Open(channel) => SessionEvent::ChannelOpen(channel),
                ChannelEvent::Closed(channel) => SessionEvent::ChannelClosed(channel),
                ChannelEvent::Message(channel, bytes) => SessionEvent::Message(channel, bytes),
                ChannelEvent::Dropped(reason) => SessionEvent::Dropped(reason),
            });
        }
    }
}

/// The next of a queue that is empty for most of a session's life: then it keeps no memory.
pub(crate) fn take<T>(queue: &mut VecDeque<T>) -> Option<T> {
    let next = queue.pop_front();
    if next.is_none() && queue.capacity() > 0 {
        *queue = VecDeque::new();
    }
    next
}

fn export(exported: &[u8], profile: SrtpProfile, dtls_client: bool) -> Option<Keys> {
    let profile = match profile {
        SrtpProfile::AES128_CM_SHA1_80 => Profile::Aes128CmSha1_80,
        SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
        SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
        _ => return None,
    };
    let (send, receive) = split_exported(profile, exported, dtls_client).ok()?;
    Some(Keys { send, receive })
}
