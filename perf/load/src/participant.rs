//! One synthetic client: its signaling, its two peer connections, what it publishes and what it receives.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use engine_base::{TimeNs, WallOffset};
use engine_wire::{Class, Compound, classify};
use mio::{Registry, Token};
use quinn_udp::RecvMeta;
use signaling_protocol::proto::{self, SignalTarget, TrackType, TrickleRequest, signal_request, signal_response};
use signaling_sdp::{Candidate, CandidateInit, Protocol, SessionDescription};

use crate::account::{Account, StreamAccount};
use crate::connection::{Connection, Identity, Side};
use crate::description::{self, Local, OfferedTrack, Remote};
use crate::layout::Layout;
use crate::publication::{Outlet, Publication};
use crate::reception::{ArrivalTime, Reception};
use crate::signal::Signal;
use crate::socket::{Buffers, MediaSocket};
use crate::tally::Tally;
use crate::track::TrackPlan;
use crate::{clock, ice};

/// Event sources of one participant: its signaling socket and its two media sockets.
pub const TOKENS: usize = 3;
/// How long candidates are collected when none is the server's signaling address.
const CANDIDATE_WAIT_MS: u64 = 300;
const PING_MS: u64 = 5_000;
const REPORT_MS: u64 = 1_000;

/// What a participant shall do.
#[derive(Clone, Debug)]
pub struct Plan {
    pub identity: String,
    pub url: String,
    pub address: std::net::SocketAddr,
    pub allow_remote: bool,
    /// Streams to wait for until it has joined.
    pub streams: usize,
    pub sample_every: u16,
    pub tracks: Vec<TrackPlan>,
    /// Which layers it asks for; without one it takes what the server sends.
    pub layout: Option<Layout>,
}

/// What participants of a thread share while one of them works.
pub struct Scope<'a> {
    pub registry: &'a Registry,
    pub identity: &'a Arc<Identity>,
    pub wall: WallOffset,
    pub now: TimeNs,
    pub tally: &'a mut Tally,
}

/// A peer connection with its socket.
struct Link {
    connection: Connection,
    socket: Option<MediaSocket>,
    token: Token,
    candidates: Vec<Candidate>,
    choose_by: Option<TimeNs>,
    session_id: u64,
    version: u64,
}

pub struct Participant {
    plan: Plan,
    signal: Signal,
    subscriber: Link,
    publisher: Option<Link>,
    reception: Reception,
    tracks: Vec<OfferedTrack>,
    /// Streams of the tracks, each with the place of its track.
    publications: Vec<(usize, Publication)>,
    published: usize,
    /// Video tracks of others in the order in which they were announced.
    seen: Vec<String>,
    transport_sequence: u16,
    pub began: TimeNs,
    ping_at: TimeNs,
    report_at: TimeNs,
}

impl Participant {
    pub fn begin(plan: Plan, token: usize, scope: &mut Scope<'_>) -> Result<Self> {
        let signal = Signal::connect(plan.address, &plan.url, scope.registry, Token(token))?;
        let link = |side, at| Link::new(Connection::new(scope.identity, side), Token(token + at));
        let (subscriber, publisher) = (link(Side::Subscriber, 1), link(Side::Publisher, 2));
        let tracks: Vec<OfferedTrack> = plan.tracks.iter().zip(1..).map(|(track, at)| track.offered(at)).collect();
        let pairs = plan.tracks.iter().zip(&tracks).enumerate();
        let now = scope.now;
        let publications = pairs.flat_map(|(at, (track, offered))| {
            (0..offered.encodings.len()).map(move |layer| (at, track.publication(offered, layer, now)))
        });
        let publications = publications.collect();
        Ok(Self {
            reception: Reception::new(plan.sample_every),
            publisher: (!plan.tracks.is_empty()).then_some(publisher),
            signal,
            subscriber,
            plan,
            tracks,
            publications,
            published: 0,
            seen: Vec::new(),
            transport_sequence: rand::random(),
            began: scope.now,
            ping_at: TimeNs::MAX,
            report_at: TimeNs::MAX,
        })
    }

    pub fn identity(&self) -> &str {
        &self.plan.identity
    }

    /// Where the server takes our media.
    pub fn media_address(&self) -> Option<std::net::SocketAddr> {
        let links = [self.publisher.as_ref(), Some(&self.subscriber)];
        links.into_iter().flatten().find_map(|link| Some(link.socket.as_ref()?.remote))
    }

    /// Connected on all connections; all own tracks accepted or, without any, all streams announced: who publishes may join before
    /// the others, of whose tracks LiveKit tells only once they send.
    pub fn has_joined(&self) -> bool {
        let is_ready = match &self.publisher {
            Some(link) => {
                let mut publications = self.publications.iter();
                link.connection.is_connected() && publications.all(|(_, publication)| publication.is_accepted())
            }
            None => self.reception.stream_count() >= self.plan.streams,
        };
        is_ready && self.subscriber.connection.is_connected()
    }

    pub fn has_media(&self) -> bool {
        self.plan.streams > 0 && self.reception.stream_count() >= self.plan.streams && self.reception.has_all_media()
    }

    pub fn receives(&self) -> bool {
        self.plan.streams > 0
    }

    pub fn is_bystander(&self) -> bool {
        !self.receives() && self.tracks.is_empty()
    }

    pub fn set_sending(&mut self, sending: bool, now: TimeNs) {
        self.publications.iter_mut().for_each(|(_, publication)| publication.set_sending(sending, now));
    }

    pub fn begin_measurement(&mut self) {
        self.reception.begin();
    }

    pub fn add_to(&self, tally: &mut Tally) {
        if self.receives() {
            self.reception.add_to(tally);
        }
        tally.profile = tally.profile.or(self.subscriber.connection.profile());
    }

    /// What it sent since it joined and received since the measurement began.
    pub fn account(&self) -> Account {
        let sent = self.publications.iter().map(|(_, publication)| {
            let (packets, bytes) = publication.sent();
            StreamAccount { packets, bytes, ..StreamAccount::of(publication.kind()) }
        });
        Account {
            identity: self.plan.identity.clone(),
            has_joined: self.has_joined(),
            sent: sent.collect(),
            received: if self.receives() { self.reception.accounts().collect() } else { Vec::new() },
            failure: None,
        }
    }

    /// The signaling socket is ready.
    pub fn handle_signal(&mut self, scope: &mut Scope<'_>) -> Result<()> {
        let mut messages = Vec::new();
        let result = self.signal.handle_ready(|message| messages.push(message));
        for message in messages {
            self.handle_message(message, scope)?;
        }
        result
    }

    /// A media socket is ready: 0 the subscriber's, 1 the publisher's. **Output**: whether timers may have changed.
    pub fn handle_media(&mut self, publisher: bool, buffers: &mut Buffers, scope: &mut Scope<'_>) -> Result<bool> {
        if publisher { self.receive_as_publisher(buffers, scope) } else { self.receive_as_subscriber(buffers, scope) }
    }

    pub fn handle_timeout(&mut self, scope: &mut Scope<'_>) -> Result<()> {
        let now = scope.now;
        if self.ping_at <= now {
            self.ping_at = now.add_ms(PING_MS);
            let timestamp = i64::try_from(scope.wall.wall_ns(now) / 1_000_000).unwrap_or(0);
            self.signal.send(signal_request::Message::PingReq(proto::Ping { timestamp, rtt: 0 }))?;
        }
        for publisher in [false, true] {
            let Some(link) = self.link(publisher) else { continue };
            if link.choose_by.is_some_and(|at| at <= now) {
                self.choose_candidate(publisher, true, scope)?;
            }
            if let Some(link) = self.link(publisher) {
                link.handle_timeout(now)?;
            }
        }
        if self.report_at <= now {
            self.report_at = now.add_ms(REPORT_MS);
            let Link { connection, socket, .. } = &mut self.subscriber;
            if let Some(socket) = socket {
                self.reception.report(connection, now, |packet| {
                    socket.send(packet);
                });
            }
        }
        self.publish(scope);
        Ok(())
    }

    pub fn poll_timeout(&self) -> TimeNs {
        let links = std::iter::once(&self.subscriber).chain(&self.publisher).filter_map(Link::poll_timeout);
        let can_send = self.publisher.as_ref().is_some_and(|link| link.connection.is_connected());
        let publications =
            self.publications.iter().filter(|_| can_send).filter_map(|(_, publication)| publication.poll_timeout());
        links.chain(publications).chain([self.ping_at, self.report_at]).min().unwrap_or(TimeNs::MAX)
    }

    pub fn leave(&mut self) {
        let _ = self.signal.send(signal_request::Message::Leave(proto::LeaveRequest {
            reason: proto::DisconnectReason::ClientInitiated.into(),
            ..proto::LeaveRequest::default()
        }));
        self.signal.close();
    }

    fn link(&mut self, publisher: bool) -> Option<&mut Link> {
        if publisher { self.publisher.as_mut() } else { Some(&mut self.subscriber) }
    }

    fn handle_message(&mut self, message: signal_response::Message, scope: &mut Scope<'_>) -> Result<()> {
        use signal_response::Message;
        match message {
            Message::Join(join) => {
                self.ping_at = scope.now.add_ms(PING_MS);
                for (offered, track) in self.tracks.iter().zip(&self.plan.tracks) {
                    self.signal.send(signal_request::Message::AddTrack(track.request(offered)))?;
                }
                self.choose_layers(&join.other_participants)?;
            }
            Message::Update(update) => self.choose_layers(&update.participants)?,
            Message::TrackPublished(_) => {
                self.published += 1;
                if self.published == self.tracks.len() {
                    self.offer(scope)?;
                }
            }
            Message::Offer(offer) => self.answer(&offer, scope)?,
            Message::Answer(answer) => self.take_answer(&answer, scope)?,
            Message::Trickle(trickle) => {
                let publisher = trickle.target == i32::from(SignalTarget::Publisher);
                let candidate = CandidateInit::parse(&trickle.candidate_init).ok().and_then(|init| init.candidate);
                self.take_candidates(publisher, candidate, trickle.r#final, scope)?;
            }
            Message::RequestResponse(response) if response.reason != 0 && self.published < self.tracks.len() => {
                bail!("the server refused a request: {} (reason {})", response.message, response.reason);
            }
            Message::Leave(leave) => bail!("the server said leave: {}", leave.reason().as_str_name()),
            _ => {}
        }
        Ok(())
    }

    /// Asks for the layer of each video track that it sees for the first time.
    fn choose_layers(&mut self, participants: &[proto::ParticipantInfo]) -> Result<()> {
        let Some(layout) = self.plan.layout else { return Ok(()) };
        let others = participants.iter().filter(|participant| participant.identity != self.plan.identity);
        let tracks = others.flat_map(|participant| &participant.tracks);
        for track in tracks.filter(|track| track.r#type() == TrackType::Video) {
            if !self.seen.contains(&track.sid) {
                let settings = layout.settings(self.seen.len(), &track.sid);
                self.seen.push(track.sid.clone());
                self.signal.send(signal_request::Message::TrackSetting(settings))?;
            }
        }
        Ok(())
    }

    fn offer(&mut self, scope: &mut Scope<'_>) -> Result<()> {
        let Some(link) = &mut self.publisher else { return Ok(()) };
        let sdp = description::publisher_offer(&link.local(&scope.identity.fingerprint), &self.tracks);
        let offer = proto::SessionDescription { r#type: "offer".to_owned(), sdp, id: 1, ..Default::default() };
        self.signal.send(signal_request::Message::Offer(offer))
    }

    fn take_answer(&mut self, answer: &proto::SessionDescription, scope: &mut Scope<'_>) -> Result<()> {
        let Some(link) = &mut self.publisher else { return Ok(()) };
        let answer = SessionDescription::parse(&answer.sdp).context("the server's answer")?;
        let remote = Remote::read(&answer)?;
        link.connection.set_remote(&remote, scope.now)?;
        let accepted = description::read_publisher_answer(&answer, &self.tracks)?;
        for (track, publication) in &mut self.publications {
            if let Some(accepted) = accepted.get(*track) {
                publication.set_accepted(*accepted);
            }
        }
        self.take_candidates(true, remote.candidates, false, scope)
    }

    fn answer(&mut self, offer: &proto::SessionDescription, scope: &mut Scope<'_>) -> Result<()> {
        let id = offer.id;
        let offer = SessionDescription::parse(&offer.sdp).context("the server's offer")?;
        let remote = Remote::read(&offer)?;
        let link = &mut self.subscriber;
        link.connection.set_remote(&remote, scope.now)?;
        self.reception.set_streams(&description::announced_streams(&offer));
        let sdp = description::subscriber_answer(&link.local(&scope.identity.fingerprint), &offer);
        let answer = proto::SessionDescription { r#type: "answer".to_owned(), sdp, id, ..Default::default() };
        self.signal.send(signal_request::Message::Answer(answer))?;
        self.take_candidates(false, remote.candidates, false, scope)
    }

    fn take_candidates(
        &mut self,
        publisher: bool,
        candidates: impl IntoIterator<Item = Candidate>,
        is_final: bool,
        scope: &mut Scope<'_>,
    ) -> Result<()> {
        let now = scope.now;
        let Some(link) = self.link(publisher) else { return Ok(()) };
        if link.socket.is_some() {
            return Ok(());
        }
        link.candidates.extend(candidates.into_iter().filter(|candidate| candidate.protocol == Protocol::Udp));
        if !link.candidates.is_empty() {
            link.choose_by.get_or_insert(now.add_ms(CANDIDATE_WAIT_MS));
        }
        self.choose_candidate(publisher, is_final, scope)
    }

    /// Takes the candidate with the address that signaling has; without one, when no more are to come, the preferred one.
    fn choose_candidate(&mut self, publisher: bool, is_final: bool, scope: &mut Scope<'_>) -> Result<()> {
        let (server, allow_remote) = (self.plan.address.ip(), self.plan.allow_remote);
        let Some(link) = self.link(publisher) else { return Ok(()) };
        let Some(remote) = best(&link.candidates, server, is_final) else { return Ok(()) };
        let socket = MediaSocket::connect(remote, !allow_remote, scope.registry, link.token)?;
        let candidate = ice::candidate(socket.local, &link.connection.credentials.ufrag);
        link.socket = Some(socket);
        link.choose_by = None;
        link.handle_timeout(scope.now)?;
        let target = if publisher { SignalTarget::Publisher } else { SignalTarget::Subscriber };
        self.signal.send(signal_request::Message::Trickle(TrickleRequest {
            candidate_init: CandidateInit::ours(candidate).to_json(),
            target: target.into(),
            r#final: true,
        }))
    }

    fn receive_as_subscriber(&mut self, buffers: &mut Buffers, scope: &mut Scope<'_>) -> Result<bool> {
        let (reception, report_at) = (&mut self.reception, &mut self.report_at);
        let Link { connection, socket, .. } = &mut self.subscriber;
        let Some(socket) = socket else { return Ok(false) };
        let mut changed = false;
        let handle = |train: &mut [u8], meta: &RecvMeta| {
            let read = clock::now();
            let kernel = meta.timestamp.map_or(read, |wall| clock::monotonic(wall, scope.wall));
            let at = ArrivalTime { kernel, read };
            let mut has_media = false;
            for packet in train.chunks_mut(meta.stride.max(1)) {
                match classify(packet) {
                    Class::Srtp => {
                        has_media = true;
                        if let Some(context) = connection.receive_context() {
                            reception.handle_rtp(packet, context, at, scope.tally);
                        }
                    }
                    Class::Srtcp => {
                        let opened = connection.receive_context().and_then(|it| it.unprotect_rtcp(packet).ok());
                        if let Some((length, _)) = opened {
                            reception.handle_rtcp(packet.get(..length).unwrap_or_default(), read);
                        }
                    }
                    _ => {
                        connection.handle_packet(packet, socket.remote, read);
                        changed = true;
                    }
                }
            }
            scope.tally.trains += u64::from(has_media);
        };
        socket.receive(buffers, handle).context("a media socket broke")?;
        if changed {
            self.subscriber.flush()?;
            if *report_at == TimeNs::MAX && self.subscriber.connection.is_connected() {
                *report_at = scope.now.add_ms(REPORT_MS);
            }
        }
        Ok(changed)
    }

    fn receive_as_publisher(&mut self, buffers: &mut Buffers, scope: &mut Scope<'_>) -> Result<bool> {
        let Some(link) = &mut self.publisher else { return Ok(false) };
        let Link { connection, socket, .. } = &mut *link;
        let Some(socket) = socket else { return Ok(false) };
        let mut reports: Vec<Vec<u8>> = Vec::new();
        let handle = |train: &mut [u8], meta: &RecvMeta| {
            for packet in train.chunks_mut(meta.stride.max(1)) {
                if classify(packet) == Class::Srtcp {
                    let opened = connection.receive_context().and_then(|it| it.unprotect_rtcp(packet).ok());
                    reports.extend(opened.and_then(|(length, _)| packet.get(..length)).map(<[u8]>::to_vec));
                } else {
                    connection.handle_packet(packet, socket.remote, clock::now());
                }
            }
        };
        socket.receive(buffers, handle).context("a media socket broke")?;
        let was_connected = connection.is_connected();
        link.flush()?;
        if was_connected {
            self.handle_reports(&reports, scope);
        }
        Ok(true)
    }

    fn handle_reports(&mut self, reports: &[Vec<u8>], scope: &mut Scope<'_>) {
        let publications = &mut self.publications;
        let Some(Link { connection, socket: Some(socket), .. }) = &mut self.publisher else { return };
        let mut failures = 0;
        let mut outlet = Outlet {
            connection,
            transport_sequence: &mut self.transport_sequence,
            wall: scope.wall,
            tally: scope.tally,
            send: &mut |packet| failures += u64::from(!socket.send(packet)),
        };
        for message in reports.iter().flat_map(|report| Compound::new(report).flatten()) {
            publications.iter_mut().for_each(|(_, publication)| publication.handle_rtcp(&message, &mut outlet));
        }
        scope.tally.send_failures += failures;
    }

    /// Sends what the tracks have due.
    fn publish(&mut self, scope: &mut Scope<'_>) {
        let publications = &mut self.publications;
        let Some(Link { connection, socket: Some(socket), .. }) = &mut self.publisher else { return };
        if !connection.is_connected() {
            return;
        }
        let mut failures = 0;
        let before = scope.tally.sent_packets;
        let mut outlet = Outlet {
            connection,
            transport_sequence: &mut self.transport_sequence,
            wall: scope.wall,
            tally: scope.tally,
            send: &mut |packet| failures += u64::from(!socket.send(packet)),
        };
        publications.iter_mut().for_each(|(_, publication)| publication.handle_timeout(scope.now, &mut outlet));
        scope.tally.send_failures += failures;
        if self.plan.streams > 0 {
            scope.tally.sent_by_receivers += scope.tally.sent_packets - before;
        }
    }
}

impl Link {
    fn new(connection: Connection, token: Token) -> Self {
        Self {
            connection,
            socket: None,
            token,
            candidates: Vec::new(),
            choose_by: None,
            session_id: rand::random::<u64>() >> 1,
            version: 1,
        }
    }

    fn local<'a>(&'a mut self, fingerprint: &'a signaling_sdp::Fingerprint) -> Local<'a> {
        self.version += 1;
        let (session_id, version) = (self.session_id, self.version);
        Local { session_id, version, ice: &self.connection.credentials, fingerprint }
    }

    fn handle_timeout(&mut self, now: TimeNs) -> Result<()> {
        if self.socket.is_some() && self.connection.poll_timeout().is_some_and(|at| at <= now) {
            self.connection.handle_timeout(now);
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        if let Some(socket) = &self.socket {
            while let Some(datagram) = self.connection.poll_transmit() {
                socket.send(&datagram);
            }
        }
        match self.connection.failure() {
            Some(failure) => bail!("{failure} ({:?} connection)", self.connection.side()),
            None => Ok(()),
        }
    }

    fn poll_timeout(&self) -> Option<TimeNs> {
        let connection = self.socket.as_ref().and_then(|_| self.connection.poll_timeout());
        self.choose_by.into_iter().chain(connection).min()
    }
}

fn best(candidates: &[Candidate], server: IpAddr, is_final: bool) -> Option<std::net::SocketAddr> {
    let addresses = || candidates.iter().filter_map(|each| Some((each.priority, each.socket_address()?)));
    let same = addresses().find(|(_, address)| address.ip() == server);
    let family = || addresses().filter(|(_, address)| address.is_ipv4() == server.is_ipv4());
    let preferred = same.or_else(|| if is_final { family().max_by_key(|(priority, _)| *priority) } else { None });
    preferred.map(|(_, address)| address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_candidate_of_the_signaling_address_is_taken_at_once_and_others_at_the_end() {
        let candidate =
            |text: &str, priority| Candidate { priority, ..Candidate::host_udp(text.parse().unwrap(), 0, "u") };
        let candidates = [candidate("192.0.2.1:1", 5), candidate("[2001:db8::1]:2", 9), candidate("192.0.2.2:3", 7)];
        let server = |text: &str| text.parse::<IpAddr>().unwrap();
        let port = |server: IpAddr, is_final| best(&candidates, server, is_final).map(|address| address.port());
        assert_eq!(port(server("192.0.2.1"), false), Some(1));
        assert_eq!(port(server("127.0.0.1"), false), None);
        assert_eq!(port(server("127.0.0.1"), true), Some(3));
        assert_eq!(port(server("::1"), true), Some(2));
    }
}
