//! One self-contained HTML page: plots as inline SVG, no script, no other file; light and dark by the reader's setting.

mod bars;
mod curves;
mod latency;
mod ratios;
mod svg;

use std::fmt::Write;

use crate::figure::figures;
use crate::model::{Case, Report};
use crate::table::warnings;
use svg::{escape, grouped};

const STYLE: &str = include_str!("page/style.css");
const SECONDS_PER_DAY: u64 = 86_400;

/// The page of one or more reports, their cases one after the other.
pub fn write(reports: &[Report]) -> String {
    let cases: Vec<&Case> = reports.iter().flat_map(|report| &report.cases).collect();
    let mut out = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    let _ = writeln!(out, "<title>{}</title>\n<style>\n{STYLE}</style></head>\n<body><main>", title(&cases));
    let _ = writeln!(out, "<header><h1>{}</h1>", title(&cases));
    reports.iter().for_each(|report| origin(&mut out, report));
    out.push_str("</header>\n");
    doubts(&mut out, &cases);
    section(&mut out, "CPU per forwarded packet", CPU_TEXT, &bars::write(&cases));
    section(&mut out, "Their cost by ours", RATIO_TEXT, &ratios::write(&cases));
    section(&mut out, "Added latency", LATENCY_TEXT, &latency::write(&cases));
    section(&mut out, "Along a parameter", CURVE_TEXT, &curves::write(&cases));
    let tables: String = cases.iter().map(|case| details(case)).collect();
    section(&mut out, "All figures", TABLE_TEXT, &tables);
    out.push_str("</main></body></html>\n");
    out
}

const CPU_TEXT: &str = "User and system time of all processes of a server over the steady time, by the packets that subscribers \
received. Medians over the rounds; the thin line is the range. Beside it the mean train length that receivers saw.";
const RATIO_TEXT: &str = "Above 1 × the first server is cheaper. Each round compares two runs that follow one another; the dot is \
the median, the line the range over the rounds.";
const LATENCY_TEXT: &str = "From the publisher's send to the kernel's stamp at the subscriber's socket, one line per round. The \
axis stretches the tail.";
const CURVE_TEXT: &str = "Medians over the rounds, with their range.";
const TABLE_TEXT: &str = "Medians over the rounds, with the range where there are several.";

fn title(cases: &[&Case]) -> String {
    let mut targets: Vec<&str> = Vec::new();
    for target in cases.iter().flat_map(|case| case.targets()) {
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    escape(&targets.join(" beside "))
}

fn origin(out: &mut String, report: &Report) {
    let machine = &report.machine;
    let cores = |cores: &Option<Vec<usize>>| match cores {
        Some(cores) => cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        None => "any".to_owned(),
    };
    let _ = writeln!(
        out,
        "<p class=\"origin\">{} · commit <code>{}</code> · {}, {} cores, {} GB, Linux {} · servers on core {}, load on core {}{}</p>",
        date(report.unix_seconds),
        escape(&report.commit),
        escape(&machine.processor),
        machine.cores,
        machine.memory_mb / 1_000,
        escape(&machine.kernel),
        cores(&report.server_cores),
        cores(&report.load_cores),
        if report.path.is_empty() { String::new() } else { format!(", over {}", escape(&report.path)) },
    );
}

/// Runs that a reader should not trust, first of all.
fn doubts(out: &mut String, cases: &[&Case]) {
    let mut items = String::new();
    for case in cases {
        for run in &case.runs {
            for warning in warnings(case, run) {
                let (title, target) = (escape(&case.title()), escape(&run.target));
                let _ = writeln!(items, "<li>{title}, {target}, round {}: {}</li>", run.round, escape(&warning));
            }
        }
    }
    if !items.is_empty() {
        let _ = writeln!(out, "<section class=\"doubts\"><h2>To be doubted</h2><ul>{items}</ul></section>");
    }
}

/// Nothing at all without a body.
fn section(out: &mut String, title: &str, text: &str, body: &str) {
    if !body.is_empty() {
        let _ = writeln!(out, "<section><h2>{title}</h2><p>{text}</p>\n{body}</section>");
    }
}

fn details(case: &Case) -> String {
    let targets = case.targets();
    let mut out = format!("<details><summary>{}</summary><p>{}</p>", escape(&case.title()), escape(&case.about));
    let profiles: Vec<&str> = case.runs.iter().filter_map(|run| run.srtp_profile.as_deref()).collect();
    if let Some(profile) = profiles.first() {
        let _ = write!(out, "<p><code>{}</code></p>", escape(profile));
    }
    out.push_str("<div class=\"scroll\"><table><thead><tr><th></th>");
    targets.iter().for_each(|target| {
        let _ = write!(out, "<th>{}</th>", escape(target));
    });
    out.push_str("<th>ratio</th></tr></thead><tbody>");
    for figure in figures() {
        let spreads: Vec<_> = targets.iter().map(|target| case.spread(target, figure.of)).collect();
        if spreads.iter().all(Option::is_none) {
            continue;
        }
        let indented = if figure.name.starts_with(' ') { " class=\"part\"" } else { "" };
        let _ = write!(out, "<tr><th{indented}>{}</th>", escape(figure.name.trim_start()));
        for spread in spreads {
            let cell = spread.map_or("–".to_owned(), |spread| spread.write(figure.write));
            let _ = write!(out, "<td>{}</td>", grouped(&cell));
        }
        let ratio = case.ratio(figure.key).map_or(String::new(), |ratio| format!("{:.2} ×", ratio.median));
        let _ = write!(out, "<td>{ratio}</td></tr>");
    }
    out.push_str("</tbody></table></div>");
    let node = case.node.config.iter().chain(&case.node.arguments).cloned().collect::<Vec<_>>().join("\n");
    if !node.is_empty() {
        let _ = write!(out, "<p>The node was set up with</p><pre>{}</pre>", escape(node.trim_end()));
    }
    out.push_str("</details>\n");
    out
}

/// `2026-11-25 20:14 UTC`. Days to a date as in the proleptic Gregorian calendar, years beginning in March.
fn date(unix_seconds: u64) -> String {
    let (days, seconds) = (unix_seconds / SECONDS_PER_DAY + 719_468, unix_seconds % SECONDS_PER_DAY);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (day, month) =
        (day_of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", seconds / 3_600, seconds / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Point;
    use crate::model::tests::{report, run};

    #[test]
    fn a_page_is_whole_and_escapes_what_it_shows() {
        let runs = vec![run("millrace", 1, 1_100.0), run("livekit", 1, 9_000.0)];
        let page = write(&[report(runs, None)]);
        assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
        assert!(page.contains("Test &amp; Sons") && page.contains("&lt;100&gt;") && !page.contains("<100>"));
        assert!(page.contains("millrace beside livekit") && !page.contains("NaN") && !page.contains("inf"));
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert!(!page.contains("http://") && !page.contains("https://"), "nothing is loaded from elsewhere");
    }

    #[test]
    fn points_of_one_scenario_make_a_curve() {
        let point = |value: &str, ns| {
            let point = Point { parameter: "hold_ms".to_owned(), value: value.to_owned() };
            report(vec![run("millrace", 1, ns)], Some(point))
        };
        let page = write(&[point("0", 2_000.0), point("5", 1_000.0)]);
        assert!(page.contains("Along a parameter") && page.contains("hold_ms"));
        assert!(!page.contains("Their cost by ours"));
    }

    #[test]
    fn a_report_of_nothing_is_a_page_too() {
        let mut empty = report(Vec::new(), None);
        empty.cases.clear();
        assert!(write(&[empty]).contains("</html>"));
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_795_639_262), "2026-11-25 20:41 UTC");
    }
}
