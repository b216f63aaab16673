//! What a figure belongs to: the commit and the machine.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use perf_report::Machine;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

pub fn machine() -> Machine {
    let field = |path: &str, key: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let memory = field("/proc/meminfo", "MemTotal");
    let kilobytes: u64 = memory.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0);
    Machine {
        processor: field("/proc/cpuinfo", "model name"),
        cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        memory_mb: kilobytes / 1_024,
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
    }
}

/// The commit of the working directory, with `-dirty` when tracked files differ from it.
pub fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".to_owned() };
    let is_clean = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|text| text.is_empty());
    if is_clean { commit } else { format!("{commit}-dirty") }
}

/// `0,2-3` as cores.
pub fn parse_cores(text: &str) -> Result<Vec<usize>> {
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<usize>().with_context(|| format!("{part:?} is no core"));
        let (first, last) = (number(first)?, number(last)?);
        anyhow::ensure!(first <= last && last < CpuSet::MAX_CPU, "{part:?} is no range of cores");
        cores.extend(first..=last);
    }
    Ok(cores)
}

/// Keeps the calling thread, and what it starts from now on, on these cores.
pub fn stay_on(cores: &[usize]) -> Result<()> {
    pin(None, cores).with_context(|| format!("cannot stay on cores {cores:?}: are they there?"))
}

/// Keeps all threads of a running process on these cores.
pub fn pin_process(pid: u32, cores: &[usize]) -> Result<()> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let thread = task.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        pin(thread, cores).with_context(|| format!("cannot keep process {pid} on cores {cores:?}"))?;
    }
    Ok(())
}

fn pin(thread: Option<Pid>, cores: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    Ok(sched_setaffinity(thread, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_numbers_and_ranges() {
        assert_eq!(parse_cores("0,2-4").unwrap(), [0, 2, 3, 4]);
        for wrong in ["", "x", "3-1", "0-99999"] {
            assert!(parse_cores(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_machine_is_known() {
        let machine = machine();
        assert!(machine.cores > 0 && machine.memory_mb > 0 && !machine.kernel.is_empty());
    }
}
