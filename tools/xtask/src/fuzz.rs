//! Long searches for inputs that break something: mutants of valid messages (`tools-fuzz`), and the property tests with many more cases
//! than they have in every run.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use crate::build::{self, Build};
use crate::leftovers::Watch;
use crate::run::{self, Tally};
use crate::{cargo, step};

/// The name under which the property tests are a target.
const PROPERTIES: &str = "properties";

/// Cases of each property in one pass: some take a millisecond, so that a pass is minutes at most.
const CASES: &str = "2000";

#[derive(Args)]
pub struct Fuzz {
    /// Only targets whose names contain this; `properties` are the property tests, with 2,000 cases each
    target: Option<String>,
    /// How long; without TARGET as long again for the property tests
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Of the mutants: the same seed finds the same inputs
    #[arg(long)]
    seed: Option<u64>,
    /// Give this file to the one target named, instead of searching
    #[arg(long)]
    replay: Option<PathBuf>,
    /// Name the targets and what each reads
    #[arg(long)]
    list: bool,
}

impl Fuzz {
    /// Whether nothing was found.
    pub fn perform(&self, root: &Path) -> Result<bool> {
        if self.list {
            let listed = self.mutants(root)?;
            println!("{PROPERTIES:<12} every property test of the workspace, with {CASES} cases each");
            return Ok(listed);
        }
        let properties = self.target.as_deref().is_none_or(|target| target == PROPERTIES);
        let mutants = self.target.as_deref() != Some(PROPERTIES);
        let mut sound = !mutants || self.mutants(root)?;
        if properties && self.replay.is_none() {
            sound &= self.properties(root)?;
        }
        Ok(sound)
    }

    fn mutants(&self, root: &Path) -> Result<bool> {
        let findings = build::target_folder(root)?.join("fuzz");
        let mut command = cargo(root);
        command.args(["run", "--quiet", "--locked", "--profile", "checked", "--package", "tools-fuzz", "--"]);
        command.args(self.target.iter()).args(["--seconds", &self.seconds.to_string()]);
        command.arg("--findings").arg(findings);
        if let Some(seed) = self.seed {
            command.args(["--seed", &seed.to_string()]);
        }
        if let Some(file) = &self.replay {
            // Cargo runs at the root, people type paths from where they are.
            let file = std::path::absolute(file).with_context(|| format!("the path of {}", file.display()))?;
            command.arg("--replay").arg(file);
        }
        if self.list {
            command.arg("--list");
            return Ok(command.status().context("starting tools-fuzz")?.success());
        }
        step::run("mutants", &mut command)
    }

    /// Passes over all suites of crates that have property tests, with fresh random numbers, until the time is over; one at least.
    fn properties(&self, root: &Path) -> Result<bool> {
        let suites = Build::properties(root)?;
        let until = Instant::now() + Duration::from_secs(self.seconds);
        let watch = Watch::begin()?;
        let mut tally = Tally::default();
        loop {
            for suite in &suites {
                tally += run::unit(suite, &watch, &[("PROPTEST_CASES", CASES)])?;
            }
            if Instant::now() >= until || tally.has_failed() {
                break;
            }
        }
        tally += watch.end()?;
        Ok(tally.close())
    }
}
