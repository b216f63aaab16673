//! A node's state as plain values.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use engine_base::{Codec, Drop, Kind, TransportRef};
use engine_table::{
    ChildRow, CourierCounter, EgressCounter, EgressRow, IngressCounter, IngressRow, ROW_ACTIVE, Role, SignalingFigure,
    TransportCounter, TransportObserved, TransportRow, WorkerCounter, dtls_state, egress_state, port_facts,
    transport_state,
};
use serde::Serialize;

use super::Shown;

#[derive(Debug, Serialize)]
pub struct Status {
    pub node: Node,
    pub pids: BTreeMap<&'static str, u32>,
    pub children: Vec<Child>,
    pub signaling: Signaling,
    pub transports: Vec<Transport>,
    pub ingresses: Vec<Ingress>,
    pub egresses: Vec<Egress>,
    /// Only reasons that happened.
    pub drops: Vec<DropCount>,
    pub counters: Counters,
}

#[derive(Debug, Serialize)]
pub struct Node {
    pub node_id: String,
    pub version: String,
    pub http_port: u32,
    pub udp: Vec<String>,
    pub uptime_ms: u64,
    pub workers: u32,
    /// How each worker's packets go.
    pub packet_io: Vec<&'static str>,
    /// A train leaves in one send.
    pub udp_segmentation: bool,
    /// The devices cut trains by themselves.
    pub device_segmentation: bool,
    /// What runs AES-CM and AES-GCM when packets are sealed.
    pub srtp_aes: &'static str,
    /// What runs HMAC-SHA1 then.
    pub srtp_sha1: &'static str,
}

#[derive(Debug, Serialize)]
pub struct Child {
    pub name: &'static str,
    pub pid: u32,
    pub restarts: u32,
    pub uptime_ms: u64,
}

#[derive(Debug, Serialize)]
pub struct Signaling {
    /// One more with every start of the process.
    pub epoch: u64,
    #[serde(flatten)]
    pub figures: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize)]
pub struct Transport {
    pub index: u32,
    pub generation: u32,
    pub participant: String,
    pub state: &'static str,
    pub worker: Option<u8>,
    pub remote: Option<String>,
    pub srtp_profile: &'static str,
    pub dtls: &'static str,
    pub dtls_version: u8,
    pub channels: Vec<&'static str>,
    pub moves: u16,
    pub silent_ms: u64,
    pub counters: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize)]
pub struct Layer {
    pub ssrc: u32,
    pub rtx_ssrc: u32,
    pub active: bool,
    pub codec: &'static str,
    pub width: u16,
    pub height: u16,
    pub rtt_us: u32,
    pub jitter: u32,
    pub counters: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize)]
pub struct Ingress {
    pub index: u32,
    pub generation: u32,
    pub track: String,
    pub kind: &'static str,
    pub transport: u32,
    pub mid: String,
    /// Bytes of slots that its layers may touch.
    pub slot_bytes: u64,
    pub layers: Vec<Layer>,
}

#[derive(Debug, Serialize)]
pub struct Egress {
    pub index: u32,
    pub generation: u32,
    pub track: String,
    pub kind: &'static str,
    pub transport: u32,
    pub ingress: u32,
    pub ssrc: u32,
    pub rtx_ssrc: u32,
    pub enabled: bool,
    pub state: &'static str,
    pub layer: Option<u8>,
    pub layer_target: u8,
    pub layer_max: u8,
    pub codec: &'static str,
    pub rtt_us: u32,
    pub fraction_lost: u8,
    pub counters: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize)]
pub struct DropCount {
    pub reason: &'static str,
    pub process: &'static str,
    pub count: u64,
    pub remedy: &'static str,
}

#[derive(Debug, Serialize)]
pub struct Counters {
    pub workers: Vec<BTreeMap<&'static str, u64>>,
    pub courier: BTreeMap<&'static str, u64>,
    pub signaling: BTreeMap<&'static str, u64>,
    /// Bytes that wait in rings.
    pub waiting: BTreeMap<String, u64>,
}

impl Status {
    pub fn read(shown: &Shown) -> Self {
        let now = crate::node::monotonic_ns();
        let children = Role::ALL.map(|role| child(shown, role, now));
        Self {
            node: node(shown, now),
            pids: children.iter().map(|child| (child.name, child.pid)).collect(),
            children: children.into(),
            signaling: signaling(shown),
            transports: active(&shown.signaling.transports())
                .map(|(at, row)| transport(shown, at, &row, now))
                .collect(),
            ingresses: active(&shown.signaling.ingresses()).map(|(at, row)| ingress(shown, at, &row)).collect(),
            egresses: active(&shown.signaling.egresses()).map(|(at, row)| egress(shown, at, &row)).collect(),
            drops: drops(shown),
            counters: counters(shown),
        }
    }
}

trait Active {
    fn is_active(&self) -> bool;
}

macro_rules! active {
    ($($row:ty),*) => {$(impl Active for $row {
        fn is_active(&self) -> bool {
            self.state == ROW_ACTIVE
        }
    })*};
}
active!(TransportRow, IngressRow, EgressRow);

fn active<R: engine_table::Row + Active>(table: &engine_table::Table<R>) -> impl Iterator<Item = (u32, R)> {
    (0..table.used()).filter_map(|index| Some((index, table.read(index)?.1))).filter(|(_, row)| row.is_active())
}

fn node(shown: &Shown, now: u64) -> Node {
    let row = shown.holder.node().own(0);
    let addresses = row.addresses.iter().take(row.address_count as usize);
    let facts = 0..shown.engine.limits().workers;
    let facts: Vec<u64> = facts.map(|worker| shown.engine.port(worker).load(Ordering::Relaxed)).collect();
    Node {
        node_id: row.node_id.as_str().to_owned(),
        version: row.version.as_str().to_owned(),
        http_port: row.http_port,
        udp: addresses.filter_map(engine_table::SocketAddress::get).map(|address| address.to_string()).collect(),
        uptime_ms: now.saturating_sub(row.started_ns) / 1_000_000,
        workers: row.limits.workers,
        packet_io: facts.iter().map(|facts| packet_io(*facts)).collect(),
        udp_segmentation: facts.iter().all(|facts| facts & port_facts::SEGMENTS != 0),
        device_segmentation: facts.iter().all(|facts| facts & port_facts::DEVICES_SEGMENT != 0),
        srtp_aes: sealed_by(&facts, &port_facts::CIPHERS),
        srtp_sha1: sealed_by(&facts, &port_facts::HASHES),
    }
}

fn packet_io(facts: u64) -> &'static str {
    let frames = facts & port_facts::AF_XDP != 0;
    match (facts & port_facts::IO_URING != 0, facts & port_facts::MMSG != 0) {
        (true, _) if frames => "io_uring+af_xdp",
        (true, _) => "io_uring",
        (_, true) if frames => "mmsg+af_xdp",
        (_, true) => "mmsg",
        _ => "none",
    }
}

/// The same for all workers.
fn sealed_by(facts: &[u64], kernels: &[(u64, &'static str)]) -> &'static str {
    facts.first().filter(|facts| **facts != 0).map_or("none", |facts| port_facts::kernel(*facts, kernels))
}

fn child(shown: &Shown, role: Role, now: u64) -> Child {
    let row: ChildRow = shown.holder.children().own(role as u32);
    let uptime_ms = if row.process_id == 0 { 0 } else { now.saturating_sub(row.started_ns) / 1_000_000 };
    Child { name: role.name(), pid: row.process_id, restarts: row.restarts, uptime_ms }
}

fn signaling(shown: &Shown) -> Signaling {
    Signaling { epoch: shown.signaling.epoch().load(Ordering::Relaxed), figures: figures(shown) }
}

fn figures(shown: &Shown) -> BTreeMap<&'static str, u64> {
    let read = |figure: &SignalingFigure| shown.signaling.figure(*figure).load(Ordering::Relaxed);
    named(SignalingFigure::ALL, SignalingFigure::name, read)
}

fn transport(shown: &Shown, index: u32, row: &TransportRow, now: u64) -> Transport {
    let observed = shown.engine.transports().read(index).map(|(_, observed)| observed);
    let observed = observed.filter(|observed| observed.generation == row.generation);
    let session = shown.courier.sessions().read(index).map(|(_, session)| session);
    let session = session.filter(|session| session.generation == row.generation);
    let read = |counter: &TransportCounter| shown.engine.transport_counter(index, *counter).load(Ordering::Relaxed);
    Transport {
        index,
        generation: row.generation,
        participant: row.label.as_str().to_owned(),
        state: observed.map_or("new", state_name),
        worker: observed.map(|observed| observed.owner).filter(|owner| *owner != engine_table::NO_OWNER),
        remote: observed.and_then(|observed| observed.remote.get()).map(|remote| remote.to_string()),
        srtp_profile: profile_name(session.map_or(0, |session| session.srtp_profile)),
        dtls: dtls_name(session.map_or(dtls_state::NONE, |session| session.dtls)),
        dtls_version: session.map_or(0, |session| session.dtls_version),
        channels: channels(session.map_or(0, |session| session.channels)),
        moves: observed.map_or(0, |observed| observed.moves),
        silent_ms: observed.map_or(0, |observed| now.saturating_sub(observed.last_check.0) / 1_000_000),
        counters: named(TransportCounter::ALL, TransportCounter::name, read),
    }
}

fn ingress(shown: &Shown, index: u32, row: &IngressRow) -> Ingress {
    let observed = shown.engine.ingresses().read(index).map(|(_, observed)| observed);
    let observed = observed.filter(|observed| observed.generation == row.generation);
    let slots =
        if row.kind == Kind::Audio as u8 { engine_base::limits::AUDIO_SLOTS } else { engine_base::limits::VIDEO_SLOTS };
    let layer = |layer: usize| {
        let seen = observed.map(|observed| observed.layers[layer]).unwrap_or_default();
        let read =
            |counter: &IngressCounter| shown.engine.ingress_counter(index, layer, *counter).load(Ordering::Relaxed);
        Layer {
            ssrc: seen.ssrc.0,
            rtx_ssrc: seen.rtx_ssrc.0,
            active: seen.active != 0,
            codec: codec_name(seen.codec),
            width: seen.width,
            height: seen.height,
            rtt_us: seen.rtt_us,
            jitter: seen.jitter,
            counters: named(IngressCounter::ALL, IngressCounter::name, read),
        }
    };
    let layers = usize::from(row.layer_count).min(engine_base::limits::LAYERS);
    Ingress {
        index,
        generation: row.generation,
        track: row.label.as_str().to_owned(),
        kind: kind_name(row.kind),
        transport: row.transport.index,
        mid: row.mid.as_str().to_owned(),
        slot_bytes: (layers * slots * engine_base::limits::SLOT_BYTES) as u64,
        layers: (0..layers).map(layer).collect(),
    }
}

fn egress(shown: &Shown, index: u32, row: &EgressRow) -> Egress {
    let observed = shown.engine.egresses().read(index).map(|(_, observed)| observed);
    let observed = observed.filter(|observed| observed.generation == row.generation);
    let read = |counter: &EgressCounter| shown.engine.egress_counter(index, *counter).load(Ordering::Relaxed);
    let TransportRef { index: transport, .. } = row.transport;
    Egress {
        index,
        generation: row.generation,
        track: row.label.as_str().to_owned(),
        kind: kind_name(row.kind),
        transport,
        ingress: row.ingress.index,
        ssrc: row.ssrc.0,
        rtx_ssrc: row.rtx_ssrc.0,
        enabled: row.flags & engine_table::egress_flags::ENABLED != 0,
        state: observed.map_or("idle", |observed| match observed.state {
            egress_state::WAITS_FOR_KEY_FRAME => "waits_for_key_frame",
            egress_state::FORWARDING => "forwarding",
            egress_state::PAUSED => "paused",
            _ => "idle",
        }),
        layer: observed
            .map(|observed| observed.layer)
            .filter(|layer| usize::from(*layer) < engine_base::limits::LAYERS),
        layer_target: observed.map_or(0, |observed| observed.layer_target),
        layer_max: row.layer_max,
        codec: codec_name(observed.map_or(0, |observed| observed.codec)),
        rtt_us: observed.map_or(0, |observed| observed.rtt_us),
        fraction_lost: observed.map_or(0, |observed| observed.fraction_lost),
        counters: named(EgressCounter::ALL, EgressCounter::name, read),
    }
}

fn drops(shown: &Shown) -> Vec<DropCount> {
    let workers = shown.engine.limits().workers;
    let engine =
        |reason: Drop| (0..workers).map(|worker| shown.engine.drops(worker, reason).load(Ordering::Relaxed)).sum();
    let courier = |reason: Drop| shown.courier.drops(reason).load(Ordering::Relaxed);
    let count =
        |reason: Drop, process, count| DropCount { reason: reason.name(), process, count, remedy: reason.remedy() };
    let both = |reason: &Drop| [count(*reason, "engine", engine(*reason)), count(*reason, "courier", courier(*reason))];
    Drop::ALL.iter().flat_map(both).filter(|drop| drop.count > 0).collect()
}

fn counters(shown: &Shown) -> Counters {
    let workers = 0..shown.engine.limits().workers;
    let worker = |worker| {
        let read = |counter: &WorkerCounter| shown.engine.counter(worker, *counter).load(Ordering::Relaxed);
        named(WorkerCounter::ALL, WorkerCounter::name, read)
    };
    let read = |counter: &CourierCounter| shown.courier.counter(*counter).load(Ordering::Relaxed);
    let mut waiting = BTreeMap::new();
    waiting.insert("signaling_to_courier".to_owned(), shown.signaling.courier_ring(&shown.courier).waiting_bytes());
    for worker in workers.clone() {
        waiting.insert(
            format!("worker_{worker}_to_courier"),
            shown.engine.punt_ring(&shown.courier, worker).waiting_bytes(),
        );
        waiting.insert(
            format!("courier_to_worker_{worker}"),
            shown.courier.worker_ring(&shown.engine, worker).waiting_bytes(),
        );
    }
    Counters {
        workers: workers.map(worker).collect(),
        courier: named(CourierCounter::ALL, CourierCounter::name, read),
        signaling: figures(shown),
        waiting,
    }
}

fn named<C: Copy>(
    all: &[C],
    name: impl Fn(C) -> &'static str,
    read: impl Fn(&C) -> u64,
) -> BTreeMap<&'static str, u64> {
    all.iter().map(|counter| (name(*counter), read(counter))).collect()
}

fn state_name(observed: TransportObserved) -> &'static str {
    match observed.state {
        transport_state::CHECKING => "checking",
        transport_state::CONNECTED => "connected",
        transport_state::DISCONNECTED => "disconnected",
        transport_state::FAILED => "failed",
        _ => "new",
    }
}

fn dtls_name(state: u8) -> &'static str {
    match state {
        dtls_state::HANDSHAKE => "handshake",
        dtls_state::UNVERIFIED => "unverified",
        dtls_state::CONNECTED => "connected",
        dtls_state::FAILED => "failed",
        dtls_state::CLOSED => "closed",
        dtls_state::LOST => "lost",
        _ => "none",
    }
}

/// IANA's names of the DTLS-SRTP protection profiles.
fn profile_name(profile: u16) -> &'static str {
    match profile {
        1 => "SRTP_AES128_CM_HMAC_SHA1_80",
        7 => "SRTP_AEAD_AES_128_GCM",
        8 => "SRTP_AEAD_AES_256_GCM",
        _ => "none",
    }
}

fn channels(bits: u8) -> Vec<&'static str> {
    let all = [
        (engine_table::channel_bits::RELIABLE, "_reliable"),
        (engine_table::channel_bits::LOSSY, "_lossy"),
        (engine_table::channel_bits::DATA_TRACK, "_data_track"),
    ];
    all.into_iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| name).collect()
}

fn kind_name(kind: u8) -> &'static str {
    match Kind::from_u8(kind) {
        Some(Kind::Audio) => "audio",
        Some(Kind::Video) => "video",
        None => "unknown",
    }
}

fn codec_name(codec: u8) -> &'static str {
    Codec::from_u8(codec).unwrap_or_default().name()
}
