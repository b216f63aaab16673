//! What a Millrace node says about itself: `millrace ctl --json`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use perf_report::DropCount;

/// Where to ask.
#[derive(Clone, Debug)]
pub struct Ctl {
    pub executable: PathBuf,
    pub runtime_dir: PathBuf,
}

impl Ctl {
    /// Packets dropped since the node began, by reason and process.
    pub fn drops(&self) -> Result<Vec<DropCount>> {
        let mut command = Command::new(&self.executable);
        command.args(["ctl", "drops", "--json", "--runtime-dir"]).arg(&self.runtime_dir);
        let output = command.output().with_context(|| format!("cannot run {}", self.executable.display()))?;
        if !output.status.success() {
            bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).context("`millrace ctl drops --json` is unreadable")
    }
}

/// What was dropped between two readings; reasons without drops are left out.
pub fn difference(later: &[DropCount], earlier: &[DropCount]) -> Vec<DropCount> {
    let before: BTreeMap<_, _> = earlier.iter().map(|drop| ((&drop.reason, &drop.process), drop.count)).collect();
    let since = later.iter().map(|drop| {
        let before = before.get(&(&drop.reason, &drop.process)).copied().unwrap_or(0);
        DropCount { count: drop.count.saturating_sub(before), ..drop.clone() }
    });
    since.filter(|drop| drop.count > 0).collect()
}

/// Rings that were full: the second of the four places of loss.
pub fn is_ring_overflow(drop: &DropCount) -> bool {
    drop.reason.ends_with("_ring_full")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drop(reason: &str, count: u64) -> DropCount {
        DropCount { reason: reason.to_owned(), process: "engine".to_owned(), count }
    }

    #[test]
    fn a_difference_names_what_was_added() {
        let later = [drop("worker_ring_full", 5), drop("srtp_auth", 2), drop("empty", 1)];
        let earlier = [drop("srtp_auth", 2), drop("empty", 0)];
        assert_eq!(difference(&later, &earlier), [drop("worker_ring_full", 5), drop("empty", 1)]);
        assert!(is_ring_overflow(&later[0]) && !is_ring_overflow(&later[1]));
    }

    #[test]
    fn the_nodes_json_is_read_and_its_remedies_ignored() {
        let text = r#"[{"reason":"no_keys","process":"engine","count":3,"remedy":"Nothing."}]"#;
        let drops: Vec<DropCount> = serde_json::from_str(text).unwrap();
        assert_eq!(drops, [drop("no_keys", 3)]);
    }
}
