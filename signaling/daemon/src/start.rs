//! What the holder passes, and the life of the process.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use engine_base::Limits;
use engine_table::{CourierRegion, EngineRegion, HolderRegion, Journal, SignalingRegion};
use signaling_config::Config;
use signaling_server::{HttpService, Listeners, Node, NodeParts, Regions, ServerSettings, Wakes, wake, watch, woken};

/// HTTP parsing and TLS-free sockets beside the one task of the rooms.
const RUNTIME_THREADS: usize = 2;
/// From the order to end until every socket has its `leave` and is closed.
const SHUTDOWN_TIME: Duration = Duration::from_millis(1_500);

/// What `millrace signaling` inherits.
#[derive(Debug)]
pub struct SignalingStart {
    pub limits: Limits,
    /// A memfd with the JSON of `signaling_config::Config`, from offset 0.
    pub config: OwnedFd,
    /// Memfd of the node row; read-only.
    pub holder: OwnedFd,
    /// Desired rows; writable.
    pub signaling: OwnedFd,
    /// The session journal; writable. Its size tells the size of its halves.
    pub journal: OwnedFd,
    /// Read-only.
    pub courier: OwnedFd,
    /// Observed rows; read-only.
    pub engine: OwnedFd,
    /// An eventfd per worker: written after rows changed.
    pub worker_wakes: Vec<OwnedFd>,
    pub courier_wake: OwnedFd,
    /// The process's own: workers and the courier write it after their rows changed.
    pub signaling_wake: OwnedFd,
    /// Bound and listening TCP sockets, non-blocking.
    pub listeners: Vec<OwnedFd>,
    /// An eventfd: 1 is written once connections are accepted.
    pub ready: OwnedFd,
    /// An eventfd that becomes readable when everybody shall be told that the server ends.
    pub shutdown: OwnedFd,
    /// Serves the demo page and hands out tokens for it.
    pub dev: bool,
}

/// Runs until `shutdown` is readable.
///
/// **Errors**: regions of another build, a configuration that is none, no runtime. A panic of the task that has the rooms is
/// one too: the process must end, so that a successor adopts the sessions.
pub fn run(start: SignalingStart) -> Result<()> {
    let config = read_config(&start.config)?;
    crate::log::start(&config.logging)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .thread_name("signaling")
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(serve(start, &config));
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

async fn serve(start: SignalingStart, config: &Config) -> Result<()> {
    let settings = Arc::new(ServerSettings::new(config, start.dev));
    let (regions, journal) = map(&start)?;
    let holder = HolderRegion::map(&start.holder, &start.limits, false)?;
    let (_, row) = holder.node().read(0).context("the holder has not said what the node is")?;
    let wakes = Wakes { workers: start.worker_wakes, courier: start.courier_wake, own: start.signaling_wake };
    let (node, handle) = Node::adopt(NodeParts { regions, journal, wakes, row, config });
    let mut rooms = tokio::spawn(node.run());
    let service = HttpService::new(settings, handle.clone());
    let sockets = start.listeners.into_iter().map(TcpListener::from).collect();
    let listeners = Listeners::start(sockets, &service).context("cannot listen on an inherited socket")?;
    wake(&start.ready);
    let shutdown = watch(start.shutdown).context("cannot watch for the end")?;
    tokio::select! {
        () = woken(&shutdown) => {}
        ended = &mut rooms => return Err(ended_early(ended)),
    }
    handle.shut_down(SHUTDOWN_TIME).await;
    drop(listeners);
    Ok(())
}

fn ended_early(ended: Result<std::io::Result<()>, tokio::task::JoinError>) -> anyhow::Error {
    match ended {
        Ok(Ok(())) => anyhow::anyhow!("the task of the rooms ended before its time"),
        Ok(Err(error)) => anyhow::Error::new(error).context("the task of the rooms cannot wait"),
        Err(error) => anyhow::Error::new(error).context("the task of the rooms panicked"),
    }
}

fn map(start: &SignalingStart) -> Result<(Regions, Journal)> {
    let limits = &start.limits;
    let regions = Regions {
        signaling: SignalingRegion::map(&start.signaling, limits, true)?,
        courier: CourierRegion::map(&start.courier, limits, false)?,
        engine: EngineRegion::map(&start.engine, limits, false)?,
    };
    let bytes = usize::try_from(rustix::fs::fstat(&start.journal)?.st_size)?;
    let half = bytes.saturating_sub(Journal::region_bytes(0)) / 2;
    Ok((regions, Journal::open(&start.journal, half)?))
}

fn read_config(config: &OwnedFd) -> Result<Config> {
    let bytes = rustix::fs::fstat(config)?.st_size;
    let mut json = vec![0; usize::try_from(bytes)?];
    let mut done = 0;
    while done < json.len() {
        match rustix::io::pread(config, &mut json[done..], done as u64)? {
            0 => break,
            read => done += read,
        }
    }
    serde_json::from_slice(&json).context("the configuration is unreadable: start all processes from one executable")
}
