//! In the steady state no port allocates. One test, because the allocator counts the whole process.
#![allow(unsafe_code)] // a counting allocator

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};

use engine_io::socket::{BindRequest, bind};
use engine_io::{KernelPort, MemoryPort, MmsgPort, Outgoing, Port, PortConfig, Sender, UringPort};
use engine_table::SocketAddress;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is the system allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Answers every datagram.
fn turn(port: &mut impl Port) -> u64 {
    let received = port.receive(64);
    let (batch, sender) = port.split();
    for index in 0..received {
        let datagram = batch.get(index).unwrap();
        let Some(mut slot) = sender.reserve() else { continue };
        sender.bytes(&mut slot)[..datagram.bytes.len()].copy_from_slice(datagram.bytes);
        let outgoing = Outgoing {
            socket: datagram.socket,
            destination: datagram.source,
            bytes: datagram.bytes.len() as u32,
            segment_bytes: 0,
            connection: None,
        };
        sender.commit(slot, outgoing);
    }
    while sender.poll_failure().is_some() {}
    port.wait(&AtomicU64::new(0), Some(1_000_000), || false);
    received as u64
}

fn kernel_port_echoes_itself<P: KernelPort>(datagrams: u64) -> u64 {
    let localhost = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
    let mut bound = bind(&BindRequest::new(&localhost, 0, 1)).unwrap();
    let mut port = P::make(PortConfig::new(vec![bound.workers[0].remove(0)], None)).unwrap();
    port.start(Vec::new()).unwrap();
    // The socket sends to itself, so that each datagram comes back for ever.
    for _ in 0..200 {
        let sender = port.sender();
        let slot = sender.reserve().unwrap();
        let destination = SocketAddress::new(bound.addresses[0]);
        sender.commit(slot, Outgoing { socket: 0, destination, bytes: 1_200, segment_bytes: 0, connection: None });
    }
    let mut received = 0;
    while received < 1_000 {
        received += turn(&mut port);
    }
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let goal = received + datagrams;
    while received < goal {
        received += turn(&mut port);
    }
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    let counters = port.counters();
    assert_eq!((counters.send_failures, counters.truncated), (0, 0));
    allocations
}

fn memory_answers(rounds: u64) -> u64 {
    let client = SocketAddress::new("192.0.2.1:5000".parse().unwrap());
    let mut port = MemoryPort::new(&[SocketAddress::new("192.0.2.2:7882".parse().unwrap())], 64);
    let mut answered = 0;
    let mut round = |port: &mut MemoryPort| {
        for _ in 0..32 {
            port.inject(0, client, &[3; 1_200]);
        }
        turn(port);
        port.drain_sent(|packet| answered += u64::from(packet.remote == client));
    };
    round(&mut port);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..rounds {
        round(&mut port);
    }
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert_eq!(answered, 32 * (rounds + 1));
    allocations
}

#[test]
fn nothing_is_allocated_in_the_steady_state() {
    assert_eq!(kernel_port_echoes_itself::<UringPort>(100_000), 0);
    assert_eq!(kernel_port_echoes_itself::<MmsgPort>(30_000), 0);
    assert_eq!(memory_answers(1_000), 0);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 1, "the canary was not counted");
}
