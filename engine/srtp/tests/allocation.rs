//! No packet allocates, in Rust or inside the crypto library: this executable puts a counter before the C library's
//! `malloc`, which both use. (The C library's own calls bypass it; nothing here makes any.)
//!
//! Invariants of the unsafe code:
//! 1. Each function forwards its arguments unchanged to the allocator that it stands before, so what that one promises of
//!    the result and asks of the caller holds here too; `free` is not replaced and takes its pointers.
//! 2. The counter is a constant-initialised thread-local without destructor: counting cannot allocate or re-enter.

#![cfg(target_env = "gnu")]
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::c_void;
use std::hint::black_box;

use engine_srtp::{
    Job, MasterKey, Profile, ReceiveContext, Replay, RtcpWindow, RtpWindow, Sealer, SendContext, SrtpError,
};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

unsafe extern "C" {
    fn __libc_malloc(size: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, size: usize) -> *mut c_void;
    fn __libc_realloc(pointer: *mut c_void, size: usize) -> *mut c_void;
}

fn count() {
    ALLOCATIONS.with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: invariants 1 and 2; the name and signature are those of C11 7.22.3.4.
#[unsafe(no_mangle)]
unsafe extern "C" fn malloc(size: usize) -> *mut c_void {
    count();
    // SAFETY: invariant 1.
    unsafe { __libc_malloc(size) }
}

// SAFETY: invariants 1 and 2; the name and signature are those of C11 7.22.3.2.
#[unsafe(no_mangle)]
unsafe extern "C" fn calloc(items: usize, size: usize) -> *mut c_void {
    count();
    // SAFETY: invariant 1.
    unsafe { __libc_calloc(items, size) }
}

// SAFETY: invariants 1 and 2; the name and signature are those of C11 7.22.3.5.
#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(pointer: *mut c_void, size: usize) -> *mut c_void {
    count();
    // SAFETY: invariant 1.
    unsafe { __libc_realloc(pointer, size) }
}

fn allocations_of(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

struct Pair {
    send: SendContext,
    receive: ReceiveContext,
    sealer: Sealer,
    window: RtpWindow,
    rtcp_window: RtcpWindow,
}

impl Pair {
    fn new(profile: Profile) -> Self {
        let master = MasterKey::new(profile, &[7; 32][..profile.key_len()], &[9; 14][..profile.salt_len()]).unwrap();
        Self {
            send: SendContext::new(&master).unwrap(),
            receive: ReceiveContext::new(&master).unwrap(),
            sealer: Sealer::new(),
            window: RtpWindow::default(),
            rtcp_window: RtcpWindow::default(),
        }
    }

    /// Every per-packet call once, with a packet that opens and one that does not.
    fn exchange(&mut self, index: u64, buffer: &mut [u8; 1600]) {
        let payload = [3u8; 1100];
        for prefix in [0, 4] {
            rtp_header(buffer, index);
            let len = self.send.seal_scatter(buffer, 12, prefix, &payload, index).unwrap();
            let estimate = self.window.estimate(index as u16);
            assert_eq!(
                self.receive.unprotect_rtp(&mut buffer[..len], estimate),
                Ok(len - self.send.profile().tag_len())
            );
            self.window.accept(estimate);
        }
        let tag_len = self.send.profile().tag_len();
        let mut batch = [*buffer; 3];
        let jobs = batch.each_mut().map(|out| {
            rtp_header(out, index);
            let out = &mut out[..12 + payload.len() + tag_len];
            Job::new(&self.send, out, 12, 0, &payload, 0, index).unwrap()
        });
        self.sealer.seal(&mut { jobs });
        rtp_header(buffer, index);
        let len = self.send.protect_rtp(buffer, 1112, index).unwrap();
        buffer[500] ^= 1;
        assert_eq!(self.receive.unprotect_rtp(&mut buffer[..len], index), Err(SrtpError::Auth));

        buffer[..2].copy_from_slice(&[0x80, 0xC9]);
        let len = self.send.protect_rtcp(buffer, 64, index as u32).unwrap();
        let (_, rtcp_index) = self.receive.unprotect_rtcp(&mut buffer[..len]).unwrap();
        assert_eq!(self.rtcp_window.check(rtcp_index), Replay::Fresh);
        self.rtcp_window.accept(rtcp_index);
    }
}

fn rtp_header(buffer: &mut [u8; 1600], index: u64) {
    buffer[..2].copy_from_slice(&[0x80, 0x60]);
    buffer[2..4].copy_from_slice(&(index as u16).to_be_bytes());
}

#[test]
fn the_counter_sees_rust_and_the_crypto_library() {
    assert_eq!(allocations_of(|| drop(black_box(Box::new(1u64)))), 1);
    let gcm = allocations_of(|| drop(black_box(Pair::new(Profile::AeadAes128Gcm))));
    assert!(gcm >= 4, "four GCM keys are boxed by the library, {gcm} allocations seen");
}

#[test]
fn no_packet_allocates() {
    for profile in Profile::ALL {
        let mut pair = Pair::new(profile);
        let mut buffer = [0u8; 1600];
        let allocations = allocations_of(|| (0..2_000).for_each(|index| pair.exchange(index, &mut buffer)));
        assert_eq!(allocations, 0, "{profile:?}");
    }
}
