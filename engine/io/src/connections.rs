//! Sockets that are connected to one peer each: the kernel finds no route and copies no name per send, which saves a fifth of one.
//! They come unbound from the holder's pool, whose descriptions outlive this process: what arrives on one after a crash waits for the
//! successor.
//!
//! ```text
//! unbound → bound to a worker's address and connected → idle: connected to a port of that address where nobody is → connected …
//! ```
//! A socket is never disconnected, for it would get what strangers send; the holder's selector ([`crate::socket`]) keeps these away
//! in the moment between bind and connect. What arrives on it counts as the address's own socket's, whose index it has above the port.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;

use engine_table::SocketAddress;
use socket2::SockRef;

/// RFC 863: where an idle socket is connected.
const DISCARD_PORT: u16 = 9;

/// A socket of the pool that is connected to one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection(NonZeroU16);

impl Connection {
    /// **Input**: below 65,535; a pool is far smaller.
    pub(crate) fn new(position: usize) -> Self {
        Self(NonZeroU16::MIN.saturating_add(position as u16))
    }

    /// In the pool.
    #[inline]
    pub(crate) fn position(self) -> usize {
        usize::from(self.0.get()) - 1
    }
}

/// Why a peer has no socket of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unconnected {
    /// The port has no pool, or all of it is taken.
    NoneFree,
    /// The kernel does not connect to this peer.
    Refused,
}

#[derive(Debug)]
pub(crate) struct Connections {
    pool: Vec<Pooled>,
    /// Of the worker's own sockets.
    locals: Vec<Local>,
    /// Positions without an address, by family: IPv4, IPv6.
    unbound: [Vec<usize>; 2],
    per_address: usize,
}

#[derive(Debug)]
struct Pooled {
    socket: OwnedFd,
    /// Index of the worker's own socket whose address it has; for ever, once it has one.
    bound: Option<u32>,
}

#[derive(Debug)]
struct Local {
    address: SocketAddr,
    /// Positions that have the address and no peer, the one freed last at the end.
    idle: Vec<usize>,
    /// How many have the address.
    bound: usize,
}

impl Connections {
    /// **Input**: the worker's own sockets, bound; the pool; at most `per_address` of it are bound to one address.
    ///
    /// A socket that a predecessor bound keeps its address and is idle.
    pub fn new(sockets: &[OwnedFd], pool: Vec<OwnedFd>, per_address: usize) -> io::Result<Self> {
        let mut connections = Self { pool: Vec::new(), locals: Vec::new(), unbound: Default::default(), per_address };
        if pool.is_empty() {
            return Ok(connections);
        }
        for socket in sockets {
            let address = local_address(socket)?;
            connections.locals.push(Local { address, idle: Vec::with_capacity(pool.len()), bound: 0 });
        }
        for (position, socket) in pool.into_iter().enumerate() {
            let address = local_address(&socket)?;
            let bound = connections.locals.iter().position(|local| local.address == address);
            match bound {
                Some(index) => {
                    connections.locals[index].bound += 1;
                    connections.locals[index].idle.push(position);
                }
                None => connections.unbound[usize::from(address.is_ipv6())].push(position),
            }
            connections.pool.push(Pooled { socket, bound: bound.map(|index| index as u32) });
        }
        Ok(connections)
    }

    /// The pool in order, and for each socket the address that it has already.
    pub fn sockets(&self) -> impl Iterator<Item = (&OwnedFd, Option<u32>)> {
        self.pool.iter().map(|pooled| (&pooled.socket, pooled.bound))
    }

    /// One is free that has, or may get, the address of the worker's own socket.
    pub fn has_free(&self, socket: u32) -> bool {
        self.locals.get(socket as usize).is_some_and(|local| {
            let unbound = &self.unbound[usize::from(local.address.is_ipv6())];
            !local.idle.is_empty() || local.bound < self.per_address && !unbound.is_empty()
        })
    }

    /// **Output**: a socket that sends from the address of `socket` to `peer` alone. **Cost**: up to two system calls.
    pub fn connect(&mut self, socket: u32, peer: &SocketAddress) -> Result<Connection, Unconnected> {
        let peer = peer.get().ok_or(Unconnected::Refused)?;
        let position = self.take(socket)?;
        match SockRef::from(&self.pool[position].socket).connect(&peer.into()) {
            Ok(()) => Ok(Connection::new(position)),
            Err(_) => {
                self.locals[socket as usize].idle.push(position);
                Err(Unconnected::Refused)
            }
        }
    }

    /// One that has the address, else one that gets it.
    fn take(&mut self, socket: u32) -> Result<usize, Unconnected> {
        if !self.has_free(socket) {
            return Err(Unconnected::NoneFree);
        }
        let local = &mut self.locals[socket as usize];
        if let Some(position) = local.idle.pop() {
            return Ok(position);
        }
        let position = self.unbound[usize::from(local.address.is_ipv6())].pop().ok_or(Unconnected::NoneFree)?;
        // One that cannot be bound is not tried again.
        SockRef::from(&self.pool[position].socket).bind(&local.address.into()).map_err(|_| Unconnected::Refused)?;
        self.pool[position].bound = Some(socket);
        local.bound += 1;
        Ok(position)
    }

    /// The peer is gone, or has another path. **Cost**: a system call.
    pub fn release(&mut self, connection: Connection) {
        let position = connection.position();
        let pooled = &self.pool[position];
        let Some(local) = pooled.bound.and_then(|socket| self.locals.get_mut(socket as usize)) else { return };
        assert!(!local.idle.contains(&position), "released twice");
        let mut nowhere = local.address;
        nowhere.set_port(DISCARD_PORT);
        // If that fails it stays the old peer's, which is as good: whatever comes from there is received.
        let _ = SockRef::from(&pooled.socket).connect(&nowhere.into());
        local.idle.push(position);
    }
}

fn local_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    let address = SockRef::from(socket).local_addr()?;
    address.as_socket().ok_or_else(|| io::ErrorKind::InvalidInput.into())
}
