//! Every set of kernels seals, in batches and alone, byte for byte what the crypto library seals; jobs that are not whole
//! are refused.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use engine_srtp::{Job, Kernels, MasterKey, Profile, RTP_INDEX_MAX, Sealer, SendContext, SrtpError};
use proptest::prelude::*;

const FIXED_HEADER: usize = 12;

/// Everything about one packet but the context.
#[derive(Clone, Debug)]
struct Packet {
    context: usize,
    header: Vec<u8>,
    prefix: Vec<u8>,
    payload: Vec<u8>,
    padding: u8,
    index: u64,
}

impl Packet {
    fn plain(&self) -> Vec<u8> {
        let mut padding = vec![0; self.padding.into()];
        if let Some(last) = padding.last_mut() {
            *last = self.padding;
        }
        [&self.header[..], &self.prefix, &self.payload, &padding].concat()
    }

    /// As the caller leaves `out` for a job: what the sealer shall write is filled with rubbish.
    fn out(&self, tag_len: usize) -> Vec<u8> {
        let mut out = [&self.header[..], &self.prefix].concat();
        out.resize(self.plain().len() + tag_len, 0xEE);
        out
    }

    fn sealed_alone(&self, context: &SendContext) -> Vec<u8> {
        let mut packet = self.plain();
        let len = packet.len();
        packet.resize(len + context.profile().tag_len(), 0);
        context.protect_rtp(&mut packet, len, self.index).unwrap();
        packet
    }
}

/// Twelve, of each profile in turn. One seed makes the same keys for every set of kernels.
fn contexts(seed: u64, kernels: Kernels) -> Vec<SendContext> {
    let mut random = Random(seed);
    let masters = (0..12).map(|number| {
        let profile = Profile::ALL[number % 3];
        MasterKey::new(profile, &random.bytes(profile.key_len()), &random.bytes(profile.salt_len())).unwrap()
    });
    masters.map(|master| SendContext::with_kernels(&master, kernels).unwrap()).collect()
}

fn seal(sealer: &mut Sealer, contexts: &[SendContext], packets: &[Packet]) -> Vec<Vec<u8>> {
    let mut outs: Vec<_> =
        packets.iter().map(|packet| packet.out(contexts[packet.context].profile().tag_len())).collect();
    let mut jobs: Vec<_> = packets
        .iter()
        .zip(&mut outs)
        .map(|(packet, out)| {
            let (header, prefix) = (packet.header.len(), packet.prefix.len());
            let context = &contexts[packet.context];
            Job::new(context, out, header, prefix, &packet.payload, packet.padding, packet.index).unwrap()
        })
        .collect();
    sealer.seal(&mut jobs);
    outs
}

prop_compose! {
    fn packets()(
        index in 0..=RTP_INDEX_MAX,
        words in 0..15usize,
        context in 0..12usize,
        len in 0..=1_500usize,
        prefix_len in 0..20usize,
        padding in prop_oneof![Just(0u8), any::<u8>()],
        filling in any::<[u8; 7]>(),
    ) -> Packet {
        let bytes = |len: usize, salt: u8| (0..len).map(|at| filling[at % 7] ^ (at as u8) ^ salt).collect::<Vec<_>>();
        let mut header = bytes(FIXED_HEADER + 4 * words, 0);
        header[0] = 0x80 | words as u8 | if padding == 0 { 0 } else { 0x20 };
        header[2..4].copy_from_slice(&(index as u16).to_be_bytes());
        Packet { context, header, prefix: bytes(prefix_len, 1), payload: bytes(len, 2), padding, index }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_mixed_batch_is_sealed_as_its_packets_alone(seed in any::<u64>(), packets in prop::collection::vec(packets(), 0..40)) {
        let library = contexts(seed, Kernels::LIBRARY);
        let expected: Vec<_> = packets.iter().map(|packet| packet.sealed_alone(&library[packet.context])).collect();
        for kernels in Kernels::supported() {
            let contexts = contexts(seed, kernels);
            let alone = packets.iter().map(|packet| packet.sealed_alone(&contexts[packet.context]));
            prop_assert_eq!(&alone.collect::<Vec<_>>(), &expected, "alone, {}", kernels);
            let sealed = seal(&mut Sealer::with_kernels(kernels), &contexts, &packets);
            prop_assert_eq!(&sealed, &expected, "in a batch, {}", kernels);
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): every seed is good.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 32) as usize % bound
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(len).collect()
    }

    fn packet(&mut self, context: usize, payload_len: usize) -> Packet {
        let index = self.next() & RTP_INDEX_MAX;
        // A fifth has each: padding, a prefix, many CSRCs.
        let padding = if self.below(5) == 0 { self.next() as u8 } else { 0 };
        let prefix_len = if self.below(5) == 0 { self.below(300) } else { 0 };
        let words = if self.below(5) == 0 { self.below(16) } else { 0 };
        let mut header = self.bytes(FIXED_HEADER + 4 * words);
        header[0] = 0x80 | words as u8 | if padding == 0 { 0 } else { 0x20 };
        header[2..4].copy_from_slice(&(index as u16).to_be_bytes());
        if self.below(2) == 0 {
            let extension = self.below(20);
            header[0] |= 0x10;
            header.extend([0xBE, 0xDE, 0, extension as u8]);
            header.extend(self.bytes(4 * extension));
        }
        Packet { context, header, prefix: self.bytes(prefix_len), payload: self.bytes(payload_len), padding, index }
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

/// Every payload length, each profile, random everything else: at least one round, then as long as `SRTP_FUZZ_SECONDS`
/// says. `SRTP_FUZZ_SEED` repeats a run.
#[test]
fn every_payload_length_is_sealed_as_by_the_library() {
    let fresh = || std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
    let seed = variable("SRTP_FUZZ_SEED").unwrap_or_else(fresh);
    println!("SRTP_FUZZ_SEED={seed}");
    let until = Duration::from_secs(variable("SRTP_FUZZ_SECONDS").unwrap_or(0));
    let (start, mut random) = (Instant::now(), Random(seed));
    loop {
        let keys = random.next();
        let library = contexts(keys, Kernels::LIBRARY);
        let mut packets: Vec<_> = (0..3 * 1_501).map(|number| random.packet(number % 12, number / 3)).collect();
        // Half of the batches mix lengths.
        (0..packets.len() / 2).for_each(|at| packets.swap(at, random.below(at + 1)));
        for kernels in Kernels::supported() {
            let contexts = contexts(keys, kernels);
            let mut sealer = Sealer::with_kernels(kernels);
            let mut rest = &packets[..];
            while !rest.is_empty() {
                let (batch, after) = rest.split_at(rest.len().min(1 + random.below(200)));
                rest = after;
                for (packet, sealed) in batch.iter().zip(seal(&mut sealer, &contexts, batch)) {
                    let expected = packet.sealed_alone(&library[packet.context]);
                    assert!(sealed == expected, "{kernels}, SRTP_FUZZ_SEED={seed}: {packet:?}");
                }
            }
        }
        if start.elapsed() >= until {
            break;
        }
    }
}

#[test]
fn a_job_that_is_not_whole_is_refused() {
    let context = &contexts(1, Kernels::LIBRARY)[0];
    let (payload, tag_len) = ([1; 50], context.profile().tag_len());
    let job = |first: u8, index: u64, len: usize, header_len: usize, prefix_len: usize, padding: u8| {
        let mut out = vec![0; len];
        if len >= 4 {
            out[0] = first;
            out[2..4].copy_from_slice(&7u16.to_be_bytes());
        }
        Job::new(context, &mut out, header_len, prefix_len, &payload, padding, index).map(drop)
    };
    let whole = FIXED_HEADER + 3 + payload.len() + tag_len;
    assert_eq!(job(0x80, 7, whole, 12, 3, 0), Ok(()));
    assert_eq!(job(0xA0, 7, whole + 9, 12, 3, 9), Ok(()));
    assert_eq!(job(0x80, 7, whole + 9, 12, 3, 9), Err(SrtpError::Malformed), "padding without the P bit");
    assert_eq!(job(0x80, 8, whole, 12, 3, 0), Err(SrtpError::Malformed), "index of another packet");
    assert_eq!(job(0x40, 7, whole, 12, 3, 0), Err(SrtpError::Malformed), "version 1");
    assert_eq!(job(0x81, 7, whole, 12, 3, 0), Err(SrtpError::Malformed), "header cut short");
    assert_eq!(job(0x80, 7, whole, 14, 1, 0), Err(SrtpError::Malformed), "header too long");
    assert_eq!(job(0x80, 7 | 1 << 48, whole, 12, 3, 0), Err(SrtpError::Capacity), "index space used up");
    for len in [0, 11, 12, whole - 1, whole + 1] {
        assert_eq!(job(0x80, 7, len, 12, 3, 0), Err(SrtpError::Capacity), "{len} bytes of room");
    }
    assert_eq!(job(0x80, 7, whole, 12, usize::MAX, 0), Err(SrtpError::Capacity));
}

#[test]
fn a_batch_may_be_empty_and_as_long_as_the_limit() {
    let contexts = contexts(2, Kernels::detect());
    let packets: Vec<_> = (0..Sealer::JOBS_MAX)
        .map(|number| Packet {
            context: number % contexts.len(),
            header: [&[0x80, 96][..], &(number as u16).to_be_bytes(), &[number as u8; 8]].concat(),
            prefix: Vec::new(),
            payload: vec![number as u8; number % 190],
            padding: 0,
            index: number as u64,
        })
        .collect();
    let mut sealer = Sealer::new();
    sealer.seal(&mut []);
    for (packet, sealed) in packets.iter().zip(seal(&mut sealer, &contexts, &packets)) {
        assert_eq!(sealed, packet.sealed_alone(&contexts[packet.context]));
    }
}
