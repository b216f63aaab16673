//! Theirs by ours with the spread over the rounds: one panel per figure, one row per case, a logarithmic axis.

use super::svg::{Anchor, LogAxis, Svg, number};
use crate::figure::compared;
use crate::model::{Case, Ratio};

const WIDTH: f64 = 470.0;
const LEFT: f64 = 210.0;
const RIGHT: f64 = 70.0;
const ROW: f64 = 24.0;
const TOP: f64 = 44.0;

pub fn write(cases: &[&Case]) -> String {
    let panels: String = compared().map(|figure| panel(figure.key, figure.name, cases)).collect();
    if panels.is_empty() { panels } else { format!("<div class=\"grid\">{panels}</div>\n") }
}

fn panel(key: &str, name: &str, cases: &[&Case]) -> String {
    let rows: Vec<(&&Case, &Ratio)> = cases.iter().filter_map(|case| Some((case, case.ratio(key)?))).collect();
    if rows.is_empty() {
        return String::new();
    }
    // 1 × is always on it.
    let values = rows.iter().flat_map(|(_, ratio)| [ratio.lowest, ratio.highest]);
    let axis = LogAxis::around(values.chain([0.999, 1.001]));
    let name = name.split(',').next().unwrap_or(name);
    let height = TOP + rows.len() as f64 * ROW + 6.0;
    let mut svg = Svg::new(WIDTH, height, &format!("Ratio of {name}"));
    let x = |value: f64| LEFT + axis.place(value) * (WIDTH - LEFT - RIGHT);
    svg.text("title", Anchor::Start, (0.0, 14.0), name);
    for tick in axis.ticks() {
        let class = if (tick - 1.0).abs() < 1e-9 { "one" } else { "grid" };
        svg.line(class, (x(tick), TOP - 8.0), (x(tick), height - 4.0));
        svg.text("axis", Anchor::Middle, (x(tick), TOP - 14.0), &format!("{} ×", number(tick)));
    }
    for (at, (case, ratio)) in rows.iter().enumerate() {
        let y = TOP + at as f64 * ROW + ROW / 2.0;
        svg.text("label", Anchor::End, (LEFT - 10.0, y + 4.0), &case.title());
        svg.line("whisker ours", (x(ratio.lowest), y), (x(ratio.highest), y));
        let hint = format!(
            "{}: {} × [{}–{}] over {} rounds",
            case.title(),
            number(ratio.median),
            number(ratio.lowest),
            number(ratio.highest),
            ratio.rounds
        );
        svg.dot("ours", (x(ratio.median), y), &hint);
        svg.text("value", Anchor::Start, (x(ratio.highest) + 9.0, y + 4.0), &format!("{} ×", number(ratio.median)));
    }
    svg.finish()
}
