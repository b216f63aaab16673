//! Every set of kernels seals, in batches and alone, byte for byte what the crypto library seals; jobs that are not whole
//! are refused.

#![forbid(unsafe_code)]

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

fn contexts(seed: u8, kernels: Kernels) -> Vec<SendContext> {
    let masters = (0..12u8).map(|number| {
        let profile = Profile::ALL[usize::from(number) % 3];
        let key: Vec<u8> =
            (0..32).map(|at| seed.wrapping_mul(31).wrapping_add(number.wrapping_mul(37)) ^ (at * 5)).collect();
        MasterKey::new(profile, &key[..profile.key_len()], &key[1..=profile.salt_len()]).unwrap()
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
    fn a_mixed_batch_is_sealed_as_its_packets_alone(seed in any::<u8>(), packets in prop::collection::vec(packets(), 0..40)) {
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
