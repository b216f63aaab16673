//! UDP sockets as the holder makes them once and hands them down: one per (worker, local address, port), never a wildcard.
//!
//! The first socket of an address is bound without SO_REUSEPORT, so that a port in use is noticed; with it a second node would
//! silently take half of the packets. It gets the option after its bind, and the other workers' sockets join its group.

mod interfaces;
mod pool;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use socket2::{Domain, Protocol, Socket, Type};

pub use interfaces::{interface_of, local_addresses};
pub use pool::{CONNECTED_PER_ADDRESS, pool};

/// Asked of the kernel per socket, which doubles it for its own book-keeping: 16 MiB hold about 7,000 packets of 1,200 B, 2,304 B
/// each in the kernel: 0.3 s of 200 Mbit/s.
pub const SOCKET_BUFFER_BYTES: usize = 8 << 20;
/// Tries to find one port that is free on every address, when the port is the kernel's choice.
const PORT_TRIES: usize = 16;

/// What to bind.
#[derive(Clone, Copy, Debug)]
pub struct BindRequest<'a> {
    pub addresses: &'a [IpAddr],
    /// The first port. 0: one port of the kernel's choice, the same on every address.
    pub port: u16,
    /// Ports in a row, of which every address has each; 1 with port 0.
    pub ports: u16,
    pub workers: usize,
    pub receive_buffer_bytes: usize,
    pub send_buffer_bytes: usize,
}

impl<'a> BindRequest<'a> {
    pub fn new(addresses: &'a [IpAddr], port: u16, workers: usize) -> Self {
        let (receive_buffer_bytes, send_buffer_bytes) = (SOCKET_BUFFER_BYTES, SOCKET_BUFFER_BYTES);
        Self { addresses, port, ports: 1, workers, receive_buffer_bytes, send_buffer_bytes }
    }
}

/// Bound sockets, close-on-exec.
#[derive(Debug)]
pub struct BoundSockets {
    /// Port by port, each on all addresses in the order of the request.
    pub addresses: Vec<SocketAddr>,
    /// Per worker: one socket per address and port, in that order.
    pub workers: Vec<Vec<OwnedFd>>,
    pub shortfall: Option<Shortfall>,
}

/// The kernel gave smaller socket buffers than asked for: bursts are lost under load. Its text names the remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortfall {
    pub receive_buffer_bytes: usize,
    pub send_buffer_bytes: usize,
    pub receive_wanted_bytes: usize,
    pub send_wanted_bytes: usize,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { receive_buffer_bytes, send_buffer_bytes, receive_wanted_bytes, send_wanted_bytes } = self;
        write!(
            f,
            "UDP socket buffers are smaller than wanted (receive {receive_buffer_bytes} of {receive_wanted_bytes} B, send \
             {send_buffer_bytes} of {send_wanted_bytes} B), bursts may be lost: run `sysctl -w \
             net.core.rmem_max={receive_wanted_bytes} net.core.wmem_max={send_wanted_bytes}`, or give the process CAP_NET_ADMIN"
        )
    }
}

/// An address could not be bound. The text's last line says what to do.
#[derive(Debug)]
pub struct BindError {
    pub address: SocketAddr,
    pub source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, source } = self;
        writeln!(f, "cannot bind UDP {address}: {source}")?;
        match source.kind() {
            io::ErrorKind::AddrInUse => {
                let port = address.port();
                write!(
                    f,
                    "another process has the port: stop it (`ss -lunp 'sport = :{port}'` names it), or set rtc.udp_port"
                )
            }
            io::ErrorKind::AddrNotAvailable => {
                f.write_str("no interface has this address: see bind_addresses in the configuration")
            }
            io::ErrorKind::PermissionDenied => {
                f.write_str("ports below 1024 need CAP_NET_BIND_SERVICE: set rtc.udp_port to another")
            }
            _ => f.write_str("see bind_addresses and rtc.udp_port in the configuration"),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Binds every address for every worker.
///
/// **Errors**: the first address that cannot be bound; nothing stays bound then.
pub fn bind(request: &BindRequest<'_>) -> Result<BoundSockets, BindError> {
    let mut tries = if request.port == 0 { PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        match bind_once(request) {
            Err(error) if tries > 0 && error.source.kind() == io::ErrorKind::AddrInUse => {}
            result => return result,
        }
    }
}

fn bind_once(request: &BindRequest<'_>) -> Result<BoundSockets, BindError> {
    assert!(request.workers > 0);
    assert!(request.port > 0 || request.ports <= 1, "ports of the kernel's choice are not in a row");
    let mut bound = BoundSockets {
        addresses: Vec::with_capacity(request.addresses.len() * usize::from(request.ports)),
        workers: (0..request.workers).map(|_| Vec::new()).collect(),
        shortfall: None,
    };
    let mut first_port = request.port;
    let ports = 0..request.ports.max(1);
    for (offset, &ip) in ports.flat_map(|offset| request.addresses.iter().map(move |ip| (offset, ip))) {
        let port = first_port.saturating_add(offset);
        let address = SocketAddr::new(ip, port);
        let at = |source| BindError { address, source };
        let first = open(address, false).map_err(at)?;
        first.set_reuse_port(true).map_err(at)?;
        let address = first.local_addr().map_err(at)?.as_socket().unwrap_or(address);
        if first_port == 0 {
            first_port = address.port();
        }
        let mut sockets = vec![first];
        for _ in 1..request.workers {
            sockets.push(open(address, true).map_err(at)?);
        }
        if let [first, _, ..] = sockets.as_slice() {
            pool::select_among(first, request.workers, address.is_ipv4()).map_err(at)?;
        }
        for (worker, socket) in bound.workers.iter_mut().zip(sockets) {
            let shortfall = set_buffers(&socket, request).map_err(at)?;
            bound.shortfall = bound.shortfall.or(shortfall);
            worker.push(socket.into());
        }
        bound.addresses.push(address);
    }
    Ok(bound)
}

fn open(address: SocketAddr, join: bool) -> io::Result<Socket> {
    if address.ip().is_unspecified() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a wildcard is no local address"));
    }
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if join {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// FORCE goes over the machine's limit but needs CAP_NET_ADMIN; without it the kernel cuts to its limit.
fn set_buffers(socket: &Socket, request: &BindRequest<'_>) -> io::Result<Option<Shortfall>> {
    let (receive, send) = (request.receive_buffer_bytes, request.send_buffer_bytes);
    if set_option(socket, libc::SO_RCVBUFFORCE, receive).is_err() {
        socket.set_recv_buffer_size(receive)?;
    }
    if set_option(socket, libc::SO_SNDBUFFORCE, send).is_err() {
        socket.set_send_buffer_size(send)?;
    }
    let shortfall = Shortfall {
        receive_buffer_bytes: socket.recv_buffer_size()? / 2,
        send_buffer_bytes: socket.send_buffer_size()? / 2,
        receive_wanted_bytes: receive,
        send_wanted_bytes: send,
    };
    let is_short = shortfall.receive_buffer_bytes < receive || shortfall.send_buffer_bytes < send;
    Ok(is_short.then_some(shortfall))
}

fn set_option(socket: &Socket, option: libc::c_int, value: usize) -> io::Result<()> {
    let value = libc::c_int::try_from(value).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: an int option reads `size_of::<c_int>()` bytes of a local that outlives the call.
    let result = unsafe {
        let bytes = size_of::<libc::c_int>() as libc::socklen_t;
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const value).cast(), bytes)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Datagrams that the kernel dropped at this socket since it was made, mostly because its receive buffer was full; wraps at
/// 2³². Source: SO_MEMINFO, linux/sock_diag.h. **Cost**: one syscall, for statistics only.
pub fn kernel_drops(socket: impl AsFd) -> io::Result<u32> {
    /// `SK_MEMINFO_DROPS`, and `SK_MEMINFO_VARS` words in all.
    const DROPS: usize = 8;
    let mut words = [0_u32; 9];
    let mut bytes = size_of_val(&words) as libc::socklen_t;
    // SAFETY: the kernel writes at most `bytes` bytes to a local that outlives the call.
    let result = unsafe {
        let fd = socket.as_fd().as_raw_fd();
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_MEMINFO, words.as_mut_ptr().cast(), &raw mut bytes)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if (bytes as usize) < size_of_val(&words) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(words[DROPS])
}

#[cfg(test)]
mod tests;
