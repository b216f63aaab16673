//! A server that ends when the harness ends, whatever ends that: the kernel sends it a signal then.
//!
//! ```text
//! perf-bench ──fork, exec──▶ perf-bench --guarded PARENT SIGNAL PROGRAM … ──exec──▶ PROGRAM …
//!                              PR_SET_PDEATHSIG; is PARENT still there?
//! ```
//! The process id stays the same throughout, so it is the program's own. The kernel keeps the signal over exec, except into a
//! program with set-user-id or file capabilities, and forgets it at fork: the program's own children are its own affair. It is
//! sent when the starting *thread* ends, so servers are started by the main thread.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// As the first argument, it makes this executable a guard. Not for people.
const WORD: &str = "--guarded";

/// A command without its program: that, and its arguments, are to be added as arguments.
pub fn command(last: Signal) -> Command {
    // Not by its path: the file may be another by now.
    let mut command = Command::new("/proc/self/exe");
    command.arg(WORD).arg(std::process::id().to_string()).arg(last.as_raw().to_string());
    command
}

/// Becomes the guarded program if this process was started by [`command`], and then returns only an error.
pub fn become_guarded() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != WORD) {
        return Ok(());
    }
    let parent = number(arguments.next()).context("no parent")?;
    let last = number(arguments.next()).and_then(Signal::from_named_raw).context("no signal")?;
    let program = arguments.next().context("no program")?;
    set_parent_process_death_signal(Some(last)).context("cannot follow the parent's end")?;
    // Whoever ended before the line above sent nothing.
    let is_there = getppid().is_some_and(|pid| pid.as_raw_nonzero().get() == parent);
    ensure!(is_there, "the parent ended while {} started", program.display());
    let error = Command::new(&program).args(arguments).exec();
    Err(anyhow!(error)).with_context(|| format!("cannot run {}", program.display()))
}

fn number(argument: Option<OsString>) -> Option<i32> {
    argument?.to_str()?.parse().ok()
}
