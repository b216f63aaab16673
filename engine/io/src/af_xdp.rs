//! A second way out, beside the sockets of another port: each datagram as a frame of its own, through AF_XDP in copy mode. It skips
//! the kernel's UDP, IP and queueing layers, which are most of what a short train costs. Receiving stays with the sockets.
//!
//! ```text
//! commit ─ next hop known, on the interface, datagram ≤ MTU, short train ─▶ headers + copy → transmit ring → kick → driver
//!        └ else ─────────────────────────────────────────────────────────▶ the socket, as without AF_XDP
//! ```
//!
//! What the layers would do is done here: Ethernet, IPv4 or IPv6 and UDP headers with checksums ([`frame`]); the next hop
//! ([`resolver`], on its own thread). What they would do besides is left out: netfilter's output rules, traffic shaping, packet
//! sockets do not see these frames.
//!
//! A frame costs the same in any train. Where the device takes a whole train in one send, the socket is cheaper from four datagrams on
//! (docs/PERFORMANCE.md, measured with veth and ifb).
//!
//! Worker n sends through queue n of the interface. A worker without a queue sends by its sockets.

mod frame;
mod netlink;
mod resolver;
mod rings;
mod routes;
mod sender;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;

use rustix::net::sockopt;

use self::frame::Local;
use self::netlink::{Link, Netlink};
use self::resolver::Client;
use self::rings::Transmitter;
use self::routes::Routes;
use self::sender::Frames;
pub use self::sender::XdpSender;
use crate::batch::Batch;
use crate::kernel::KernelPort;
use crate::offload::device_segments;
use crate::port::{Port, PortCounters, Sender};
use crate::setup::{PortConfig, SetupError};

/// Most datagrams of a train that goes as frames, where the device cuts trains by itself.
const FRAMED_MAX: usize = 3;
/// While frames wait for the device, a worker does not sleep longer.
const RETRY_NS: u64 = 1_000_000;

/// AF_XDP cannot serve. The text's last line says what to do.
#[derive(Debug)]
pub struct XdpError {
    pub interface: String,
    /// What was tried.
    pub step: &'static str,
    pub source: io::Error,
}

impl XdpError {
    /// What an operator does about it.
    pub fn remedy(&self) -> &'static str {
        match (self.step, self.source.raw_os_error()) {
            (FIND, _) => "set millrace.xdp_interface to an interface of `ip link`, or remove it",
            (CHECK, _) => {
                "set millrace.xdp_interface to an Ethernet interface (a NIC, a veth, a VLAN of one), or remove it"
            }
            (_, Some(libc::EPERM | libc::EACCES)) => {
                "AF_XDP needs CAP_NET_RAW: give it to the process (systemd: AmbientCapabilities=CAP_NET_RAW, docker: \
                 --cap-add NET_RAW), or remove millrace.xdp_interface"
            }
            (_, Some(libc::EAFNOSUPPORT | libc::ENOPROTOOPT)) => {
                "this kernel has no AF_XDP (CONFIG_XDP_SOCKETS): remove millrace.xdp_interface"
            }
            (_, Some(libc::ENOBUFS | libc::ENOMEM)) => {
                "memory for frames was refused: raise RLIMIT_MEMLOCK to 64 MiB (systemd: LimitMEMLOCK=64M, shell: ulimit -l 65536)"
            }
            (_, Some(libc::EBUSY)) => {
                "another process uses this interface's queue for AF_XDP: stop it, or remove millrace.xdp_interface"
            }
            (_, Some(libc::ENETDOWN)) => "the interface is down: run `ip link set INTERFACE up`",
            _ => "this interface cannot send by AF_XDP: remove millrace.xdp_interface",
        }
    }
}

impl fmt::Display for XdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interface, step, source } = self;
        write!(f, "cannot {step} on interface {interface}: {source}\n{}", self.remedy())
    }
}

impl std::error::Error for XdpError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

const FIND: &str = "find what AF_XDP shall send";
const CHECK: &str = "make Ethernet frames";
const RESOLVE: &str = "ask the kernel for routes";

/// An interface that frames can go through, before workers take their queues.
#[derive(Debug)]
pub struct XdpInterface {
    name: String,
    link: Link,
    clients: Vec<Option<Client>>,
    /// Longer trains go by the socket.
    framed_max: usize,
}

impl XdpInterface {
    /// **Errors**: no such interface, or none for Ethernet frames; no privilege. **Cost**: a thread, which ends with the ports.
    pub fn open(name: &str, workers: usize) -> Result<Self, XdpError> {
        let at = |step| move |source| XdpError { interface: name.to_owned(), step, source };
        let mut netlink = Netlink::open(0).map_err(at(RESOLVE))?;
        let link = Link::find(&mut netlink, name).map_err(at(FIND))?;
        if !link.is_ethernet || link.mac == [0; 6] {
            return Err(at(CHECK)(io::Error::from_raw_os_error(libc::EOPNOTSUPP)));
        }
        let clients = resolver::start(link.clone(), netlink, workers).map_err(at(RESOLVE))?;
        let clients = clients.into_iter().map(Some).collect();
        let framed_max = if device_segments(name).unwrap_or(false) { FRAMED_MAX } else { usize::MAX };
        Ok(Self { name: name.to_owned(), link, clients, framed_max })
    }

    /// Wraps a worker's port. **Input**: the sockets that `inner` was made of, in their order. Once per worker.
    ///
    /// **Errors**: no privilege, or the interface takes no frames at all. A later worker's missing queue is no error: see
    /// [`XdpPort::has_queue`].
    pub fn attach<P: KernelPort>(
        &mut self,
        worker: usize,
        sockets: &[SocketFacts],
        inner: P,
    ) -> Result<XdpPort<P>, XdpError> {
        let client = self.clients[worker].take().expect("a worker attaches once");
        let frames = match Transmitter::new(self.link.index, worker as u32) {
            Ok(transmitter) => {
                let locals = sockets.iter().map(|facts| facts.0).collect();
                Some(Frames { transmitter, routes: Routes::new(client, locals), framed_max: self.framed_max })
            }
            // The kernel's word for a queue that the interface has not got.
            Err((rings::BIND, error)) if worker > 0 && error.raw_os_error() == Some(libc::EINVAL) => None,
            Err((step, source)) => return Err(XdpError { interface: self.name.clone(), step, source }),
        };
        XdpPort::new(inner, frames).map_err(|source| XdpError { interface: self.name.clone(), step: RESOLVE, source })
    }
}

/// How a socket's packets look, read before a port takes the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketFacts(Option<Local>);

impl SocketFacts {
    /// Nothing for what is not a bound UDP socket: its packets go by the socket.
    pub fn read(socket: &OwnedFd) -> Self {
        let read = || -> Option<Local> {
            let address = SocketAddr::try_from(rustix::net::getsockname(socket).ok()?).ok()?;
            let (traffic_class, hops) = match address {
                SocketAddr::V4(_) => (sockopt::ip_tos(socket).ok()?, sockopt::ip_ttl(socket).ok()?),
                SocketAddr::V6(_) => {
                    (sockopt::ipv6_tclass(socket).ok()? as u8, sockopt::ipv6_unicast_hops(socket).ok()?.into())
                }
            };
            let is_known = !address.ip().is_unspecified() && address.port() != 0;
            is_known.then_some(Local { address, traffic_class, hops: u8::try_from(hops).ok()? })
        };
        Self(read())
    }
}

/// A port whose sends go as frames where they can.
pub struct XdpPort<P> {
    sender: XdpSender<P>,
    /// The inner port's between `receive` and the next `receive` or `wait`, so that it can be lent beside the sender; else an empty
    /// one. Dropped after the inner port, which may have given its memory to the kernel.
    batch: Batch,
    is_lent: bool,
}

impl<P: KernelPort> XdpPort<P> {
    fn new(inner: P, frames: Option<Frames>) -> io::Result<Self> {
        Ok(Self { sender: XdpSender::new(inner, frames), batch: Batch::new(1)?, is_lent: false })
    }

    /// False for a worker that sends everything by its sockets, because the interface has too few queues.
    pub fn has_queue(&self) -> bool {
        self.sender.frames.is_some()
    }

    /// Frames that the device has not given back.
    pub fn frames_in_flight(&self) -> u32 {
        self.sender.frames.as_ref().map_or(0, |frames| frames.transmitter.in_flight())
    }

    fn lend(&mut self, lend: bool) {
        if self.is_lent != lend {
            std::mem::swap(self.sender.inner.split().0, &mut self.batch);
            self.is_lent = lend;
        }
    }
}

impl<P: KernelPort> Port for XdpPort<P> {
    type Sender = XdpSender<P>;

    fn receive(&mut self, packets_max: usize) -> usize {
        self.lend(false);
        let count = self.sender.inner.receive(packets_max);
        self.lend(true);
        count
    }

    fn split(&mut self) -> (&mut Batch, &mut XdpSender<P>) {
        self.lend(true);
        (&mut self.batch, &mut self.sender)
    }

    fn wait(&mut self, sleeping: &AtomicU64, timeout_ns: Option<u64>, has_work: impl FnOnce() -> bool) {
        self.lend(false);
        self.sender.flush();
        let timeout_ns = match self.sender.is_waiting() {
            true => Some(timeout_ns.map_or(RETRY_NS, |ns| ns.min(RETRY_NS))),
            false => timeout_ns,
        };
        self.sender.inner.wait(sleeping, timeout_ns, has_work);
    }

    fn counters(&self) -> PortCounters {
        let (inner, own) = (self.sender.inner.counters(), &self.sender.counters);
        PortCounters {
            sends: inner.sends + own.sends,
            send_failures: inner.send_failures + own.send_failures,
            frames: own.frames,
            send_failures_unseen: inner.send_failures_unseen + own.send_failures_unseen,
            ..inner
        }
    }
}

impl<P: KernelPort> KernelPort for XdpPort<P> {
    /// Without an interface: everything goes by the sockets.
    fn make(config: PortConfig) -> Result<Self, SetupError> {
        Self::new(P::make(config)?, None).map_err(SetupError::at("get memory for packets"))
    }

    fn waker(&self) -> io::Result<OwnedFd> {
        self.sender.inner.waker()
    }

    fn start(&mut self, wakers: Vec<OwnedFd>) -> Result<(), SetupError> {
        self.sender.inner.start(wakers)
    }
}

impl<P: fmt::Debug> fmt::Debug for XdpPort<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XdpPort").field("inner", &self.sender.inner).finish_non_exhaustive()
    }
}
