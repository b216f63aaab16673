//! Open files: a socket for signaling and one or two for media for each participant.

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::scenario::Scenario;

const EACH: u64 = 3;
/// Of the process itself.
const REST: u64 = 100;

/// Raises the soft limit as far as the scenario needs. **Errors**: the hard limit is lower; the message has the remedy.
pub fn raise_descriptor_limit(scenario: &Scenario) -> Result<()> {
    let needed = u64::from(scenario.participant_count()) * EACH + REST;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    limit.current = limit.maximum;
    let highest = limit.maximum.unwrap_or(u64::MAX);
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")?;
    if highest < needed {
        bail!("{needed} open files are needed and {highest} allowed: raise it with `ulimit -Hn {needed}` as root");
    }
    Ok(())
}
