//! AES in counter mode over vectors of blocks: several vectors at a time, since an AES instruction takes longer than one
//! of them can fill.

use super::body::{Body, CHUNK_BYTES, Stage};

pub(crate) const AES_BLOCK: usize = 16;
/// Several AES blocks, or several elements of GHASH's field.
pub(crate) trait Blocks: Copy {
    const COUNT: usize;
    const BYTES: usize = Self::COUNT * AES_BLOCK;
    fn zero() -> Self;
    fn load(bytes: &[u8]) -> Self;
    fn store(self, bytes: &mut [u8]);
    /// The same block everywhere.
    fn broadcast(block: &[u8; AES_BLOCK]) -> Self;
    fn xor(self, other: Self) -> Self;
    fn aes_round(self, key: Self) -> Self;
    fn aes_last_round(self, key: Self) -> Self;
    /// The bytes of each block in the opposite order.
    fn reverse(self) -> Self;
    /// Adds `blocks`, wrapping, to the lowest 32-bit word of each block.
    fn advance(self, blocks: u32) -> Self;
    /// Adds to the lowest 32-bit word of each block its place in the vector.
    fn enumerate(self) -> Self;
}

/// All round keys of AES-128 (11) or AES-256 (15).
pub(crate) type RoundKeys<const R: usize> = [[u8; AES_BLOCK]; R];

/// Encrypts `M` vectors.
#[inline(always)]
pub(crate) fn encrypt<V: Blocks, const M: usize, const R: usize>(keys: &RoundKeys<R>, blocks: &mut [V; M]) {
    let first = V::broadcast(&keys[0]);
    for block in blocks.iter_mut() {
        *block = block.xor(first);
    }
    for key in &keys[1..R - 1] {
        let key = V::broadcast(key);
        for block in blocks.iter_mut() {
            *block = block.aes_round(key);
        }
    }
    let last = V::broadcast(&keys[R - 1]);
    for block in blocks.iter_mut() {
        *block = block.aes_last_round(last);
    }
}

/// The key stream of the next `M` vectors. `counter` is their first counter blocks, bytes reversed; it moves on.
#[inline(always)]
pub(crate) fn keystream<V: Blocks, const M: usize, const R: usize>(keys: &RoundKeys<R>, counter: &mut V) -> [V; M] {
    let mut blocks = [V::zero(); M];
    for (at, block) in blocks.iter_mut().enumerate() {
        *block = counter.advance((at * V::COUNT) as u32).reverse();
    }
    *counter = counter.advance((M * V::COUNT) as u32);
    encrypt(keys, &mut blocks);
    blocks
}

/// The first counter blocks in the order in which they are counted.
#[inline(always)]
pub(crate) fn counters<V: Blocks>(first: &[u8; AES_BLOCK]) -> V {
    V::broadcast(first).reverse().enumerate()
}

/// Encrypts `body` with the key stream that starts at counter block `first`, whose last 32 bits count blocks. `N` vectors
/// are a chunk.
#[inline(always)]
pub(crate) fn crypt<V: Blocks, const N: usize, const R: usize>(
    keys: &RoundKeys<R>,
    first: &[u8; AES_BLOCK],
    body: &mut Body<'_>,
) {
    const { assert!(N * V::BYTES == CHUNK_BYTES && N <= 8) };
    let mut counter = counters::<V>(first);
    let mut stage = [0; CHUNK_BYTES];
    let mut at = 0;
    while body.len() - at >= CHUNK_BYTES {
        let plain = body.plain(at, &mut stage);
        let stream = keystream::<V, N, R>(keys, &mut counter);
        let sealed = body.sealed(at);
        for (number, stream) in stream.iter().enumerate() {
            let place = number * V::BYTES;
            stream.xor(V::load(&plain[place..])).store(&mut sealed[place..]);
        }
        at += CHUNK_BYTES;
    }
    let len = body.len() - at;
    body.stage(at, &mut stage);
    match len.div_ceil(V::BYTES) {
        0 => return,
        1 => crypt_staged::<V, 1, R>(keys, &mut counter, &mut stage),
        2 => crypt_staged::<V, 2, R>(keys, &mut counter, &mut stage),
        3 => crypt_staged::<V, 3, R>(keys, &mut counter, &mut stage),
        4 => crypt_staged::<V, 4, R>(keys, &mut counter, &mut stage),
        5 => crypt_staged::<V, 5, R>(keys, &mut counter, &mut stage),
        6 => crypt_staged::<V, 6, R>(keys, &mut counter, &mut stage),
        7 => crypt_staged::<V, 7, R>(keys, &mut counter, &mut stage),
        _ => crypt_staged::<V, N, R>(keys, &mut counter, &mut stage),
    }
    body.put(at, &stage[..len]);
}

/// Encrypts the first `M` vectors of `stage` in place. (`M` is cut to a chunk for the sake of vectors that need fewer.)
#[inline(always)]
pub(crate) fn crypt_staged<V: Blocks, const M: usize, const R: usize>(
    keys: &RoundKeys<R>,
    counter: &mut V,
    stage: &mut Stage,
) {
    let stream = keystream::<V, M, R>(keys, counter);
    for (number, stream) in stream.iter().take(CHUNK_BYTES / V::BYTES).enumerate() {
        let place = number * V::BYTES;
        stream.xor(V::load(&stage[place..])).store(&mut stage[place..]);
    }
}
