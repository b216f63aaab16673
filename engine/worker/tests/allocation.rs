//! A million packets through one worker, and not one allocation: one publisher, twenty subscribers, reports and retransmissions
//! included. A canary shows that an allocation would be counted.
#![allow(unsafe_code)] // a counting allocator can only be written with it

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use engine_base::{Kind, SequenceNumber, Ssrc};
use engine_srtp::Profile;
use engine_table::EgressCounter;
use engine_wire::rtcp::nack;

#[path = "turn/peer.rs"]
#[allow(dead_code, reason = "shared with the tests of turns, which use all of it")]
mod peer;
#[path = "turn/stage.rs"]
#[allow(dead_code, reason = "shared with the tests of turns, which use all of it")]
mod stage;

use stage::{Stage, vp8};

thread_local! {
    static WATCHING: Cell<bool> = const { Cell::new(false) };
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn note() {
    if WATCHING.get() {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
    }
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: as promised by our caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as promised by our caller.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        note();
        // SAFETY: as promised by our caller.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of `run` on this thread.
fn watched(run: impl FnOnce()) -> u64 {
    ALLOCATIONS.set(0);
    WATCHING.set(true);
    run();
    WATCHING.set(false);
    ALLOCATIONS.get()
}

const SUBSCRIBERS: usize = 20;
/// 3 packets a frame, 25 frames a second; 1,000,000 out.
const FRAMES: u32 = 1_000_000 / (SUBSCRIBERS as u32 * 3);
const WARM_UP: u32 = 400;

#[test]
fn a_canary_is_counted() {
    let allocations = watched(|| drop(std::hint::black_box(Box::new(7))));
    assert_eq!(allocations, 1);
}

#[test]
fn a_million_packets_allocate_nothing() {
    let mut stage = Stage::new(1);
    let mut publisher = stage.add_peer(Profile::AeadAes128Gcm);
    stage.connect(0, &mut publisher);
    let ingress = stage.add_ingress(&publisher, Kind::Video, &[(21, 22)]);
    let mut subscribers = Vec::new();
    for n in 0..SUBSCRIBERS {
        let mut subscriber =
            stage.add_peer(if n.is_multiple_of(2) { Profile::AeadAes128Gcm } else { Profile::Aes128CmSha1_80 });
        stage.connect(0, &mut subscriber);
        let (egress, row) = stage.add_egress(&subscriber, ingress, Kind::Video);
        subscribers.push((subscriber, row, egress));
    }
    stage.settle();
    let (mut allocations, mut sent, mut sequence) = (0, 0u64, 0u16);
    // The first own number of the first subscriber, to ask for packets that were sent.
    let mut newest = SequenceNumber(0);
    for frame in 0..FRAMES + WARM_UP {
        for _ in 0..3 {
            let payload = vp8(frame.is_multiple_of(500), frame as u16 & 0x7fff, 1_100);
            let packet = publisher.rtp(Kind::Video, 21, sequence, 3_600 * frame, &payload);
            // A loss now and then, which the worker asks for.
            if frame % 100 != 50 {
                stage.inject(0, &publisher, &packet);
            }
            sequence = sequence.wrapping_add(1);
        }
        if frame % 10 == 9 {
            let (subscriber, row, _) = &mut subscribers[0];
            let mut out = [0; 64];
            let lost = [newest, newest.add(65_533)];
            let length = nack::write(&mut out, Ssrc(1), row.ssrc, &lost).unwrap().bytes;
            let request = subscriber.rtcp(&out[..length]);
            stage.inject(0, subscriber, &request);
        }
        stage.now = stage.now.add_ms(40);
        let (now, worker) = (stage.now, &mut stage.workers[0]);
        let of_turn = watched(|| worker.turn(now));
        if frame >= WARM_UP {
            allocations += of_turn;
        }
        worker.port_mut().drain_sent(|packet| {
            for datagram in packet.segments() {
                sent += 1;
                if packet.remote == subscribers[0].0.address && datagram[8..12] == subscribers[0].1.ssrc.0.to_be_bytes()
                {
                    newest = SequenceNumber(u16::from_be_bytes([datagram[2], datagram[3]]));
                }
            }
        });
    }
    assert!(sent > 1_000_000, "{sent} sent; {:?}", stage.all_drops());
    assert_eq!(allocations, 0);
    let resent = stage.regions.engine.egress_counter(subscribers[0].2.index, EgressCounter::Retransmitted);
    assert!(resent.load(std::sync::atomic::Ordering::Relaxed) > 1_000);
}
