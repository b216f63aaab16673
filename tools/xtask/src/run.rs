//! Runs test executables, shows their output as it comes, and adds up what they say.

use std::io::{BufRead, BufReader, Read, Write};
use std::ops::AddAssign;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::build::Suite;
use crate::leftovers::Watch;
use crate::step;

/// A suite of unit tests runs for seconds; one that is silent this long hangs.
const UNIT_SILENCE: Duration = Duration::from_secs(180);

/// The longest test with real clients is under a minute; the SDKs' own timeouts add up to less than this.
const INTEROP_SILENCE: Duration = Duration::from_secs(240);

/// More failures than this are no stalls.
const SECOND_TRIES_MAX: usize = 6;

#[derive(Default)]
pub struct Tally {
    passed: u64,
    failed: u64,
    failures: Vec<String>,
    /// Failed, then passed when run again: shown at the end, so that nobody takes them for sound.
    second_tries: Vec<String>,
}

impl Tally {
    pub fn success() -> Tally {
        Tally { passed: 1, ..Tally::default() }
    }

    pub fn failure(what: String) -> Tally {
        Tally { failed: 1, failures: vec![what], ..Tally::default() }
    }

    pub fn has_failed(&self) -> bool {
        self.failed > 0
    }

    /// Prints the closing line; whether nothing failed.
    pub fn close(&self) -> bool {
        println!();
        for name in &self.second_tries {
            println!("passed at the second try only: {name}");
        }
        for failure in &self.failures {
            println!("failed: {failure}");
        }
        println!("{} passed, {} failed", self.passed, self.failed);
        self.failed == 0
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.failures.extend(other.failures);
        self.second_tries.extend(other.second_tries);
    }
}

/// Runs a suite of unit tests with `more` in its environment; only failures are shown.
pub fn unit(suite: &Suite, watch: &Watch, more: &[(&str, &str)]) -> Result<Tally> {
    let mut command = Command::new(&suite.executable);
    command.arg("--quiet").envs(watch.environment()).envs(more.iter().copied());
    run(suite, command, UNIT_SILENCE, false)
}

/// Runs tests with real clients, one at a time, and shows each as it ends. A few that failed run once more: browsers on shared
/// machines stall. The closing lines name those that needed it.
pub fn interop(suite: &Suite, clients: &Path, node: &Path, watch: &Watch, filter: Option<&str>) -> Result<Tally> {
    let command = || {
        let mut command = Command::new(&suite.executable);
        command.args(["--test-threads=1", "--nocapture"]);
        command.env("MILLRACE_INTEROP_DIR", clients).env("MILLRACE_BINARY", node).envs(watch.environment());
        command
    };
    let mut first = command();
    first.args(filter);
    let tally = run(suite, first, INTEROP_SILENCE, true)?;
    let what = format!("{} {}: ", suite.package, suite.name);
    let names: Vec<String> =
        tally.failures.iter().filter_map(|text| Some(text.strip_prefix(&what)?.to_owned())).collect();
    let all_named = names.len() as u64 == tally.failed;
    if names.is_empty() || names.len() > SECOND_TRIES_MAX || !all_named {
        return Ok(tally);
    }
    let mut second = command();
    second.arg("--exact").args(&names);
    let again = run(suite, second, INTEROP_SILENCE, true)?;
    let recovered = names.into_iter().filter(|name| !again.failures.contains(&format!("{what}{name}")));
    Ok(Tally {
        passed: tally.passed + again.passed,
        failed: again.failed,
        second_tries: recovered.map(|name| format!("{what}{name}")).collect(),
        failures: again.failures,
    })
}

fn run(suite: &Suite, mut command: Command, silence: Duration, shown: bool) -> Result<Tally> {
    let what = format!("{} {}", suite.package, if suite.is_unit { "(unit)" } else { &suite.name });
    let began = step::begin(&what);
    command.current_dir(&suite.folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("CARGO_MANIFEST_DIR", &suite.folder);
    let mut child = command.spawn().with_context(|| format!("starting {command:?}"))?;
    let (lines, ended) = watch(&mut child, silence, shown)?;
    let mut tally = read(&what, &lines, shown);
    match ended {
        None => tally += Tally::failure(format!("{what}: silent for {} s, ended", silence.as_secs())),
        // 101 is libtest's own code for failed tests, which are counted already.
        Some(status) if status.success() || (status.code() == Some(101) && tally.failed > 0) => {}
        Some(status) => tally += Tally::failure(format!("{what}: {status}")),
    }
    if tally.failed > 0 && !shown {
        println!("{}", lines.join("\n"));
    }
    step::end(&format!("{} passed, {} failed", tally.passed, tally.failed), began);
    Ok(tally)
}

/// Collects both outputs until the child ends, or ends it (`None`) when it is silent for too long.
fn watch(child: &mut Child, silence: Duration, shown: bool) -> Result<(Vec<String>, Option<std::process::ExitStatus>)> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let (alive, heard) = mpsc::channel();
    let outputs: [Box<dyn Read + Send>; 2] = [
        Box::new(child.stdout.take().context("the output of a test")?),
        Box::new(child.stderr.take().context("the errors of a test")?),
    ];
    let readers = outputs.map(|output| {
        let (lines, alive) = (Arc::clone(&lines), alive.clone());
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                if shown {
                    let _ = writeln!(std::io::stdout(), "   {line}");
                }
                if let Ok(mut lines) = lines.lock() {
                    lines.push(line);
                }
                let _ = alive.send(());
            }
        })
    });
    drop(alive);
    let silent = loop {
        match heard.recv_timeout(silence) {
            Ok(()) => {}
            Err(mpsc::RecvTimeoutError::Timeout) => break true,
            Err(mpsc::RecvTimeoutError::Disconnected) => break false,
        }
    };
    if silent {
        child.kill().context("ending a silent test")?;
        child.wait().context("waiting for an ended test")?;
        let collected = lines.lock().map(|lines| lines.clone()).unwrap_or_default();
        return Ok((collected, None));
    }
    for reader in readers {
        let _ = reader.join();
    }
    let status = child.wait().context("waiting for a test")?;
    let collected = lines.lock().map(|lines| lines.clone()).unwrap_or_default();
    Ok((collected, Some(status)))
}

/// Adds up libtest's closing lines and names what failed. A suite that died before its closing line is counted by its
/// single lines.
fn read(what: &str, lines: &[String], shown: bool) -> Tally {
    let mut tally = Tally::default();
    let mut closed = false;
    for line in lines {
        if let Some(rest) = line.trim().strip_prefix("test result: ") {
            closed = true;
            let number = |word: &str| {
                let before = rest.split(word).next().unwrap_or_default();
                before.rsplit([' ', '.']).find_map(|part| part.parse::<u64>().ok()).unwrap_or(0)
            };
            tally.passed += number(" passed");
            tally.failed += number(" failed");
        }
    }
    if !closed && shown {
        tally.passed = lines.iter().filter(|line| line.ends_with("... ok") || line.trim() == "ok").count() as u64;
    }
    let list = lines.iter().skip_while(|line| line.as_str() != "failures:").filter(|line| line.starts_with("    "));
    let mut names: Vec<&str> = list.map(|line| line.trim()).filter(|line| !line.contains(' ')).collect();
    names.sort_unstable();
    names.dedup();
    tally.failures = names.iter().map(|name| format!("{what}: {name}")).collect();
    tally
}

#[cfg(test)]
mod tests {
    use super::read;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn closing_lines_are_added_up() {
        let text = "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
                    test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        let tally = read("x", &lines(text), false);
        assert_eq!((tally.passed, tally.failed), (15, 2));
    }

    #[test]
    fn failed_tests_are_named_once() {
        let text = "failures:\n\n---- a::b stdout ----\n    at some place\n\nfailures:\n    a::b\n    c\n\n\
                    test result: FAILED. 0 passed; 2 failed; 0 ignored";
        let tally = read("x", &lines(text), false);
        assert_eq!(tally.failures, ["x: a::b", "x: c"]);
    }
}
