//! What sealing costs: ns per packet for every set of kernels that this processor can run, each packet under another key,
//! the payload read from one cached packet. `cargo bench -p engine-srtp`; wall time is reported, never asserted.
//!
//! The sets take turns and the least of all passes counts, so that the machine's drift meets all of them. What making the
//! jobs costs (header, checks) has a row of its own and is in no other.

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::time::Instant;

use engine_srtp::{Job, Kernels, MasterKey, Profile, ReceiveContext, Sealer, SendContext};

const HEADER: usize = 20;
/// Subscribers of one packet.
const SUBSCRIBERS: usize = 1_008;
/// Packets that are sealed into the same buffers: what a worker sends in a round.
const SLOTS: usize = 32;
/// An odd multiple of 64 B, so that packets spread over the sets of the first-level cache.
const STRIDE: usize = 19 * 64;
/// Passes of each: one takes less than a slice of the scheduler, so the least of them was not interrupted.
const PASSES: usize = 200;

struct Bench {
    kernels: Kernels,
    contexts: Vec<SendContext>,
    sealer: Sealer,
    outs: Vec<u8>,
    index: u64,
}

/// What a pass does.
#[derive(Clone, Copy)]
struct Pass<'a> {
    payload: &'a [u8],
    /// Bytes of the payload that are rewritten.
    prefix: usize,
    batch: usize,
    sealing: bool,
}

impl Bench {
    fn new(kernels: Kernels, profile: Profile) -> Self {
        let contexts = (0..SUBSCRIBERS as u16).map(|number| {
            let mut key = [7; 32];
            key[..2].copy_from_slice(&number.to_be_bytes());
            let master = MasterKey::new(profile, &key[..profile.key_len()], &key[..profile.salt_len()]).unwrap();
            SendContext::with_kernels(&master, kernels).unwrap()
        });
        let (contexts, outs) = (contexts.collect(), vec![0; SLOTS * STRIDE]);
        Self { kernels, contexts, sealer: Sealer::with_kernels(kernels), outs, index: 0 }
    }

    /// One packet to all subscribers. **Output** ns per packet.
    fn pass(&mut self, pass: Pass<'_>) -> f64 {
        self.index += 1;
        let len = HEADER + pass.payload.len() + self.contexts[0].profile().tag_len();
        let start = Instant::now();
        for (number, contexts) in self.contexts.chunks(pass.batch).enumerate() {
            let slot = number * pass.batch % SLOTS;
            let outs = self.outs[slot * STRIDE..].chunks_mut(STRIDE);
            let mut jobs: Vec<_> = contexts
                .iter()
                .zip(outs)
                .map(|(context, out)| job(context, &mut out[..len], pass, self.index))
                .collect();
            if pass.sealing {
                self.sealer.seal(&mut jobs);
            }
            black_box(&mut jobs);
        }
        start.elapsed().as_nanos() as f64 / SUBSCRIBERS as f64
    }
}

fn job<'a>(context: &'a SendContext, out: &'a mut [u8], pass: Pass<'a>, index: u64) -> Job<'a> {
    out[..2].copy_from_slice(&[0x90, 96]);
    out[2..4].copy_from_slice(&(index as u16).to_be_bytes());
    out[12..HEADER].copy_from_slice(&[0xBE, 0xDE, 0, 1, 0x10, 0, 0, 0]);
    Job::new(context, out, HEADER, pass.prefix, &pass.payload[pass.prefix..], 0, index).unwrap()
}

fn least(benches: &mut [Bench], pass: Pass<'_>) -> Vec<f64> {
    let mut least = vec![f64::MAX; benches.len()];
    for _ in 0..PASSES {
        for (bench, least) in benches.iter_mut().zip(&mut least) {
            *least = least.min(bench.pass(pass));
        }
    }
    least
}

fn main() {
    println!(
        "bytes: SendContext {}, ReceiveContext {}, Sealer {}, Job {}",
        size_of::<SendContext>(),
        size_of::<ReceiveContext>(),
        size_of::<Sealer>(),
        size_of::<Job<'_>>()
    );
    for profile in Profile::ALL {
        let mut benches: Vec<_> = Kernels::supported().map(|kernels| Bench::new(kernels, profile)).collect();
        println!("\n{}, ns per packet", profile.name());
        benches.iter().enumerate().for_each(|(column, bench)| println!("  column {}: {}", column + 1, bench.kernels));
        for (len, prefix) in [(1_150, 0), (1_150, 4), (140, 0)] {
            let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
            for batch in [1, 4, 8, 32] {
                let pass = Pass { payload: &payload, prefix, batch, sealing: true };
                let (all, jobs) = (least(&mut benches, pass), least(&mut benches, Pass { sealing: false, ..pass }));
                let figures = all.iter().zip(&jobs).map(|(all, jobs)| format!("{:9.1}", all - jobs));
                let figures = figures.collect::<String>();
                println!("{len:5} B, prefix {prefix}, batches of {batch:2}:{figures}   job {:.1}", jobs[0]);
            }
        }
    }
}
