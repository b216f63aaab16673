//! A node without kernel and processes: workers over memory ports, and the test in the roles of holder, signaling and courier.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use engine_base::limits::LAYERS;
use engine_base::ufrag::{LocalUfrag, password};
use engine_base::{Drop as DropReason, EgressRef, IngressRef, Kind, Limits, Ssrc, TimeNs, TransportRef, WallOffset};
use engine_io::MemoryPort;
use engine_srtp::Profile;
use engine_table::*;
use engine_worker::{Crew, Regions, Site, Worker};
use zerocopy::FromZeros;

use crate::peer::Peer;

pub const NODE_TAG: u32 = 0x2_1234;

pub struct Stage {
    pub regions: Regions,
    pub workers: Vec<Worker<MemoryPort>>,
    pub now: TimeNs,
    generation: u32,
    next_row: [u32; 3],
    next_port: u16,
    /// Sent, not yet taken by its peer: worker, destination, bytes.
    sent: VecDeque<(u32, SocketAddress, Vec<u8>)>,
    /// Sends of RTP; a train is one.
    pub media_sends: u64,
}

pub fn local(worker: u32) -> SocketAddress {
    let address: SocketAddr = format!("10.0.0.1:{}", 7_000 + worker).parse().unwrap();
    SocketAddress::new(address)
}

fn start(regions: &Regions, now: TimeNs) -> Vec<Worker<MemoryPort>> {
    let (crew, mailboxes) = Crew::new(regions.engine.limits());
    let crew = Arc::new(crew);
    let workers = (0..).zip(mailboxes).map(|(me, mailbox)| {
        let site = Site::new(me, regions, crew.clone()).unwrap();
        let mut port = MemoryPort::new(&[local(me)], 2_048);
        // Fewer than subscribers, so that some have a socket of their own and others not.
        port.add_connections(2);
        Worker::new(port, site, mailbox, now)
    });
    workers.collect()
}

impl Stage {
    pub fn new(workers: u32) -> Self {
        Self::with_limits(Limits { workers, transports: 64, ingresses: 16, egresses: 64, datas: 4 })
    }

    pub fn with_limits(limits: Limits) -> Self {
        Self::with(limits, 0)
    }

    /// Workers that hold video up to this time under load.
    pub fn with_hold_us(workers: u32, video_hold_us: u32) -> Self {
        Self::with(Limits { workers, transports: 64, ingresses: 16, egresses: 64, datas: 4 }, video_hold_us)
    }

    fn with(limits: Limits, video_hold_us: u32) -> Self {
        let regions = Regions::anonymous(&limits);
        let mut node = NodeRow::new_zeroed();
        node.wall_offset = WallOffset(1_795_000_000_000_000_000);
        node.limits = limits;
        node.node_tag = NODE_TAG;
        node.address_count = 1;
        node.video_hold_us = video_hold_us;
        node.video_hold_load = 30;
        regions.holder.node().publish(0, &node);
        let now = TimeNs::from_ms(5_000_000);
        let workers = start(&regions, now);
        let mut stage = Self {
            regions,
            workers,
            now,
            generation: 100,
            next_row: [3; 3],
            next_port: 20_000,
            sent: VecDeque::new(),
            media_sends: 0,
        };
        stage.settle();
        stage
    }

    /// The engine is killed and a successor starts on the same memory.
    pub fn restart_engine(&mut self) {
        self.workers = start(&self.regions, self.now);
        self.settle();
    }

    /// A transport row with keys, and the client at the other end.
    pub fn add_peer(&mut self, profile: Profile) -> Peer {
        let mut peer = self.add_unkeyed_peer(profile);
        self.publish_keys(&mut peer);
        peer
    }

    pub fn add_unkeyed_peer(&mut self, profile: Profile) -> Peer {
        let index = self.next_index(0);
        self.generation += 1;
        let generation = self.generation;
        let ufrag = LocalUfrag { index, generation, credential: 1, node: NODE_TAG, random: 77 + index };
        let mut row = TransportRow::new_zeroed();
        row.state = ROW_ACTIVE;
        row.dtls_role = DTLS_CLIENT;
        row.generation = generation;
        row.credentials[0].local_ufrag = Text::new(&ufrag.encode()).unwrap();
        row.credentials[0].local_password = Text::new(&password([index as u8; 24])).unwrap();
        row.receive_extensions = crate::peer::EXTENSIONS;
        row.label = Text::cut(&format!("PA_{index}"));
        let transport = TransportRef::new(index, generation);
        self.next_port += 1;
        let peer = Peer::new(transport, &row, profile, self.next_port);
        self.publish_transport(index, &row);
        peer
    }

    /// New credentials beside the present ones; the peer checks with them from now on.
    pub fn restart_ice(&mut self, peer: &mut Peer) {
        let TransportRef { index, generation } = peer.transport;
        let ufrag = LocalUfrag { index, generation, credential: 2, node: NODE_TAG, random: 9_000 + index };
        let mut row = self.regions.signaling.transports().own(index);
        row.credentials_newest = 1;
        row.credentials[1].local_ufrag = Text::new(&ufrag.encode()).unwrap();
        row.credentials[1].local_password = Text::new(&password([99; 24])).unwrap();
        (peer.ufrag, peer.password) = (ufrag.encode().to_vec(), password([99; 24]).to_vec());
        self.publish_transport(index, &row);
    }

    pub fn publish_transport(&mut self, index: u32, row: &TransportRow) {
        self.regions.signaling.transports().publish(index, row);
        self.regions.signaling.log().push(TableId::Transport, index);
    }

    pub fn publish_keys(&mut self, peer: &mut Peer) {
        let row = peer.key_row();
        self.regions.keys.keys().publish(peer.transport.index, &row);
        self.regions.courier.log().push(TableId::Key, peer.transport.index);
    }

    /// An ingress of one VP8 or Opus stream, or of three layers found by rid when `ssrcs` is empty.
    pub fn add_ingress(&mut self, peer: &Peer, kind: Kind, ssrcs: &[(u32, u32)]) -> IngressRef {
        let index = self.next_index(1);
        let row = self.ingress_row(peer, kind, ssrcs);
        self.publish_ingress(index, &row);
        IngressRef::new(index, row.generation)
    }

    pub fn ingress_row(&mut self, peer: &Peer, kind: Kind, ssrcs: &[(u32, u32)]) -> IngressRow {
        self.generation += 1;
        let mut row = IngressRow::new_zeroed();
        row.state = ROW_ACTIVE;
        row.kind = kind as u8;
        row.generation = self.generation;
        row.transport = peer.transport;
        row.flags = ingress_flags::TRANSPORT_CC;
        row.extensions = crate::peer::EXTENSIONS;
        row.mid = Text::new(if kind == Kind::Audio { b"0" } else { b"1" }).unwrap();
        if kind == Kind::Video {
            row.flags |= ingress_flags::NACK;
        }
        row.payload_types[0] = crate::peer::mapping(kind);
        if ssrcs.is_empty() {
            row.layer_count = LAYERS as u8;
            for (layer, rid) in row.layers.iter_mut().zip([b"q", b"h", b"f"]) {
                layer.rid = Text::new(rid).unwrap();
            }
        } else {
            row.layer_count = ssrcs.len() as u8;
            for (layer, (ssrc, rtx)) in row.layers.iter_mut().zip(ssrcs) {
                (layer.ssrc, layer.rtx_ssrc) = (Ssrc(*ssrc), Ssrc(*rtx));
            }
        }
        row
    }

    pub fn publish_ingress(&mut self, index: u32, row: &IngressRow) {
        self.regions.signaling.ingresses().publish(index, row);
        self.regions.signaling.log().push(TableId::Ingress, index);
    }

    pub fn add_egress(&mut self, peer: &Peer, ingress: IngressRef, kind: Kind) -> (EgressRef, EgressRow) {
        let index = self.next_index(2);
        self.generation += 1;
        let mut row = EgressRow::new_zeroed();
        row.state = ROW_ACTIVE;
        row.kind = kind as u8;
        row.generation = self.generation;
        row.flags = egress_flags::ENABLED | if kind == Kind::Video { egress_flags::NACK } else { 0 };
        row.transport = peer.transport;
        row.ingress = ingress;
        row.ssrc = Ssrc(0x5000_0000 + index);
        row.rtx_ssrc = if kind == Kind::Video { Ssrc(0x6000_0000 + index) } else { Ssrc::UNKNOWN };
        row.layer_max = 2;
        row.temporal_max = 3;
        row.payload_types[0] = crate::peer::subscriber_mapping(kind);
        row.extensions.abs_send_time = 2;
        row.extensions.audio_level = 3;
        row.cname = Text::cut("PA_publisher");
        row.label = Text::cut(&format!("TR_{index}"));
        self.publish_egress(index, &row);
        (EgressRef::new(index, row.generation), row)
    }

    pub fn publish_egress(&mut self, index: u32, row: &EgressRow) {
        self.regions.signaling.egresses().publish(index, row);
        self.regions.signaling.log().push(TableId::Egress, index);
    }

    fn next_index(&mut self, table: usize) -> u32 {
        self.next_row[table] += 1;
        self.next_row[table]
    }

    /// Lets a datagram of a peer reach a worker, without a turn.
    pub fn inject(&mut self, worker: u32, peer: &Peer, bytes: &[u8]) {
        self.workers[worker as usize].port_mut().inject(0, peer.address, bytes);
    }

    /// Turns of all workers at the present time until none has work.
    pub fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 200, "the workers do not come to rest");
            for (me, worker) in self.workers.iter_mut().enumerate() {
                worker.turn(self.now);
                let (sent, media_sends) = (&mut self.sent, &mut self.media_sends);
                worker.port_mut().drain_sent(|packet| {
                    *media_sends += u64::from(engine_wire::classify(&packet.bytes) == engine_wire::Class::Srtp);
                    for segment in packet.segments() {
                        sent.push_back((me as u32, packet.remote, segment.to_vec()));
                    }
                });
            }
            if self.workers.iter_mut().all(|worker| worker.port_mut().pending() == 0 && !worker.has_work()) {
                break;
            }
        }
    }

    pub fn advance_ms(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now = self.now.add_ms(1);
            self.settle();
        }
    }

    /// What was sent to an address, oldest first.
    pub fn take_sent_to(&mut self, address: SocketAddress) -> Vec<Vec<u8>> {
        let (mine, others) = std::mem::take(&mut self.sent).into_iter().partition(|(_, to, _)| *to == address);
        self.sent = others;
        VecDeque::into_iter(mine).map(|(_, _, bytes)| bytes).collect()
    }

    pub fn sent_count(&self) -> usize {
        self.sent.len()
    }

    /// Sends a nominating check from the peer's address and takes the answer.
    pub fn connect(&mut self, worker: u32, peer: &mut Peer) {
        let check = peer.check(true);
        self.inject(worker, peer, &check);
        self.settle();
        let answers = self.take_sent_to(peer.address);
        assert!(peer.accepts_answer(&answers[0]), "the check of {:?} was answered", peer.transport);
    }

    pub fn drops(&self, reason: DropReason) -> u64 {
        let load = |worker| self.regions.engine.drops(worker, reason).load(std::sync::atomic::Ordering::Relaxed);
        (0..self.workers.len() as u32).map(load).sum()
    }

    /// Every drop that was counted, for messages and for "nothing was dropped".
    pub fn all_drops(&self) -> Vec<(&'static str, u64)> {
        let counted = DropReason::ALL.iter().map(|reason| (reason.name(), self.drops(*reason)));
        counted.filter(|(_, count)| *count > 0).collect()
    }

    pub fn observed(&self, peer: &Peer) -> TransportObserved {
        self.regions.engine.transports().read(peer.transport.index).expect("an observed row").1
    }
}

/// A VP8 payload: key frames show themselves by the inverted P bit of their first byte (RFC 7741 §4.3).
pub fn vp8(key: bool, picture: u16, length: usize) -> Vec<u8> {
    let mut payload = vec![0x90, 0x80, 0x80 | (picture >> 8) as u8, picture as u8];
    payload.push(u8::from(!key));
    payload.extend_from_slice(&[0, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00]);
    payload.resize(length.max(payload.len()), 0x5a);
    payload
}
