//! What a parameter does: cases of one scenario that differ by it, CPU per packet and tail latency over its values.

use super::svg::{Anchor, LogAxis, Svg, legend, number, round_up, series};
use crate::model::{Case, RunReport};

const WIDTH: f64 = 470.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 40.0;

pub fn write(cases: &[&Case]) -> String {
    let mut groups: Vec<(&str, &str, Vec<&Case>)> = Vec::new();
    for case in cases {
        let Some(point) = &case.point else { continue };
        match groups.iter_mut().find(|(name, parameter, _)| *name == case.name && *parameter == point.parameter) {
            Some((.., group)) => group.push(case),
            None => groups.push((&case.name, &point.parameter, vec![case])),
        }
    }
    groups.retain(|(.., group)| group.len() > 1);
    groups.iter().map(|(name, parameter, group)| pair(name, parameter, group)).collect()
}

fn pair(name: &str, parameter: &str, cases: &[&Case]) -> String {
    let cpu = plot(&format!("{name}: CPU per packet, ns"), parameter, cases, |run| Some(run.cpu.ns_per_packet), false);
    let tail = plot(&format!("{name}: latency p99, ms"), parameter, cases, |run| Some(run.latency.p99_us / 1e3), true);
    let train = plot(&format!("{name}: train length"), parameter, cases, |run| Some(run.train_length), false);
    let targets = cases.first().map(|case| case.targets()).unwrap_or_default();
    let keys = targets.iter().enumerate().map(|(at, target)| (series(at), *target));
    format!("<div class=\"grid\">{cpu}{tail}{train}</div>\n{}", legend(keys))
}

fn plot(
    title: &str,
    parameter: &str,
    cases: &[&Case],
    of: fn(&RunReport) -> Option<f64>,
    is_logarithmic: bool,
) -> String {
    let values = || cases.iter().flat_map(|case| case.runs.iter().filter_map(of));
    let (axis, highest) = (LogAxis::around(values()), round_up(values().fold(0.0, f64::max)));
    let place = |value: f64| if is_logarithmic { axis.place(value) } else { value / highest };
    let ticks: Vec<f64> =
        if is_logarithmic { axis.ticks().collect() } else { (0..=4).map(|n| highest * f64::from(n) / 4.0).collect() };
    let y = |value: f64| HEIGHT - BOTTOM - place(value) * (HEIGHT - TOP - BOTTOM);
    let step = (WIDTH - LEFT - RIGHT) / cases.len() as f64;
    let x = |at: usize| LEFT + step * (at as f64 + 0.5);
    let mut svg = Svg::new(WIDTH, HEIGHT, title);
    svg.text("title", Anchor::Start, (0.0, 14.0), title);
    for tick in ticks {
        svg.line("grid", (LEFT, y(tick)), (WIDTH - RIGHT, y(tick)));
        svg.text("axis", Anchor::End, (LEFT - 6.0, y(tick) + 4.0), &number(tick));
    }
    for (at, case) in cases.iter().enumerate() {
        let value = case.point.as_ref().map_or("", |point| point.value.as_str());
        svg.text("axis", Anchor::Middle, (x(at), HEIGHT - BOTTOM + 16.0), value);
    }
    svg.text("label", Anchor::Middle, (LEFT + (WIDTH - LEFT - RIGHT) / 2.0, HEIGHT - 6.0), parameter);
    let targets = cases.first().map(|case| case.targets()).unwrap_or_default();
    for (number_of, target) in targets.iter().enumerate() {
        let class = series(number_of);
        let spreads: Vec<_> =
            cases.iter().enumerate().filter_map(|(at, case)| Some((x(at), case.spread(target, of)?))).collect();
        let line: Vec<_> = spreads.iter().map(|(x, spread)| (*x, y(spread.median))).collect();
        svg.path(&format!("curve {class}"), &line, target);
        for (x, spread) in spreads {
            svg.line(&format!("whisker {class}"), (x, y(spread.lowest)), (x, y(spread.highest)));
            svg.dot(class, (x, y(spread.median)), &format!("{target}: {}", number(spread.median)));
        }
    }
    svg.finish()
}
