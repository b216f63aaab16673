//! The report as a table in the terminal: one column per target, medians over the rounds, ratios of the first to the second.

use std::fmt::Write;

use crate::report::{Report, RunReport};

/// A line of the table: its name and how to read and write its figure.
struct Line {
    name: &'static str,
    of: fn(&RunReport) -> Option<f64>,
    write: fn(f64) -> String,
    /// Whether a ratio says something.
    compared: bool,
}

fn line(name: &'static str, of: fn(&RunReport) -> Option<f64>, write: fn(f64) -> String, compared: bool) -> Line {
    Line { name, of, write, compared }
}

fn lines() -> Vec<Line> {
    vec![
        line("CPU per packet, ns", |run| Some(run.cpu.ns_per_packet), whole, true),
        line("  user", |run| Some(run.cpu.user_ns_per_packet), whole, false),
        line("  system", |run| Some(run.cpu.system_ns_per_packet), whole, false),
        line("cores used by the server", |run| Some(run.cpu.cores_used), two, false),
        line("forwarded packets/s", |run| Some(run.cpu.packets_per_second), whole, false),
        line("train length", |run| Some(run.train_length), two, false),
        line("latency p50, ms", |run| Some(run.latency.p50_us / 1e3), three, true),
        line("latency p90, ms", |run| Some(run.latency.p90_us / 1e3), three, false),
        line("latency p99, ms", |run| Some(run.latency.p99_us / 1e3), three, true),
        line("latency p99.9, ms", |run| Some(run.latency.p999_us / 1e3), three, false),
        line("latency until read p99, ms", |run| Some(run.latency_read.p99_us / 1e3), three, false),
        line("memory idle (PSS), MB", |run| Some(run.memory.idle_bytes as f64 / 1e6), one, false),
        line("memory, one subscriber, MB", |run| Some(run.memory.one_subscriber_bytes as f64 / 1e6), one, false),
        line("memory, all subscribers, MB", |run| Some(run.memory.all_subscribers_bytes as f64 / 1e6), one, false),
        line("memory per subscriber, kB", |run| Some(run.memory.per_subscriber_bytes? as f64 / 1e3), one, true),
        line("CPU per join, ms", |run| Some(run.joins.cpu_us_per_join? / 1e3), two, true),
        line("join p50, ms", |run| Some(run.joins.joined_p50_ms), one, false),
        line("join p99, ms", |run| Some(run.joins.joined_p99_ms), one, false),
        line("first media p99, ms", |run| run.joins.first_media_p99_ms, one, false),
        line("lost at receivers", |run| Some(run.loss.missing as f64), whole, false),
        line("lost in the server's sockets", |run| Some(run.loss.server_socket_drops as f64), whole, false),
        line("lost in the load's sockets", |run| Some(run.loss.load_socket_drops as f64), whole, false),
        line("lost in rings", |run| Some(sum(run.loss.ring_overflows.as_ref()?)), whole, false),
        line("dropped by the server", |run| Some(sum(run.loss.server_drops.as_ref()?)), whole, false),
        line("delivered, %", |run| Some(run.loss.delivered * 100.0), two, false),
        line("cores used by the load", |run| Some(run.load.cores_used), two, false),
    ]
}

fn sum(drops: &[crate::ctl::DropCount]) -> f64 {
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

/// What is under way at the edges of 5 s is below 0.5 %.
const DELIVERED_MIN: f64 = 0.995;
/// Of each of the load's threads.
const LOAD_CORES_MAX: f64 = 0.9;
const NAME_WIDTH: usize = 30;
const WIDTH: usize = 26;

/// The whole report.
pub fn write(report: &Report) -> String {
    let targets = targets(report);
    let mut text = String::new();
    let machine = &report.machine;
    let _ = writeln!(text, "{}: {}", report.scenario.name, report.scenario.about);
    let _ = writeln!(
        text,
        "commit {}, {}, {} cores, {} MB, Linux {}",
        report.commit, machine.processor, machine.cores, machine.memory_mb, machine.kernel
    );
    let _ = write!(text, "\n{:NAME_WIDTH$}", "");
    targets.iter().for_each(|target| {
        let _ = write!(text, "{target:>WIDTH$}");
    });
    text.push_str(if targets.len() == 2 { "     ratio\n" } else { "\n" });
    for line in lines() {
        write_line(&mut text, &line, report, &targets);
    }
    notes(&mut text, report);
    text
}

/// In the order of their first runs.
fn targets(report: &Report) -> Vec<&str> {
    let mut targets: Vec<&str> = Vec::new();
    for run in &report.runs {
        if !targets.contains(&run.target.as_str()) {
            targets.push(&run.target);
        }
    }
    targets
}

fn write_line(text: &mut String, line: &Line, report: &Report, targets: &[&str]) {
    let spread = |target: &&str| {
        let runs = report.runs.iter().filter(|run| run.target == **target);
        Spread::of(runs.filter_map(line.of).collect())
    };
    let spreads: Vec<Option<Spread>> = targets.iter().map(spread).collect();
    if spreads.iter().all(Option::is_none) {
        return;
    }
    let _ = write!(text, "{:NAME_WIDTH$}", line.name);
    for spread in &spreads {
        let cell = spread.as_ref().map_or("–".to_owned(), |spread| spread.write(line.write));
        let _ = write!(text, "{cell:>WIDTH$}");
    }
    if let [Some(ours), Some(theirs)] = spreads.as_slice()
        && line.compared
        && ours.median > 0.0
    {
        let _ = write!(text, "{:>9.2}×", theirs.median / ours.median);
    }
    text.push('\n');
}

/// Median, lowest and highest of the rounds.
struct Spread {
    median: f64,
    lowest: f64,
    highest: f64,
    count: usize,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (lowest, highest) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let upper = *values.get(middle)?;
        let lower = if values.len().is_multiple_of(2) { *values.get(middle - 1)? } else { upper };
        Some(Self { median: f64::midpoint(lower, upper), lowest, highest, count: values.len() })
    }

    fn write(&self, write: fn(f64) -> String) -> String {
        if self.count == 1 {
            return write(self.median);
        }
        format!("{} [{}–{}]", write(self.median), write(self.lowest), write(self.highest))
    }
}

fn notes(text: &mut String, report: &Report) {
    for run in &report.runs {
        let _ =
            write!(text, "\n{} (round {}): {}", run.target, run.round, run.srtp_profile.unwrap_or("no SRTP profile"));
        shares(text, "ns per packet", run.cpu.by_process.iter().map(|each| (&each.name, each.ns_per_packet)));
        shares(text, "ms per join", run.joins.by_process.iter().map(|each| (&each.name, each.cpu_us_per_join / 1e3)));
        shares(text, "memory, MB", run.memory.by_process.iter().map(|each| (&each.name, each.bytes as f64 / 1e6)));
        for drop in run.loss.server_drops.iter().chain(&run.loss.ring_overflows).flatten() {
            let _ = write!(text, "\n  dropped in {}: {} {}", drop.process, drop.count, drop.reason);
        }
        warnings(text, report, run);
    }
    text.push('\n');
}

fn shares<'a>(text: &mut String, what: &str, shares: impl Iterator<Item = (&'a String, f64)>) {
    let shares: Vec<String> = shares.map(|(name, value)| format!("{name} {value:.2}")).collect();
    let _ = write!(text, "\n  {what}: {}", shares.join(", "));
}

/// What makes a reader doubt the figures.
fn warnings(text: &mut String, report: &Report, run: &RunReport) {
    let (loss, load) = (&run.loss, &run.load);
    if !loss.is_lossless() {
        text.push_str("\n  PACKETS WERE LOST");
    }
    if loss.delivered < DELIVERED_MIN {
        let _ = write!(text, "\n  FELL BEHIND: {:.1} % of what was sent had come by the end", loss.delivered * 100.0);
    }
    if load.wrong_packets > 0 {
        let _ = write!(text, "\n  {} sampled packets were not what was sent", load.wrong_packets);
    }
    if load.send_failures > 0 {
        let _ = write!(text, "\n  {} packets of publishers could not be sent", load.send_failures);
    }
    if load.cores_used > LOAD_CORES_MAX * f64::from(report.scenario.subscribers.threads) {
        text.push_str("\n  the load itself is near its limit: latency until read is not the server's");
    }
    for failure in &load.failures {
        let _ = write!(text, "\n  failed: {failure}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_median_with_its_range() {
        let spread = Spread::of(vec![3.0, 1.0, 2.0]).unwrap();
        assert_eq!(spread.write(whole), "2 [1–3]");
        assert_eq!(Spread::of(vec![1.0, 2.0]).unwrap().write(one), "1.5 [1.0–2.0]");
        assert_eq!(Spread::of(vec![7.0]).unwrap().write(whole), "7");
        assert!(Spread::of(Vec::new()).is_none());
    }
}
