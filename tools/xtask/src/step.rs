//! One line before a long step, one after it.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

/// Announces `what` and gives the moment it began.
pub fn begin(what: &str) -> Instant {
    println!("── {what}");
    Instant::now()
}

pub fn end(what: &str, began: Instant) {
    println!("   {what}: {:.1} s", began.elapsed().as_secs_f32());
}

/// Runs a command whose failure is a finding.
pub fn run(what: &str, command: &mut Command) -> Result<bool> {
    let began = begin(what);
    let status = command.status().with_context(|| format!("starting {command:?}"))?;
    end(what, began);
    if !status.success() {
        println!("   {what} failed ({status})");
    }
    Ok(status.success())
}

/// Runs a command without which nothing after it makes sense.
pub fn must(what: &str, command: &mut Command) -> Result<()> {
    let passed = run(what, command)?;
    ensure!(passed, "{what} failed; the command was {command:?}");
    Ok(())
}
