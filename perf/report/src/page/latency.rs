//! Latency by quantile: one plot per case, one line per run.

use super::svg::{Anchor, LogAxis, Svg, legend, number, series};
use crate::model::{Case, RunReport};

const WIDTH: f64 = 470.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 30.0;
/// What is left of the distribution at the right edge: 1 in 10,000.
const DECADES: f64 = 4.0;

pub fn write(cases: &[&Case]) -> String {
    let plots: String = cases.iter().map(|case| plot(case)).collect();
    if plots.is_empty() {
        return plots;
    }
    let first = cases.iter().map(|case| case.targets()).max_by_key(Vec::len).unwrap_or_default();
    let keys = first.iter().enumerate().map(|(at, target)| (series(at), *target));
    format!("<div class=\"grid\">{plots}</div>\n{}", legend(keys))
}

fn plot(case: &Case) -> String {
    let points = |run: &RunReport| -> Vec<(f64, f64)> {
        run.latency.quantiles.iter().filter(|(quantile, _)| *quantile < 1.0).map(|(q, us)| (*q, us / 1e3)).collect()
    };
    if case.runs.iter().all(|run| run.latency.quantiles.is_empty()) {
        return String::new();
    }
    let axis = LogAxis::around(case.runs.iter().flat_map(points).map(|(_, ms)| ms));
    let x = |quantile: f64| LEFT + (stretched(quantile) * (WIDTH - LEFT - RIGHT));
    let y = |ms: f64| HEIGHT - BOTTOM - axis.place(ms) * (HEIGHT - TOP - BOTTOM);
    let mut svg = Svg::new(WIDTH, HEIGHT, &format!("Latency by quantile, {}", case.title()));
    svg.text("title", Anchor::Start, (0.0, 14.0), &case.title());
    for tick in axis.ticks() {
        svg.line("grid", (LEFT, y(tick)), (WIDTH - RIGHT, y(tick)));
        svg.text("axis", Anchor::End, (LEFT - 6.0, y(tick) + 4.0), &format!("{} ms", number(tick)));
    }
    for (quantile, name) in
        [(0.0, "min"), (0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99")]
    {
        svg.line("grid", (x(quantile), TOP), (x(quantile), HEIGHT - BOTTOM));
        let anchor = if quantile > 0.9995 { Anchor::End } else { Anchor::Middle };
        svg.text("axis", anchor, (x(quantile), HEIGHT - BOTTOM + 16.0), name);
    }
    for (at, target) in case.targets().into_iter().enumerate() {
        for run in case.runs_of(target) {
            let line: Vec<_> = points(run).into_iter().map(|(quantile, ms)| (x(quantile), y(ms))).collect();
            let hint = format!(
                "{target}, round {}: p50 {} ms, p99 {} ms",
                run.round,
                number(run.latency.p50_us / 1e3),
                number(run.latency.p99_us / 1e3)
            );
            svg.path(&format!("curve {}", series(at)), &line, &hint);
        }
    }
    svg.finish()
}

/// 0, 0.9, 0.99 … at equal distances.
fn stretched(quantile: f64) -> f64 {
    (-(1.0 - quantile.clamp(0.0, 1.0)).max(1e-9).log10() / DECADES).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nines_stand_at_equal_distances() {
        for (quantile, place) in [(0.0, 0.0), (0.9, 0.25), (0.99, 0.5), (0.999, 0.75), (1.0, 1.0)] {
            assert!((stretched(quantile) - place).abs() < 1e-6, "{quantile}");
        }
    }
}
