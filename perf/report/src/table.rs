//! A case as a table in the terminal: one column per server, medians over the rounds with their range, and ratios of theirs to
//! ours, round by round.

use std::fmt::Write;

use crate::figure::{Figure, figures};
use crate::model::{Case, Report, RunReport};

/// What is under way at the edges of 5 s is below 0.5 %.
const DELIVERED_MIN: f64 = 0.995;
/// Runs of one case forward the same media.
const SHARE_MIN: f64 = 0.95;
/// Of each of the load's threads.
const LOAD_CORES_MAX: f64 = 0.9;
const NAME_WIDTH: usize = 30;
const WIDTH: usize = 26;
const RATIO_WIDTH: usize = 24;

/// The whole report.
pub fn write(report: &Report) -> String {
    let machine = &report.machine;
    let mut text = format!(
        "commit {}, {}, {} cores, {} MB, Linux {}\n",
        report.commit, machine.processor, machine.cores, machine.memory_mb, machine.kernel
    );
    if report.cases.len() > 1 {
        text.push('\n');
        overview(&mut text, report);
    }
    for case in &report.cases {
        text.push('\n');
        text.push_str(&write_case(case));
    }
    text
}

/// One line per case: what one looks at first.
fn overview(text: &mut String, report: &Report) {
    let name_width = report.cases.iter().map(|case| case.title().chars().count()).max().unwrap_or(0) + 2;
    let _ = writeln!(
        text,
        "{:name_width$}{:>12}{:>14}{:>8}{:>10}{:>10}{:>26}",
        "", "server", "CPU ns/packet", "train", "p50 ms", "p99 ms", "CPU ratio"
    );
    for case in &report.cases {
        let mut title = case.title();
        for (at, target) in case.targets().into_iter().enumerate() {
            let median =
                |of: fn(&RunReport) -> Option<f64>| case.spread(target, of).map_or(0.0, |spread| spread.median);
            let _ = write!(
                text,
                "{title:name_width$}{target:>12}{:>14.0}{:>8.2}{:>10.2}{:>10.2}",
                median(|run| Some(run.cpu.ns_per_packet)),
                median(|run| Some(run.train_length)),
                median(|run| Some(run.latency.p50_us / 1e3)),
                median(|run| Some(run.latency.p99_us / 1e3)),
            );
            if at == 0
                && let Some(ratio) = ratio(case, "cpu_ns_per_packet")
            {
                let _ = write!(text, "{ratio:>26}");
            }
            text.push('\n');
            title.clear();
        }
    }
}

/// One case with all its figures.
pub fn write_case(case: &Case) -> String {
    let targets = case.targets();
    let mut text = format!("{}: {}\n", case.title(), case.about);
    let _ = write!(text, "\n{:NAME_WIDTH$}", "");
    targets.iter().for_each(|target| {
        let _ = write!(text, "{target:>WIDTH$}");
    });
    if targets.len() == 2 {
        let _ = write!(text, "{:>RATIO_WIDTH$}", "ratio");
    }
    text.push('\n');
    for figure in figures() {
        write_line(&mut text, figure, case, &targets);
    }
    for run in &case.runs {
        notes(&mut text, case, run);
    }
    text.push('\n');
    text
}

fn write_line(text: &mut String, figure: &Figure, case: &Case, targets: &[&str]) {
    let spreads: Vec<_> = targets.iter().map(|target| case.spread(target, figure.of)).collect();
    if spreads.iter().all(Option::is_none) {
        return;
    }
    let _ = write!(text, "{:NAME_WIDTH$}", figure.name);
    for spread in &spreads {
        let cell = spread.map_or("–".to_owned(), |spread| spread.write(figure.write));
        let _ = write!(text, "{cell:>WIDTH$}");
    }
    if let Some(ratio) = ratio(case, figure.key) {
        let _ = write!(text, "{ratio:>RATIO_WIDTH$}");
    }
    text.push('\n');
}

fn ratio(case: &Case, key: &str) -> Option<String> {
    let ratio = case.ratio(key)?;
    Some(if ratio.rounds == 1 {
        format!("{:.2}×", ratio.median)
    } else {
        format!("{:.2}× [{:.2}–{:.2}]", ratio.median, ratio.lowest, ratio.highest)
    })
}

fn notes(text: &mut String, case: &Case, run: &RunReport) {
    let profile = run.srtp_profile.as_deref().unwrap_or("no SRTP profile");
    let _ = write!(text, "\n{} (round {}): {profile}", run.target, run.round);
    let cpu = run.cpu.by_process.iter().map(|each| {
        format!(
            "{} {:.0} ({:.0} + {:.0})",
            each.name, each.ns_per_packet, each.user_ns_per_packet, each.system_ns_per_packet
        )
    });
    shares(text, "ns per packet (user + system)", cpu);
    let joins = run.joins.by_process.iter().map(|each| format!("{} {:.2}", each.name, each.cpu_us_per_join / 1e3));
    shares(text, "ms per join", joins);
    let memory = run.memory.by_process.iter().map(|each| format!("{} {:.2}", each.name, each.bytes as f64 / 1e6));
    shares(text, "memory, MB", memory);
    for drop in run.loss.server_drops.iter().chain(&run.loss.ring_overflows).flatten() {
        let _ = write!(text, "\n  dropped in {}: {} {}", drop.process, drop.count, drop.reason);
    }
    for warning in warnings(case, run) {
        let _ = write!(text, "\n  {warning}");
    }
}

fn shares(text: &mut String, what: &str, shares: impl Iterator<Item = String>) {
    let _ = write!(text, "\n  {what}: {}", shares.collect::<Vec<_>>().join(", "));
}

/// What makes a reader doubt the figures of a run.
pub fn warnings(case: &Case, run: &RunReport) -> Vec<String> {
    let (loss, load) = (&run.loss, &run.load);
    let mut warnings = Vec::new();
    if !loss.is_lossless() {
        warnings.push("PACKETS WERE LOST".to_owned());
    }
    if let Some(delivered) = loss.delivered.filter(|delivered| *delivered < DELIVERED_MIN) {
        warnings.push(format!("FELL BEHIND: {:.1} % of what was sent had come by the end", delivered * 100.0));
    }
    let most = case.runs.iter().map(|run| run.cpu.packets_per_second).fold(0.0, f64::max);
    if run.cpu.packets_per_second < SHARE_MIN * most {
        let share = run.cpu.packets_per_second / most * 100.0;
        warnings
            .push(format!("FORWARDED LESS: {share:.0} % of another run's packets; costs per packet do not compare"));
    }
    if load.wrong_packets > 0 {
        warnings.push(format!("{} sampled packets were not what was sent", load.wrong_packets));
    }
    if load.send_failures > 0 {
        warnings.push(format!("{} packets of publishers could not be sent", load.send_failures));
    }
    if load.cores_used > LOAD_CORES_MAX * f64::from(case.load_threads) {
        warnings.push("the load itself is near its limit: latency until read is not the server's".to_owned());
    }
    warnings.extend(load.failures.iter().map(|failure| format!("failed: {failure}")));
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::{report, run};

    #[test]
    fn a_table_has_both_servers_and_the_ratio_with_its_spread() {
        let runs = vec![
            run("millrace", 1, 100.0),
            run("livekit", 1, 500.0),
            run("millrace", 2, 100.0),
            run("livekit", 2, 700.0),
        ];
        let text = write(&report(runs, None));
        assert!(text.contains("6.00× [5.00–7.00]"), "{text}");
        assert!(text.contains("600 [500–700]") && text.contains("SRTP_AES128_CM_HMAC_SHA1_80"), "{text}");
    }

    #[test]
    fn loss_is_shouted() {
        let mut lossy = run("millrace", 1, 100.0);
        lossy.loss.missing = 3;
        lossy.loss.delivered = Some(0.9);
        let text = write(&report(vec![lossy], None));
        assert!(text.contains("PACKETS WERE LOST") && text.contains("FELL BEHIND: 90.0 %"), "{text}");
    }

    #[test]
    fn servers_that_forward_different_amounts_are_not_compared_in_silence() {
        let mut less = run("livekit", 1, 100.0);
        less.cpu.packets_per_second /= 2.0;
        let text = write(&report(vec![run("millrace", 1, 100.0), less], None));
        assert_eq!(text.matches("FORWARDED LESS: 50 %").count(), 1, "{text}");
    }
}
