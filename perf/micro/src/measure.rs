//! One measurement: frames in, CPU time of the worker's thread and allocations, packets out.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use anyhow::{Context, Result, anyhow, ensure};
use engine_io::{KernelPort, MemoryPort, MmsgPort, Port, PortConfig, SocketFacts, UringPort, XdpInterface, socket};
use engine_table::WorkerCounter;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::case::{Case, Way};
use crate::device;
use crate::node::Node;
use crate::stages::{self, Alone};

/// 30 frames a second.
const FRAME_NS: u64 = 33_333_333;
/// Frames before the figures count: key frame, first reports, warm caches.
const WARM_UP_FRAMES: u32 = 30;
/// The clients' checks keep consent alive (RFC 7675: 15 s at the most).
const CHECK_FRAMES: u32 = 150;

/// Per forwarded packet, in CPU time of the worker's thread, if nothing else is said.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Figures {
    pub ns_per_packet: f64,
    /// Of these, in the kernel: by its accounting, which is coarse below a second.
    pub system_ns: f64,
    /// Submitting sends, in the kernel for the most part; in `system_ns` too.
    pub send_ns: f64,
    /// Parts of the turn, each timed alone.
    #[serde(flatten)]
    pub alone: Alone,
    /// The rest of the turn: slots, verdicts, headers, trains, counters, feedback, timers.
    pub rest_ns: f64,
    /// Allocations in turns.
    pub allocations_per_1000: f64,
    pub packets: u64,
    /// Packets per send.
    pub train_length: f64,
    /// Padding as a share of the bytes sent.
    pub padding_percent: f64,
}

/// Work for a port, whatever its type.
pub(crate) trait Use {
    type Output;
    fn with<P: Port>(self, port: P) -> Result<Self::Output>;
}

/// Makes the port of a case and gives it to `work`.
pub(crate) fn with_port<U: Use>(way: Way, subscribers: usize, work: U) -> Result<U::Output> {
    match way {
        Way::Memory => {
            let mut port = MemoryPort::new(&[], 128);
            port.discard_sends();
            work.with(port)
        }
        Way::IoUring => work.with(kernel_port::<UringPort>(device::LOCAL.into(), 0)?.0),
        Way::Connected => work.with(kernel_port::<UringPort>(device::LOCAL.into(), subscribers)?.0),
        Way::Mmsg => work.with(kernel_port::<MmsgPort>(device::LOCAL.into(), 0)?.0),
        Way::Xdp => {
            let (sockets, _) = bind(device::LOCAL.into())?;
            let facts: Vec<_> = sockets.iter().map(SocketFacts::read).collect();
            let inner = UringPort::make(PortConfig::new(sockets, None)).map_err(|error| anyhow!("{error}"))?;
            let mut interface = XdpInterface::open(device::NAME, 1).map_err(|error| anyhow!("{error}"))?;
            let mut port = interface.attach(0, &facts, inner).map_err(|error| anyhow!("{error}"))?;
            port.start(Vec::new()).map_err(|error| anyhow!("{error}"))?;
            work.with(port)
        }
    }
}

/// A port of one socket there, with `pool` more to be connected, and its address.
pub(crate) fn kernel_port<P: KernelPort>(ip: IpAddr, pool: usize) -> Result<(P, SocketAddr)> {
    let (sockets, address) = bind(ip)?;
    let pools = socket::pool(&[ip], 1, pool).context("cannot make so many sockets; raise RLIMIT_NOFILE")?;
    let config = PortConfig {
        pool: pools.into_iter().flatten().collect(),
        pool_per_address: pool,
        ..PortConfig::new(sockets, None)
    };
    let mut port = P::make(config).map_err(|error| anyhow!("{error}"))?;
    port.start(Vec::new()).map_err(|error| anyhow!("{error}"))?;
    Ok((port, address))
}

fn bind(ip: IpAddr) -> Result<(Vec<OwnedFd>, SocketAddr)> {
    let bound = socket::bind(&socket::BindRequest::new(&[ip], 0, 1)).map_err(|error| anyhow!("{error}"))?;
    let workers = bound.workers.into_iter().next();
    workers.zip(bound.addresses.first().copied()).context("one worker was asked for")
}

pub fn run(case: &Case, packets: u64) -> Result<Figures> {
    let alone = stages::alone(case)?;
    with_port(case.way, case.subscribers as usize, Timing { case, packets, alone })
}

struct Timing<'a> {
    case: &'a Case,
    packets: u64,
    alone: Alone,
}

impl Use for Timing<'_> {
    type Output = Figures;

    fn with<P: Port>(self, port: P) -> Result<Figures> {
        let Self { case, packets, alone } = self;
        let mut run = Run::new(case, port)?;
        let before = run.counters();
        let sending_before = run.node.worker.port_mut().way.sending_ns;
        let system_before = system_ns()?;
        let (mut ns, mut allocations) = (0, 0);
        while run.node.counter(WorkerCounter::Sent) - before[0] < packets {
            run.arrive()?;
            let begin = cpu_ns();
            let counted = allocation_counter::measure(|| run.turn());
            ns += cpu_ns() - begin;
            allocations += counted.count_total;
        }
        let system = (system_ns()? - system_before) as f64;
        let after = run.counters();
        let [sent, sends, bytes, padding] = [0, 1, 2, 3].map(|index| (after[index] - before[index]) as f64);
        run.refuse_drops()?;
        let (ns_per_packet, send_ns) = (ns as f64 / sent, {
            let sending_ns = run.node.worker.port_mut().way.sending_ns - sending_before;
            sending_ns as f64 / sent
        });
        let unprotect_ns = alone.unprotect_ns / f64::from(case.subscribers);
        Ok(Figures {
            ns_per_packet,
            system_ns: (system / sent).min(ns_per_packet),
            send_ns,
            alone,
            rest_ns: ns_per_packet - send_ns - alone.seal_ns - unprotect_ns,
            allocations_per_1000: allocations as f64 / sent * 1_000.0,
            packets: sent as u64,
            train_length: sent / sends,
            padding_percent: padding / (bytes + padding) * 100.0,
        })
    }
}

/// A node whose first frames have gone.
pub(crate) struct Run<P: Port> {
    pub node: Node<P>,
    case: Case,
    frame: u32,
}

impl<P: Port> Run<P> {
    pub fn new(case: &Case, port: P) -> Result<Self> {
        let mut run = Self { node: Node::new(case, port)?, case: *case, frame: 0 };
        for _ in 0..WARM_UP_FRAMES {
            run.arrive()?;
            run.turn();
        }
        ensure!(run.node.counter(WorkerCounter::Sent) > 0, "nothing is forwarded; drops: {:?}", run.node.drops());
        Ok(run)
    }

    /// Lets a frame arrive, and at times every client's check.
    pub fn arrive(&mut self) -> Result<()> {
        if self.frame % CHECK_FRAMES == CHECK_FRAMES - 1 {
            self.node.check_all(self.case.subscribers)?;
        }
        self.node.now = self.node.now.add_ns(FRAME_NS);
        self.node.inject_frame(self.case.burst, self.case.payload, self.frame == 0)?;
        self.frame += 1;
        ensure!(self.frame < 10_000_000, "nothing is forwarded; drops: {:?}", self.node.drops());
        Ok(())
    }

    pub fn turn(&mut self) {
        self.node.worker.turn(self.node.now);
        self.node.worker.rest(self.node.now);
    }

    /// Sent packets, sends, bytes, padding.
    fn counters(&self) -> [u64; 4] {
        [WorkerCounter::Sent, WorkerCounter::Sends, WorkerCounter::SentBytes, WorkerCounter::PaddingBytes]
            .map(|counter| self.node.counter(counter))
    }

    pub fn refuse_drops(&self) -> Result<()> {
        let drops = self.node.drops();
        let expected = ["egress_waits_for_key_frame"];
        let wrong: Vec<_> = drops.iter().filter(|(reason, _)| !expected.contains(reason)).collect();
        ensure!(wrong.is_empty(), "packets were dropped: {wrong:?}");
        Ok(())
    }
}

fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn system_ns() -> Result<u64> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).context("cannot read the CPU time of this thread")?;
    Ok(usage.system_time().num_microseconds() as u64 * 1_000)
}
