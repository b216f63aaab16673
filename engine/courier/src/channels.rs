//! One SCTP association and LiveKit's data channels on it (RFC 8831, RFC 8832). Sans-IO: it takes and gives SCTP packets, which
//! the session carries as DTLS application data.
//!
//! Who opens the association: every WebRTC stack sends INIT as soon as DTLS is up, so we wait for it, and send our own only after
//! [`limits::SCTP_PASSIVE_MS`] without one. The library does not resolve a collision of two INITs (RFC 9260 §5.2.1): the DTLS
//! client goes on with its own, the DTLS server gives way to the peer's.

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use engine_base::{Drop as DropReason, TimeNs};
use sctp_proto::{
    Association, AssociationHandle, DatagramEvent, Endpoint, Event as SctpEvent, Payload, PayloadProtocolIdentifier,
    ReliabilityType, StreamEvent, Transmit,
};

use crate::dcep::{Message, Open, Reliability};
use crate::limits;
use crate::session::take;
use crate::settings::Settings;

/// The library wants an address; there is one peer only.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), limits::SCTP_PORT);
const CHUNK_INIT: u8 = 1;
const COMMON_HEADER_BYTES: usize = 12;

/// Channels by their label (never by stream id: clients differ, PROTOCOL §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    Reliable,
    Lossy,
    DataTrack,
}

impl Channel {
    pub const ALL: [Self; 3] = [Self::Reliable, Self::Lossy, Self::DataTrack];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Reliable => "_reliable",
            Self::Lossy => "_lossy",
            Self::DataTrack => "_data_track",
        }
    }

    fn from_label(label: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.label().as_bytes() == label)
    }

    fn reliability(self) -> Reliability {
        match self {
            Self::Reliable => Reliability::Reliable,
            Self::Lossy | Self::DataTrack => Reliability::Retransmits(0),
        }
    }

    fn queue_bytes(self) -> usize {
        match self {
            Self::Reliable => limits::RELIABLE_QUEUE_BYTES,
            Self::Lossy | Self::DataTrack => limits::LOSSY_QUEUE_BYTES,
        }
    }
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The channel is not open (yet).
    NotOpen,
    /// The receiver's queue is full.
    Full,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelEvent {
    Open(Channel),
    Closed(Channel),
    Message(Channel, Bytes),
    Dropped(DropReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StreamState {
    /// We sent OPEN and wait for ACK.
    Opening(Channel),
    Open(Channel),
    /// A label that is not ours: accepted, its bytes ignored.
    Other,
}

/// An association and its channels.
pub struct Channels {
    settings: Arc<Settings>,
    endpoint: Endpoint,
    association: Option<(AssociationHandle, Association)>,
    established: bool,
    /// When we stop waiting for the peer's INIT.
    connect_at: Option<TimeNs>,
    dtls_client: bool,
    /// We open the channels.
    opens: bool,
    streams: HashMap<u16, StreamState>,
    events: VecDeque<ChannelEvent>,
    outgoing: VecDeque<Bytes>,
}

impl Channels {
    /// **Input**: our DTLS role; `initiate` to send INIT at once, as clients do.
    pub fn new(settings: &Arc<Settings>, dtls_client: bool, initiate: bool, now: TimeNs) -> Self {
        Self {
            endpoint: Endpoint::new(settings.sctp_endpoint.clone(), Some(settings.sctp_server.clone())),
            settings: settings.clone(),
            association: None,
            established: false,
            connect_at: Some(if initiate { now } else { now.add_ms(limits::SCTP_PASSIVE_MS) }),
            dtls_client,
            opens: false,
            streams: HashMap::new(),
            events: VecDeque::new(),
            outgoing: VecDeque::new(),
        }
    }

    /// Opens `_reliable`, `_lossy` and `_data_track`, now or once the association is there. Once only.
    pub fn open(&mut self) {
        if !self.opens {
            self.opens = true;
            if self.established {
                self.open_streams();
            }
        }
    }

    pub fn handle_packet(&mut self, packet: Bytes, now: TimeNs) {
        let is_init = packet.get(COMMON_HEADER_BYTES) == Some(&CHUNK_INIT);
        // The library closes an established association for a late duplicate of the INIT that made it.
        let ours_goes_on = self.established || self.dtls_client && self.is_connecting();
        if is_init && ours_goes_on {
            return;
        }
        match self.endpoint.handle(self.settings.clock.instant(now), PEER, None, None, packet) {
            Some((handle, DatagramEvent::NewAssociation(association))) => self.replace(handle, association),
            Some((handle, DatagramEvent::AssociationEvent(event))) => match &mut self.association {
                Some((current, association)) if *current == handle => association.handle_event(event),
                _ => {}
            },
            None => self.events.push_back(ChannelEvent::Dropped(DropReason::CourierSctp)),
        }
        self.drain(now);
    }

    pub fn handle_timeout(&mut self, now: TimeNs) {
        if self.connect_at.is_some_and(|at| at <= now) {
            self.connect_at = None;
            if self.association.is_none()
                && let Ok((handle, association)) = self.endpoint.connect(self.settings.sctp_client.clone(), PEER)
            {
                self.association = Some((handle, association));
            }
        }
        if let Some((_, association)) = &mut self.association {
            association.handle_timeout(self.settings.clock.instant(now));
        }
        self.drain(now);
    }

    pub fn poll_timeout(&self) -> Option<TimeNs> {
        let association = self.association.as_ref().and_then(|(_, association)| association.poll_timeout());
        let association = association.map(|instant| self.settings.clock.time(instant));
        self.connect_at.into_iter().chain(association).min()
    }

    /// The next SCTP packet to send.
    pub fn poll_transmit(&mut self, now: TimeNs) -> Option<Bytes> {
        if self.outgoing.is_empty() {
            while let Some(transmit) = self.endpoint.poll_transmit() {
                queue(&mut self.outgoing, transmit);
            }
            if let Some((_, association)) = &mut self.association {
                while let Some(transmit) = association.poll_transmit(self.settings.clock.instant(now)) {
                    queue(&mut self.outgoing, transmit);
                }
            }
        }
        take(&mut self.outgoing)
    }

    pub fn poll_event(&mut self) -> Option<ChannelEvent> {
        take(&mut self.events)
    }

    /// Queues one message. **Errors**: not open, or the queue of this receiver is full (its message is dropped, nobody waits).
    pub fn send(&mut self, channel: Channel, message: &Bytes) -> Result<(), SendError> {
        let open = self.streams.iter().filter(|(_, state)| **state == StreamState::Open(channel));
        // Of two streams with one label the one with the higher id is the newer.
        let id = open.map(|(id, _)| *id).max().ok_or(SendError::NotOpen)?;
        let (_, association) = self.association.as_mut().ok_or(SendError::NotOpen)?;
        let mut stream = association.stream(id).map_err(|_| SendError::NotOpen)?;
        let queued = stream.buffered_amount().map_err(|_| SendError::NotOpen)?;
        if queued + message.len() > channel.queue_bytes() || message.len() > limits::MESSAGE_BYTES_MAX {
            return Err(SendError::Full);
        }
        stream.write_sctp(message, PayloadProtocolIdentifier::Binary).map(|_| ()).map_err(|_| SendError::NotOpen)
    }

    pub fn is_open(&self, channel: Channel) -> bool {
        self.streams.values().any(|state| *state == StreamState::Open(channel))
    }

    /// We sent INIT and have no association yet.
    fn is_connecting(&self) -> bool {
        self.association.as_ref().is_some_and(|(_, association)| association.side().is_client())
    }

    fn replace(&mut self, handle: AssociationHandle, association: Association) {
        if let Some((old, _)) = self.association.replace((handle, association)) {
            let _ = self.endpoint.handle_event(old, sctp_proto::EndpointEvent::drained());
        }
        self.connect_at = None;
    }

    fn drain(&mut self, now: TimeNs) {
        while let Some(event) = self.association.as_mut().and_then(|(_, association)| association.poll()) {
            match event {
                SctpEvent::Connected => {
                    self.established = true;
                    if self.opens {
                        self.open_streams();
                    }
                }
                SctpEvent::HandshakeFailed { .. } | SctpEvent::AssociationLost { .. } => return self.lost(now),
                SctpEvent::Stream(StreamEvent::Readable { id } | StreamEvent::Opened { id }) => self.read(id),
                SctpEvent::Stream(StreamEvent::Finished { id }) => self.closed(id),
                _ => {}
            }
        }
    }

    /// The association is gone; a new INIT of the peer makes another.
    fn lost(&mut self, now: TimeNs) {
        if let Some((handle, mut association)) = self.association.take() {
            while let Some(transmit) = association.poll_transmit(self.settings.clock.instant(now)) {
                queue(&mut self.outgoing, transmit);
            }
            let _ = self.endpoint.handle_event(handle, sctp_proto::EndpointEvent::drained());
        }
        self.established = false;
        for id in self.streams.keys().copied().collect::<Vec<_>>() {
            self.closed(id);
        }
    }

    fn closed(&mut self, id: u16) {
        if let Some(StreamState::Open(channel) | StreamState::Opening(channel)) = self.streams.remove(&id)
            && !self.is_open(channel)
        {
            self.events.push_back(ChannelEvent::Closed(channel));
        }
    }

    fn open_streams(&mut self) {
        let Some((_, association)) = &mut self.association else { return };
        // RFC 8832 §6: even stream ids are the DTLS client's, odd ones the server's.
        let first = if self.dtls_client { 0 } else { 1 };
        for (channel, id) in Channel::ALL.into_iter().zip((first..).step_by(2)) {
            let open = Open {
                ordered: channel == Channel::Reliable,
                reliability: channel.reliability(),
                // RFC 8831 §6.4: below normal, normal 256.
                priority: 256,
                label: channel.label().as_bytes(),
                protocol: b"",
            };
            let Ok(mut stream) = association.open_stream(id, PayloadProtocolIdentifier::Binary) else { continue };
            let bytes = Bytes::from(Message::Open(open).to_bytes());
            if set_reliability(&mut stream, &open).is_ok()
                && stream.write_sctp(&bytes, PayloadProtocolIdentifier::Dcep).is_ok()
            {
                self.streams.insert(id, StreamState::Opening(channel));
            }
        }
    }

    fn read(&mut self, id: u16) {
        loop {
            let Some((_, association)) = &mut self.association else { return };
            let Ok(mut stream) = association.stream(id) else { return };
            let Ok(Some(mut chunks)) = stream.read_sctp() else { return };
            let (kind, length) = (chunks.ppi, chunks.len());
            let bytes = chunks.next(length).map(|chunk| chunk.bytes).unwrap_or_default();
            match kind {
                PayloadProtocolIdentifier::Dcep => self.establish(id, &bytes),
                PayloadProtocolIdentifier::BinaryEmpty | PayloadProtocolIdentifier::StringEmpty => {
                    self.message(id, Bytes::new());
                }
                _ => self.message(id, bytes),
            }
        }
    }

    fn message(&mut self, id: u16, bytes: Bytes) {
        match self.streams.get(&id).copied() {
            Some(StreamState::Open(channel)) => self.events.push_back(ChannelEvent::Message(channel, bytes)),
            // RFC 8832 §6: data may overtake the ACK of an unordered channel.
            Some(StreamState::Opening(channel)) => {
                self.opened(id, channel);
                self.events.push_back(ChannelEvent::Message(channel, bytes));
            }
            Some(StreamState::Other) => {}
            None => self.events.push_back(ChannelEvent::Dropped(DropReason::CourierSctp)),
        }
    }

    fn establish(&mut self, id: u16, bytes: &[u8]) {
        match Message::parse(bytes) {
            Ok(Message::Open(open)) => self.accept(id, &open),
            Ok(Message::Ack) => {
                if let Some(StreamState::Opening(channel)) = self.streams.get(&id).copied() {
                    self.opened(id, channel);
                }
            }
            Err(_) => self.events.push_back(ChannelEvent::Dropped(DropReason::CourierSctp)),
        }
    }

    fn accept(&mut self, id: u16, open: &Open<'_>) {
        let Some((_, association)) = &mut self.association else { return };
        let Ok(mut stream) = association.stream(id) else { return };
        let acknowledged = set_reliability(&mut stream, open).and_then(|()| {
            stream.write_sctp(&Bytes::from(Message::Ack.to_bytes()), PayloadProtocolIdentifier::Dcep).map(|_| ())
        });
        if acknowledged.is_err() {
            return;
        }
        match Channel::from_label(open.label) {
            Some(channel) => self.opened(id, channel),
            None => {
                self.streams.insert(id, StreamState::Other);
            }
        }
    }

    fn opened(&mut self, id: u16, channel: Channel) {
        let was_open = self.is_open(channel);
        self.streams.insert(id, StreamState::Open(channel));
        if !was_open {
            self.events.push_back(ChannelEvent::Open(channel));
        }
    }
}

/// Both directions of a channel deliver alike (RFC 8832 §4).
fn set_reliability(stream: &mut sctp_proto::Stream<'_>, open: &Open<'_>) -> Result<(), sctp_proto::Error> {
    let (kind, value) = match open.reliability {
        Reliability::Reliable => (ReliabilityType::Reliable, 0),
        Reliability::Retransmits(count) => (ReliabilityType::Rexmit, count),
        Reliability::Lifetime(ms) => (ReliabilityType::Timed, ms),
    };
    stream.set_reliability_params(!open.ordered, kind, value)
}

fn queue(outgoing: &mut VecDeque<Bytes>, transmit: Transmit) {
    if let Payload::RawEncode(packets) = transmit.payload {
        outgoing.extend(packets);
    }
}
