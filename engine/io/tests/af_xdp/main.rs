//! Sending by AF_XDP over a veth pair between two network namespaces, which each test makes for itself and which end with it.
#![deny(unsafe_code)]

mod namespace;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use engine_io::socket::{BindRequest, bind};
use engine_io::{
    KernelPort, MmsgPort, Outgoing, Port, PortConfig, SendFailure, Sender, SocketFacts, UringPort, XdpError,
    XdpInterface, XdpPort,
};
use engine_table::SocketAddress;
use namespace::{Namespace, ip};

const NEAR: &str = "10.77.0.1";
const FAR: &str = "10.77.0.2";
/// Behind the far end.
const BEYOND: &str = "10.78.0.5";
const NEAR_V6: &str = "fd77::1";
const FAR_V6: &str = "fd77::2";
const PATIENCE: Duration = Duration::from_secs(5);

/// The near end with its addresses, and the far one.
fn veth(options: &str) -> (Namespace, Namespace) {
    let (near, far) = (Namespace::new(), Namespace::new());
    near.ip(&format!("link add v0 {options} type veth peer name v1 netns /proc/{}/ns/net", far.thread_id()));
    near.ip("link set lo up");
    for (namespace, device, addresses) in [(&near, "v0", [NEAR, NEAR_V6]), (&far, "v1", [FAR, FAR_V6])] {
        namespace.ip(&format!("address add {}/24 dev {device}", addresses[0]));
        namespace.ip(&format!("address add {}/64 dev {device} nodad", addresses[1]));
        namespace.ip(&format!("link set {device} up"));
    }
    far.ip("link set lo up");
    far.ip(&format!("address add {BEYOND}/32 dev lo"));
    near.ip(&format!("route add {BEYOND}/32 via {FAR}"));
    (near, far)
}

fn socket(ip: &str) -> (OwnedFd, SocketAddr) {
    let ip: [IpAddr; 1] = [ip.parse().unwrap()];
    let mut bound = bind(&BindRequest::new(&ip, 0, 1)).unwrap();
    (bound.workers[0].remove(0), bound.addresses[0])
}

/// A port of one socket at `ip` that sends frames through v0. Called in the near namespace.
fn port<P: KernelPort>(ip: &str) -> (XdpPort<P>, SocketAddr) {
    let (socket, address) = socket(ip);
    let facts = [SocketFacts::read(&socket)];
    let mut interface = XdpInterface::open("v0", 1).unwrap();
    let inner = P::make(PortConfig::new(vec![socket], None)).unwrap();
    let mut port = interface.attach(0, &facts, inner).unwrap();
    port.start(Vec::new()).unwrap();
    assert!(port.has_queue());
    (port, address)
}

fn send(port: &mut impl Port, destination: SocketAddr, bytes: &[u8], segment_bytes: u16) {
    let sender = port.sender();
    let mut slot = sender.reserve().unwrap();
    sender.bytes(&mut slot)[..bytes.len()].copy_from_slice(bytes);
    let destination = SocketAddress::new(destination);
    sender
        .commit(slot, Outgoing { socket: 0, destination, bytes: bytes.len() as u32, segment_bytes, connection: None });
    sender.flush();
}

fn turn(port: &mut impl Port) {
    port.wait(&AtomicU64::new(0), Some(1_000_000), || false);
    port.receive(64);
}

fn failures(port: &mut impl Port) -> Vec<SendFailure> {
    std::iter::from_fn(|| port.sender().poll_failure()).collect()
}

/// A receiver in the far namespace.
fn receiver(far: &Namespace, ip: &'static str) -> UdpSocket {
    far.run(move || {
        let socket = UdpSocket::bind(SocketAddr::new(ip.parse().unwrap(), 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    })
}

/// Sends numbered datagrams until one has gone as a frame; every one must arrive from the port's own address.
fn resolve<P: KernelPort>(port: &mut XdpPort<P>, from: SocketAddr, to: &UdpSocket) {
    let (start, deadline) = (port.counters().frames, Instant::now() + PATIENCE);
    let mut number = 0_u32;
    while port.counters().frames == start {
        assert!(Instant::now() < deadline, "no frame: {:?}", port.counters());
        send(port, to.local_addr().unwrap(), &number.to_be_bytes(), 0);
        let mut buffer = [0; 64];
        let (bytes, source) = to.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..bytes], source), (&number.to_be_bytes()[..], from));
        turn(port);
        number += 1;
    }
    assert_eq!(failures(port), []);
}

fn expect(to: &UdpSocket, from: SocketAddr, bytes: &[u8]) {
    let mut buffer = [0; 4_096];
    let (length, source) = to.recv_from(&mut buffer).unwrap();
    assert_eq!(source, from);
    assert!(buffer[..length] == *bytes, "{length} bytes instead of {}, or others", bytes.len());
}

fn datagrams_of_every_length_arrive<P: KernelPort>(near_ip: &'static str, far_ip: &'static str) {
    let (near, far) = veth("");
    let to = receiver(&far, far_ip);
    near.run(move || {
        let (mut port, from) = port::<P>(near_ip);
        resolve(&mut port, from, &to);
        let before = port.counters().frames;
        // 1,452 B are the longest in a frame with IPv6.
        let lengths = (0..64).chain((64..1_452).step_by(11)).chain([1_451, 1_452]);
        let mut count = 0;
        for length in lengths {
            let bytes: Vec<u8> = (0..length).map(|at| (at * 7 + length) as u8).collect();
            send(&mut port, to.local_addr().unwrap(), &bytes, 0);
            expect(&to, from, &bytes);
            count += 1;
        }
        assert_eq!(port.counters().frames - before, count, "all of them as frames");
        assert_eq!(failures(&mut port), []);
        assert_eq!(port.frames_in_flight(), 0);
    });
}

#[test]
fn datagrams_of_every_length_arrive_by_ipv4() {
    datagrams_of_every_length_arrive::<UringPort>(NEAR, FAR);
}

#[test]
fn datagrams_of_every_length_arrive_by_ipv6() {
    datagrams_of_every_length_arrive::<UringPort>(NEAR_V6, FAR_V6);
}

#[test]
fn datagrams_of_every_length_arrive_beside_the_port_without_io_uring() {
    datagrams_of_every_length_arrive::<MmsgPort>(NEAR, FAR);
}

#[test]
fn a_short_train_becomes_a_frame_per_segment_and_a_long_one_leaves_whole() {
    let (near, far) = veth("");
    let to = receiver(&far, FAR);
    near.run(move || {
        let (mut port, from) = port::<UringPort>(NEAR);
        resolve(&mut port, from, &to);
        for (segment, count, last) in
            [(1_200_usize, 9, 100), (1_200, 3, 100), (140, 20, 140), (140, 1, 140), (1, 3, 1), (1_472, 2, 1_471)]
        {
            let (before, bytes) = (port.counters().frames, (0..segment * (count - 1) + last).map(|at| (at / 31) as u8));
            let bytes: Vec<u8> = bytes.collect();
            send(&mut port, to.local_addr().unwrap(), &bytes, segment as u16);
            bytes.chunks(segment).for_each(|chunk| expect(&to, from, chunk));
            // A veth takes a train whole.
            assert_eq!(port.counters().frames - before, if count > 3 { 0 } else { count as u64 });
        }
        assert_eq!(port.counters().send_failures, 0);
    });
}

#[test]
fn trains_that_leave_by_different_ways_keep_their_order() {
    let (near, far) = veth("");
    let to = receiver(&far, FAR);
    near.run(move || {
        let (mut port, from) = port::<UringPort>(NEAR);
        resolve(&mut port, from, &to);
        let destination = SocketAddress::new(to.local_addr().unwrap());
        let mut expected = Vec::new();
        for (number, datagrams) in (0_u8..).zip([1, 5, 2, 4, 3, 4, 1, 1, 6]) {
            let bytes: Vec<u8> = (0..datagrams).flat_map(|at| [number, at]).collect();
            let sender = port.sender();
            let mut slot = sender.reserve().unwrap();
            sender.bytes(&mut slot)[..bytes.len()].copy_from_slice(&bytes);
            let (bytes_sent, segment_bytes) = (bytes.len() as u32, 2);
            let outgoing = Outgoing { socket: 0, destination, bytes: bytes_sent, segment_bytes, connection: None };
            sender.commit(slot, outgoing);
            expected.extend(bytes.chunks(2).map(<[u8]>::to_vec));
        }
        port.sender().flush();
        expected.iter().for_each(|bytes| expect(&to, from, bytes));
    });
}

#[test]
fn destinations_behind_a_gateway_get_frames() {
    let (near, far) = veth("");
    let to = receiver(&far, BEYOND);
    near.run(move || {
        let (mut port, from) = port::<UringPort>(NEAR);
        resolve(&mut port, from, &to);
    });
}

#[test]
fn destinations_elsewhere_and_long_datagrams_go_by_the_socket() {
    let (near, far) = veth("");
    let to = receiver(&far, FAR);
    near.run(move || {
        let (mut port, from) = port::<UringPort>(NEAR);
        resolve(&mut port, from, &to);
        let before = port.counters().frames;
        let here = UdpSocket::bind((NEAR, 0)).unwrap();
        here.set_read_timeout(Some(PATIENCE)).unwrap();
        for number in 0..20 {
            send(&mut port, here.local_addr().unwrap(), &[number], 0);
            expect(&here, from, &[number]);
            turn(&mut port);
        }
        // Two fragments, made by the kernel.
        let long = vec![5; 1_473];
        send(&mut port, to.local_addr().unwrap(), &long, 0);
        expect(&to, from, &long);
        assert_eq!(port.counters().frames, before);
        send(&mut port, to.local_addr().unwrap(), b"short again", 0);
        expect(&to, from, b"short again");
        assert_eq!(port.counters().frames, before + 1);
    });
}

#[test]
fn a_neighbour_that_moves_is_followed() {
    let (near, far) = veth("");
    let to = receiver(&far, FAR);
    near.run(move || {
        let (mut port, from) = port::<UringPort>(NEAR);
        resolve(&mut port, from, &to);
        far.ip("link set v1 address 02:00:00:00:00:77");
        ip(&format!("neigh replace {FAR} lladdr 02:00:00:00:00:77 dev v0"));
        let deadline = Instant::now() + PATIENCE;
        to.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        // Frames to the old address are lost until the notice has come.
        loop {
            assert!(Instant::now() < deadline, "no frame arrives at the new address");
            let before = port.counters().frames;
            send(&mut port, to.local_addr().unwrap(), b"moved", 0);
            turn(&mut port);
            if to.recv(&mut [0; 64]).is_ok() && port.counters().frames > before {
                break;
            }
        }
    });
}

#[test]
fn an_interface_that_goes_down_and_up_is_followed() {
    let (near, far) = veth("");
    let to = receiver(&far, FAR);
    near.run(move || {
        let (mut port, from) = port::<UringPort>(NEAR);
        resolve(&mut port, from, &to);
        ip("link set v0 down");
        let deadline = Instant::now() + PATIENCE;
        // The socket says why.
        while failures(&mut port).iter().all(|failure| failure.errno != libc::ENETUNREACH) {
            assert!(Instant::now() < deadline, "sends to an interface that is down do not fail");
            send(&mut port, to.local_addr().unwrap(), b"nowhere", 0);
            turn(&mut port);
        }
        ip("link set v0 up");
        let before = port.counters().frames;
        to.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut buffer = [0; 64];
        let mut arrived = false;
        while !arrived || port.counters().frames < before + 10 {
            assert!(Instant::now() < deadline + PATIENCE, "no frames: {:?}", port.counters());
            send(&mut port, to.local_addr().unwrap(), b"up again", 0);
            turn(&mut port);
            failures(&mut port);
            arrived |= to.recv(&mut buffer).is_ok_and(|bytes| buffer[..bytes] == *b"up again");
        }
    });
}

#[test]
fn each_worker_has_its_queue_and_sends_by_sockets_without_one() {
    let queues = |options: &str| {
        let (near, far) = veth(options);
        let to = receiver(&far, FAR);
        near.run(move || {
            let mut interface = XdpInterface::open("v0", 2).unwrap();
            let mut has = [false; 2];
            for (worker, has) in has.iter_mut().enumerate() {
                let (socket, from) = socket(NEAR);
                let facts = [SocketFacts::read(&socket)];
                let inner = UringPort::make(PortConfig::new(vec![socket], None)).unwrap();
                let mut port = interface.attach(worker, &facts, inner).unwrap();
                port.start(Vec::new()).unwrap();
                *has = port.has_queue();
                send(&mut port, to.local_addr().unwrap(), &[worker as u8], 0);
                expect(&to, from, &[worker as u8]);
            }
            has
        })
    };
    assert_eq!(queues(""), [true, false]);
    assert_eq!(queues("numtxqueues 2 numrxqueues 2"), [true, true]);
}

fn refused(attach: impl FnOnce() -> Result<(), XdpError> + Send + 'static) -> String {
    let (near, _far) = veth("");
    let text = near.run(move || attach().unwrap_err().to_string());
    assert!(text.lines().count() == 2 && text.lines().last().unwrap().contains("millrace.xdp_interface"), "{text}");
    text
}

fn attach_one(interface: &str) -> Result<(), XdpError> {
    let (socket, _) = socket(NEAR);
    let facts = [SocketFacts::read(&socket)];
    let inner = UringPort::make(PortConfig::new(vec![socket], None)).unwrap();
    XdpInterface::open(interface, 1)?.attach(0, &facts, inner).map(drop)
}

#[test]
fn what_cannot_serve_is_refused_with_a_remedy() {
    assert!(refused(|| attach_one("none0")).contains("none0"));
    assert!(refused(|| attach_one("lo")).contains("Ethernet"));
    let unprivileged = refused(|| {
        let nobody = rustix::process::Uid::from_raw(65_534);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        attach_one("v0")
    });
    assert!(unprivileged.contains("CAP_NET_RAW"), "{unprivileged}");
}

#[test]
fn a_successor_gets_the_queue_of_a_port_that_was_dropped() {
    let (near, far) = veth("");
    let to = receiver(&far, FAR);
    near.run(move || {
        for _ in 0..3 {
            let (mut port, from) = port::<UringPort>(NEAR);
            resolve(&mut port, from, &to);
        }
    });
}
