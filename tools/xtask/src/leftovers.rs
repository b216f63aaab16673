//! What a test run leaves: processes that it started, and files in the temporary folder that it alone has.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::run::Tally;

/// Set for all that the run starts, and inherited.
const NAME: &str = "MILLRACE_INTEROP_RUN";

/// `millrace-run-PID`. Short: sockets below it have paths of at most 107 bytes.
const FOLDER: &str = "millrace-run-";

/// One run of tests. Two at a time do not see each other's files; dropping it removes its own.
pub struct Watch {
    mark: String,
    folder: PathBuf,
}

impl Watch {
    pub fn begin() -> Result<Watch> {
        let since = std::time::UNIX_EPOCH.elapsed().context("a clock after 1970")?;
        let own = std::process::id();
        let parent = std::env::temp_dir();
        remove_orphans(&parent);
        let folder = parent.join(format!("{FOLDER}{own}"));
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Watch { mark: format!("{own}-{}", since.as_nanos()), folder })
    }

    /// The environment of all that the run starts: its mark, and where temporary files go.
    pub fn environment(&self) -> [(&str, &str); 2] {
        [(NAME, &self.mark), ("TMPDIR", self.folder.to_str().unwrap_or("/tmp"))]
    }

    /// Counts a pass when nothing is left; otherwise a failure, and ends what is left.
    pub fn end(self) -> Result<Tally> {
        let mut problems = Vec::new();
        for (pid, command) in processes(&format!("{NAME}={}", self.mark))? {
            problems.push(format!("process {pid}: {command}"));
            let kill = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
            kill.context("ending a process that was left")?;
        }
        problems.extend(entries(&self.folder)?.iter().map(|path| format!("file {}", path.display())));
        if problems.is_empty() {
            println!("   nothing is left of the tests: no process, port or file");
            return Ok(Tally::success());
        }
        Ok(Tally::failure(format!("left by the tests: {}", problems.join("; "))))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("removing {}: {error}", self.folder.display());
        }
    }
}

/// Folders of runs that were killed.
fn remove_orphans(parent: &Path) {
    for folder in entries(parent).unwrap_or_default() {
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let pid = name.strip_prefix(FOLDER).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Somebody else's stays, as the rest of a shared folder does.
            let _ = std::fs::remove_dir_all(&folder);
        }
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

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_or_a_process_that_is_left_fails_the_run_and_goes_with_it() {
        let watch = Watch::begin().unwrap();
        let folder = watch.folder.clone();
        let mut child = std::process::Command::new("sleep");
        let mut child = child.arg("60").envs(watch.environment()).spawn().unwrap();
        std::fs::write(folder.join("left"), "").unwrap();
        // The kernel lets a spawning process go on a little before the new one has its environment.
        let environ = format!("/proc/{}/environ", child.id());
        while std::fs::read(&environ).unwrap().is_empty() {
            std::thread::yield_now();
        }
        let tally = watch.end().unwrap();
        assert!(!tally.close());
        assert!(!child.wait().unwrap().success(), "killed");
        assert!(!folder.exists());
    }
}
