//! The ports over the kernel, on loopback sockets of its choice. What both promise is tested on both; what only rings do, below.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

use engine_base::Drop as DropReason;
use engine_io::socket::{BindRequest, bind};
use engine_io::{KernelPort, MmsgPort, Outgoing, Port, PortConfig, PortCounters, Sender, UringPort};
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

fn port_with<P: KernelPort>(change: impl FnOnce(&mut PortConfig)) -> (P, SocketAddr) {
    let (socket, address) = bound();
    let mut config = PortConfig::new(vec![socket], None);
    change(&mut config);
    let mut port = P::make(config).unwrap();
    port.start(Vec::new()).unwrap();
    (port, address)
}

fn send(port: &mut impl KernelPort, destination: SocketAddr, bytes: &[u8], segment_bytes: u16) {
    let sender = port.sender();
    let mut slot = sender.reserve().unwrap();
    sender.bytes(&mut slot)[..bytes.len()].copy_from_slice(bytes);
    let destination = SocketAddress::new(destination);
    sender
        .commit(slot, Outgoing { socket: 0, destination, bytes: bytes.len() as u32, segment_bytes, connection: None });
}

fn sleep(port: &mut impl KernelPort, timeout_ns: u64) {
    port.wait(&AtomicU64::new(0), Some(timeout_ns), || false);
}

fn client() -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    client
}

/// Turns until `done`, with a deadline.
fn turns<P: KernelPort>(port: &mut P, mut each: impl FnMut(&mut P) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !each(port) {
        assert!(Instant::now() < deadline, "timed out: {:?}", port.counters());
        sleep(port, SECOND_NS / 10);
    }
}

fn every_datagram_is_echoed_though_buffers_and_slots_are_few<P: KernelPort>() {
    echo_everything::<P>();
}

fn echo_everything<P: KernelPort>() -> PortCounters {
    let (mut port, address) = port_with::<P>(|config| {
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
                sender.commit(
                    slot,
                    Outgoing { socket: 0, destination: source, bytes, segment_bytes: 0, connection: None },
                );
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
    counters
}

fn a_turn_goes_on_after_the_kernels_pass_of_32<P: KernelPort>() {
    let (mut port, address) = port_with::<P>(|_| {});
    let client = client();
    for _ in 0..500 {
        client.send_to(b"datagram", address).unwrap();
    }
    sleep(&mut port, SECOND_NS);
    assert_eq!(port.receive(256), 256);
    assert_eq!(port.receive(256), 244);
    assert_eq!(port.receive(256), 0);
}

fn a_train_is_cut_into_its_segments<P: KernelPort>() {
    let (mut port, _) = port_with::<P>(|config| config.send_slot_bytes = 65_536);
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

fn empty_and_oversized_datagrams_do_no_harm<P: KernelPort>() {
    let (mut port, address) = port_with::<P>(|_| {});
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

fn the_timeout_is_honoured<P: KernelPort>() {
    let (mut port, _) = port_with::<P>(|_| {});
    let sleeping = AtomicU64::new(0);
    let start = Instant::now();
    port.wait(&sleeping, Some(20_000_000), || sleeping.load(Ordering::SeqCst) == 0);
    let slept = start.elapsed();
    assert!(slept >= Duration::from_millis(20) && slept < Duration::from_secs(2), "{slept:?}");
    assert_eq!(sleeping.load(Ordering::SeqCst), 0);
    port.wait(&sleeping, None, || true);
    port.wait(&sleeping, Some(0), || false);
}

fn completions_of_sends_do_not_end_a_wait<P: KernelPort>() {
    let (mut port, _) = port_with::<P>(|_| {});
    let client = client();
    for _ in 0..300 {
        send(&mut port, client.local_addr().unwrap(), b"x", 0);
    }
    let start = Instant::now();
    sleep(&mut port, 30_000_000);
    assert!(start.elapsed() >= Duration::from_millis(30), "{:?}", start.elapsed());
    assert_eq!(client.recv(&mut [0; 4]).unwrap(), 1);
}

fn an_eventfd_wakes_as_often_as_it_is_written<P: KernelPort>() {
    let (socket, _) = bound();
    let wake = eventfd();
    let writer = wake.try_clone().unwrap();
    let mut port = P::make(PortConfig::new(vec![socket], Some(wake))).unwrap();
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
fn workers_wake_each_other<P: KernelPort>() {
    const ROUNDS: u64 = 2_000;
    let mut ports: Vec<P> = (0..2).map(|_| P::make(PortConfig::new(vec![bound().0], None)).unwrap()).collect();
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

fn a_refused_connected_socket_tells_its_destination_and_goes_on<P: KernelPort>() {
    let (socket, address) = bound();
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let connected = UdpSocket::from(socket.try_clone().unwrap());
    connected.connect(closed).unwrap();
    let mut port = P::make(PortConfig::new(vec![socket], None)).unwrap();
    port.start(Vec::new()).unwrap();
    send(&mut port, closed, b"first is answered by ICMP", 0);
    port.sender().flush();
    send(&mut port, closed, b"second takes the error", 0);
    port.sender().flush();
    let failure = port.sender().poll_failure().unwrap();
    assert_eq!((failure.errno, failure.reason()), (libc::ECONNREFUSED, DropReason::SendFailed));
    assert_eq!(failure.outgoing.destination.get(), Some(closed));
    let peer = UdpSocket::bind(closed).unwrap();
    peer.send_to(b"still receiving", address).unwrap();
    turns(&mut port, |port| port.receive(8) == 1);
}

fn too_large_and_invalid_sends_are_reported_and_free_their_slots<P: KernelPort>() {
    let (mut port, address) = port_with::<P>(|config| {
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
    sender.commit(slot, Outgoing { socket: 0, destination, bytes: 10, segment_bytes: 5, connection: None });
    sender.flush();
    let reasons: Vec<_> = std::iter::from_fn(|| port.sender().poll_failure()).map(|failure| failure.reason()).collect();
    assert_eq!(reasons[0], DropReason::SendTooLarge);
    assert_eq!(port.counters().send_failures, 4);
    assert_eq!(port.counters().send_failures_unseen + reasons.len() as u64, 4);
}

fn a_dead_socket_does_not_keep_the_worker_awake<P: KernelPort>() {
    let (socket, _) = bound();
    let mut port = P::make(PortConfig::new(vec![socket, eventfd()], None)).unwrap();
    port.start(Vec::new()).unwrap();
    turns(&mut port, |port| {
        port.receive(8);
        port.counters().receive_errors == 1
    });
    let start = Instant::now();
    sleep(&mut port, 20_000_000);
    assert!(start.elapsed() >= Duration::from_millis(20));
}

fn a_port_may_be_dropped_with_datagrams_and_sends_under_way<P: KernelPort>() {
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
        let mut port = P::make(config).unwrap();
        port.start(Vec::new()).unwrap();
        sleep(&mut port, SECOND_NS);
        assert!(port.receive(16) > 0);
        send(&mut port, address, b"in the queue", 0);
    }
    running.store(false, Ordering::Relaxed);
    spammer.join().unwrap();
}

fn a_refused_send_does_not_stop_those_behind_it<P: KernelPort>() {
    let (mut port, _) = port_with::<P>(|_| {});
    let (client, nowhere) = (client(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    for number in 0..30 {
        let destination = if number % 10 == 0 { nowhere } else { client.local_addr().unwrap() };
        send(&mut port, destination, &[number], 0);
    }
    port.sender().flush();
    for number in (0..30).filter(|number| number % 10 != 0) {
        let mut buffer = [0; 8];
        assert_eq!((client.recv(&mut buffer).unwrap(), buffer[0]), (1, number));
    }
    let failures: Vec<_> = std::iter::from_fn(|| port.sender().poll_failure()).collect();
    assert_eq!(failures.len(), 3);
    assert!(failures.iter().all(|failure| failure.errno == libc::EINVAL && failure.reason() == DropReason::SendFailed));
}

fn sends_of_two_sockets_keep_their_order_and_source<P: KernelPort>() {
    let (sockets, addresses): (Vec<_>, Vec<_>) = (0..2).map(|_| bound()).unzip();
    let mut port = P::make(PortConfig::new(sockets, None)).unwrap();
    port.start(Vec::new()).unwrap();
    let client = client();
    let destination = SocketAddress::new(client.local_addr().unwrap());
    // Several calls of 64 messages each.
    for number in 0..200_u32 {
        let sender = port.sender();
        let mut slot = sender.reserve().unwrap();
        sender.bytes(&mut slot)[..4].copy_from_slice(&number.to_be_bytes());
        sender.commit(slot, Outgoing { socket: number % 2, destination, bytes: 4, segment_bytes: 0, connection: None });
    }
    port.sender().flush();
    let mut next = [0, 1];
    for _ in 0..200 {
        let mut buffer = [0; 4];
        let (_, source) = client.recv_from(&mut buffer).unwrap();
        let socket = addresses.iter().position(|address| *address == source).unwrap();
        assert_eq!(u32::from_be_bytes(buffer), next[socket]);
        next[socket] += 2;
    }
}

fn a_flooded_socket_does_not_hold_back_another<P: KernelPort>() {
    let (sockets, addresses): (Vec<_>, Vec<_>) = (0..2).map(|_| bound()).unzip();
    let mut port = P::make(PortConfig::new(sockets, None)).unwrap();
    port.start(Vec::new()).unwrap();
    let client = client();
    (0..500).for_each(|_| assert_eq!(client.send_to(b"flood", addresses[0]).unwrap(), 5));
    client.send_to(b"quiet", addresses[1]).unwrap();
    sleep(&mut port, SECOND_NS);
    let count = port.receive(256);
    let (batch, _) = port.split();
    assert!((0..count).any(|index| batch.get(index).is_some_and(|datagram| datagram.socket == 1)));
}

macro_rules! on_each_port {
    ($($test:ident,)*) => {
        mod io_uring {
            $(#[test] fn $test() { super::$test::<super::UringPort>(); })*
        }
        mod mmsg {
            $(#[test] fn $test() { super::$test::<super::MmsgPort>(); })*
        }
    };
}

on_each_port! {
    every_datagram_is_echoed_though_buffers_and_slots_are_few,
    a_turn_goes_on_after_the_kernels_pass_of_32,
    a_train_is_cut_into_its_segments,
    empty_and_oversized_datagrams_do_no_harm,
    the_timeout_is_honoured,
    completions_of_sends_do_not_end_a_wait,
    an_eventfd_wakes_as_often_as_it_is_written,
    workers_wake_each_other,
    a_refused_connected_socket_tells_its_destination_and_goes_on,
    too_large_and_invalid_sends_are_reported_and_free_their_slots,
    a_dead_socket_does_not_keep_the_worker_awake,
    a_port_may_be_dropped_with_datagrams_and_sends_under_way,
    a_refused_send_does_not_stop_those_behind_it,
    sends_of_two_sockets_keep_their_order_and_source,
    a_flooded_socket_does_not_hold_back_another,
}

#[test]
fn a_ring_counts_when_its_buffers_are_used_up() {
    assert!(echo_everything::<UringPort>().no_buffers > 0, "80 datagrams were more than 64 buffers");
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
