//! AES-GCM over vectors of blocks (NIST SP 800-38D), in the POLYVAL form of RFC 8452 appendix A: with every block's bytes
//! reversed and H multiplied by x once, products need no shift, and reduction is two more multiplications.
//!
//! Blocks are hashed in groups: each of a group's blocks is multiplied by its own stored power of H, the products are
//! added, and the sum is reduced once.
//!
//! ```text
//! hashed    additional data │ chunk │ chunk │ … │ rest, lengths       a chunk is what is encrypted at a time
//! groups    └───────── ≤ POWERS blocks ─┘└ … ┘ └ … ┘
//! powers    H^POWERS … H^2 H^1 0 0 0                                  zeros: a vector that hangs over the end of a group
//! ```

use super::body::{Body, CHUNK_BYTES, Stage};
use super::ctr::{AES_BLOCK, Blocks, RoundKeys, counters, crypt_staged, encrypt, keystream};

pub(crate) const TAG_BYTES: usize = 16;
/// Powers of H for RTP: two chunks of 16 blocks between reductions.
pub(crate) const RTP_POWERS: usize = 32;
/// Powers of H for RTCP, whose packets are short and few: what one chunk and the block of lengths need.
pub(crate) const RTCP_POWERS: usize = CHUNK_BLOCKS + 1;
/// What a vector of four may hang over.
pub(crate) const OVERHANG: usize = 3;
pub(crate) const RTP_TABLE: usize = RTP_POWERS + OVERHANG;
pub(crate) const RTCP_TABLE: usize = RTCP_POWERS + OVERHANG;
/// Blocks of a chunk.
const CHUNK_BLOCKS: usize = CHUNK_BYTES / AES_BLOCK;

/// Vectors of field elements.
pub(crate) trait Products: Blocks {
    type One: Element;
    /// Product of the low halves of each block, of the high halves, and the sum of both mixed products.
    fn low(self, other: Self) -> Self;
    fn high(self, other: Self) -> Self;
    fn cross(self, other: Self) -> Self;
    /// The sum of all blocks.
    fn sum(self) -> Self::One;
    /// `block` first, zeros behind.
    fn first(block: Self::One) -> Self;
}

/// One field element.
pub(crate) trait Element: Products<One = Self> {
    fn swap_halves(self) -> Self;
    /// The high half in the low place, zero above.
    fn high_down(self) -> Self;
    /// The low half in the high place, zero below.
    fn low_up(self) -> Self;
}

/// Round keys and powers of H; `P` is their number and [`OVERHANG`].
#[derive(Clone)]
pub(crate) struct GcmKey<const R: usize, const P: usize> {
    pub rounds: RoundKeys<R>,
    powers: [[u8; AES_BLOCK]; P],
}

impl<const R: usize, const P: usize> GcmKey<R, P> {
    #[inline(always)]
    pub fn new<B: Element>(rounds: RoundKeys<R>) -> Self {
        let mut hash = [B::zero()];
        encrypt(&rounds, &mut hash);
        let one = times_x(hash[0].reverse());
        let mut powers = [[0; AES_BLOCK]; P];
        let mut power = one;
        for place in powers[..P - OVERHANG].iter_mut().rev() {
            power.store(place);
            power = reduce(power.low(one), power.cross(one), power.high(one));
        }
        Self { rounds, powers }
    }

    pub fn forget(&mut self) {
        self.rounds = [[0; AES_BLOCK]; R];
        self.powers = [[0; AES_BLOCK]; P];
    }
}

/// x^128 = x^127 + x^126 + x^121 + 1: what a bit that leaves at the top comes back as.
const FIELD: u128 = 0xC200_0000_0000_0000_0000_0000_0000_0001;

/// `mulX_POLYVAL` of RFC 8452 appendix A.
#[inline(always)]
fn times_x<B: Blocks>(element: B) -> B {
    let mut bytes = [0; AES_BLOCK];
    element.store(&mut bytes);
    let value = u128::from_le_bytes(bytes);
    let carried = 0u128.wrapping_sub(value >> 127);
    B::load(&((value << 1) ^ (carried & FIELD)).to_le_bytes())
}

/// Montgomery's reduction of low + cross · 2^64 + high · 2^128: the two low quarters are cancelled one after the other.
#[inline(always)]
fn reduce<B: Element>(low: B, cross: B, high: B) -> B {
    let field = B::broadcast(&0xC200_0000_0000_0000u128.to_le_bytes());
    let low = low.xor(cross.low_up());
    let high = high.xor(cross.high_down());
    let low = low.swap_halves().xor(low.low(field));
    let low = low.swap_halves().xor(low.low(field));
    low.xor(high)
}

struct Ghash<'k, V: Products> {
    powers: &'k [[u8; AES_BLOCK]],
    low: V,
    cross: V,
    high: V,
    /// The last group's result, which is added to the next group's first block.
    carry: V::One,
    /// Blocks until this group's end.
    left: usize,
}

impl<'k, V: Products> Ghash<'k, V> {
    #[inline(always)]
    fn new(powers: &'k [[u8; AES_BLOCK]]) -> Self {
        let zero = V::zero();
        Self { powers, low: zero, cross: zero, high: zero, carry: V::One::zero(), left: 0 }
    }

    /// The powers for the next blocks.
    #[inline(always)]
    fn powers(&self) -> &'k [u8] {
        let powers = self.powers;
        powers[powers.len() - OVERHANG - self.left..].as_flattened()
    }

    #[inline(always)]
    fn add(&mut self, elements: V, powers: V) {
        self.low = self.low.xor(elements.low(powers));
        self.cross = self.cross.xor(elements.cross(powers));
        self.high = self.high.xor(elements.high(powers));
    }

    /// The first vector of a step, with the carry in its first block.
    #[inline(always)]
    fn with_carry(&mut self, elements: V) -> V {
        let carry = core::mem::replace(&mut self.carry, V::One::zero());
        elements.xor(V::first(carry))
    }

    /// Begins a step, and a group where none is open.
    #[inline(always)]
    fn open(&mut self, plan: &Plan) {
        if self.left == 0 {
            self.left = plan.group(self.powers.len() - OVERHANG);
        }
    }

    /// Ends a step of `blocks`, and the group if it was its last.
    #[inline(always)]
    fn close(&mut self, blocks: usize) {
        self.left -= blocks;
        if self.left == 0 {
            self.carry = reduce(self.low.sum(), self.cross.sum(), self.high.sum());
            (self.low, self.cross, self.high) = (V::zero(), V::zero(), V::zero());
        }
    }
}

/// What is still to be hashed, in steps: each block of additional data, each chunk, the tail.
struct Plan {
    aad_blocks: usize,
    chunks: usize,
    tail_blocks: usize,
}

impl Plan {
    /// Blocks of the steps that fit into one group. An empty group has room for a chunk, or for a tail: at most as many
    /// blocks as a chunk and the block of lengths.
    #[inline(always)]
    fn group(&self, limit: usize) -> usize {
        if self.aad_blocks >= limit {
            return limit;
        }
        let chunks = self.chunks.min((limit - self.aad_blocks) / CHUNK_BLOCKS);
        let blocks = self.aad_blocks + chunks * CHUNK_BLOCKS;
        let whole = chunks == self.chunks && blocks + self.tail_blocks <= limit;
        if whole { blocks + self.tail_blocks } else { blocks }
    }
}

/// Encrypts `body` and writes the tag over `aad` and it. `N` vectors make a chunk.
#[inline(always)]
pub(crate) fn seal<V: Products, const N: usize, const R: usize, const P: usize>(
    key: &GcmKey<R, P>,
    nonce: &[u8; 12],
    aad: &[u8],
    body: &mut Body<'_>,
    tag: &mut [u8; TAG_BYTES],
) {
    const { assert!(N * V::BYTES == CHUNK_BYTES && CHUNK_BLOCKS < P - OVERHANG && V::COUNT <= OVERHANG + 1) };
    let mut first = [0; AES_BLOCK];
    first[..12].copy_from_slice(nonce);
    first[15] = 1;
    let mut mask = [V::One::broadcast(&first)];
    encrypt(&key.rounds, &mut mask);
    let mut counter = counters::<V>(&first).advance(1);
    let mut plan = Plan {
        aad_blocks: aad.len().div_ceil(AES_BLOCK),
        chunks: body.len() / CHUNK_BYTES,
        tail_blocks: (body.len() % CHUNK_BYTES).div_ceil(AES_BLOCK) + 1,
    };
    let lengths = (((8 * aad.len() as u128) << 64) | (8 * body.len() as u128)).to_be_bytes();
    let mut hash = Ghash::<V>::new(&key.powers);
    hash_aad(&mut hash, &mut plan, aad);
    seal_chunks::<V, N, R>(&key.rounds, &mut counter, &mut hash, &mut plan, body);
    seal_rest::<V, N, R>(&key.rounds, &mut counter, &mut hash, &plan, body, &lengths);
    hash.carry.reverse().xor(mask[0]).store(tag);
}

#[inline(always)]
fn hash_aad<V: Products>(hash: &mut Ghash<'_, V>, plan: &mut Plan, aad: &[u8]) {
    let (whole, rest) = aad.as_chunks::<AES_BLOCK>();
    for block in whole {
        hash_aad_block(hash, plan, block);
    }
    if !rest.is_empty() {
        let mut block = [0; AES_BLOCK];
        // Headers consist of words; bytes one by one are for anything else.
        let (words, bytes) = rest.as_chunks::<4>();
        let (places, _) = block.as_chunks_mut::<4>();
        places.iter_mut().zip(words).for_each(|(place, word)| *place = *word);
        block[4 * words.len()..].iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
        hash_aad_block(hash, plan, &block);
    }
}

#[inline(always)]
fn hash_aad_block<V: Products>(hash: &mut Ghash<'_, V>, plan: &mut Plan, block: &[u8; AES_BLOCK]) {
    hash.open(plan);
    let elements = hash.with_carry(V::first(V::One::load(block).reverse()));
    hash.add(elements, V::load(hash.powers()));
    hash.close(1);
    plan.aad_blocks -= 1;
}

/// Encrypts all whole chunks, and hashes each while the next is encrypted: both use instructions that take long, on
/// different units.
#[inline(always)]
fn seal_chunks<V: Products, const N: usize, const R: usize>(
    keys: &RoundKeys<R>,
    counter: &mut V,
    hash: &mut Ghash<'_, V>,
    plan: &mut Plan,
    body: &mut Body<'_>,
) {
    if plan.chunks == 0 {
        return;
    }
    let mut stage = [0; CHUNK_BYTES];
    let plain = body.plain(0, &mut stage);
    let stream = keystream::<V, N, R>(keys, counter);
    let mut sealed = body.sealed(0);
    add_stream(&stream, plain, sealed);
    let mut at = CHUNK_BYTES;
    while plan.chunks > 1 {
        hash.open(plan);
        let plain = body.plain(at, &mut stage);
        let stream = keystream_and_hash::<V, N, R>(keys, counter, hash, body.sealed(at - CHUNK_BYTES));
        hash.close(CHUNK_BLOCKS);
        plan.chunks -= 1;
        sealed = body.sealed(at);
        add_stream(&stream, plain, sealed);
        at += CHUNK_BYTES;
    }
    hash.open(plan);
    let powers = hash.powers();
    let powers: &Stage = powers.first_chunk().unwrap_or_else(|| unreachable!());
    for number in 0..N {
        hash_vector(hash, powers, sealed, number);
    }
    hash.close(CHUNK_BLOCKS);
    plan.chunks = 0;
}

#[inline(always)]
fn add_stream<V: Blocks, const N: usize>(stream: &[V; N], plain: &Stage, sealed: &mut Stage) {
    for (number, stream) in stream.iter().enumerate() {
        let place = number * V::BYTES;
        stream.xor(V::load(&plain[place..])).store(&mut sealed[place..]);
    }
}

/// Adds vector `number` of a chunk.
#[inline(always)]
fn hash_vector<V: Products>(hash: &mut Ghash<'_, V>, powers: &Stage, sealed: &Stage, number: usize) {
    let place = number * V::BYTES;
    let mut elements = V::load(&sealed[place..]).reverse();
    if number == 0 {
        elements = hash.with_carry(elements);
    }
    hash.add(elements, V::load(&powers[place..]));
}

/// The key stream of the next chunk; between two rounds a vector of the chunk before is hashed.
#[inline(always)]
fn keystream_and_hash<V: Products, const N: usize, const R: usize>(
    keys: &RoundKeys<R>,
    counter: &mut V,
    hash: &mut Ghash<'_, V>,
    sealed: &Stage,
) -> [V; N] {
    let powers: &Stage = hash.powers().first_chunk().unwrap_or_else(|| unreachable!());
    let first = V::broadcast(&keys[0]);
    let mut blocks = [V::zero(); N];
    for (number, block) in blocks.iter_mut().enumerate() {
        *block = counter.advance((number * V::COUNT) as u32).reverse().xor(first);
    }
    *counter = counter.advance((N * V::COUNT) as u32);
    for round in 1..R - 1 {
        let key = V::broadcast(&keys[round]);
        for block in blocks.iter_mut() {
            *block = block.aes_round(key);
        }
        if round <= N {
            hash_vector(hash, powers, sealed, round - 1);
        }
    }
    let last = V::broadcast(&keys[R - 1]);
    for block in blocks.iter_mut() {
        *block = block.aes_last_round(last);
    }
    blocks
}

/// Zeros what stands behind `len` in its block.
#[inline(always)]
fn cut(stage: &mut Stage, len: usize) {
    if let Some(last) = stage.as_chunks_mut::<AES_BLOCK>().0.get_mut(len / AES_BLOCK) {
        let bits = 8 * (len % AES_BLOCK) as u32;
        *last = (u128::from_le_bytes(*last) & ((1 << bits) - 1)).to_le_bytes();
    }
}

/// Encrypts what is no whole chunk, and hashes it with the block of lengths. What stands behind that block in its vector
/// is multiplied by zero.
#[inline(always)]
fn seal_rest<V: Products, const N: usize, const R: usize>(
    keys: &RoundKeys<R>,
    counter: &mut V,
    hash: &mut Ghash<'_, V>,
    plan: &Plan,
    body: &mut Body<'_>,
    lengths: &[u8; AES_BLOCK],
) {
    let mut tail = [0; CHUNK_BYTES + (OVERHANG + 1) * AES_BLOCK];
    let len = body.len() % CHUNK_BYTES;
    let at = body.len() - len;
    let (stage, _) = tail.split_first_chunk_mut().unwrap_or_else(|| unreachable!());
    if len > 0 {
        body.stage(at, stage);
        match len.div_ceil(V::BYTES) {
            1 => crypt_staged::<V, 1, R>(keys, counter, stage),
            2 => crypt_staged::<V, 2, R>(keys, counter, stage),
            3 => crypt_staged::<V, 3, R>(keys, counter, stage),
            4 => crypt_staged::<V, 4, R>(keys, counter, stage),
            5 => crypt_staged::<V, 5, R>(keys, counter, stage),
            6 => crypt_staged::<V, 6, R>(keys, counter, stage),
            7 => crypt_staged::<V, 7, R>(keys, counter, stage),
            _ => crypt_staged::<V, N, R>(keys, counter, stage),
        }
        body.put(at, &stage[..len]);
        cut(stage, len);
    }
    let end = len.next_multiple_of(AES_BLOCK);
    tail[end..end + AES_BLOCK].copy_from_slice(lengths);
    hash.open(plan);
    let powers = hash.powers();
    let vectors = tail.chunks_exact(V::BYTES).zip(powers.chunks_exact(V::BYTES));
    for (number, (elements, powers)) in vectors.take(plan.tail_blocks.div_ceil(V::COUNT)).enumerate() {
        let mut elements = V::load(elements).reverse();
        if number == 0 {
            elements = hash.with_carry(elements);
        }
        hash.add(elements, V::load(powers));
    }
    hash.close(plan.tail_blocks);
}
