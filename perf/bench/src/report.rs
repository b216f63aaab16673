//! From moments and counts to figures. Every figure names its unit; a figure that could not be taken is absent, not zero.

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use perf_load::{Outcome, Phase, Scenario};
use serde::Serialize;

use crate::ctl::{self, DropCount};
use crate::machine::Machine;
use crate::process::{CpuTime, Process};
use crate::watch::{Snapshot, Watch};

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub commit: String,
    pub unix_seconds: u64,
    pub machine: Machine,
    pub server_cores: Option<Vec<usize>>,
    pub load_cores: Option<Vec<usize>>,
    pub scenario: Scenario,
    /// In the order in which they were made.
    pub runs: Vec<RunReport>,
}

#[derive(Clone, Debug, Serialize)]
pub struct RunReport {
    pub target: String,
    pub url: String,
    pub round: u32,
    pub srtp_profile: Option<&'static str>,
    /// Packets per receive buffer that the kernel filled (UDP_GRO): the server's trains as far as they stayed together.
    pub train_length: f64,
    pub cpu: CpuReport,
    pub latency: LatencyReport,
    /// As `latency`, but to the moment when the load read the packet: waiting for the load's own CPU is in it.
    pub latency_read: LatencyReport,
    pub memory: MemoryReport,
    pub joins: JoinReport,
    pub loss: LossReport,
    pub load: LoadReport,
}

/// Over the steady time.
#[derive(Clone, Debug, Serialize)]
pub struct CpuReport {
    pub seconds: f64,
    pub forwarded_packets: u64,
    pub packets_per_second: f64,
    /// All processes together.
    pub ns_per_packet: f64,
    pub user_ns_per_packet: f64,
    pub system_ns_per_packet: f64,
    pub packets_per_cpu_second: f64,
    /// 1.0 is one core.
    pub cores_used: f64,
    pub by_process: Vec<ProcessCpu>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ProcessCpu {
    pub name: String,
    pub ns_per_packet: f64,
    pub user_ns_per_packet: f64,
    pub system_ns_per_packet: f64,
}

/// From the publisher's send to the arrival at the subscriber's socket by the kernel's stamp, both ways over loopback included.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LatencyReport {
    pub samples: u64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
}

/// Proportional set sizes of all processes: shared memory once.
#[derive(Clone, Debug, Serialize)]
pub struct MemoryReport {
    pub idle_bytes: u64,
    pub one_subscriber_bytes: u64,
    pub all_subscribers_bytes: u64,
    /// (all − one) / (count − 1).
    pub per_subscriber_bytes: Option<i64>,
    /// At all subscribers.
    pub by_process: Vec<ProcessMemory>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ProcessMemory {
    pub name: String,
    pub bytes: u64,
}

/// Joins of the subscribers but the first.
#[derive(Clone, Debug, Serialize)]
pub struct JoinReport {
    pub count: u32,
    pub seconds: f64,
    /// Whether media flowed meanwhile: then the CPU below contains its forwarding.
    pub with_media: bool,
    /// All processes.
    pub cpu_us_per_join: Option<f64>,
    pub by_process: Vec<ProcessJoin>,
    /// From the first connect to both connected and announced.
    pub joined_p50_ms: f64,
    pub joined_p99_ms: f64,
    /// To media on every stream, when media flowed.
    pub first_media_p50_ms: Option<f64>,
    pub first_media_p99_ms: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ProcessJoin {
    pub name: String,
    pub cpu_us_per_join: f64,
}

/// Over the steady time, in the four places.
#[derive(Clone, Debug, Serialize)]
pub struct LossReport {
    /// Of a Millrace node: packets dropped by reason, rings left out.
    pub server_drops: Option<Vec<DropCount>>,
    pub ring_overflows: Option<Vec<DropCount>>,
    /// Datagrams that did not fit into the server's sockets.
    pub server_socket_drops: u64,
    /// Into the load's sockets.
    pub load_socket_drops: u64,
    /// Sequence numbers that receivers miss.
    pub missing: u64,
    pub expected: u64,
    pub repeated: u64,
    pub reordered: u64,
    /// Streams on which nothing came.
    pub silent_streams: u64,
    /// Received packets by sent packets times subscribers: 1.0 but for what is under way at the edges.
    pub delivered: f64,
}

/// What says whether the load itself can be trusted.
#[derive(Clone, Debug, Serialize)]
pub struct LoadReport {
    pub cores_used: f64,
    pub sent_packets: u64,
    pub send_failures: u64,
    pub key_frame_requests: u64,
    pub nacked_packets: u64,
    pub retransmissions: u64,
    pub sampled_packets: u64,
    /// Sampled packets that did not authenticate or were not what was sent.
    pub wrong_packets: u64,
    pub unknown_ssrc_packets: u64,
    pub failures: Vec<String>,
}

impl LossReport {
    /// In all four places.
    pub fn is_lossless(&self) -> bool {
        self.server_socket_drops + self.load_socket_drops + self.missing + self.silent_streams == 0
            && self.ring_overflows.as_ref().is_none_or(Vec::is_empty)
    }
}

/// What a run is called.
#[derive(Clone, Debug)]
pub struct Label {
    pub target: String,
    pub url: String,
    pub round: u32,
}

impl RunReport {
    /// **Errors**: when nothing was forwarded.
    pub fn new(
        label: Label,
        processes: &[Process],
        has_ctl: bool,
        scenario: &Scenario,
        watch: &Watch<'_>,
        outcome: &Outcome,
    ) -> Result<Self> {
        let (steady, measured) = (watch.at(Phase::Steady), watch.at(Phase::Measured));
        let tally = &outcome.steady.tally;
        ensure!(tally.received_packets > 0, "no packet was forwarded in the steady time");
        Ok(Self {
            target: label.target,
            url: label.url,
            round: label.round,
            srtp_profile: tally.profile.map(perf_load::profile_name),
            train_length: tally.train_length(),
            cpu: cpu(processes, &steady, &measured, outcome),
            latency: LatencyReport::new(&tally.latency),
            latency_read: LatencyReport::new(&tally.latency_read),
            memory: memory(processes, scenario, watch),
            joins: joins(processes, watch, outcome),
            loss: loss(has_ctl, scenario, &steady, &measured, outcome),
            load: load(&steady, &measured, outcome),
        })
    }
}

impl LatencyReport {
    fn new(histogram: &Histogram<u64>) -> Self {
        let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        Self {
            samples: histogram.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max() as f64 / 1_000.0,
        }
    }
}

/// CPU of each process between two moments.
fn spent(earlier: &Snapshot, later: &Snapshot) -> Vec<CpuTime> {
    later.cpu.iter().zip(&earlier.cpu).map(|(later, earlier)| later.since(*earlier)).collect()
}

fn cpu(processes: &[Process], steady: &Snapshot, measured: &Snapshot, outcome: &Outcome) -> CpuReport {
    let spent = spent(steady, measured);
    let user: u64 = spent.iter().map(|cpu| cpu.user_ns).sum();
    let system: u64 = spent.iter().map(|cpu| cpu.system_ns).sum();
    let packets = outcome.steady.tally.received_packets;
    let each = |ns: u64| ns as f64 / packets.max(1) as f64;
    CpuReport {
        seconds: outcome.steady.seconds,
        forwarded_packets: packets,
        packets_per_second: packets as f64 / outcome.steady.seconds,
        ns_per_packet: each(user + system),
        user_ns_per_packet: each(user),
        system_ns_per_packet: each(system),
        packets_per_cpu_second: packets as f64 * 1e9 / (user + system).max(1) as f64,
        cores_used: (user + system) as f64 / 1e9 / outcome.steady.seconds,
        by_process: processes
            .iter()
            .zip(&spent)
            .map(|(process, cpu)| ProcessCpu {
                name: process.name.clone(),
                ns_per_packet: each(cpu.total_ns()),
                user_ns_per_packet: each(cpu.user_ns),
                system_ns_per_packet: each(cpu.system_ns),
            })
            .collect(),
    }
}

fn memory(processes: &[Process], scenario: &Scenario, watch: &Watch<'_>) -> MemoryReport {
    let bytes = |phase| watch.at(phase).pss_bytes.iter().sum::<u64>();
    let (one, all) = (bytes(Phase::First), bytes(Phase::Measured));
    let others = i64::from(scenario.subscribers.count) - 1;
    let by_process = processes.iter().zip(watch.at(Phase::Measured).pss_bytes);
    MemoryReport {
        idle_bytes: bytes(Phase::Idle),
        one_subscriber_bytes: one,
        all_subscribers_bytes: all,
        per_subscriber_bytes: (others > 0).then(|| (all.cast_signed() - one.cast_signed()) / others),
        by_process: by_process.map(|(process, bytes)| ProcessMemory { name: process.name.clone(), bytes }).collect(),
    }
}

fn joins(processes: &[Process], watch: &Watch<'_>, outcome: &Outcome) -> JoinReport {
    let joins = &outcome.joins;
    let spent = spent(&watch.at(Phase::Joining), &watch.at(Phase::Joined));
    let each = |ns: u64| ns as f64 / 1e3 / f64::from(joins.count.max(1));
    let by_process = processes.iter().zip(&spent);
    let ms = |histogram: &Histogram<u64>, quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
    JoinReport {
        count: joins.count,
        seconds: joins.seconds,
        with_media: joins.with_media,
        cpu_us_per_join: (joins.count > 0).then(|| each(spent.iter().map(|cpu| cpu.total_ns()).sum())),
        by_process: by_process
            .map(|(process, cpu)| ProcessJoin { name: process.name.clone(), cpu_us_per_join: each(cpu.total_ns()) })
            .collect(),
        joined_p50_ms: ms(&joins.joined, 0.5),
        joined_p99_ms: ms(&joins.joined, 0.99),
        first_media_p50_ms: joins.with_media.then(|| ms(&joins.first_media, 0.5)),
        first_media_p99_ms: joins.with_media.then(|| ms(&joins.first_media, 0.99)),
    }
}

fn loss(has_ctl: bool, scenario: &Scenario, steady: &Snapshot, measured: &Snapshot, outcome: &Outcome) -> LossReport {
    let tally = &outcome.steady.tally;
    let (rings, drops) = ctl::difference(&measured.drops, &steady.drops).into_iter().partition(ctl::is_ring_overflow);
    let receivers = f64::from(scenario.subscribers.count);
    LossReport {
        server_drops: has_ctl.then_some(drops),
        ring_overflows: has_ctl.then_some(rings),
        server_socket_drops: measured.server_socket_drops.saturating_sub(steady.server_socket_drops),
        load_socket_drops: measured.own_socket_drops.saturating_sub(steady.own_socket_drops),
        missing: tally.sequences.lost(),
        expected: tally.sequences.expected,
        repeated: tally.sequences.repeated,
        reordered: tally.sequences.reordered,
        silent_streams: tally.silent_streams,
        delivered: tally.received_packets as f64 / (tally.sent_packets.max(1) as f64 * receivers),
    }
}

fn load(steady: &Snapshot, measured: &Snapshot, outcome: &Outcome) -> LoadReport {
    let tally = &outcome.steady.tally;
    let own = measured.own_cpu.since(steady.own_cpu);
    LoadReport {
        cores_used: own.total_ns() as f64 / 1e9 / outcome.steady.seconds,
        sent_packets: tally.sent_packets,
        send_failures: tally.send_failures,
        key_frame_requests: tally.key_frame_requests,
        nacked_packets: tally.nacked_packets,
        retransmissions: tally.retransmissions,
        sampled_packets: tally.sampled,
        wrong_packets: tally.wrong,
        unknown_ssrc_packets: tally.unknown_ssrc,
        failures: outcome.failures.clone(),
    }
}
