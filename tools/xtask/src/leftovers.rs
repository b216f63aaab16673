//! Looks for what a test run left: processes that it started, and its folders under the temporary directory.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::run::Tally;

/// Set for every test with real clients and inherited by all that it starts.
const NAME: &str = "MILLRACE_INTEROP_RUN";

/// Beginnings of the names of folders that the tests make.
const FOLDERS: [&str; 2] = ["millrace-interop-", "millrace-chromium-"];

pub struct Watch {
    mark: String,
    folders: BTreeSet<PathBuf>,
}

impl Watch {
    pub fn begin() -> Result<Watch> {
        let since = std::time::UNIX_EPOCH.elapsed().context("a clock after 1970")?;
        Ok(Watch { mark: format!("{}-{}", std::process::id(), since.as_nanos()), folders: folders()? })
    }

    /// The environment variable that marks this run's processes, and its value.
    pub fn mark(&self) -> (&str, &str) {
        (NAME, &self.mark)
    }

    /// Counts a pass when nothing is left; otherwise a failure, and ends what is left.
    pub fn end(self) -> Result<Tally> {
        let mut problems = Vec::new();
        for (pid, command) in processes(&format!("{NAME}={}", self.mark))? {
            problems.push(format!("process {pid}: {command}"));
            let kill = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
            kill.context("ending a process that was left")?;
        }
        for folder in folders()?.difference(&self.folders) {
            problems.push(format!("folder {}", folder.display()));
            std::fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
        }
        if problems.is_empty() {
            println!("   nothing is left of the tests: no process, port or folder");
            return Ok(Tally::success());
        }
        Ok(Tally::failure(format!("left by the tests: {}", problems.join("; "))))
    }
}

fn processes(pair: &str) -> Result<Vec<(u32, String)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").context("reading /proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if pid == std::process::id() || !environment.split(|byte| *byte == 0).any(|each| each == pair.as_bytes()) {
            continue;
        }
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command: String = String::from_utf8_lossy(&line).replace('\0', " ").chars().take(100).collect();
        found.push((pid, command));
    }
    Ok(found)
}

fn folders() -> Result<BTreeSet<PathBuf>> {
    let temporary = std::env::temp_dir();
    let entries = std::fs::read_dir(&temporary).with_context(|| format!("reading {}", temporary.display()))?;
    let ours = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        FOLDERS.iter().any(|beginning| name.starts_with(beginning))
    };
    Ok(entries.flatten().map(|entry| entry.path()).filter(ours).collect())
}
