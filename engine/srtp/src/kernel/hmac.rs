//! HMAC-SHA1 (RFC 2104) from saved states: the key's two blocks are compressed once, so that a packet pays for its own
//! blocks and one more.

use super::sha1::{BLOCK_BYTES, INITIAL, Words, compress, compress_portable};

/// Leftmost bytes of the digest that a kernel hands out; the tag is the first ten of them.
pub(crate) const DIGEST_BYTES: usize = 12;
/// Two sets of 16 lanes.
pub(crate) const LANES_MAX: usize = 32;
/// Rest of the message (at most 63 B), ROC, the bit that ends it and its length: two blocks.
const TAIL_BYTES: usize = 2 * BLOCK_BYTES;
/// Room for the last blocks of a message.
pub(crate) type Tail = [u8; TAIL_BYTES];
const ROC_BYTES: usize = 4;
/// The bit that ends a message, and its length (FIPS 180-4 §5.1.1).
const END_BYTES: usize = 9;
/// An outer message is one key block and a digest of 20 bytes.
const OUTER_BITS: u32 = 8 * (64 + 20);

/// The states after the inner and the outer key block. One cache line, of which 40 B are used: lanes load it as they load
/// a block of a message.
#[repr(C, align(64))]
#[derive(Clone)]
pub(crate) struct HmacKey {
    words: [u32; 16],
}

impl HmacKey {
    pub fn new(key: &[u8; 20]) -> Self {
        let mut words = [0; 16];
        for (pad, place) in [(0x36, 0), (0x5C, 5)] {
            let mut block = [pad; BLOCK_BYTES];
            block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
            let mut state = INITIAL;
            compress_portable(&mut state, &block);
            words[place..place + 5].copy_from_slice(&state);
        }
        Self { words }
    }

    pub fn forget(&mut self) {
        self.words = [0; 16];
        core::hint::black_box(&self.words);
    }

    pub fn inner(&self) -> [u32; 5] {
        let [a, b, c, d, e, ..] = self.words;
        [a, b, c, d, e]
    }

    pub fn outer(&self) -> [u32; 5] {
        let [_, _, _, _, _, a, b, c, d, e, ..] = self.words;
        [a, b, c, d, e]
    }
}

/// What one lane authenticates: `bytes`, then the roll-over counter if there is one (RFC 3711 §4.2).
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    pub key: &'a HmacKey,
    pub bytes: &'a [u8],
    pub roc: Option<[u8; ROC_BYTES]>,
}

impl<'a> Message<'a> {
    pub const NONE: Message<'static> = {
        const KEY: &HmacKey = &HmacKey { words: [0; 16] };
        Message { key: KEY, bytes: &[], roc: None }
    };

    /// Blocks of the inner hash after the key's: what one packet costs.
    pub fn blocks(len: usize) -> usize {
        (len + ROC_BYTES + END_BYTES).div_ceil(BLOCK_BYTES)
    }

    /// Whole blocks where they stand, then one or two that are put together in `tail`.
    pub fn split<'t>(&self, tail: &'t mut Tail) -> Split<'t>
    where
        'a: 't,
    {
        let (whole, rest) = self.bytes.as_chunks::<BLOCK_BYTES>();
        let roc_len = self.roc.map_or(0, |roc| roc.len());
        let end = rest.len() + roc_len;
        let len = if end + END_BYTES <= BLOCK_BYTES { BLOCK_BYTES } else { TAIL_BYTES };
        *tail = [0; TAIL_BYTES];
        tail[..rest.len()].copy_from_slice(rest);
        if let Some(roc) = self.roc {
            tail[rest.len()..end].copy_from_slice(&roc);
        }
        tail[end] = 0x80;
        let bits = 8 * (BLOCK_BYTES + self.bytes.len() + roc_len) as u64;
        tail[len - 8..len].copy_from_slice(&bits.to_be_bytes());
        Split { whole, tail: tail[..len].as_chunks().0 }
    }
}

/// A message in blocks.
#[derive(Clone, Copy)]
pub(crate) struct Split<'a> {
    whole: &'a [[u8; BLOCK_BYTES]],
    tail: &'a [[u8; BLOCK_BYTES]],
}

impl<'a> Split<'a> {
    pub const EMPTY: Self = Self { whole: &[], tail: &[] };

    pub fn len(&self) -> usize {
        self.whole.len() + self.tail.len()
    }

    #[inline(always)]
    pub fn block(&self, at: usize) -> Option<&'a [u8; BLOCK_BYTES]> {
        self.whole.get(at).or_else(|| self.tail.get(at.wrapping_sub(self.whole.len())))
    }
}

/// The block that the outer hash compresses.
pub(crate) fn outer_block(digest: [u32; 5]) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    for (bytes, word) in block.as_chunks_mut::<4>().0.iter_mut().zip(digest) {
        *bytes = word.to_be_bytes();
    }
    block[20] = 0x80;
    block[60..].copy_from_slice(&OUTER_BITS.to_be_bytes());
    block
}

pub(crate) fn digest_bytes(words: [u32; 5]) -> [u8; DIGEST_BYTES] {
    let mut bytes = [0; DIGEST_BYTES];
    for (bytes, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *bytes = word.to_be_bytes();
    }
    bytes
}

/// Vectors whose elements are streams.
pub(crate) trait Lanes: Words {
    const COUNT: usize;
    /// Word `n` of every stream in vector `n`, in the order of memory.
    fn transpose(blocks: &[&[u8; BLOCK_BYTES]]) -> [Self; 16];
    fn swap_bytes(self) -> Self;
    /// Elements of `new` where `active` is all ones, of `self` where it is zero.
    fn replace(self, new: Self, active: Self) -> Self;
    fn from_words(words: &[u32]) -> Self;
    fn to_words(self, words: &mut [u32]);
}

/// `I` sets of lanes, one message each; up to `I · COUNT` messages of any lengths, cheapest if all have as many blocks.
/// A lane without a message hashes zeros that nobody reads, and a lane whose message has ended keeps its state.
///
/// Lengths are public, so branches on them tell nothing.
#[inline(always)]
pub(crate) fn hash_group<V: Lanes, const I: usize>(
    messages: &[Message<'_>],
    tails: &mut [Tail],
    digests: &mut [[u8; DIGEST_BYTES]],
) {
    let mut splits = [Split::EMPTY; LANES_MAX];
    for ((split, tail), message) in splits.iter_mut().zip(tails.iter_mut()).zip(messages) {
        *split = message.split(tail);
    }
    let (mut least, mut most) = (usize::MAX, 0);
    for split in splits.iter().take(messages.len()) {
        (least, most) = (least.min(split.len()), most.max(split.len()));
    }
    let zero = V::splat(0);
    let (mut inner, mut outer) = ([[zero; 5]; I], [[zero; 5]; I]);
    load_keys::<V, I>(messages, &mut inner, &mut outer);
    let mut schedule = [[zero; 16]; I];
    for at in 0..most {
        for set in 0..I {
            load_block(&splits, set * V::COUNT, at, &mut schedule[set]);
        }
        let before = inner;
        compress(&mut inner, &mut schedule);
        if at >= least {
            for set in 0..I {
                keep_ended(&splits, set * V::COUNT, at, &before[set], &mut inner[set]);
            }
        }
    }
    for set in 0..I {
        schedule[set] = [zero; 16];
        schedule[set][..5].copy_from_slice(&inner[set]);
        schedule[set][5] = V::splat(0x8000_0000);
        schedule[set][15] = V::splat(OUTER_BITS);
    }
    compress(&mut outer, &mut schedule);
    for set in 0..I {
        store_digests(&outer[set], &mut digests[set * V::COUNT..][..V::COUNT]);
    }
}

#[inline(always)]
fn load_keys<V: Lanes, const I: usize>(messages: &[Message<'_>], inner: &mut [[V; 5]; I], outer: &mut [[V; 5]; I]) {
    const NOTHING: &[u8; BLOCK_BYTES] = &[0; BLOCK_BYTES];
    for set in 0..I {
        let mut lines = [NOTHING; LANES_MAX];
        for (line, message) in lines.iter_mut().zip(messages.iter().skip(set * V::COUNT)) {
            *line = zerocopy::transmute_ref!(&message.key.words);
        }
        let words = V::transpose(&lines[..V::COUNT]);
        inner[set].copy_from_slice(&words[..5]);
        outer[set].copy_from_slice(&words[5..10]);
    }
}

#[inline(always)]
fn load_block<V: Lanes>(splits: &[Split<'_>; LANES_MAX], first: usize, at: usize, schedule: &mut [V; 16]) {
    const NOTHING: &[u8; BLOCK_BYTES] = &[0; BLOCK_BYTES];
    let mut blocks = [NOTHING; LANES_MAX];
    for (block, split) in blocks.iter_mut().zip(&splits[first..first + V::COUNT]) {
        if let Some(found) = split.block(at) {
            *block = found;
        }
    }
    *schedule = V::transpose(&blocks[..V::COUNT]);
    for word in schedule {
        *word = word.swap_bytes();
    }
}

#[inline(always)]
fn keep_ended<V: Lanes>(splits: &[Split<'_>; LANES_MAX], first: usize, at: usize, before: &[V; 5], state: &mut [V; 5]) {
    let mut active = [0u32; LANES_MAX];
    for (active, split) in active.iter_mut().zip(&splits[first..first + V::COUNT]) {
        *active = if at < split.len() { u32::MAX } else { 0 };
    }
    let active = V::from_words(&active[..V::COUNT]);
    for word in 0..5 {
        state[word] = before[word].replace(state[word], active);
    }
}

#[inline(always)]
fn store_digests<V: Lanes>(state: &[V; 5], digests: &mut [[u8; DIGEST_BYTES]]) {
    let mut words = [[0u32; LANES_MAX]; DIGEST_BYTES / 4];
    for at in 0..DIGEST_BYTES / 4 {
        state[at].to_words(&mut words[at][..V::COUNT]);
    }
    for lane in 0..V::COUNT {
        digests[lane] = digest_bytes([words[0][lane], words[1][lane], words[2][lane], 0, 0]);
    }
}
