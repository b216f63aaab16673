//! The figures of a run by name, as tables show them.

use crate::model::{DropCount, RunReport};

/// A line of a table: how to read and write a figure.
#[derive(Clone, Copy)]
pub struct Figure {
    /// In JSON.
    pub key: &'static str,
    pub name: &'static str,
    pub of: fn(&RunReport) -> Option<f64>,
    pub write: fn(f64) -> String,
    /// Whether less is better and a ratio says something.
    pub is_compared: bool,
}

const fn figure(
    key: &'static str,
    name: &'static str,
    of: fn(&RunReport) -> Option<f64>,
    write: fn(f64) -> String,
) -> Figure {
    Figure { key, name, of, write, is_compared: false }
}

const fn compare(figure: Figure) -> Figure {
    Figure { is_compared: true, ..figure }
}

/// All of them, in the order of tables.
pub fn figures() -> &'static [Figure] {
    &FIGURES
}

/// Those whose ratio is reported.
pub fn compared() -> impl Iterator<Item = &'static Figure> {
    FIGURES.iter().filter(|figure| figure.is_compared)
}

static FIGURES: [Figure; 32] = [
    compare(figure("cpu_ns_per_packet", "CPU per packet, ns", |run| Some(run.cpu.ns_per_packet), whole)),
    figure("user_ns_per_packet", "  user", |run| Some(run.cpu.user_ns_per_packet), whole),
    figure("system_ns_per_packet", "  system", |run| Some(run.cpu.system_ns_per_packet), whole),
    figure("packets_per_cpu_second", "packets per CPU second", |run| Some(run.cpu.packets_per_cpu_second), whole),
    figure("cores_used", "cores used by the server", |run| Some(run.cpu.cores_used), two),
    figure("packets_per_second", "forwarded packets/s", |run| Some(run.cpu.packets_per_second), whole),
    figure("train_length", "train length", |run| Some(run.train_length), two),
    compare(figure("latency_p50", "latency p50, ms", |run| Some(run.latency.p50_us / 1e3), three)),
    figure("latency_p90", "latency p90, ms", |run| Some(run.latency.p90_us / 1e3), three),
    compare(figure("latency_p99", "latency p99, ms", |run| Some(run.latency.p99_us / 1e3), three)),
    compare(figure("latency_p999", "latency p99.9, ms", |run| Some(run.latency.p999_us / 1e3), three)),
    figure("latency_read_p99", "latency until read p99, ms", |run| Some(run.latency_read.p99_us / 1e3), three),
    figure("memory_idle", "memory idle (PSS), MB", |run| Some(run.memory.idle_bytes as f64 / 1e6), one),
    figure("memory_one", "memory, one subscriber, MB", |run| Some(run.memory.one_subscriber_bytes as f64 / 1e6), one),
    figure("memory_all", "memory, all subscribers, MB", |run| Some(run.memory.all_subscribers_bytes as f64 / 1e6), one),
    compare(figure(
        "memory_per_subscriber",
        "memory per subscriber, kB",
        |run| Some(run.memory.per_subscriber_bytes? as f64 / 1e3),
        one,
    )),
    compare(figure("cpu_per_join", "CPU per join, ms", |run| Some(run.joins.cpu_us_per_join? / 1e3), two)),
    figure("join_p50", "join p50, ms", |run| Some(run.joins.joined_p50_ms), one),
    figure("join_p99", "join p99, ms", |run| Some(run.joins.joined_p99_ms), one),
    figure("first_media_p99", "first media p99, ms", |run| run.joins.first_media_p99_ms, one),
    figure("missing", "lost at receivers", |run| Some(run.loss.missing as f64), whole),
    figure(
        "server_socket_drops",
        "lost in the server's sockets",
        |run| Some(run.loss.server_socket_drops as f64),
        whole,
    ),
    figure("load_socket_drops", "lost in the load's sockets", |run| Some(run.loss.load_socket_drops as f64), whole),
    figure("ring_overflows", "lost in rings", |run| Some(sum(run.loss.ring_overflows.as_ref()?)), whole),
    figure("server_drops", "dropped by the server", |run| Some(sum(run.loss.server_drops.as_ref()?)), whole),
    figure("delivered", "delivered, %", |run| Some(run.loss.delivered? * 100.0), two),
    figure("key_frame_requests", "key frames asked for", |run| Some(run.load.key_frame_requests as f64), whole),
    figure("nacked", "packets asked for again", |run| Some(run.load.nacked_packets as f64), whole),
    figure("junk_per_second", "junk datagrams/s", |run| run.load.junk_per_second, whole),
    figure("load_cores_used", "cores used by the load", |run| Some(run.load.cores_used), two),
    figure("load_ns_per_packet", "load's CPU per packet, ns", |run| Some(run.load.cpu_ns_per_packet), whole),
    figure(
        "load_bytes_per_participant",
        "load's memory each, kB",
        |run| Some(run.load.bytes_per_participant as f64 / 1e3),
        one,
    ),
];

fn sum(drops: &[DropCount]) -> f64 {
    drops.iter().map(|drop| drop.count).sum::<u64>() as f64
}

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

fn one(value: f64) -> String {
    format!("{value:.1}")
}

fn two(value: f64) -> String {
    format!("{value:.2}")
}

fn three(value: f64) -> String {
    format!("{value:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unique() {
        let mut keys: Vec<_> = figures().iter().map(|figure| figure.key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), figures().len());
    }
}
