//! Two workers on the kernel's ports and loopback sockets, on two threads: a publisher of one, a subscriber of the other.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use engine_base::{Kind, Limits, TimeNs, TransportRef, WallOffset};
use engine_io::{KernelPort, MmsgPort, PortConfig, UringPort, socket};
use engine_srtp::Profile;
use engine_table::{NodeRow, SocketAddress, TransportObserved};
use engine_worker::{Bells, Crew, Regions, Site, Worker};
use zerocopy::FromZeros;

#[path = "turn/peer.rs"]
#[allow(dead_code, reason = "shared with the tests of turns, which use all of it")]
mod peer;
#[path = "turn/stage.rs"]
#[allow(dead_code, reason = "shared with the tests of turns, which use all of it")]
mod stage;

use peer::Peer;
use stage::{NODE_TAG, Stage};

const WORKERS: u32 = 2;
const PACKETS: u16 = 500;

fn now() -> TimeNs {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    TimeNs(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Waits for what another thread does, on its published state.
fn until(what: &str, mut is_done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !is_done() {
        assert!(Instant::now() < end, "{what} in 10 s");
        std::thread::yield_now();
    }
}

struct Engine {
    server: SocketAddr,
    wakes: Vec<OwnedFd>,
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Engine {
    fn start<P: KernelPort>(regions: &Regions) -> Self {
        let bound = socket::bind(&socket::BindRequest::new(&[IpAddr::V4(Ipv4Addr::LOCALHOST)], 0, WORKERS as usize));
        let bound = bound.unwrap();
        let (crew, mailboxes) = Crew::new(regions.engine.limits());
        let (crew, stop) = (Arc::new(crew), Arc::new(AtomicBool::new(false)));
        let eventfd = || rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
        let wakes: Vec<OwnedFd> = (0..WORKERS).map(|_| eventfd()).collect();
        let ports: Vec<P> = bound
            .workers
            .into_iter()
            .zip(&wakes)
            .map(|(sockets, wake)| P::make(PortConfig::new(sockets, Some(wake.try_clone().unwrap()))).unwrap())
            .collect();
        let wakers: Vec<Vec<OwnedFd>> =
            ports.iter().map(|_| ports.iter().map(|port| port.waker().unwrap()).collect()).collect();
        let (ready, started) = channel();
        let threads = (0..)
            .zip(ports)
            .zip(wakers)
            .zip(mailboxes)
            .map(|(((me, mut port), wakers), mailbox)| {
                let (site, stop, ready) = (Site::new(me, regions, crew.clone()).unwrap(), stop.clone(), ready.clone());
                std::thread::spawn(move || {
                    port.start(wakers).unwrap();
                    ready.send(()).unwrap();
                    Worker::with_bells(port, site, Bells::default(), mailbox, now()).run(&stop, now);
                })
            })
            .collect();
        (0..WORKERS).for_each(|_| started.recv().unwrap());
        Self { server: bound.addresses[0], wakes, stop, threads }
    }

    /// What signaling and the courier do after they published something.
    fn wake(&self) {
        for wake in &self.wakes {
            rustix::io::write(wake, &1u64.to_ne_bytes()).unwrap();
        }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

fn client(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

fn observed(regions: &Regions, transport: TransportRef) -> Option<TransportObserved> {
    let (_, row) = regions.engine.transports().read(transport.index)?;
    (row.generation == transport.generation).then_some(row)
}

/// Connects from fresh sockets until the kernel's choice puts the client on `worker`; returns its socket.
fn connect(engine: &Engine, regions: &Regions, peer: &mut Peer, worker: u8) -> UdpSocket {
    loop {
        let socket = client(engine.server);
        peer.address = SocketAddress::new(socket.local_addr().unwrap());
        socket.send(&peer.check(true)).unwrap();
        let mut answer = [0; 2_048];
        let length = socket.recv(&mut answer).unwrap();
        assert!(peer.accepts_answer(&answer[..length]));
        until("nomination", || observed(regions, peer.transport).is_some_and(|row| row.remote == peer.address));
        if observed(regions, peer.transport).unwrap().owner == worker {
            return socket;
        }
    }
}

#[test]
fn media_crosses_two_workers_on_io_uring() {
    media_crosses_two_workers::<UringPort>();
}

#[test]
fn media_crosses_two_workers_without_io_uring() {
    media_crosses_two_workers::<MmsgPort>();
}

fn media_crosses_two_workers<P: KernelPort>() {
    let limits = Limits { workers: WORKERS, transports: 16, ingresses: 8, egresses: 16, datas: 4 };
    // The stage is only used to write rows: its own workers never run again.
    let mut stage = Stage::with_limits(Limits { workers: 1, ..limits });
    let regions = Regions::anonymous(&limits);
    let mut node = NodeRow::new_zeroed();
    (node.wall_offset, node.node_tag, node.address_count) = (WallOffset(1_795_000_000_000_000_000), NODE_TAG, 1);
    regions.holder.node().publish(0, &node);
    stage.regions = regions.clone();
    let engine = Engine::start::<P>(&regions);

    let mut publisher = stage.add_peer(Profile::Aes128CmSha1_80);
    let mut subscriber = stage.add_peer(Profile::AeadAes128Gcm);
    let ingress = stage.add_ingress(&publisher, Kind::Audio, &[(5, 0)]);
    stage.add_egress(&subscriber, ingress, Kind::Audio);
    engine.wake();
    let head = regions.signaling.log().head();
    until("adoption", || regions.engine.all_adopted(head));
    let publishing = connect(&engine, &regions, &mut publisher, 0);
    let subscribing = connect(&engine, &regions, &mut subscriber, 1);
    until("keys", || {
        [&publisher, &subscriber].iter().all(|peer| observed(&regions, peer.transport).unwrap().has_keys == 1)
    });

    let mut received = 0;
    for n in 0..PACKETS {
        publishing.send(&publisher.rtp(Kind::Audio, 5, n, 960 * u32::from(n), &n.to_be_bytes())).unwrap();
        let mut datagram = vec![0; 2_048];
        let length = subscribing.recv(&mut datagram).expect("a forwarded packet");
        datagram.truncate(length);
        for media in subscriber.open(vec![datagram]).media {
            assert_eq!(media.payload, n.to_be_bytes());
            received += 1;
        }
    }
    assert_eq!(received, PACKETS);
    engine.stop();
}
