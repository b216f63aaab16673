//! One UDP socket of a participant: connected, with UDP_GRO and the kernel's arrival stamps, in an epoll.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use mio::{Interest, Registry, Token};
use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};
use rustix::net::sockopt;

/// A key frame of 2 MB, or 2 s of 4 Mbit/s while this process is held up.
const RECEIVE_BUFFER_BYTES: usize = 2 << 20;
/// Buffers of one receive call; fewer filled mean that the socket is empty.
const BATCH: usize = 4;
/// The largest train that the kernel joins.
const BUFFER_BYTES: usize = 65_536;

/// What a receive call fills; one per thread.
pub struct Buffers {
    bytes: Vec<Vec<u8>>,
    meta: Vec<RecvMeta>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self { bytes: vec![vec![0; BUFFER_BYTES]; BATCH], meta: vec![RecvMeta::default(); BATCH] }
    }
}

pub struct MediaSocket {
    socket: mio::net::UdpSocket,
    state: UdpSocketState,
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

impl MediaSocket {
    /// Connects to `remote`. With `only_this_machine` our end has the same address, which only an address of this machine
    /// allows. **Errors**: another machine's address, or no descriptors left.
    pub fn connect(remote: SocketAddr, only_this_machine: bool, registry: &Registry, token: Token) -> Result<Self> {
        let local = match (only_this_machine, remote) {
            (true, _) => remote.ip(),
            (false, SocketAddr::V4(_)) => IpAddr::from([0, 0, 0, 0]),
            (false, SocketAddr::V6(_)) => IpAddr::from([0u16; 8]),
        };
        let mut socket = mio::net::UdpSocket::bind(SocketAddr::new(local, 0)).with_context(|| {
            format!("cannot open a UDP socket on {local}: if the server's media address is on another machine, use --allow-remote")
        })?;
        socket.connect(remote).with_context(|| format!("cannot reach {remote}"))?;
        // Without privilege the kernel's limit remains; drops are counted either way.
        let _ = sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER_BYTES)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER_BYTES));
        let state = UdpSocketState::new(UdpSockRef::from(&socket)).context("cannot set UDP socket options")?;
        registry.register(&mut socket, token, Interest::READABLE).context("cannot watch a UDP socket")?;
        let local = socket.local_addr()?;
        Ok(Self { socket, state, local, remote })
    }

    /// `false` when the kernel did not take it.
    pub fn send(&self, datagram: &[u8]) -> bool {
        self.socket.send(datagram).is_ok()
    }

    /// Reads until the socket is empty. `handle` gets each train, the length of its segments, and its arrival by the kernel's
    /// wall clock.
    pub fn receive(&self, buffers: &mut Buffers, mut handle: impl FnMut(&mut [u8], &RecvMeta)) -> io::Result<()> {
        loop {
            let Buffers { bytes, meta } = buffers;
            let mut slices: Vec<IoSliceMut<'_>> = bytes.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
            let count = match self.state.recv(UdpSockRef::from(&self.socket), &mut slices, meta) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // An ICMP error of an earlier send: consumed by being told.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(error) => return Err(error),
            };
            for (buffer, meta) in bytes.iter_mut().zip(meta.iter()).take(count) {
                if let Some(train) = buffer.get_mut(..meta.len) {
                    handle(train, meta);
                }
            }
            if count < BATCH {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    #[test]
    fn another_machines_address_is_refused_with_the_remedy() {
        let poll = mio::Poll::new().unwrap();
        let refused = MediaSocket::connect("192.0.2.77:9".parse().unwrap(), true, poll.registry(), Token(0));
        let error = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(error.contains("--allow-remote"), "{error}");
    }

    #[test]
    fn datagrams_arrive_with_the_kernels_time() {
        let mut poll = mio::Poll::new().unwrap();
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = MediaSocket::connect(server.local_addr().unwrap(), true, poll.registry(), Token(3)).unwrap();
        for n in 0..10u8 {
            server.send_to(&[n; 50], socket.local).unwrap();
        }
        poll.poll(&mut mio::Events::with_capacity(4), Some(Duration::from_secs(5))).unwrap();
        let mut received = Vec::new();
        let handle = |train: &mut [u8], meta: &RecvMeta| {
            assert!(meta.timestamp.is_some());
            received.extend(train.chunks(meta.stride).map(|segment| segment[0]));
        };
        socket.receive(&mut Buffers::default(), handle).unwrap();
        assert_eq!(received, (0..10).collect::<Vec<_>>());
    }
}
