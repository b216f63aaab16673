//! `cargo xtask`: the one command that checks everything, and its parts.

#![forbid(unsafe_code)]

mod architecture;
mod build;
mod clients;
mod fuzz;
mod leftovers;
mod machine;
mod run;
mod step;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use build::Build;
use leftovers::Watch;
use run::Tally;

/// Builds, tests and checks Millrace.
///
/// `cargo xtask test` is what a fresh machine and continuous integration run; everything else is a part of it or
/// a check beside it. Build products go to the target folder that cargo uses (CARGO_TARGET_DIR is honoured).
#[derive(Parser)]
#[command(bin_name = "cargo xtask", version, max_term_width = 110)]
struct Line {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Set up the machine and the real clients, build once, run every test, end with `N passed, N failed`
    Test,
    /// Only the tests with real clients (Chromium, the Python and Node.js SDKs)
    Interop {
        /// Also the rest of the codec and layout matrix
        #[arg(long)]
        all: bool,
        /// Only tests whose names contain this, for example `resume` or `both_ways::vp8`
        filter: Option<String>,
    },
    /// Search for bytes from the network that break what reads them: mutants of valid messages, property tests with many cases
    Fuzz(fuzz::Fuzz),
    /// Format, clippy, dependency direction, sizes, then every test
    Check,
    /// Only what `check` does before the tests: format, clippy, dependency direction, sizes
    Lint,
    /// Only the rules of this repository: dependency direction, sizes, wording
    Tidy,
    /// Only set up the machine and the real clients
    Setup,
}

fn main() -> ExitCode {
    let line = Line::parse();
    match perform(&line.task) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything held.
fn perform(task: &Task) -> Result<bool> {
    let root = root();
    match task {
        Task::Test => test(&root),
        Task::Interop { all, filter } => interop(&root, *all, filter.as_deref()),
        Task::Fuzz(fuzz) => fuzz.perform(&root),
        Task::Check => Ok(lint(&root)? & test(&root)?),
        Task::Lint => lint(&root),
        Task::Tidy => rules(&root),
        Task::Setup => {
            machine::prepare()?;
            clients::prepare(&root, &build::target_folder(&root)?)?;
            Ok(true)
        }
    }
}

fn test(root: &Path) -> Result<bool> {
    let (clients, build) = prepare(root, Build::everything)?;
    let watch = Watch::begin()?;
    let mut tally = Tally::default();
    for suite in build.suites.iter().filter(|suite| suite.package != "tools-interop" || suite.is_unit) {
        tally += run::unit(suite, &watch, &[])?;
    }
    tally += run::unit(&Build::interleavings(root)?, &watch, &[])?;
    tally += run_interop(&build, &clients, &["interop"], None, watch)?;
    Ok(tally.close())
}

fn interop(root: &Path, all: bool, filter: Option<&str>) -> Result<bool> {
    let (clients, build) = prepare(root, Build::interop)?;
    let names: &[&str] = if all { &["interop", "matrix"] } else { &["interop"] };
    Ok(run_interop(&build, &clients, names, filter, Watch::begin()?)?.close())
}

fn prepare(root: &Path, build: fn(&Path) -> Result<Build>) -> Result<(PathBuf, Build)> {
    machine::prepare()?;
    let clients = clients::prepare(root, &build::target_folder(root)?)?;
    Ok((clients, build(root)?))
}

/// Runs suites of tools-interop by name, then looks for what they left.
fn run_interop(build: &Build, clients: &Path, names: &[&str], filter: Option<&str>, watch: Watch) -> Result<Tally> {
    let mut tally = Tally::default();
    for name in names {
        let suite = build.suite("tools-interop", name)?;
        tally += run::interop(suite, clients, &build.node, &watch, filter)?;
    }
    tally += watch.end()?;
    Ok(tally)
}

fn lint(root: &Path) -> Result<bool> {
    let formatted = step::run("format", cargo(root).args(["fmt", "--all", "--check"]))?;
    let clippy = ["clippy", "--quiet", "--locked", "--profile", "checked", "--workspace", "--all-targets"];
    let linted = step::run("clippy", cargo(root).args(clippy).args(["--", "-D", "warnings"]))?;
    Ok(formatted & linted & rules(root)?)
}

fn rules(root: &Path) -> Result<bool> {
    Ok(architecture::check(root)? & tidy::check(root)?)
}

/// A cargo command for this workspace.
fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(own).to_path_buf()
}
