//! `millrace engine`: one thread per worker, each with its own port, and nothing else.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow, ensure};
use engine_base::TimeNs;
use engine_io::socket::CONNECTED_PER_ADDRESS;
use engine_io::{Backend, KernelPort, MmsgPort, PortConfig, SocketFacts, UringPort, XdpInterface};
use engine_table::{CourierRegion, EngineRegion, HolderRegion, KeyRegion, MediaRegion, SignalingRegion};
use engine_worker::{Bells, Crew, Moved, Regions, Site, Worker};
use rustix::thread::CpuSet;

use crate::packets;
use crate::shutdown;
use crate::start::EngineStart;

const NO_NODE: &str = "the node row is empty: the engine is started by `millrace`, not by hand";

/// Runs the workers until `shutdown` is readable.
///
/// **Errors**: an operator's, before the first packet; each ends with what to do. A panic aborts the process.
pub fn run(start: EngineStart) -> Result<()> {
    shutdown::abort_on_panic();
    check(&start)?;
    let regions = map(&start)?;
    check_sockets(&start, &regions)?;
    match packets::choose(&start, &regions)? {
        Backend::IoUring => serve_by::<UringPort>(start, &regions),
        Backend::Mmsg => serve_by::<MmsgPort>(start, &regions),
    }
}

fn serve_by<P: KernelPort>(start: EngineStart, regions: &Regions) -> Result<()> {
    let make = |config| P::make(config).map_err(|error| anyhow!("{error}"));
    let Some(name) = start.xdp_interface.clone() else {
        return serve(start, regions, |_, config| make(config));
    };
    let interface = XdpInterface::open(&name, start.limits.workers as usize);
    let mut interface = interface.map_err(|error| anyhow!("{error}"))?;
    serve(start, regions, |worker, config| {
        let sockets: Vec<SocketFacts> = config.sockets.iter().map(SocketFacts::read).collect();
        let port = interface.attach(worker, &sockets, make(config)?).map_err(|error| anyhow!("{error}"))?;
        packets::note_frames(regions, worker as u32, &name, port.has_queue());
        Ok(port)
    })
}

fn serve<P: KernelPort>(
    start: EngineStart,
    regions: &Regions,
    mut make: impl FnMut(usize, PortConfig) -> Result<P>,
) -> Result<()> {
    let cores = if start.pin_cores { cores(start.limits.workers) } else { Vec::new() };
    let (crew, mailboxes) = Crew::new(&start.limits);
    let crew = Arc::new(crew);
    let pool_per_address = CONNECTED_PER_ADDRESS / start.limits.workers as usize;
    let sockets = start.sockets.into_iter().zip(start.pool);
    let ports = sockets.zip(&start.worker_wakes).enumerate().map(|(worker, ((sockets, pool), wake))| {
        let wake = wake.try_clone().context("cannot copy a wake descriptor; raise RLIMIT_NOFILE")?;
        make(worker, PortConfig { pool, pool_per_address, ..PortConfig::new(sockets, Some(wake)) })
    });
    let ports = ports.collect::<Result<Vec<P>>>()?;
    let wakers = |ports: &[P]| ports.iter().map(P::waker).collect::<std::io::Result<Vec<_>>>();
    let stop = Arc::new(AtomicBool::new(false));
    let mut seats = Vec::new();
    for (me, mailbox) in (0..).zip(mailboxes) {
        let site = Site::new(me, regions, crew.clone()).context(NO_NODE)?;
        let wakers = wakers(&ports).context("cannot copy a waker's descriptor; raise RLIMIT_NOFILE")?;
        let bells = Bells {
            courier: Some(start.courier_wake.try_clone()?),
            signaling: Some(start.signaling_wake.try_clone()?),
        };
        seats.push(Seat { site, wakers, bells, mailbox, core: cores.get(me as usize).copied() });
    }
    let threads = seats.into_iter().zip(ports).map(|(seat, port)| seat.start(port, stop.clone()));
    let threads = threads.collect::<Result<Vec<_>>>()?;
    shutdown::wait(&start.shutdown);
    stop.store(true, Ordering::Release);
    start.worker_wakes.iter().for_each(wake);
    for thread in threads {
        thread.join().map_err(|_| anyhow!("a worker panicked"))??;
    }
    Ok(())
}

/// What one worker thread is given.
struct Seat {
    site: Site,
    wakers: Vec<OwnedFd>,
    bells: Bells,
    mailbox: Receiver<Moved>,
    core: Option<usize>,
}

impl Seat {
    fn start<P: KernelPort>(self, mut port: P, stop: Arc<AtomicBool>) -> Result<JoinHandle<Result<()>>> {
        let name = format!("worker-{}", self.site.me);
        let run = move || -> Result<()> {
            if let Some(core) = self.core {
                let mut set = CpuSet::new();
                set.set(core);
                // A core that was taken away meanwhile: the worker runs wherever it may.
                let _ = rustix::thread::sched_setaffinity(None, &set);
            }
            // On this thread: the ring belongs to whoever enables it.
            port.start(self.wakers).map_err(|error| anyhow!("{error}"))?;
            Worker::with_bells(port, self.site, self.bells, self.mailbox, now()).run(&stop, now);
            Ok(())
        };
        let run = move || {
            run().inspect_err(|error| {
                // The others cannot serve this worker's sockets: end at once, with the reason.
                eprintln!("engine: {error}");
                std::process::exit(1);
            })
        };
        std::thread::Builder::new().name(name).spawn(run).context("cannot start a worker thread; raise RLIMIT_NPROC")
    }
}

fn check(start: &EngineStart) -> Result<()> {
    let workers = start.limits.workers as usize;
    ensure!(workers > 0, "no workers: limits.workers must be at least 1");
    ensure!(
        [start.sockets.len(), start.pool.len(), start.worker_wakes.len()] == [workers; 3],
        "{} socket lists and {} wake descriptors for {workers} workers; start all processes from one executable",
        start.sockets.len(),
        start.worker_wakes.len(),
    );
    Ok(())
}

/// A socket index names the same address in every worker and process.
fn check_sockets(start: &EngineStart, regions: &Regions) -> Result<()> {
    let (_, node) = regions.holder.node().read(0).context(NO_NODE)?;
    let addresses = node.address_count as usize;
    let complete = start.sockets.iter().all(|sockets| sockets.len() == addresses);
    ensure!(
        complete,
        "a worker has not one socket for each of the node's {addresses} addresses; start all processes from one executable"
    );
    Ok(())
}

fn map(start: &EngineStart) -> Result<Regions> {
    let limits = &start.limits;
    Ok(Regions {
        holder: HolderRegion::map(&start.holder, limits, false).context("region holder")?,
        signaling: SignalingRegion::map(&start.signaling, limits, false).context("region signaling")?,
        courier: CourierRegion::map(&start.courier, limits, false).context("region courier")?,
        keys: KeyRegion::map(&start.keys, limits, false).context("region keys")?,
        engine: EngineRegion::map(&start.engine, limits, true).context("region engine")?,
        media: MediaRegion::map(&start.media, limits, true).context("region media")?,
    })
}

/// The first `workers` cores that the process may use; none when there are fewer: two workers on one core would be worse off bound.
fn cores(workers: u32) -> Vec<usize> {
    let Ok(allowed) = rustix::thread::sched_getaffinity(None) else { return Vec::new() };
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).take(workers as usize).collect();
    if cores.len() < workers as usize { Vec::new() } else { cores }
}

fn wake(fd: &OwnedFd) {
    let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
}

/// CLOCK_MONOTONIC, through the vDSO.
fn now() -> TimeNs {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    TimeNs(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}
