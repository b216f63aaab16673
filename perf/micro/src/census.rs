//! System calls and instructions of a worker's turns, counted exactly, without privileges and hardware counters: a child runs the
//! turns and is traced.
//!
//! ```text
//! tracer ── PTRACE_SYSCALL: every call stops the child ──▶ child: arrive ▸ BEGIN ▸ turn ▸ END, so many frames
//!        └─ PTRACE_SINGLESTEP in the last frame: every instruction does
//! ```
//! The child marks the ends of a turn by signals to itself, which the tracer swallows. Only x86-64: it shows which call it was.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use engine_io::Port;
use engine_table::WorkerCounter;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::measure::{Run, Use, with_port};

/// Ten seconds of frames: reports, checks and timers have their turn. Not a multiple of 30: the frame after them has no reports of a
/// second.
const FRAMES: u32 = 317;
const BEGIN: Signal = Signal::SIGUSR1;
const END: Signal = Signal::SIGUSR2;

/// What a child shall do.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Order {
    pub case: Case,
    /// Counts instructions of one more frame.
    pub steps: bool,
}

/// Per 1,000 forwarded packets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Census {
    /// By name.
    pub syscalls: BTreeMap<&'static str, f64>,
    pub instructions: Option<f64>,
    /// Counted for the system calls, and for the instructions.
    pub packets: u64,
    pub stepped_packets: u64,
}

/// What the child says at its end.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Forwarded {
    packets: u64,
    stepped_packets: u64,
}

/// Counts in a child. **Input**: a command that ends in [`obey`] with this order.
///
/// **Errors**: tracing is forbidden here, or the child failed. **Cost**: about 4 µs per instruction of one frame, 10 per system call.
pub fn count(order: &Order, child: impl FnOnce(&str) -> Command + Send) -> Result<Census> {
    // A thread of its own, because it stays on the child's core: a stop is then a switch, not a wake-up of another core.
    std::thread::scope(|scope| {
        let counting = scope.spawn(|| trace(order, child));
        counting.join().unwrap_or_else(|_| bail!("the tracing thread ended early"))
    })
}

fn trace(order: &Order, child: impl FnOnce(&str) -> Command) -> Result<Census> {
    stay_on_one_core()?;
    let mut child = child(&serde_json::to_string(order)?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the child that is counted")?;
    let mut tracer =
        Tracer { pid: Pid::from_raw(child.id().cast_signed()), syscalls: BTreeMap::new(), instructions: 0 };
    let frames = FRAMES + u32::from(order.steps);
    let outcome = tracer.follow(frames, order.steps);
    if outcome.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    outcome?;
    let mut said = String::new();
    child.stdout.take().context("the child's output")?.read_to_string(&mut said)?;
    let forwarded: Forwarded = serde_json::from_str(&said).with_context(|| format!("the child said {said:?}"))?;
    let per_1000 = |count: u64, packets: u64| count as f64 / packets as f64 * 1_000.0;
    let syscalls = tracer.syscalls.iter().map(|(name, count)| (*name, per_1000(*count, forwarded.packets)));
    Ok(Census {
        syscalls: syscalls.collect(),
        instructions: order.steps.then(|| per_1000(tracer.instructions, forwarded.stepped_packets)),
        packets: forwarded.packets,
        stepped_packets: forwarded.stepped_packets,
    })
}

fn stay_on_one_core() -> Result<()> {
    let all = sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|core| all.is_set(*core)).context("no core is allowed")?;
    let mut one = CpuSet::new();
    one.set(last);
    Ok(sched_setaffinity(None, &one)?)
}

struct Tracer {
    pid: Pid,
    syscalls: BTreeMap<&'static str, u64>,
    instructions: u64,
}

impl Tracer {
    /// From the child's first stop to its end.
    fn follow(&mut self, frames: u32, steps: bool) -> Result<()> {
        match waitpid(self.pid, None)? {
            WaitStatus::Stopped(_, Signal::SIGSTOP) => {}
            status => bail!("tracing is forbidden here, or the child ended early: {status:?}"),
        }
        ptrace::setoptions(self.pid, ptrace::Options::PTRACE_O_TRACESYSGOOD | ptrace::Options::PTRACE_O_EXITKILL)?;
        for frame in 0..frames {
            self.run_to(BEGIN)?;
            if steps && frame + 1 == frames {
                self.step_to_end()?;
            } else {
                self.count_to_end()?;
            }
        }
        ptrace::cont(self.pid, None)?;
        match waitpid(self.pid, None)? {
            WaitStatus::Exited(_, 0) => Ok(()),
            status => bail!("the child that was counted ended by {status:?}"),
        }
    }

    fn run_to(&self, mark: Signal) -> Result<()> {
        ptrace::cont(self.pid, None)?;
        match waitpid(self.pid, None)? {
            WaitStatus::Stopped(_, signal) if signal == mark => Ok(()),
            status => bail!("the child that was counted ended early: {status:?}"),
        }
    }

    fn count_to_end(&mut self) -> Result<()> {
        let mut is_entry = true;
        loop {
            ptrace::syscall(self.pid, None)?;
            match waitpid(self.pid, None)? {
                WaitStatus::PtraceSyscall(_) => {
                    if is_entry && let Some(name) = name(number(self.pid)?) {
                        *self.syscalls.entry(name).or_default() += 1;
                    }
                    is_entry = !is_entry;
                }
                WaitStatus::Stopped(_, END) => return Ok(()),
                // The return from the call that sent the first mark, and signals that are not ours.
                WaitStatus::Stopped(..) => {}
                status => bail!("the child that was counted ended early: {status:?}"),
            }
        }
    }

    fn step_to_end(&mut self) -> Result<()> {
        loop {
            ptrace::step(self.pid, None)?;
            match waitpid(self.pid, None)? {
                WaitStatus::Stopped(_, Signal::SIGTRAP) => self.instructions += 1,
                WaitStatus::Stopped(_, END) => return Ok(()),
                status => bail!("the child that was counted ended early: {status:?}"),
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn number(pid: Pid) -> Result<i64> {
    Ok(ptrace::getregs(pid)?.orig_rax.cast_signed())
}

#[cfg(not(target_arch = "x86_64"))]
fn number(_: Pid) -> Result<i64> {
    bail!("system calls are counted on x86-64 only")
}

/// `None` for the marks' own.
fn name(number: i64) -> Option<&'static str> {
    let names = [
        (libc::SYS_io_uring_enter, "io_uring_enter"),
        (libc::SYS_sendmmsg, "sendmmsg"),
        (libc::SYS_recvmmsg, "recvmmsg"),
        (libc::SYS_sendto, "sendto"),
        (libc::SYS_sendmsg, "sendmsg"),
        (libc::SYS_ppoll, "ppoll"),
        (libc::SYS_futex, "futex"),
        (libc::SYS_read, "read"),
        (libc::SYS_write, "write"),
        (libc::SYS_mmap, "mmap"),
        (libc::SYS_munmap, "munmap"),
        (libc::SYS_brk, "brk"),
        (libc::SYS_madvise, "madvise"),
        (libc::SYS_clock_gettime, "clock_gettime"),
    ];
    if number == libc::SYS_kill {
        return None;
    }
    Some(names.into_iter().find(|(known, _)| *known == number).map_or("others", |(_, name)| name))
}

/// The child's part: lets itself be traced, forwards frames between marks, prints how many packets that were.
pub fn obey(order: &str) -> Result<()> {
    let order: Order = serde_json::from_str(order).context("not an order")?;
    ptrace::traceme().context("tracing is forbidden here")?;
    mark(Pid::this(), Signal::SIGSTOP)?;
    let forwarded = with_port(order.case.way, order.case.subscribers as usize, Obedience(order))?;
    println!("{}", serde_json::to_string(&forwarded)?);
    Ok(())
}

struct Obedience(Order);

impl Use for Obedience {
    type Output = Forwarded;

    fn with<P: Port>(self, port: P) -> Result<Forwarded> {
        let (mut run, myself) = (Run::new(&self.0.case, port)?, Pid::this());
        let mut forward = |frames| -> Result<u64> {
            let before = run.node.counter(WorkerCounter::Sent);
            for _ in 0..frames {
                run.arrive()?;
                mark(myself, BEGIN)?;
                run.turn();
                mark(myself, END)?;
            }
            run.refuse_drops()?;
            Ok(run.node.counter(WorkerCounter::Sent) - before)
        };
        let packets = forward(FRAMES)?;
        let stepped_packets = if self.0.steps { forward(1)? } else { 0 };
        ensure!(packets > 0, "nothing was forwarded");
        Ok(Forwarded { packets, stepped_packets })
    }
}

/// One system call, `kill`; this process has one thread, which takes the signal before the call returns.
fn mark(myself: Pid, signal: Signal) -> Result<()> {
    Ok(nix::sys::signal::kill(myself, signal)?)
}
