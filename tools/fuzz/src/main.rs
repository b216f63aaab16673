//! Looks for bytes from the network that break what reads them: a panic, an overflow, an assert, or an input that takes seconds.
//!
//! Valid messages are mutated; a mutant with an outcome that was not seen before is kept and mutated further. It needs no special
//! compiler and sees outcomes only, not branches. Run by `cargo xtask fuzz`; the same targets run for a moment in its own test.
//!
//! Not here: properties (an oracle, a round trip), which stand as property tests beside the code.
#![forbid(unsafe_code)]

mod hunt;
mod mutate;
mod targets;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;

use hunt::{Bounds, Found};
use targets::{Target, all};

/// Mutates valid messages until something that reads them breaks.
#[derive(Parser)]
#[command(bin_name = "cargo xtask fuzz", max_term_width = 110)]
struct Line {
    /// Only targets whose names contain this
    target: Option<String>,
    /// How long, shared equally by the targets
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Of the random numbers: the same seed finds the same inputs
    #[arg(long)]
    seed: Option<u64>,
    /// Give this file to the one target named, once, instead of searching
    #[arg(long)]
    replay: Option<PathBuf>,
    /// Where inputs that break something are written
    #[arg(long, default_value = "fuzz-findings")]
    findings: PathBuf,
    /// Name the targets and what each reads
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    match perform(&Line::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether nothing was found.
fn perform(line: &Line) -> Result<bool> {
    let chosen = chosen(line.target.as_deref());
    if line.list {
        chosen.iter().for_each(|target| println!("{:<12} {}", target.name, target.what));
        return Ok(true);
    }
    ensure!(!chosen.is_empty(), "no target's name contains {:?}; see --list", line.target.as_deref().unwrap_or(""));
    if let Some(file) = &line.replay {
        ensure!(chosen.len() == 1, "--replay needs the name of one target");
        let input = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        (chosen[0].run)(&input);
        println!("{}: {} bytes break nothing", chosen[0].name, input.len());
        return Ok(true);
    }
    let since = std::time::UNIX_EPOCH.elapsed().context("a clock after 1970")?;
    let seed = line.seed.unwrap_or(since.as_nanos() as u64);
    println!("seed {seed}");
    let share = Duration::from_secs(line.seconds) / chosen.len() as u32;
    let mut sound = true;
    for target in &chosen {
        sound &= search(target, share, seed, line)?;
    }
    Ok(sound)
}

fn search(target: &Target, share: Duration, seed: u64, line: &Line) -> Result<bool> {
    let report = hunt::hunt(target, &Bounds { until: Instant::now() + share, runs: u64::MAX }, seed);
    let (name, runs, outcomes) = (target.name, report.runs, report.outcomes);
    println!("{name:<12} {runs:>10} inputs, {outcomes} outcomes");
    let Some(Found { input, why }) = report.found else { return Ok(true) };
    let file = line.findings.join(format!("{name}-{seed}.bin"));
    std::fs::create_dir_all(&line.findings).with_context(|| format!("making {}", line.findings.display()))?;
    std::fs::write(&file, &input).with_context(|| format!("writing {}", file.display()))?;
    println!("{name}: {why} by {} bytes; again: cargo xtask fuzz {name} --replay {}", input.len(), file.display());
    Ok(false)
}

fn chosen(part: Option<&str>) -> Vec<Target> {
    let mut targets = all();
    targets.retain(|target| part.is_none_or(|part| target.name.contains(part)));
    targets
}
