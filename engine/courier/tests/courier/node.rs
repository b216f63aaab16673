//! A node in memory: the tables, a courier, and clients that are sessions themselves. The test plays signaling and the worker.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use engine_base::{DataRef, Drop as DropReason, Limits, TimeNs, TransportRef};
use engine_courier::channels::Channel;
use engine_courier::clock::Clock;
use engine_courier::courier::Regions;
use engine_courier::session::{Role, SessionEvent};
use engine_courier::{Courier, Session, Settings, Versions};
use engine_table::*;
use prost::Message;
use zerocopy::{FromZeros, IntoBytes};

use crate::identity::{fingerprint, identity};
use crate::messages::DataPacket;

pub const GROUP: u64 = 7;

/// A client's peer connection.
pub struct Client {
    pub session: Session,
    pub transport: TransportRef,
    pub fingerprint: Fingerprint,
    pub events: Vec<SessionEvent>,
    /// Its datagrams and ours are lost.
    pub is_cut: bool,
}

impl Client {
    pub fn messages(&self) -> Vec<DataPacket> {
        let messages = self.events.iter().filter_map(|event| match event {
            SessionEvent::Message(_, bytes) => Some(DataPacket::decode(bytes.clone()).unwrap()),
            _ => None,
        });
        messages.collect()
    }

    pub fn payloads(&self) -> Vec<Vec<u8>> {
        self.messages().iter().map(|message| message.payload().to_vec()).collect()
    }

    pub fn is_open(&self) -> bool {
        Channel::ALL.iter().all(|channel| self.events.contains(&SessionEvent::ChannelOpen(*channel)))
    }
}

pub struct Node {
    pub regions: Regions,
    pub courier: Courier,
    pub clients: HashMap<&'static str, Client>,
    pub now: TimeNs,
    settings: Arc<Settings>,
    node_fingerprint: Fingerprint,
    clock: Clock,
    rows: u32,
}

impl Node {
    pub fn new() -> Self {
        Self::with_transports(16)
    }

    pub fn with_transports(transports: u32) -> Self {
        let limits = Limits { workers: 2, transports, ingresses: 1, egresses: 1, datas: 16 };
        let regions = Regions {
            signaling: SignalingRegion::anonymous(&limits),
            courier: CourierRegion::anonymous(&limits),
            keys: KeyRegion::anonymous(&limits),
            engine: EngineRegion::anonymous(&limits),
        };
        let now = TimeNs::from_ms(1_000_000);
        let clock = Clock::starting_at(now);
        let identity = identity();
        let settings = Settings::new(&identity, Versions::Auto, clock).unwrap();
        Self {
            courier: Courier::new(regions.clone(), settings.clone(), now),
            regions,
            clients: HashMap::new(),
            now,
            settings,
            node_fingerprint: fingerprint(&identity),
            clock,
            rows: 0,
        }
    }

    /// As after `kill -9`: nothing of the old process but its rows.
    pub fn restart_courier(&mut self) {
        self.courier = Courier::new(self.regions.clone(), self.settings.clone(), self.now);
    }

    /// A single peer connection: the server is DTLS client, the browser opens the channels.
    pub fn add_client(&mut self, name: &'static str) -> TransportRef {
        let browser = Role { dtls_client: false, sctp: true, initiate: true, open_channels: true };
        self.add_client_as(name, browser, DTLS_CLIENT, transport_flags::SCTP)
    }

    pub fn add_client_as(&mut self, name: &'static str, role: Role, dtls_role: u8, flags: u8) -> TransportRef {
        self.rows += 1;
        let transport = TransportRef::new(self.rows, 100 + self.rows);
        let own = identity();
        let settings = Settings::new(&own, Versions::Auto, self.clock).unwrap();
        let session = Session::new(&settings, role, self.node_fingerprint, self.now);
        let fingerprint = fingerprint(&own);
        let events = Vec::new();
        self.clients.insert(name, Client { session, transport, fingerprint, events, is_cut: false });
        self.set_transport(transport, dtls_role, flags, fingerprint);
        self.set_observed(transport, transport_state::CONNECTED);
        transport
    }

    pub fn set_transport(&mut self, transport: TransportRef, dtls_role: u8, flags: u8, fingerprint: Fingerprint) {
        let mut row = TransportRow::new_zeroed();
        row.state = ROW_ACTIVE;
        row.dtls_role = dtls_role;
        row.flags = flags;
        row.generation = transport.generation;
        row.fingerprint = fingerprint;
        self.regions.signaling.transports().publish(transport.index, &row);
        self.courier.handle_change(TableId::Transport, transport.index, None, self.now);
    }

    pub fn free_transport(&mut self, transport: TransportRef) {
        self.regions.signaling.transports().publish(transport.index, &TransportRow::new_zeroed());
        self.courier.handle_change(TableId::Transport, transport.index, None, self.now);
    }

    pub fn set_observed(&mut self, transport: TransportRef, state: u8) {
        let mut row = TransportObserved::new_zeroed();
        row.generation = transport.generation;
        row.owner = if state == transport_state::CONNECTED { 1 } else { NO_OWNER };
        row.state = state;
        if state == transport_state::CONNECTED {
            row.remote = address();
        }
        self.regions.engine.transports().publish(transport.index, &row);
        self.courier.handle_change(TableId::TransportObserved, transport.index, Some(0), self.now);
    }

    /// A participant of the room whose client has one peer connection for both directions.
    pub fn add_member(&mut self, name: &'static str, flags: u16) -> DataRef {
        let transport = self.clients[name].transport;
        self.set_member(name, transport, transport, flags)
    }

    pub fn set_member(&mut self, name: &str, uplink: TransportRef, downlink: TransportRef, flags: u16) -> DataRef {
        let mut row = DataRow::new_zeroed();
        row.state = ROW_ACTIVE;
        row.flags = flags;
        row.generation = downlink.generation;
        row.group = GROUP;
        row.uplink = uplink;
        row.downlink = downlink;
        row.sid = Text::cut(&format!("PA_{name}"));
        row.identity = Text::cut(name);
        self.regions.signaling.datas().publish(downlink.index % 16, &row);
        self.courier.handle_change(TableId::Data, downlink.index % 16, None, self.now);
        DataRef::new(downlink.index % 16, row.generation)
    }

    pub fn free_member(&mut self, member: DataRef) {
        self.regions.signaling.datas().publish(member.index, &DataRow::new_zeroed());
        self.courier.handle_change(TableId::Data, member.index, None, self.now);
    }

    /// Clients that are connected, with their channels open, and members with all rights.
    pub fn room(names: &[&'static str]) -> Self {
        let mut node = Self::new();
        for name in names {
            node.add_client(name);
            node.add_member(name, ALL_RIGHTS);
        }
        node.run(3_000);
        assert!(node.clients.values().all(Client::is_open));
        node
    }

    pub fn send(&mut self, name: &'static str, channel: Channel, packet: &DataPacket) {
        let bytes = Bytes::from(packet.encode_to_vec());
        self.clients.get_mut(name).unwrap().session.send(channel, &bytes, self.now).unwrap();
        self.run(50);
    }

    pub fn command(&mut self, kind: u32, head: &impl IntoCommand, packet: &[u8]) {
        let payload = [head.bytes(), packet].concat();
        self.courier.handle_command(kind, &payload, self.now);
        self.run(50);
    }

    pub fn client(&self, name: &str) -> &Client {
        &self.clients[name]
    }

    pub fn session(&self, transport: TransportRef) -> SessionRow {
        self.regions.courier.sessions().own(transport.index)
    }

    pub fn keys(&self, transport: TransportRef) -> KeyRow {
        self.regions.keys.keys().own(transport.index)
    }

    pub fn drops(&self, reason: DropReason) -> u64 {
        self.regions.courier.drops(reason).load(Ordering::Relaxed)
    }

    pub fn counter(&self, counter: CourierCounter) -> u64 {
        self.regions.courier.counter(counter).load(Ordering::Relaxed)
    }

    pub fn header(&self, transport: TransportRef) -> PuntHeader {
        PuntHeader { transport, address: address(), socket: 0, reserved: 0 }
    }

    /// Everything moves for `ms` of simulated time.
    pub fn run(&mut self, ms: u64) {
        let end = self.now.add_ms(ms);
        loop {
            while self.exchange() {}
            let timers = self.clients.values().filter_map(|client| client.session.poll_timeout());
            let next = timers.chain([self.courier.poll_timeout()]).min().unwrap_or(end).max(self.now.add_ms(1));
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
            self.courier.handle_timeout(self.now);
            for client in self.clients.values_mut() {
                client.session.handle_timeout(self.now);
            }
        }
    }

    fn exchange(&mut self) -> bool {
        let mut moved = false;
        while let Some(transmit) = self.courier.poll_transmit() {
            moved = true;
            let to = transmit.header.transport;
            if let Some(client) = self.clients.values_mut().find(|client| client.transport == to && !client.is_cut) {
                client.session.handle_packet(&transmit.datagram, self.now);
            }
        }
        for client in self.clients.values_mut() {
            while let Some(datagram) = client.session.poll_transmit() {
                moved = true;
                if !client.is_cut {
                    let header = PuntHeader { transport: client.transport, address: address(), socket: 0, reserved: 0 };
                    self.courier.handle_datagram(1, &header, &datagram, self.now);
                }
            }
            while let Some(event) = client.session.poll_event() {
                client.events.push(event);
            }
        }
        moved
    }
}

pub const ALL_RIGHTS: u16 = data_flags::CAN_PUBLISH | data_flags::CAN_RECEIVE;

pub trait IntoCommand {
    fn bytes(&self) -> &[u8];
}

impl IntoCommand for DataCommand {
    fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl IntoCommand for ReplayCommand {
    fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }
}

pub fn address() -> SocketAddress {
    SocketAddress::new("192.0.2.1:5000".parse().unwrap())
}
