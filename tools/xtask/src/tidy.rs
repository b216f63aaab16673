//! The hard sizes and wordings of the style guide, for files that git knows.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::step;

const FILE_LINES: usize = 800;
const FUNCTION_LINES: usize = 70;
const PARAMETERS: usize = 6;
const FIELDS: usize = 20;

/// Lines of `path` or `path:name`, the allowed number, and the reason.
const EXCEPTIONS: &str = "tools/xtask/tidy-exceptions.txt";

/// Files that people wrote and read as code.
const SOURCES: [&str; 6] = [".rs", ".py", ".js", ".mjs", ".css", ".html"];

/// Generated or vendored.
const NOT_OURS: [&str; 2] = [".min.mjs", ".min.js"];

struct Finding {
    /// `path` or `path:name`.
    place: String,
    size: usize,
    limit: usize,
    what: &'static str,
}

pub fn check(root: &Path) -> Result<bool> {
    let began = step::begin("sizes");
    let allowed = exceptions(root)?;
    let mut findings = Vec::new();
    let mut wordings = Vec::new();
    for path in tracked(root)? {
        let Ok(text) = std::fs::read_to_string(root.join(&path)) else { continue };
        findings.extend(over(&path, "lines in a file", text.lines().count(), FILE_LINES));
        if path.ends_with(".rs") {
            findings.extend(items(&path, &text));
            wordings.extend(wording(&path, &text));
        }
    }
    let mut problems = wordings;
    let mut used = Vec::new();
    for finding in &findings {
        let place = &finding.place;
        match allowed.get(place.as_str()) {
            Some(limit) if finding.size <= *limit => used.push(place.as_str()),
            _ => problems.push(format!("{place}: {} {} (at most {})", finding.size, finding.what, finding.limit)),
        }
    }
    let unused = allowed.keys().filter(|place| !used.contains(&place.as_str()));
    problems.extend(unused.map(|place| format!("{EXCEPTIONS}: {place} needs no exception any more")));
    problems.sort();
    problems.iter().for_each(|problem| println!("   {problem}"));
    step::end("sizes", began);
    Ok(problems.is_empty())
}

fn over(place: &str, what: &'static str, size: usize, limit: usize) -> Option<Finding> {
    (size > limit).then(|| Finding { place: place.to_owned(), size, limit, what })
}

fn tracked(root: &Path) -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let output = git.output().context("git ls-files")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let ours =
        |path: &&str| SOURCES.iter().any(|end| path.ends_with(end)) && !NOT_OURS.iter().any(|end| path.ends_with(end));
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter(ours).map(str::to_owned).collect())
}

/// `place number reason…` per line; `#` begins a comment.
fn exceptions(root: &Path) -> Result<HashMap<String, usize>> {
    let text = std::fs::read_to_string(root.join(EXCEPTIONS)).with_context(|| format!("reading {EXCEPTIONS}"))?;
    let mut allowed = HashMap::new();
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let place = words.next().unwrap_or_default();
        let number = words.next().and_then(|word| word.parse().ok());
        let number = number.with_context(|| format!("{EXCEPTIONS}: no number in {line:?}"))?;
        ensure!(words.next().is_some(), "{EXCEPTIONS}: no reason in {line:?}");
        allowed.insert(place.to_owned(), number);
    }
    Ok(allowed)
}

/// Functions and structs that are too large. Reads formatted code: an item ends with `}` at its own indentation.
fn items(path: &str, text: &str) -> Vec<Finding> {
    let lines: Vec<&str> = text.lines().collect();
    let mut findings = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indentation = line.len() - line.trim_start().len();
        let end_of = || {
            let body = lines[start..].iter().position(|later| {
                later.trim_end() == format!("{}}}", " ".repeat(indentation)) && later.len() > indentation
            });
            body.map_or(1, |count| count + 1)
        };
        if let Some(name) = name_after(line, "fn ") {
            let place = format!("{path}:{name}");
            let signature = lines[start..].join("\n");
            let has_body = signature.find('{') < signature.find(";\n") || !signature.contains(";\n");
            if has_body && !line.trim_end().ends_with('}') {
                findings.extend(over(&place, "lines in a function", end_of(), FUNCTION_LINES));
            }
            findings.extend(over(&place, "parameters", parameters(&signature), PARAMETERS));
        } else if let Some(name) = name_after(line, "struct ").filter(|_| line.trim_end().ends_with('{')) {
            let fields = lines[start + 1..start + end_of()].iter().filter(|field| is_field(field, indentation)).count();
            findings.extend(over(&format!("{path}:{name}"), "fields", fields, FIELDS));
        }
    }
    findings
}

/// The name that follows `keyword` when the line begins an item of that kind.
fn name_after<'a>(line: &'a str, keyword: &str) -> Option<&'a str> {
    let before_words = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern", "\"C\""];
    let (before, after) = line.split_once(keyword)?;
    if !before.split_whitespace().all(|word| before_words.contains(&word)) {
        return None;
    }
    let end = after.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(after.len());
    Some(&after[..end]).filter(|name| !name.is_empty())
}

fn is_field(line: &str, indentation: usize) -> bool {
    let own = line.len() - line.trim_start().len() == indentation + 4;
    let text = line.trim_start();
    own && text.contains(':') && !text.starts_with("//") && !text.starts_with('#')
}

/// Parameters without `self`, from the text that begins at `fn`.
fn parameters(signature: &str) -> usize {
    let Some(open) = signature.find('(') else { return 0 };
    let mut depth = 0usize;
    let mut previous = ' ';
    let mut list = vec![String::new()];
    for letter in signature[open + 1..].chars() {
        match letter {
            ')' if depth == 0 => break,
            '(' | '[' | '<' => depth += 1,
            '>' if previous == '-' => {}
            ')' | ']' | '>' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => list.push(String::new()),
            _ => {}
        }
        previous = letter;
        if let Some(parameter) = list.last_mut().filter(|_| letter != ',' || depth > 0) {
            parameter.push(letter);
        }
    }
    let is_self = |parameter: &str| parameter.split(':').next().is_some_and(|name| name.trim().ends_with("self"));
    // `name in strategy` is a property test's own way to list its inputs.
    let counts =
        |parameter: &&String| !parameter.trim().is_empty() && !is_self(parameter) && !parameter.contains(" in ");
    list.iter().filter(counts).count()
}

/// Words and file names that do not stay in this repository.
fn wording(path: &str, text: &str) -> Vec<String> {
    // Written in two parts, so that this file does not find itself.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("todo", "!("), concat!("unimplemented", "!(")];
    let mut problems = Vec::new();
    if path.ends_with("/mod.rs") {
        problems.push(format!("{path}: a module is named by its file, not mod.rs"));
    }
    for (number, line) in text.lines().enumerate() {
        if let Some(word) = words.iter().find(|word| line.contains(**word)) {
            problems.push(format!("{path}:{}: {word}", number + 1));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::{items, name_after, parameters};

    #[test]
    fn parameters_are_counted_without_self() {
        assert_eq!(parameters("fn a()"), 0);
        assert_eq!(parameters("fn a(&mut self)"), 0);
        assert_eq!(parameters("fn a(&self, b: u8)"), 1);
        assert_eq!(parameters("fn a(b: Map<u8, u8>, c: fn(u8, u8) -> u8, d: [u8; 2])"), 3);
        assert_eq!(parameters("fn a(\n    b: u8,\n    c: u8,\n) {"), 2);
    }

    #[test]
    fn only_an_item_begins_with_its_keyword() {
        assert_eq!(name_after("    pub(crate) async fn run(&self) {", "fn "), Some("run"));
        assert_eq!(name_after("    let f: fn (u8);", "fn "), None);
        assert_eq!(name_after("// fn old()", "fn "), None);
    }

    #[test]
    fn a_long_function_is_found_and_a_short_one_is_not() {
        let long = format!("fn a() {{\n{}}}\n", "    b();\n".repeat(80));
        assert_eq!(items("x.rs", &long).len(), 1);
        assert_eq!(items("x.rs", "fn a() {\n    b();\n}\n").len(), 0);
    }

    #[test]
    fn a_wide_struct_is_found() {
        let wide = format!("pub struct A {{\n{}}}\n", "    /// f\n    pub a: u8,\n".repeat(21));
        assert_eq!(items("x.rs", &wide)[0].size, 21);
    }
}
