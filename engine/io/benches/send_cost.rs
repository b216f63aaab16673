//! What a sent datagram costs: sockets by io_uring and by sendmmsg, and AF_XDP beside them, over a veth pair whose far end drops
//! everything, and into a discarding device (ifb). CPU time of this process, user and system, so that a busy machine disturbs
//! little. Run as root: `cargo bench -p engine-io --bench send_cost`.
#![deny(unsafe_code)]

#[allow(dead_code, reason = "shared with the tests of frames, which use all of it")]
#[path = "../tests/af_xdp/namespace.rs"]
mod namespace;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use engine_io::socket::{BindRequest, bind};
use engine_io::{
    KernelPort, MmsgPort, Outgoing, Port, PortConfig, Sender, SocketFacts, UringPort, XdpInterface, XdpPort,
};
use engine_table::SocketAddress;
use namespace::{Namespace, ip};
use rustix::time::{ClockId, clock_gettime};

const NEAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Subscribers, each with its address, as behind one gateway.
const DESTINATIONS: u8 = 200;
/// Subscribers of one flush, as in a worker's round.
const ROUND: u8 = 32;
const PACKETS: u64 = 100_000;

fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn destination(number: u8) -> SocketAddress {
    SocketAddress::new(SocketAddr::from(([10, 79, 0, number + 1], 5_000)))
}

/// Sends one train to each destination.
fn round(port: &mut impl Port, bytes: usize, train: usize) {
    let sender = port.sender();
    for number in 0..DESTINATIONS {
        let slot = sender.reserve().expect("a slot");
        let segment_bytes = if train == 1 { 0 } else { bytes as u16 };
        let outgoing = Outgoing {
            socket: 0,
            destination: destination(number),
            bytes: (bytes * train) as u32,
            segment_bytes,
            connection: None,
        };
        sender.commit(slot, outgoing);
        if number % ROUND == ROUND - 1 {
            sender.flush();
        }
    }
    port.wait(&AtomicU64::new(0), Some(0), || true);
    assert_eq!(port.sender().poll_failure(), None);
}

/// **Output**: CPU ns per datagram.
fn cost(port: &mut impl Port, bytes: usize, train: usize) -> u64 {
    let rounds = PACKETS / (u64::from(DESTINATIONS) * train as u64);
    (0..rounds / 10).for_each(|_| round(port, bytes, train));
    let start = cpu_ns();
    (0..rounds).for_each(|_| round(port, bytes, train));
    (cpu_ns() - start) / (rounds * u64::from(DESTINATIONS) * train as u64)
}

fn config() -> PortConfig {
    let mut bound = bind(&BindRequest::new(&[IpAddr::V4(NEAR)], 0, 1)).expect("a socket");
    PortConfig::new(vec![bound.workers[0].remove(0)], None)
}

fn by_sockets<P: KernelPort>() -> P {
    let mut port = P::make(config()).expect("a port");
    port.start(Vec::new()).expect("a started port");
    port
}

fn by_frames(device: &str) -> XdpPort<UringPort> {
    let config = config();
    let facts: Vec<_> = config.sockets.iter().map(SocketFacts::read).collect();
    let inner = UringPort::make(config).expect("a port");
    let mut port = XdpInterface::open(device, 1).and_then(|mut open| open.attach(0, &facts, inner)).expect("a queue");
    port.start(Vec::new()).expect("a started port");
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut before = u64::MAX;
    // Until a whole round has gone as frames.
    while port.counters().frames.wrapping_sub(before) != u64::from(DESTINATIONS) {
        assert!(Instant::now() < deadline, "destinations are not resolved: {:?}", port.counters());
        before = port.counters().frames;
        round(&mut port, 100, 1);
    }
    port
}

fn measure(device: &'static str) {
    println!("{device}: CPU ns per datagram, trains of 1 / 2 / 4 / 9");
    for bytes in [140, 1_150] {
        let row = |name: &str, costs: [u64; 4]| println!("  {bytes:>5} B  {name:<10} {costs:>6?}");
        let mut uring = by_sockets::<UringPort>();
        let mut mmsg = by_sockets::<MmsgPort>();
        let mut frames = by_frames(device);
        // Alternating, so that a change of the machine's pace meets all of them.
        let mut best = [[u64::MAX; 4]; 3];
        for _ in 0..3 {
            for (at, train) in [1, 2, 4, 9].into_iter().enumerate() {
                best[0][at] = best[0][at].min(cost(&mut uring, bytes, train));
                best[1][at] = best[1][at].min(cost(&mut mmsg, bytes, train));
                best[2][at] = best[2][at].min(cost(&mut frames, bytes, train));
            }
        }
        let [uring, mmsg, frames] = best;
        row("io_uring", uring);
        row("sendmmsg", mmsg);
        row("AF_XDP", frames);
    }
}

fn main() {
    let (near, far) = (Namespace::new(), Namespace::new());
    near.ip(&format!("link add v0 type veth peer name v1 netns /proc/{}/ns/net", far.thread_id()));
    // No forwarding there: what is not addressed to it is dropped after the look-up.
    far.ip("address add 10.77.0.2/24 dev v1");
    far.ip("link set v1 up");
    near.run(|| {
        ip(&format!("address add {NEAR}/24 dev v0"));
        ip("link set v0 up");
        ip("route add 10.79.0.0/16 via 10.77.0.2");
        measure("v0");
        ip("link add ifb0 type ifb");
        ip("link set ifb0 up");
        ip("route replace 10.79.0.0/16 dev ifb0");
        measure("ifb0");
    });
}
