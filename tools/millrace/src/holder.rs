//! The holder's loop: children, signals, ctl. It parses no network bytes.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use engine_table::Role;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::descriptors;
use crate::node::{Node, NodePlan};
use crate::runtime::{self, RuntimeDirectory};
use crate::supervise::{Death, Supervised};

/// How long the first start may take.
const READY_WAIT: Duration = Duration::from_secs(30);

/// What a started node tells its user.
pub struct Started<'a> {
    pub node: &'a Node,
    pub runtime: &'a RuntimeDirectory,
    pub process_ids: [u32; Role::ALL.len()],
}

/// Runs a node until SIGINT, SIGTERM, or a child that cannot be kept alive. `announce` is called once, when clients may come.
pub fn run(plan: NodePlan, runtime: Option<PathBuf>, announce: impl FnOnce(&Started<'_>)) -> Result<ExitCode> {
    rustix::thread::set_name(c"millrace").context("cannot set the process name")?;
    let signals = watch_signals()?;
    let open_files = descriptors::raise_limit(&plan);
    let node = Node::make(plan)?;
    let path = runtime.unwrap_or_else(|| runtime::default_path(node.http_port));
    let runtime = RuntimeDirectory::take(&path)?;
    node.notices.iter().chain(&open_files).for_each(|notice| eprintln!("holder: {notice}"));
    let mut holder = Holder { children: Role::ALL.map(Supervised::new), node, runtime, signals, ended: false };
    let result = holder.start_and_announce(announce).and_then(|ended| match ended {
        Some(code) => Ok(code),
        None => holder.keep_running(),
    });
    holder.end(result.is_err());
    result
}

struct Holder {
    children: [Supervised; Role::ALL.len()],
    node: Node,
    runtime: RuntimeDirectory,
    signals: OwnedFd,
    ended: bool,
}

fn watch_signals() -> Result<OwnedFd> {
    let (read, write) = UnixStream::pair()?;
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::low_level::pipe::register(signal, write.try_clone()?).context("cannot watch signals")?;
    }
    read.set_nonblocking(true)?;
    Ok(read.into())
}

/// What a wait ended with.
#[derive(PartialEq, Eq)]
enum Event {
    Signal,
    Ready,
    Other,
}

impl Holder {
    fn start_and_announce(&mut self, announce: impl FnOnce(&Started<'_>)) -> Result<Option<ExitCode>> {
        let deadline = Instant::now() + READY_WAIT;
        let mut accepting = false;
        while !(accepting && self.node.engine_turns()) {
            self.start_due()?;
            match self.wait(Duration::from_millis(20))? {
                Event::Signal => return Ok(Some(ExitCode::SUCCESS)),
                Event::Ready => accepting = true,
                Event::Other => {}
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "the node was not ready within {} s: the lines above say what it waits for",
                READY_WAIT.as_secs()
            );
        }
        let process_ids = [0, 1, 2].map(|i: usize| self.children[i].process_id());
        announce(&Started { node: &self.node, runtime: &self.runtime, process_ids });
        Ok(None)
    }

    fn keep_running(&mut self) -> Result<ExitCode> {
        loop {
            self.start_due()?;
            if self.wait(Duration::from_secs(5))? == Event::Signal {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }

    fn start_due(&mut self) -> Result<()> {
        for child in &mut self.children {
            if child.start_at().is_some_and(|at| at <= Instant::now()) {
                child.start(&self.node)?;
            }
        }
        Ok(())
    }

    fn wait(&mut self, longest: Duration) -> Result<Event> {
        let due = self.children.iter().filter_map(Supervised::start_at).min();
        let wait = due.map_or(longest, |at| at.saturating_duration_since(Instant::now()).min(longest));
        let timeout = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: i64::from(wait.subsec_nanos()) };
        let [signalled, asked, ready] = {
            let mut watched = vec![
                PollFd::new(&self.signals, PollFlags::IN),
                PollFd::new(&self.runtime.listener, PollFlags::IN),
                PollFd::new(&self.node.ready, PollFlags::IN),
            ];
            let pidfds = self.children.iter().filter_map(Supervised::pidfd);
            watched.extend(pidfds.map(|pidfd| PollFd::new(pidfd, PollFlags::IN)));
            match poll(&mut watched, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno).context("the holder cannot wait"),
            }
            [0, 1, 2].map(|i: usize| watched[i].revents().contains(PollFlags::IN))
        };
        self.reap_all()?;
        if asked {
            let message = serde_json::to_vec(&self.node.handoff(Role::Engine).limits)?;
            runtime::serve(&self.runtime.listener, &message, &self.node.shown());
        }
        if signalled {
            let _ = rustix::io::read(&self.signals, &mut [0u8; 64]);
            return Ok(Event::Signal);
        }
        if ready {
            let _ = rustix::io::read(&self.node.ready, &mut [0u8; 8]);
            return Ok(Event::Ready);
        }
        Ok(Event::Other)
    }

    fn reap_all(&mut self) -> Result<()> {
        for child in &mut self.children {
            if let Some(Death::GivenUp(text)) = child.reap(&self.node)? {
                if self.node.plan.dev {
                    anyhow::bail!(text);
                }
                eprintln!("holder: {text}");
            }
        }
        Ok(())
    }

    /// Signaling first, so that clients hear of the end; then what they talk through. A second signal ends at once.
    fn end(&mut self, at_once: bool) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let mut hurry = at_once;
        for role in [Role::Signaling, Role::Courier, Role::Engine] {
            self.children[role as usize].end(&self.node, hurry, self.signals.as_fd());
            hurry |= rustix::io::read(self.signals.as_fd(), &mut [0u8; 64]).is_ok_and(|bytes| bytes > 0);
        }
    }
}
