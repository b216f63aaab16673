//! What a node owns for its life: sockets, shared memory, eventfds. Made once by the holder, inherited by every child.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail};
use engine_base::{Limits, WallOffset};
use engine_io::socket::{BindRequest, BoundSockets};
use engine_table::{
    ADDRESSES_MAX, ChildRow, CourierRegion, EngineRegion, HolderRegion, Journal, KeyRegion, MediaRegion, NodeRow, Role,
    SignalingRegion, SocketAddress, Text, map,
};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};
use signaling_config::PortRange;
use zerocopy::{FromZeros, IntoBytes};

use crate::handoff::Handoff;
use crate::identity;

/// Clients that wait while signaling restarts: all of a node come back at once. The kernel cuts it to net.core.somaxconn.
const BACKLOG: i32 = 4_096;

/// What the configuration asks for.
#[derive(Debug)]
pub struct NodePlan {
    pub limits: Limits,
    pub http_addresses: Vec<SocketAddr>,
    pub udp_addresses: Vec<IpAddr>,
    pub udp_ports: PortRange,
    /// What candidates say instead of local addresses of the same family (`rtc.node_ip`).
    pub advertised: [Option<IpAddr>; 2],
    /// JSON of the configuration, for signaling.
    pub config: Vec<u8>,
    pub journal_bytes: usize,
    pub dev: bool,
    pub pin_cores: bool,
    /// How packets go, for the engine.
    pub packet_io: &'static str,
    /// For the engine.
    pub xdp_interface: Option<String>,
    /// Of each address family, over all workers.
    pub connected_sockets: u32,
    /// How long a loaded worker may keep video back.
    pub video_hold_us: u32,
    /// From this percentage of a core on.
    pub video_hold_load: u32,
}

struct Memory {
    write: OwnedFd,
    read: OwnedFd,
}

pub struct Node {
    pub plan: NodePlan,
    pub http_port: u16,
    pub udp_ports: PortRange,
    pub holder: HolderRegion,
    pub engine: EngineRegion,
    /// Readable once signaling accepts connections.
    pub ready: OwnedFd,
    /// Per role: written to end the child.
    pub shutdown: [OwnedFd; Role::ALL.len()],
    /// Named at start: what the operator should know.
    pub notices: Vec<String>,
    listeners: Vec<OwnedFd>,
    sockets: Vec<OwnedFd>,
    /// Per worker, as many each: to be connected by the engine.
    pool: Vec<OwnedFd>,
    memories: Memories,
    identity: OwnedFd,
    config: OwnedFd,
    worker_wakes: Vec<OwnedFd>,
    courier_wake: OwnedFd,
    signaling_wake: OwnedFd,
}

struct Memories {
    holder: Memory,
    signaling: Memory,
    journal: Memory,
    courier: Memory,
    keys: Memory,
    engine: Memory,
    media: Memory,
}

impl Node {
    /// **Errors**: a port in use, too little memory, no privilege; the text says what to do.
    pub fn make(plan: NodePlan) -> Result<Self> {
        let (listeners, http_port) = bind_http(&plan.http_addresses)?;
        let udp = bind_udp(&plan)?;
        let port = |address: Option<&SocketAddr>| address.map_or(0, SocketAddr::port);
        let udp_ports = PortRange { first: port(udp.addresses.first()), last: port(udp.addresses.last()) };
        let mut notices: Vec<String> = udp.shortfall.iter().map(ToString::to_string).collect();
        let pool = socket_pool(&plan, &mut notices);
        let memories = Memories::make(&plan)?;
        let identity = identity::make()?;
        let holder = HolderRegion::map(&memories.holder.write, &plan.limits, true)?;
        let node = node_row(&plan, &udp.addresses, http_port, identity.fingerprint)?;
        holder.node().publish(0, &node);
        Ok(Self {
            engine: EngineRegion::map(&memories.engine.read, &plan.limits, false)?,
            ready: wake()?,
            shutdown: [wake()?, wake()?, wake()?],
            notices,
            pool,
            listeners,
            sockets: udp.workers.into_iter().flatten().collect(),
            identity: sealed_bytes("identity", identity.row.as_bytes())?,
            config: sealed_bytes("config", &plan.config)?,
            worker_wakes: (0..plan.limits.workers).map(|_| wake()).collect::<Result<_>>()?,
            courier_wake: wake()?,
            signaling_wake: wake()?,
            memories,
            holder,
            http_port,
            udp_ports,
            plan,
        })
    }

    /// What a child of `role` inherits: writable only what it writes.
    pub fn handoff(&self, role: Role) -> Handoff {
        let memories = &self.memories;
        let mut handoff = Handoff::new(&self.plan.limits, self.plan.dev, self.plan.dev, self.plan.pin_cores);
        handoff.pass("holder", [&memories.holder.read]);
        handoff.pass("worker_wakes", &self.worker_wakes);
        handoff.pass("courier_wake", [&self.courier_wake]);
        handoff.pass("signaling_wake", [&self.signaling_wake]);
        handoff.pass("shutdown", [&self.shutdown[role as usize]]);
        for (name, memory, writer) in [
            ("signaling", &memories.signaling, Role::Signaling),
            ("courier", &memories.courier, Role::Courier),
            ("engine", &memories.engine, Role::Engine),
        ] {
            handoff.pass(name, [if writer == role { &memory.write } else { &memory.read }]);
        }
        match role {
            Role::Engine => {
                handoff.pass("keys", [&memories.keys.read]);
                handoff.pass("media", [&memories.media.write]);
                self.plan.packet_io.clone_into(&mut handoff.packet_io);
                handoff.xdp_interface.clone_from(&self.plan.xdp_interface);
                handoff.pass("sockets", &self.sockets);
                handoff.pass("pool", &self.pool);
            }
            Role::Courier => {
                handoff.pass("keys", [&memories.keys.write]);
                handoff.pass("identity", [&self.identity]);
            }
            Role::Signaling => {
                handoff.pass("journal", [&memories.journal.write]);
                handoff.pass("config", [&self.config]);
                handoff.pass("listeners", &self.listeners);
                handoff.pass("ready", [&self.ready]);
            }
        }
        handoff
    }

    /// What ctl gets: read-only, and never the keys.
    pub fn shown(&self) -> [std::os::fd::BorrowedFd<'_>; crate::runtime::SHOWN_REGIONS] {
        let memories = &self.memories;
        [&memories.holder, &memories.signaling, &memories.courier, &memories.engine].map(|memory| memory.read.as_fd())
    }

    pub fn set_child(&self, role: Role, row: &ChildRow) {
        self.holder.children().publish(role as u32, row);
    }

    /// True once every worker has ended a turn.
    pub fn engine_turns(&self) -> bool {
        (0..self.plan.limits.workers).all(|worker| {
            self.engine.counter(worker, engine_table::WorkerCounter::Turns).load(std::sync::atomic::Ordering::Relaxed)
                > 0
        })
    }
}

impl Memories {
    /// Makes and initialises every region, so that no reader can come before its writer's header.
    fn make(plan: &NodePlan) -> Result<Self> {
        let limits = &plan.limits;
        let memories = Self {
            holder: memory("holder", HolderRegion::region_bytes(limits))?,
            signaling: memory("signaling", SignalingRegion::region_bytes(limits))?,
            journal: memory("journal", Journal::region_bytes(plan.journal_bytes))?,
            courier: memory("courier", CourierRegion::region_bytes(limits))?,
            keys: memory("keys", KeyRegion::region_bytes(limits))?,
            engine: memory("engine", EngineRegion::region_bytes(limits))?,
            media: memory("media", MediaRegion::region_bytes(limits))?,
        };
        SignalingRegion::map(&memories.signaling.write, limits, true)?;
        Journal::open(&memories.journal.write, plan.journal_bytes)?;
        CourierRegion::map(&memories.courier.write, limits, true)?;
        KeyRegion::map(&memories.keys.write, limits, true)?;
        EngineRegion::map(&memories.engine.write, limits, true)?;
        MediaRegion::map(&memories.media.write, limits, true)?;
        Ok(memories)
    }
}

/// A node serves without, at a higher cost.
fn socket_pool(plan: &NodePlan, notices: &mut Vec<String>) -> Vec<OwnedFd> {
    let (workers, count) = (plan.limits.workers as usize, plan.connected_sockets as usize);
    match engine_io::socket::pool(&plan.udp_addresses, workers, count) {
        Ok(pools) => pools.into_iter().flatten().collect(),
        Err(error) => {
            notices.push(format!(
                "subscribers get no sockets of their own ({error}), sends cost more: raise RLIMIT_NOFILE (`ulimit -n 65536`), \
                 or set millrace.connected_sockets to 0"
            ));
            Vec::new()
        }
    }
}

fn memory(name: &str, bytes: usize) -> Result<Memory> {
    let write = map::create_memfd(&format!("millrace-{name}"), bytes)
        .with_context(|| format!("cannot make {bytes} bytes of shared memory ({name}): lower millrace.limits"))?;
    let read = map::read_only(&write).context("cannot reopen shared memory: is /proc mounted?")?;
    Ok(Memory { write, read })
}

fn sealed_bytes(name: &str, bytes: &[u8]) -> Result<OwnedFd> {
    let write = map::create_memfd(&format!("millrace-{name}"), bytes.len())?;
    let mut done = 0;
    while done < bytes.len() {
        done += rustix::io::pwrite(&write, &bytes[done..], done as u64)?;
    }
    Ok(map::read_only(&write)?)
}

fn wake() -> Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

fn bind_udp(plan: &NodePlan) -> Result<BoundSockets> {
    let (addresses, ports) = (plan.udp_addresses.len(), plan.udp_ports.iter().count());
    let sockets = addresses * ports;
    if !(1..=ADDRESSES_MAX).contains(&sockets) {
        bail!(
            "{addresses} local addresses with {ports} UDP ports each are {sockets} sockets per worker, 1 to {ADDRESSES_MAX} are \
             possible\nshorten rtc.udp_port to at most {} ports",
            (ADDRESSES_MAX / addresses.max(1)).max(1)
        );
    }
    let workers = plan.limits.workers as usize;
    let request = BindRequest::new(&plan.udp_addresses, plan.udp_ports.first, workers);
    Ok(engine_io::socket::bind(&BindRequest { ports: ports as u16, ..request })?)
}

fn bind_http(addresses: &[SocketAddr]) -> Result<(Vec<OwnedFd>, u16)> {
    let Some(first) = addresses.first() else { bail!("no address to listen on: set bind_addresses") };
    let mut port = first.port();
    let mut listeners = Vec::new();
    for address in addresses {
        let address = SocketAddr::new(address.ip(), port);
        match listen(address) {
            Ok(listener) => {
                port = SocketAddr::try_from(rustix::net::getsockname(&listener)?)?.port();
                listeners.push(listener);
            }
            // "Every address" of a machine without IPv6.
            Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {}
            Err(error) => return Err(cannot_listen(address, &error.into())),
        }
    }
    Ok((listeners, port))
}

/// IPv6 alone on IPv6 addresses, so that both wildcards can be bound.
fn listen(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let (family, flags) = match address {
        SocketAddr::V4(_) => (AddressFamily::INET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK),
        SocketAddr::V6(_) => (AddressFamily::INET6, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK),
    };
    let listener = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&listener, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&listener, true)?;
    }
    rustix::net::bind(&listener, &address)?;
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(listener)
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> anyhow::Error {
    let remedy = match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("stop what has the port (`ss -ltnp 'sport = :{}'` names it), or set port", address.port())
        }
        std::io::ErrorKind::AddrNotAvailable => "no interface has this address: set bind_addresses".to_owned(),
        std::io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE: set port to another".to_owned()
        }
        _ => "see bind_addresses and port".to_owned(),
    };
    anyhow::anyhow!("cannot listen on TCP {address}: {error}\n{remedy}")
}

fn node_row(plan: &NodePlan, udp: &[SocketAddr], http_port: u16, fingerprint: [u8; 32]) -> Result<NodeRow> {
    anyhow::ensure!((1..=ADDRESSES_MAX).contains(&udp.len()), "{} local UDP addresses", udp.len());
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random)?;
    let mut row = NodeRow::new_zeroed();
    row.wall_offset = wall_offset();
    row.started_ns = monotonic_ns();
    row.limits = plan.limits;
    row.node_tag = u32::from_le_bytes([random[0], random[1], random[2], 0]) & 0x3_ffff;
    row.fingerprint = fingerprint;
    row.address_count = udp.len() as u32;
    row.http_port = u32::from(http_port);
    (row.video_hold_us, row.video_hold_load) = (plan.video_hold_us, plan.video_hold_load);
    for (i, address) in udp.iter().enumerate() {
        row.addresses[i] = SocketAddress::new(*address);
        let advertised = plan.advertised.into_iter().flatten().find(|ip| ip.is_ipv4() == address.is_ipv4());
        if let Some(ip) = advertised {
            row.advertised[i] = SocketAddress::new(SocketAddr::new(ip, address.port()));
        }
    }
    row.node_id = Text::cut(&node_id(&random[4..]));
    row.version = Text::cut(env!("CARGO_PKG_VERSION"));
    Ok(row)
}

/// `ND_` and 12 characters of the alphabet without lookalikes (PROTOCOL §7).
fn node_id(random: &[u8]) -> String {
    const ALPHABET: &[u8] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let characters = random.iter().take(12).map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]));
    "ND_".chars().chain(characters).collect()
}

pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn wall_offset() -> WallOffset {
    let wall =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64);
    WallOffset(wall - monotonic_ns() as i64)
}
