//! Looks at the server's processes at the moments of a run, and shows how far the run is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use perf_load::{Observer, Phase};
use perf_report::DropCount;

use crate::process::{CpuTime, own_cpu, own_pss_bytes};
use crate::sockets;
use crate::target::Target;

/// One moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// In the order of the target's processes.
    pub cpu: Vec<CpuTime>,
    pub own_cpu: CpuTime,
    pub own_pss_bytes: u64,
    pub pss_bytes: Vec<u64>,
    pub server_socket_drops: u64,
    pub own_socket_drops: u64,
    pub drops: Vec<DropCount>,
}

pub struct Watch<'a> {
    target: &'a Target,
    interrupted: Arc<AtomicBool>,
    bar: ProgressBar,
    moments: BTreeMap<u8, Snapshot>,
}

impl<'a> Watch<'a> {
    pub fn new(target: &'a Target, label: &str, interrupted: Arc<AtomicBool>) -> Self {
        let bar = ProgressBar::new(1);
        if let Ok(style) = ProgressStyle::with_template("{prefix:>10}  {msg:24} {wide_bar:.cyan/dim} {percent:>3} %") {
            bar.set_style(style);
        }
        bar.set_prefix(label.to_owned());
        Self { target, interrupted, bar, moments: BTreeMap::new() }
    }

    /// Empty for a moment that has not come.
    pub fn at(&self, phase: Phase) -> Snapshot {
        self.moments.get(&(phase as u8)).cloned().unwrap_or_default()
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn cpu(&self, snapshot: &mut Snapshot) -> Result<()> {
        snapshot.cpu = self.target.processes.iter().map(crate::process::Process::cpu).collect::<Result<_>>()?;
        snapshot.own_cpu = own_cpu()?;
        Ok(())
    }

    fn rest(&self, snapshot: &mut Snapshot) -> Result<()> {
        snapshot.pss_bytes =
            self.target.processes.iter().map(crate::process::Process::pss_bytes).collect::<Result<_>>()?;
        snapshot.own_pss_bytes = own_pss_bytes()?;
        snapshot.server_socket_drops = sockets::dropped(self.target.processes.iter().map(|process| process.pid))?;
        snapshot.own_socket_drops = sockets::dropped([std::process::id()])?;
        if let Some(ctl) = &self.target.ctl {
            snapshot.drops = ctl.drops()?;
        }
        Ok(())
    }
}

impl Observer for Watch<'_> {
    /// CPU last where a time begins and first where it ends, so that looking costs the server nothing within it.
    fn enter(&mut self, phase: Phase) -> Result<()> {
        let mut snapshot = Snapshot::default();
        if matches!(phase, Phase::Joined | Phase::Measured) {
            self.cpu(&mut snapshot)?;
            self.rest(&mut snapshot)?;
        } else {
            self.rest(&mut snapshot)?;
            self.cpu(&mut snapshot)?;
        }
        self.moments.insert(phase as u8, snapshot);
        Ok(())
    }

    fn progress(&mut self, what: &str, done: u64, total: u64) {
        self.bar.set_message(what.to_owned());
        self.bar.set_length(total.max(1));
        self.bar.set_position(done);
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}
