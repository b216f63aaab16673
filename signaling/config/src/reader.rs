//! Typed reading of the tree: every value is asked for once, problems and notices gather, and what nobody asked for is
//! reported at the end of its section.

use crate::document::{Entry, Node, Value};
use crate::notice::{Notice, Problem, Severity};
use crate::schema::nearest;

#[derive(Default)]
pub(crate) struct Reader {
    pub(crate) problems: Vec<Problem>,
    pub(crate) notices: Vec<Notice>,
}

/// A mapping that is being read.
pub(crate) struct Section<'a> {
    /// With a dot at the end, or empty at the top.
    path: String,
    entries: &'a [Entry],
    asked: Vec<&'static str>,
}

impl<'a> Section<'a> {
    pub(crate) fn path_of(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    /// The entry of `key`, which counts as asked for.
    pub(crate) fn entry(&mut self, key: &'static str) -> Option<&'a Entry> {
        self.asked.push(key);
        self.entries.iter().find(|entry| entry.key == key)
    }
}

impl Reader {
    pub(crate) fn problem(&mut self, line: u32, text: impl Into<String>, remedy: impl Into<String>) {
        self.problems.push(Problem::new(Some(line), text, remedy));
    }

    pub(crate) fn notice(&mut self, severity: Severity, line: u32, text: impl Into<String>) {
        self.notices.push(Notice { severity, line: Some(line), text: text.into() });
    }

    /// The mapping `node`; empty when there is nothing, or when it is something else, which is a problem.
    pub(crate) fn section<'a>(&mut self, path: &str, node: Option<&'a Node>) -> Section<'a> {
        let entries: &[Entry] = match node.map(|node| (&node.value, node.line)) {
            None | Some((Value::Null, _)) => &[],
            Some((Value::Map(entries), _)) => entries,
            Some((_, line)) => {
                let name = if path.is_empty() { "the file" } else { path };
                self.problem(line, format!("{name} must hold keys"), "write `key: value` lines under it");
                &[]
            }
        };
        let path = if path.is_empty() { String::new() } else { format!("{path}.") };
        Section { path, entries, asked: Vec::new() }
    }

    pub(crate) fn subsection<'a>(&mut self, section: &mut Section<'a>, key: &'static str) -> Section<'a> {
        let node = section.entry(key).map(|entry| &entry.node);
        self.section(&section.path_of(key), node)
    }

    /// The value of `key` if it is there and `parse` takes its text; a null counts as absent. `expected` completes
    /// "write …".
    pub(crate) fn value<T>(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let entry = section.entry(key)?;
        let path = section.path_of(key);
        match &entry.node.value {
            Value::Null => None,
            Value::Scalar(text) => match parse(text.trim()) {
                Some(value) => Some(value),
                None => {
                    self.problem(entry.node.line, format!("{path} cannot be {text:?}"), format!("write {expected}"));
                    None
                }
            },
            Value::List(_) | Value::Map(_) => {
                self.problem(entry.node.line, format!("{path} must be one value"), format!("write {expected}"));
                None
            }
        }
    }

    /// As `value`, stored where it is present.
    pub(crate) fn set<T>(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
        target: &mut T,
    ) {
        if let Some(value) = self.value(section, key, expected, parse) {
            *target = value;
        }
    }

    pub(crate) fn flag(&mut self, section: &mut Section<'_>, key: &'static str, target: &mut bool) {
        self.set(section, key, "true or false", boolean, target);
    }

    pub(crate) fn number<T: TryFrom<i64>>(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        expected: &str,
        target: &mut T,
    ) {
        self.set(section, key, expected, |text| T::try_from(integer(text)?).ok(), target);
    }

    /// A list of texts; one text alone is a list of one.
    pub(crate) fn texts<'a>(
        &mut self,
        section: &mut Section<'a>,
        key: &'static str,
        expected: &str,
    ) -> Option<Vec<(u32, &'a str)>> {
        let entry = section.entry(key)?;
        let items: &[Node] = match &entry.node.value {
            Value::Null => return None,
            Value::Scalar(_) => std::slice::from_ref(&entry.node),
            Value::List(items) => items,
            Value::Map(_) => {
                let text = format!("{} must be a list", section.path_of(key));
                self.problem(entry.node.line, text, format!("write {expected}"));
                return None;
            }
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match &item.value {
                Value::Scalar(text) => texts.push((item.line, text.trim())),
                Value::Null => texts.push((item.line, "")),
                _ => self.problem(
                    item.line,
                    format!("{} holds no text", section.path_of(key)),
                    format!("write {expected}"),
                ),
            }
        }
        Some(texts)
    }

    /// Reports what nobody asked for: `not_served` keys are LiveKit's, the others unknown.
    pub(crate) fn finish(&mut self, section: &Section<'_>, not_served: &[&'static str]) {
        for entry in section.entries.iter().filter(|entry| !section.asked.contains(&entry.key.as_str())) {
            let path = section.path_of(&entry.key);
            if not_served.contains(&entry.key.as_str()) {
                if asks_for_something(&entry.node) {
                    self.notice(Severity::Warning, entry.line, format!("{path} is not served yet and has no effect"));
                }
                continue;
            }
            let known = section.asked.iter().copied().chain(not_served.iter().copied());
            let text = match nearest(&entry.key, known) {
                Some(near) => format!("{path} is unknown and has no effect; did you mean {}?", section.path_of(near)),
                None => format!("{path} is unknown and has no effect"),
            };
            self.notice(Severity::Warning, entry.line, text);
        }
    }
}

/// An empty section, `enabled: false` and `false` change nothing, so they need no warning.
fn asks_for_something(node: &Node) -> bool {
    match &node.value {
        Value::Null => false,
        Value::Scalar(text) => boolean(text) != Some(false) && !matches!(text.as_str(), "" | "0"),
        Value::List(items) => !items.is_empty(),
        Value::Map(entries) => {
            let disabled = entries.iter().any(|entry| entry.key == "enabled" && !asks_for_something(&entry.node));
            !disabled && entries.iter().any(|entry| asks_for_something(&entry.node))
        }
    }
}

/// As YAML 1.1 has them, which LiveKit's parser takes.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// `1_000_000`, `0x10` and `-1` are numbers too.
pub(crate) fn integer(text: &str) -> Option<i64> {
    let text = text.replace('_', "");
    match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}
