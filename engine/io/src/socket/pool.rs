//! Sockets to be connected later, and the selector that keeps strangers' datagrams off them.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use socket2::{Domain, Protocol, Socket, Type};

use super::{BindRequest, set_buffers};

/// Sockets connected from one address and port, at most: each datagram of a stranger walks over all of them (28 µs at 5,000).
pub const CONNECTED_PER_ADDRESS: usize = 256;
/// A connected socket has one peer's datagrams: 1 MiB in the kernel's counting are 0.1 s of 40 Mbit/s.
const BUFFER_BYTES: usize = 512 << 10;

/// Per worker, unbound sockets that may join an address's group: `count` over all workers for each address family that occurs.
///
/// **Errors**: the process may not have so many descriptors.
pub fn pool(addresses: &[IpAddr], workers: usize, count: usize) -> io::Result<Vec<Vec<OwnedFd>>> {
    let families =
        [(Domain::IPV4, addresses.iter().any(IpAddr::is_ipv4)), (Domain::IPV6, addresses.iter().any(IpAddr::is_ipv6))];
    let one = |domain| {
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_port(true)?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(true)?;
        }
        let request = BindRequest { receive_buffer_bytes: BUFFER_BYTES, ..BindRequest::new(addresses, 0, workers) };
        // The shortfall of the addresses' own sockets is named; these need less.
        set_buffers(&socket, &request)?;
        Ok(socket.into())
    };
    let for_worker = || {
        let domains = families.iter().filter(|(_, occurs)| *occurs).map(|(domain, _)| *domain);
        domains.flat_map(|domain| (0..count / workers).map(move |_| domain)).map(one).collect()
    };
    (0..workers).map(|_| for_worker()).collect()
}

/// Lets only the first `workers` sockets of a group get what is not connected: by source address and port, so that a peer stays with
/// its worker whatever joins the group. The kernel's own choice would change with the group's size.
///
/// **Input**: a socket of the group, which its `workers` have joined in order.
pub(super) fn select_among(socket: &Socket, workers: usize, is_v4: bool) -> io::Result<()> {
    let program = program(workers as u32, is_v4);
    let attached = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    // SAFETY: the option reads the program that both locals describe and outlive the call.
    let result = unsafe {
        let bytes = size_of::<libc::sock_fprog>() as libc::socklen_t;
        let fd = socket.as_raw_fd();
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, (&raw const attached).cast(), bytes)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Classic BPF: multiplicative hash of the source's address words and port, modulo `workers`.
fn program(workers: u32, is_v4: bool) -> Vec<libc::sock_filter> {
    use libc::{
        BPF_A, BPF_ABS, BPF_ALU, BPF_H, BPF_K, BPF_LD, BPF_MISC, BPF_MOD, BPF_MUL, BPF_RET, BPF_RSH, BPF_TAX, BPF_W,
        BPF_X, BPF_XOR,
    };
    /// From linux/filter.h: offsets from the network header.
    const SKF_NET_OFF: u32 = (-0x10_0000_i32) as u32;
    /// 2³² divided by the golden ratio (Knuth, The Art of Computer Programming 3, 6.4).
    const GOLDEN: u32 = 0x9e37_79b1;
    let (words, port): (&[u32], u32) = if is_v4 { (&[12], 20) } else { (&[8, 12, 16, 20], 40) };
    let step = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let mut steps = vec![step(BPF_LD | BPF_H | BPF_ABS, SKF_NET_OFF.wrapping_add(port))];
    for word in words {
        steps.push(step(BPF_MISC | BPF_TAX, 0));
        steps.push(step(BPF_LD | BPF_W | BPF_ABS, SKF_NET_OFF.wrapping_add(*word)));
        steps.push(step(BPF_ALU | BPF_XOR | BPF_X, 0));
        steps.push(step(BPF_ALU | BPF_MUL | BPF_K, GOLDEN));
    }
    steps.push(step(BPF_ALU | BPF_RSH | BPF_K, 16));
    steps.push(step(BPF_ALU | BPF_MOD | BPF_K, workers));
    steps.push(step(BPF_RET | BPF_A, 0));
    steps
}
