//! The uring port over loopback sockets of the kernel's choice.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

use engine_base::Drop as DropReason;
use engine_io::socket::{BindRequest, bind};
use engine_io::{Outgoing, Port, PortConfig, Sender, UringPort};
use engine_table::SocketAddress;

const SECOND_NS: u64 = 1_000_000_000;

fn eventfd() -> OwnedFd {
    rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK).unwrap()
}

/// One socket on loopback.
fn bound() -> (OwnedFd, SocketAddr) {
    let localhost = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
    let mut bound = bind(&BindRequest::new(&localhost, 0, 1)).unwrap();
    (bound.workers[0].remove(0), bound.addresses[0])
}

fn port_with(change: impl FnOnce(&mut PortConfig)) -> (UringPort, SocketAddr) {
    let (socket, address) = bound();
    let mut config = PortConfig::new(vec![socket], None);
    change(&mut config);
    let mut port = UringPort::new(config).unwrap();
    port.start(Vec::new()).unwrap();
    (port, address)
}

fn send(port: &mut UringPort, destination: SocketAddr, bytes: &[u8], segment_bytes: u16) {
    let sender = port.sender();
    let mut slot = sender.reserve().unwrap();
    sender.bytes(&mut slot)[..bytes.len()].copy_from_slice(bytes);
    let destination = SocketAddress::new(destination);
    sender.commit(slot, Outgoing { socket: 0, destination, bytes: bytes.len() as u32, segment_bytes });
}

fn sleep(port: &mut UringPort, timeout_ns: u64) {
    port.wait(&AtomicU64::new(0), Some(timeout_ns), || false);
}

fn client() -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    client
}

/// Turns until `done`, with a deadline.
fn turns(port: &mut UringPort, mut each: impl FnMut(&mut UringPort) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !each(port) {
        assert!(Instant::now() < deadline, "timed out: {port:?} {:?}", port.counters());
        sleep(port, SECOND_NS / 10);
    }
}

#[test]
fn every_datagram_is_echoed_though_buffers_and_slots_are_few() {
    let (mut port, address) = port_with(|config| {
        config.receive_buffers = 64;
        config.send_slots = 16;
    });
    let client = client();
    let source = SocketAddress::new(client.local_addr().unwrap());
    const TOTAL: u32 = 4_000;
    // 80 × 2,304 B fit into the client's default receive buffer.
    const ROUND: u32 = 80;
    let mut echoed = 0;
    for first in (0..TOTAL).step_by(ROUND as usize) {
        for number in first..first + ROUND {
            let mut bytes = vec![number as u8; number as usize % 1_400 + 4];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            client.send_to(&bytes, address).unwrap();
        }
        let goal = first + ROUND;
        turns(&mut port, |port| {
            port.receive(32);
            let (batch, sender) = port.split();
            for index in 0..batch.len() {
                let datagram = batch.get(index).unwrap();
                assert_eq!((datagram.source, datagram.socket), (source, 0));
                assert_eq!(datagram.bytes[..4], u32::to_be_bytes(echoed));
                assert_eq!(datagram.bytes.len(), echoed as usize % 1_400 + 4);
                datagram.bytes[0] ^= 0x80;
                let mut slot = sender.reserve().unwrap();
                sender.bytes(&mut slot)[..datagram.bytes.len()].copy_from_slice(datagram.bytes);
                let bytes = datagram.bytes.len() as u32;
                sender.commit(slot, Outgoing { socket: 0, destination: source, bytes, segment_bytes: 0 });
                echoed += 1;
            }
            echoed == goal
        });
        port.sender().flush();
        for number in first..goal {
            let mut buffer = [0; 2_048];
            let (bytes, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!((bytes, from), (number as usize % 1_400 + 4, address));
            assert_eq!(buffer[..4], (number | 0x8000_0000).to_be_bytes());
        }
    }
    let counters = port.counters();
    assert_eq!((counters.received, counters.truncated, counters.send_failures), (u64::from(TOTAL), 0, 0));
    assert!(counters.no_buffers > 0, "80 datagrams were more than 64 buffers");
}

#[test]
fn a_turn_goes_on_after_the_kernels_pass_of_32() {
    let (mut port, address) = port_with(|_| {});
    let client = client();
    for _ in 0..500 {
        client.send_to(b"datagram", address).unwrap();
    }
    sleep(&mut port, SECOND_NS);
    assert_eq!(port.receive(256), 256);
    assert_eq!(port.receive(256), 244);
    assert_eq!(port.receive(256), 0);
}

#[test]
fn a_train_is_cut_into_its_segments() {
    let (mut port, _) = port_with(|config| config.send_slot_bytes = 65_536);
    let client = client();
    let bytes: Vec<u8> = (0..9 * 1_200 + 100).map(|i| (i / 1_200) as u8).collect();
    send(&mut port, client.local_addr().unwrap(), &bytes, 1_200);
    port.sender().flush();
    for segment in bytes.chunks(1_200) {
        let mut buffer = [0; 2_048];
        let received = client.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..received], segment);
    }
    assert_eq!(port.sender().poll_failure(), None);
}

#[test]
fn empty_and_oversized_datagrams_do_no_harm() {
    let (mut port, address) = port_with(|_| {});
    let client = client();
    for bytes in [0, 1_537, 9_000, 1_536] {
        client.send_to(&vec![7; bytes], address).unwrap();
    }
    let mut lengths = Vec::new();
    turns(&mut port, |port| {
        for index in 0..port.receive(8) {
            lengths.push(port.split().0.get(index).unwrap().bytes.len());
        }
        lengths.len() == 2
    });
    assert_eq!(lengths, [0, 1_536]);
    assert_eq!(port.counters().truncated, 2);
}

#[test]
fn the_timeout_is_honoured() {
    let (mut port, _) = port_with(|_| {});
    let sleeping = AtomicU64::new(0);
    let start = Instant::now();
    port.wait(&sleeping, Some(20_000_000), || sleeping.load(Ordering::SeqCst) == 0);
    let slept = start.elapsed();
    assert!(slept >= Duration::from_millis(20) && slept < Duration::from_secs(2), "{slept:?}");
    assert_eq!(sleeping.load(Ordering::SeqCst), 0);
    port.wait(&sleeping, None, || true);
    port.wait(&sleeping, Some(0), || false);
}

#[test]
fn completions_of_sends_do_not_end_a_wait() {
    let (mut port, _) = port_with(|_| {});
    let client = client();
    for _ in 0..300 {
        send(&mut port, client.local_addr().unwrap(), b"x", 0);
    }
    let start = Instant::now();
    sleep(&mut port, 30_000_000);
    assert!(start.elapsed() >= Duration::from_millis(30), "{:?}", start.elapsed());
    assert_eq!(client.recv(&mut [0; 4]).unwrap(), 1);
}

#[test]
fn an_eventfd_wakes_as_often_as_it_is_written() {
    let (socket, _) = bound();
    let wake = eventfd();
    let writer = wake.try_clone().unwrap();
    let mut port = UringPort::new(PortConfig::new(vec![socket], Some(wake))).unwrap();
    port.start(Vec::new()).unwrap();
    let sleeping = Arc::new(AtomicU64::new(0));
    let turn = Arc::new(AtomicU64::new(0));
    let thread = std::thread::spawn({
        let (sleeping, turn) = (sleeping.clone(), turn.clone());
        move || {
            for expected in 0..100 {
                while turn.load(Ordering::SeqCst) != expected || sleeping.load(Ordering::SeqCst) == 0 {
                    std::thread::yield_now();
                }
                rustix::io::write(&writer, &1_u64.to_ne_bytes()).unwrap();
            }
        }
    });
    for expected in 1..=100 {
        let start = Instant::now();
        while port.counters().wakes < expected {
            assert!(start.elapsed() < Duration::from_secs(5), "wake {expected} was lost");
            port.wait(&sleeping, Some(5 * SECOND_NS), || false);
            port.receive(8);
        }
        turn.store(expected, Ordering::SeqCst);
    }
    thread.join().unwrap();
}

/// Two workers pass a number back and forth through shared words; each sleeps until the other wakes it.
#[test]
fn workers_wake_each_other_through_their_rings() {
    const ROUNDS: u64 = 2_000;
    let mut ports: Vec<UringPort> =
        (0..2).map(|_| UringPort::new(PortConfig::new(vec![bound().0], None)).unwrap()).collect();
    let wakers: Vec<Vec<OwnedFd>> = (0..2).map(|_| ports.iter().map(|port| port.waker().unwrap()).collect()).collect();
    let words: Arc<[AtomicU64; 2]> = Arc::new([AtomicU64::new(1), AtomicU64::new(0)]);
    let sleeping: Arc<[AtomicU64; 2]> = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let threads: Vec<_> = ports
        .drain(..)
        .zip(wakers)
        .enumerate()
        .map(|(me, (mut port, wakers))| {
            let (words, sleeping) = (words.clone(), sleeping.clone());
            std::thread::spawn(move || {
                port.start(wakers).unwrap();
                let other = 1 - me;
                let mut seen = 0;
                while seen < ROUNDS {
                    let word = words[me].load(Ordering::SeqCst);
                    if word > seen {
                        seen = word;
                        words[other].store(word + other as u64, Ordering::SeqCst);
                        fence(Ordering::SeqCst);
                        if sleeping[other].load(Ordering::SeqCst) == 1 {
                            port.sender().wake(other as u32);
                            port.sender().wake(other as u32);
                        }
                    }
                    let start = Instant::now();
                    let last = seen >= ROUNDS;
                    port.wait(&sleeping[me], Some(10 * SECOND_NS), || last || words[me].load(Ordering::SeqCst) > seen);
                    assert!(start.elapsed() < Duration::from_secs(5), "worker {me} was not woken at {seen}");
                    port.receive(8);
                }
                (port.counters(), port)
            })
        })
        .collect();
    let ends: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(ends.iter().any(|(counters, _)| counters.wakes > 0));
    assert!(ends.iter().all(|(counters, _)| counters.wakes <= 2 * ROUNDS && counters.wake_failures == 0));
}

#[test]
fn a_wake_after_a_submission_is_a_new_one() {
    let mut ports: Vec<UringPort> =
        (0..2).map(|_| UringPort::new(PortConfig::new(vec![bound().0], None)).unwrap()).collect();
    let wakers = || ports.iter().map(|port| port.waker().unwrap()).collect::<Vec<_>>();
    let (first, second) = (wakers(), wakers());
    let mut woken = ports.pop().unwrap();
    let mut waking = ports.pop().unwrap();
    woken.start(first).unwrap();
    waking.start(second).unwrap();
    let sink = client().local_addr().unwrap();
    waking.sender().wake(1);
    waking.sender().wake(1);
    // More than the submission queue holds, so that the wake above leaves in the middle of the turn.
    for _ in 0..200 {
        send(&mut waking, sink, b"x", 0);
    }
    waking.sender().wake(1);
    waking.sender().flush();
    turns(&mut woken, |port| {
        port.receive(8);
        port.counters().wakes == 2
    });
}

#[test]
fn waking_a_ring_that_has_not_started_is_counted() {
    let other = UringPort::new(PortConfig::new(vec![bound().0], None)).unwrap();
    let mut port = UringPort::new(PortConfig::new(vec![bound().0], None)).unwrap();
    port.start(vec![port.waker().unwrap(), other.waker().unwrap()]).unwrap();
    port.sender().wake(1);
    port.sender().wake(2);
    sleep(&mut port, 1_000_000);
    port.receive(8);
    assert_eq!(port.counters().wake_failures, 2);
}

#[test]
fn a_refused_connected_socket_tells_its_destination_and_goes_on() {
    let (socket, address) = bound();
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let connected = UdpSocket::from(socket.try_clone().unwrap());
    connected.connect(closed).unwrap();
    let mut port = UringPort::new(PortConfig::new(vec![socket], None)).unwrap();
    port.start(Vec::new()).unwrap();
    send(&mut port, closed, b"first is answered by ICMP", 0);
    send(&mut port, closed, b"second takes the error", 0);
    port.sender().flush();
    let failure = port.sender().poll_failure().unwrap();
    assert_eq!((failure.errno, failure.reason()), (libc::ECONNREFUSED, DropReason::SendFailed));
    assert_eq!(failure.outgoing.destination.get(), Some(closed));
    let peer = UdpSocket::bind(closed).unwrap();
    peer.send_to(b"still receiving", address).unwrap();
    turns(&mut port, |port| port.receive(8) == 1);
}

#[test]
fn too_large_and_invalid_sends_are_reported_and_free_their_slots() {
    let (mut port, address) = port_with(|config| {
        config.send_slot_bytes = 65_536;
        config.send_slots = 1;
    });
    for _ in 0..3 {
        send(&mut port, address, &[0; 65_530], 0);
    }
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let sender = port.sender();
    let slot = sender.reserve().unwrap();
    let destination = SocketAddress::new(nowhere);
    sender.commit(slot, Outgoing { socket: 0, destination, bytes: 10, segment_bytes: 5 });
    sender.flush();
    let reasons: Vec<_> = std::iter::from_fn(|| port.sender().poll_failure()).map(|failure| failure.reason()).collect();
    assert_eq!(reasons[0], DropReason::SendTooLarge);
    assert_eq!(port.counters().send_failures, 4);
    assert_eq!(port.counters().send_failures_unseen + reasons.len() as u64, 4);
}

#[test]
fn a_dead_socket_does_not_keep_the_worker_awake() {
    let (socket, _) = bound();
    let mut port = UringPort::new(PortConfig::new(vec![socket, eventfd()], None)).unwrap();
    port.start(Vec::new()).unwrap();
    turns(&mut port, |port| {
        port.receive(8);
        port.counters().receive_errors == 1
    });
    let start = Instant::now();
    sleep(&mut port, 20_000_000);
    assert!(start.elapsed() >= Duration::from_millis(20));
}

#[test]
fn a_port_may_be_dropped_with_datagrams_and_sends_under_way() {
    let running = Arc::new(AtomicBool::new(true));
    let (socket, address) = bound();
    let spammer = std::thread::spawn({
        let running = running.clone();
        move || {
            let client = client();
            while running.load(Ordering::Relaxed) {
                let _ = client.send_to(&[1; 1_000], address);
            }
        }
    });
    for _ in 0..20 {
        let mut config = PortConfig::new(vec![socket.try_clone().unwrap()], None);
        config.receive_buffers = 64;
        let mut port = UringPort::new(config).unwrap();
        port.start(Vec::new()).unwrap();
        sleep(&mut port, SECOND_NS);
        assert!(port.receive(16) > 0);
        send(&mut port, address, b"in the queue", 0);
    }
    running.store(false, Ordering::Relaxed);
    spammer.join().unwrap();
}
