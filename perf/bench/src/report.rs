//! From moments and counts to the figures of a run.

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use perf_load::{Outcome, Phase, Scenario};
use perf_report::{
    CpuReport, JoinReport, LatencyReport, LoadReport, LossReport, MemoryReport, ProcessCpu, ProcessJoin, ProcessMemory,
    RunReport,
};

use crate::ctl;
use crate::process::{CpuTime, Process};
use crate::watch::{Snapshot, Watch};

/// Steps of a distribution between one nine and the next.
const STEPS_PER_NINE: u32 = 10;
/// 1 in 10,000 is left.
const NINES: u32 = 4;

/// What a run is called.
#[derive(Clone, Debug)]
pub struct Label {
    pub target: String,
    pub url: String,
    pub round: u32,
}

/// **Errors**: when nothing was forwarded.
pub fn run_report(
    label: Label,
    processes: &[Process],
    has_ctl: bool,
    scenario: &Scenario,
    watch: &Watch<'_>,
    outcome: &Outcome,
) -> Result<RunReport> {
    let (steady, measured) = (watch.at(Phase::Steady), watch.at(Phase::Measured));
    let tally = &outcome.steady.tally;
    ensure!(tally.received_packets > 0, "no packet was forwarded in the steady time");
    Ok(RunReport {
        target: label.target,
        url: label.url,
        round: label.round,
        srtp_profile: tally.profile.map(|profile| perf_load::profile_name(profile).to_owned()),
        train_length: tally.train_length(),
        cpu: cpu(processes, &steady, &measured, outcome),
        latency: latency(&tally.latency),
        latency_read: latency(&tally.latency_read),
        memory: memory(processes, scenario, watch),
        joins: joins(processes, watch, outcome),
        loss: loss(has_ctl, scenario, &steady, &measured, outcome),
        load: load(scenario, &watch.at(Phase::Idle), &steady, &measured, outcome),
    })
}

fn latency(histogram: &Histogram<u64>) -> LatencyReport {
    let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
    // 1 − 10^(−n/10): ten points to each nine.
    let steps = (0..=STEPS_PER_NINE * NINES).map(|step| 1.0 - 10f64.powf(-f64::from(step) / f64::from(STEPS_PER_NINE)));
    LatencyReport {
        samples: histogram.len(),
        p50_us: at(0.5),
        p90_us: at(0.9),
        p99_us: at(0.99),
        p999_us: at(0.999),
        max_us: histogram.max() as f64 / 1_000.0,
        quantiles: steps.map(|quantile| (quantile, at(quantile))).collect(),
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
    let others = match scenario.is_conference() {
        true => i64::from(scenario.publisher_count()),
        false => i64::from(scenario.subscriber_count()) - 1,
    };
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
    let receivers = u64::from(scenario.receiver_count() / scenario.rooms);
    let due = tally.sent_packets * receivers - tally.sent_by_receivers;
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
        delivered: (!scenario.has_simulcast()).then(|| tally.received_packets as f64 / due.max(1) as f64),
    }
}

fn load(scenario: &Scenario, idle: &Snapshot, steady: &Snapshot, measured: &Snapshot, outcome: &Outcome) -> LoadReport {
    let tally = &outcome.steady.tally;
    let own = measured.own_cpu.since(steady.own_cpu);
    let participants = i64::from(scenario.subscriber_count() + scenario.publisher_count());
    LoadReport {
        cores_used: own.total_ns() as f64 / 1e9 / outcome.steady.seconds,
        cpu_ns_per_packet: own.total_ns() as f64 / tally.received_packets.max(1) as f64,
        bytes_per_participant: (measured.own_pss_bytes.cast_signed() - idle.own_pss_bytes.cast_signed())
            / participants.max(1),
        sent_packets: tally.sent_packets,
        send_failures: tally.send_failures,
        key_frame_requests: tally.key_frame_requests,
        nacked_packets: tally.nacked_packets,
        retransmissions: tally.retransmissions,
        sampled_packets: tally.sampled,
        wrong_packets: tally.wrong,
        unknown_ssrc_packets: tally.unknown_ssrc,
        junk_per_second: scenario.junk.map(|_| outcome.steady.junk as f64 / outcome.steady.seconds),
        failures: outcome.failures.clone(),
    }
}
