//! Starts the children, notices their deaths, starts them again with the same memory and sockets.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use engine_table::{ChildRow, Role};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::handoff::VARIABLE;
use crate::node::{Node, monotonic_ns};

/// This many deaths within [`DEATH_WINDOW`] are a fault that restarts do not mend.
const DEATHS_MAX: usize = 5;
const DEATH_WINDOW: Duration = Duration::from_secs(10);
/// The first restart is at once; then 100 ms, doubled with each death in the window.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// How long a child may take to end when told to.
const END_WAIT: Duration = Duration::from_secs(3);

/// One role's process, running or about to.
pub struct Supervised {
    role: Role,
    child: Option<Child>,
    pidfd: Option<OwnedFd>,
    row: ChildRow,
    deaths: Vec<Instant>,
    start_at: Instant,
}

/// What a child's death means.
pub enum Death {
    Restarting,
    /// Too many: named for the operator.
    GivenUp(String),
}

impl Supervised {
    pub fn new(role: Role) -> Self {
        let row = ChildRow { process_id: 0, restarts: 0, started_ns: 0, last_status: 0, reserved: 0 };
        Self { role, child: None, pidfd: None, row, deaths: Vec::new(), start_at: Instant::now() }
    }

    pub fn process_id(&self) -> u32 {
        self.row.process_id
    }

    pub fn pidfd(&self) -> Option<&OwnedFd> {
        self.pidfd.as_ref()
    }

    /// When a start is due, if no process runs.
    pub fn start_at(&self) -> Option<Instant> {
        self.child.is_none().then_some(self.start_at)
    }

    pub fn start(&mut self, node: &Node) -> Result<()> {
        let handoff = node.handoff(self.role);
        let text = serde_json::to_string(&handoff)?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0(format!("millrace-{}", self.role.name())).arg(self.role.name()).env(VARIABLE, text);
        command.stdin(Stdio::null()).stdout(std::io::stderr().as_fd().try_clone_to_owned()?).process_group(0);
        let child = handoff
            .with_inheritance(|| command.spawn())
            .with_context(|| format!("cannot start the {} process", self.role.name()))?;
        let pid = Pid::from_raw(child.id().cast_signed()).context("a child has a process id")?;
        self.pidfd =
            Some(pidfd_open(pid, PidfdFlags::empty()).context("cannot watch a child: pidfd_open needs Linux 5.3")?);
        self.row.process_id = child.id();
        self.row.started_ns = monotonic_ns();
        self.child = Some(child);
        node.set_child(self.role, &self.row);
        Ok(())
    }

    /// Call when the pidfd is readable.
    pub fn reap(&mut self, node: &Node) -> Result<Option<Death>> {
        let Some(child) = self.child.as_mut() else { return Ok(None) };
        let Some(status) = child.try_wait()? else { return Ok(None) };
        (self.child, self.pidfd) = (None, None);
        self.row.restarts += 1;
        self.row.process_id = 0;
        self.row.last_status = status.into_raw().cast_unsigned();
        node.set_child(self.role, &self.row);
        let now = Instant::now();
        self.deaths.retain(|death| now.duration_since(*death) < DEATH_WINDOW);
        self.deaths.push(now);
        let name = self.role.name();
        eprintln!("holder: {name} ended ({status}), death {} in {} s", self.deaths.len(), DEATH_WINDOW.as_secs());
        self.start_at = now + backoff(self.deaths.len());
        if self.deaths.len() >= DEATHS_MAX {
            let deaths = self.deaths.len();
            return Ok(Some(Death::GivenUp(format!(
                "the {name} process died {deaths} times in {} s, the last time with {status}: its lines above say why",
                DEATH_WINDOW.as_secs()
            ))));
        }
        Ok(Some(Death::Restarting))
    }

    /// Asks the process to end, waits, and kills it if it does not, or when `hurry` becomes readable: a second signal.
    pub fn end(&mut self, node: &Node, at_once: bool, hurry: BorrowedFd<'_>) {
        let (Some(mut child), Some(pidfd)) = (self.child.take(), self.pidfd.take()) else { return };
        let wait = if at_once { Duration::ZERO } else { END_WAIT };
        let _ = rustix::io::write(&node.shutdown[self.role as usize], &1u64.to_ne_bytes());
        let timeout = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: 0 };
        let mut watched = [PollFd::new(&pidfd, PollFlags::IN), PollFd::from_borrowed_fd(hurry, PollFlags::IN)];
        let ready = poll(&mut watched, Some(&timeout)).unwrap_or(0);
        if ready == 0 || !watched[0].revents().contains(PollFlags::IN) {
            if ready == 0 && !at_once {
                eprintln!("holder: {} did not end within {} s, killed", self.role.name(), END_WAIT.as_secs());
            }
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        }
        let _ = child.wait();
        self.row.process_id = 0;
        node.set_child(self.role, &self.row);
    }
}

fn backoff(deaths: usize) -> Duration {
    match deaths {
        0 | 1 => Duration::ZERO,
        more => BACKOFF_FIRST * (1 << (more - 2).min(5)),
    }
}
