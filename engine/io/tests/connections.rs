//! Connected sockets of the pool over the loopback, by io_uring.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use engine_io::socket::{self, BindRequest, bind};
use engine_io::{Connection, Outgoing, Port, PortConfig, Sender, Unconnected, UringPort};
use engine_table::SocketAddress;

const LOCALHOST: [IpAddr; 1] = [IpAddr::V4(Ipv4Addr::LOCALHOST)];

struct Stage {
    port: UringPort,
    local: SocketAddr,
}

impl Stage {
    fn new(pool: usize) -> Self {
        let mut bound = bind(&BindRequest::new(&LOCALHOST, 0, 1)).unwrap();
        let pool = socket::pool(&LOCALHOST, 1, pool).unwrap().remove(0);
        Self::over(bound.workers.remove(0), pool, bound.addresses[0])
    }

    fn over(sockets: Vec<OwnedFd>, pool: Vec<OwnedFd>, local: SocketAddr) -> Self {
        let config = PortConfig { pool, pool_per_address: 2, ..PortConfig::new(sockets, None) };
        let mut port = UringPort::new(config).unwrap();
        port.start(Vec::new()).unwrap();
        Self { port, local }
    }

    fn send(&mut self, peer: &UdpSocket, connection: Option<Connection>, bytes: &[u8], segment_bytes: u16) {
        let destination = SocketAddress::new(peer.local_addr().unwrap());
        let sender = self.port.sender();
        let mut slot = sender.reserve().unwrap();
        sender.bytes(&mut slot)[..bytes.len()].copy_from_slice(bytes);
        sender.commit(slot, Outgoing { socket: 0, destination, bytes: bytes.len() as u32, segment_bytes, connection });
        sender.flush();
        assert_eq!(sender.poll_failure(), None);
    }

    fn connect(&mut self, peer: &UdpSocket) -> Result<Connection, Unconnected> {
        self.port.sender().connect(0, &SocketAddress::new(peer.local_addr().unwrap()))
    }

    /// What arrives within a second: bytes, source port, socket.
    fn receive(&mut self) -> Option<(Vec<u8>, u16, u32)> {
        for _ in 0..10 {
            if self.port.receive(16) > 0 {
                let datagram = self.port.split().0.get(0).unwrap();
                return Some((datagram.bytes.to_vec(), datagram.source.port, datagram.socket));
            }
            self.port.wait(&AtomicU64::new(0), Some(100_000_000), || false);
        }
        None
    }
}

fn peer() -> UdpSocket {
    let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    peer
}

fn read(peer: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
    let mut bytes = [0; 2_000];
    let (count, source) = peer.recv_from(&mut bytes).ok()?;
    Some((bytes[..count].to_vec(), source))
}

#[test]
fn a_connected_peer_sees_the_same_address_and_is_heard_as_before() {
    let (mut stage, peer) = (Stage::new(1), peer());
    let connection = stage.connect(&peer).unwrap();
    stage.send(&peer, Some(connection), b"aabbc", 2);
    for expected in [&b"aa"[..], b"bb", b"c"] {
        assert_eq!(read(&peer).unwrap(), (expected.to_vec(), stage.local));
    }
    peer.send_to(b"back", stage.local).unwrap();
    let port = peer.local_addr().unwrap().port();
    assert_eq!(stage.receive().unwrap(), (b"back".to_vec(), port, 0));
}

#[test]
fn strangers_are_heard_beside_a_connected_peer() {
    let (mut stage, known, stranger) = (Stage::new(1), peer(), peer());
    stage.connect(&known).unwrap();
    stranger.send_to(b"hello", stage.local).unwrap();
    assert_eq!(stage.receive().unwrap().0, b"hello");
    stage.send(&stranger, None, b"and you", 0);
    assert_eq!(read(&stranger).unwrap().1, stage.local);
}

#[test]
fn a_socket_given_back_serves_the_next_peer_and_the_former_is_a_stranger_again() {
    let (mut stage, first, second) = (Stage::new(1), peer(), peer());
    let connection = stage.connect(&first).unwrap();
    assert_eq!(stage.connect(&second), Err(Unconnected::NoneFree));
    stage.send(&first, Some(connection), b"1", 0);
    stage.port.sender().disconnect(connection);
    first.send_to(b"still here", stage.local).unwrap();
    assert_eq!(stage.receive().unwrap().0, b"still here");
    let connection = stage.connect(&second).unwrap();
    stage.send(&second, Some(connection), b"2", 0);
    assert_eq!(read(&first).unwrap().0, b"1");
    assert_eq!(read(&second).unwrap().0, b"2");
    second.send_to(b"new", stage.local).unwrap();
    assert_eq!(stage.receive().unwrap().0, b"new");
}

#[test]
fn an_address_has_no_more_connected_sockets_than_allowed() {
    let (mut stage, peers) = (Stage::new(4), [peer(), peer(), peer()]);
    let connected = peers.each_ref().map(|peer| stage.connect(peer).is_ok());
    assert_eq!(connected, [true, true, false]);
}

#[test]
fn what_came_for_a_dead_process_waits_for_its_successor() {
    let mut bound = bind(&BindRequest::new(&LOCALHOST, 0, 1)).unwrap();
    let (own, local) = (bound.workers.remove(0), bound.addresses[0]);
    let pool = socket::pool(&LOCALHOST, 1, 1).unwrap().remove(0);
    let copies = |sockets: &[OwnedFd]| -> Vec<OwnedFd> {
        sockets.iter().map(|socket| socket.as_fd().try_clone_to_owned().unwrap()).collect()
    };
    let peer = peer();
    let mut dead = Stage::over(copies(&own), copies(&pool), local);
    dead.connect(&peer).unwrap();
    drop(dead);
    peer.send_to(b"anybody?", local).unwrap();
    let mut successor = Stage::over(own, pool, local);
    assert_eq!(successor.receive().unwrap().0, b"anybody?");
    let connection = successor.connect(&peer).unwrap();
    successor.send(&peer, Some(connection), b"yes", 0);
    assert_eq!(read(&peer).unwrap(), (b"yes".to_vec(), local));
}

#[test]
fn a_peer_stays_with_its_worker_whatever_is_connected() {
    const WORKERS: usize = 3;
    let bound = bind(&BindRequest::new(&LOCALHOST, 0, WORKERS)).unwrap();
    let local = bound.addresses[0];
    let pools = socket::pool(&LOCALHOST, WORKERS, 6).unwrap();
    let stages = bound.workers.into_iter().zip(pools).map(|(own, pool)| Stage::over(own, pool, local));
    let mut stages: Vec<_> = stages.collect();
    let peers: Vec<_> = (0..24).map(|_| peer()).collect();
    let worker_of = |stages: &mut Vec<Stage>, peer: &UdpSocket| {
        peer.send_to(b"where", local).unwrap();
        let heard = |stage: &mut Stage| {
            (0..20).any(|_| {
                stage.port.wait(&AtomicU64::new(0), Some(1_000_000), || false);
                stage.port.receive(16) > 0
            })
        };
        stages.iter_mut().position(heard).unwrap()
    };
    let before: Vec<_> = peers.iter().map(|peer| worker_of(&mut stages, peer)).collect();
    assert!((0..WORKERS).all(|worker| before.contains(&worker)), "{before:?}");
    for (peer, worker) in peers.iter().zip(&before) {
        let _ = stages[*worker].connect(peer);
    }
    let after: Vec<_> = peers.iter().map(|peer| worker_of(&mut stages, peer)).collect();
    assert_eq!(before, after);
}
