//! The few shapes that plots need. Colours are classes of the style sheet.

use std::fmt::Write;

/// A drawing under way.
pub struct Svg {
    width: f64,
    height: f64,
    label: String,
    body: String,
}

/// Where a text stands by its point.
#[derive(Clone, Copy)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    /// **Input**: the size in CSS pixels at its natural width, and what a screen reader says.
    pub fn new(width: f64, height: f64, label: &str) -> Self {
        Self { width, height, label: label.to_owned(), body: String::new() }
    }

    pub fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let _ = write!(
            self.body,
            "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
            from.0, from.1, to.0, to.1
        );
    }

    /// A rectangle with a text that shows when pointed at.
    pub fn rect(&mut self, class: &str, at: (f64, f64), size: (f64, f64), hint: &str) {
        let _ = write!(
            self.body,
            "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\"><title>{}</title></rect>",
            at.0,
            at.1,
            size.0.max(0.0),
            size.1,
            escape(hint)
        );
    }

    pub fn dot(&mut self, class: &str, at: (f64, f64), hint: &str) {
        let hint = escape(hint);
        let _ = write!(
            self.body,
            "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4.5\"><title>{hint}</title></circle>",
            at.0, at.1
        );
    }

    pub fn path(&mut self, class: &str, points: &[(f64, f64)], hint: &str) {
        let mut data = String::new();
        for (at, (x, y)) in points.iter().enumerate() {
            let _ = write!(data, "{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' });
        }
        let _ = write!(self.body, "<path class=\"{class}\" d=\"{data}\"><title>{}</title></path>", escape(hint));
    }

    pub fn text(&mut self, class: &str, anchor: Anchor, at: (f64, f64), text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let (x, y, text) = (at.0, at.1, escape(text));
        let _ = write!(
            self.body,
            "<text class=\"{class}\" text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"
        );
    }

    pub fn finish(self) -> String {
        let Self { width, height, label, body } = self;
        format!(
            "<svg viewBox=\"0 0 {width:.0} {height:.0}\" style=\"max-width:{width:.0}px\" role=\"img\" aria-label=\"{}\">{body}</svg>\n",
            escape(&label)
        )
    }
}

/// A logarithmic axis between whole powers of ten.
#[derive(Clone, Copy, Debug)]
pub struct LogAxis {
    lowest: f64,
    highest: f64,
}

impl LogAxis {
    /// Around all positive values; 1 to 10 around none.
    pub fn around(values: impl Iterator<Item = f64>) -> Self {
        let (mut lowest, mut highest) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite() && *value > 0.0) {
            lowest = lowest.min(value.log10());
            highest = highest.max(value.log10());
        }
        if lowest > highest {
            return Self { lowest: 0.0, highest: 1.0 };
        }
        let lowest = (lowest + 1e-9).floor();
        Self { lowest, highest: (highest - 1e-9).ceil().max(lowest + 1.0) }
    }

    /// 0 at the lower end, 1 at the upper.
    pub fn place(self, value: f64) -> f64 {
        let value = if value > 0.0 { value.log10() } else { self.lowest };
        ((value - self.lowest) / (self.highest - self.lowest)).clamp(0.0, 1.0)
    }

    /// Powers of ten.
    pub fn ticks(self) -> impl Iterator<Item = f64> {
        let (lowest, highest) = (self.lowest as i32, self.highest as i32);
        (lowest..=highest).map(|power| 10f64.powi(power))
    }
}

/// A round number at or above `value`: 1, 2, 2.5 or 5 times a power of ten.
pub fn round_up(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|step| *step >= value * 0.999_999)
        .unwrap_or(value)
}

/// As short as it can be without being another number: 0.5, 12, 3,400.
pub fn number(value: f64) -> String {
    let text = match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    };
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    grouped(text)
}

/// Thousands apart by commas in every run of digits before a point.
pub fn grouped(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, digits) = rest.split_at(start);
        let (run, after) = digits.split_at(digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len()));
        out.push_str(before);
        if before.ends_with('.') {
            out.push_str(run);
        } else {
            for (at, digit) in run.chars().enumerate() {
                if at > 0 && (run.len() - at) % 3 == 0 {
                    out.push(',');
                }
                out.push(digit);
            }
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Class of a server's colour: the first is ours.
pub fn series(at: usize) -> &'static str {
    ["ours", "theirs", "third"].get(at).copied().unwrap_or("other")
}

/// A legend of series in HTML.
pub fn legend<'a>(entries: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let keys: String =
        entries.map(|(class, name)| format!("<span><i class=\"{class}\"></i>{}</span>", escape(name))).collect();
    format!("<p class=\"legend\">{keys}</p>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_grouped() {
        assert_eq!([12_345.6, 99.5, 3.0, 0.25, 0.004, 0.0].map(number), ["12,346", "99.5", "3", "0.25", "0.004", "0"]);
        assert_eq!(grouped("1234 [999–1234567.12345]"), "1,234 [999–1,234,567.12345]");
    }

    #[test]
    fn an_axis_holds_its_values_between_powers_of_ten() {
        let axis = LogAxis::around([0.3, 25.0, 0.0, f64::NAN].into_iter());
        assert_eq!(axis.ticks().map(number).collect::<Vec<_>>(), ["0.1", "1", "10", "100"]);
        assert!(axis.place(0.1) == 0.0 && axis.place(100.0) == 1.0 && axis.place(0.0) == 0.0);
        assert_eq!(LogAxis::around([1.0].into_iter()).ticks().count(), 2);
        assert_eq!(LogAxis::around(std::iter::empty()).ticks().count(), 2);
    }

    #[test]
    fn rounding_up_is_never_below() {
        assert_eq!([0.0, 1.0, 1.1, 230.0, 8_363.0].map(round_up), [1.0, 1.0, 2.0, 250.0, 10_000.0]);
    }
}
