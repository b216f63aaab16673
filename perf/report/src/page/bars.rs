//! CPU per forwarded packet: one bar per case and server, cut by process, each process in user and system time.

use super::svg::{Anchor, Svg, legend, number, round_up, series};
use crate::model::{Case, RunReport};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 300.0;
const RIGHT: f64 = 170.0;
const BAR: f64 = 16.0;
const ROW: f64 = 24.0;
const GAP: f64 = 14.0;
const TOP: f64 = 26.0;

pub fn write(cases: &[&Case]) -> String {
    let rows: usize = cases.iter().map(|case| case.targets().len()).sum();
    if rows == 0 {
        return String::new();
    }
    let highest = cases.iter().flat_map(|case| &case.runs).map(|run| run.cpu.ns_per_packet).fold(0.0, f64::max);
    let axis = round_up(highest);
    let scale = (WIDTH - LEFT - RIGHT) / axis;
    let height = TOP + rows as f64 * ROW + cases.len() as f64 * GAP;
    let mut svg = Svg::new(WIDTH, height, "CPU per forwarded packet by server and process");
    for tick in 0..=4 {
        let value = axis * f64::from(tick) / 4.0;
        let x = LEFT + value * scale;
        svg.line("grid", (x, TOP - 6.0), (x, height - GAP));
        svg.text("axis", Anchor::Middle, (x, TOP - 12.0), &format!("{} ns", number(value)));
    }
    let mut y = TOP;
    for case in cases {
        let targets = case.targets();
        svg.text("name", Anchor::Start, (0.0, y + BAR * 0.8), &case.title());
        for (at, target) in targets.iter().enumerate() {
            svg.text("label", Anchor::End, (LEFT - 8.0, y + BAR * 0.8), target);
            bar(&mut svg, case, target, at, y, scale);
            y += ROW;
        }
        y += GAP;
    }
    svg.finish() + &processes(cases)
}

/// The run in the middle stands for the rounds: parts of different rounds would not add up.
fn bar(svg: &mut Svg, case: &Case, target: &str, at: usize, y: f64, scale: f64) {
    let Some(spread) = case.spread(target, |run| Some(run.cpu.ns_per_packet)) else { return };
    let distance = |run: &&RunReport| (run.cpu.ns_per_packet - spread.median).abs();
    let Some(run) = case.runs_of(target).min_by(|a, b| distance(a).total_cmp(&distance(b))) else { return };
    let mut x = LEFT;
    for process in &run.cpu.by_process {
        let class = color(&process.name, at);
        for (part, ns) in [("user", process.user_ns_per_packet), ("system", process.system_ns_per_packet)] {
            let width = ns * scale;
            if width > 0.0 {
                let hint = format!("{}, {part}: {} ns per packet", process.name, number(ns));
                svg.rect(&format!("{class} {part}"), (x, y), ((width - 1.0).max(0.5), BAR), &hint);
            }
            x += width;
        }
    }
    if spread.count > 1 {
        let middle = y + BAR / 2.0;
        svg.line("range", (LEFT + spread.lowest * scale, middle), (LEFT + spread.highest * scale, middle));
        x = x.max(LEFT + spread.highest * scale);
    }
    let text = format!("{} ns · train {}", number(spread.median), number(run.train_length));
    svg.text("value", Anchor::Start, (x + 6.0, y + BAR * 0.8), &text);
}

fn color(process: &str, at: usize) -> &'static str {
    match process {
        "engine" => "engine",
        "signaling" => "signaling",
        "courier" => "courier",
        "holder" => "holder",
        _ => series(at),
    }
}

fn processes(cases: &[&Case]) -> String {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for case in cases {
        for (at, target) in case.targets().into_iter().enumerate() {
            for process in case.runs_of(target).flat_map(|run| &run.cpu.by_process) {
                let entry = (color(&process.name, at), process.name.as_str());
                if !seen.contains(&entry) {
                    seen.push(entry);
                }
            }
        }
    }
    legend(seen.into_iter().chain([("shade user", "user"), ("shade system", "system")]))
}
