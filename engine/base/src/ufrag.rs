//! The local ICE user fragment: it carries the transport's table index and generation, so that a STUN check finds its row
//! without a map, and a tag of the node, so that a node recognises a foreign session (RFC 8445 §5.3; ice-char alphabet).
//!
//! ```text
//! characters  0..4   4..8        8          9..12     12..16
//!             index  generation  credential node tag  random     base64 digits of 6 bits, 16 in all
//! ```

/// Length of every local user fragment.
pub const UFRAG_BYTES: usize = 16;
/// Length of every local ICE password.
pub const PASSWORD_BYTES: usize = 32;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What a local user fragment says. `index` and `generation` use 24 bits (a generation is compared by its low 24 bits),
/// `credential` 6 (it counts ICE restarts, so it wraps at 64), `node` 18, `random` 24.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalUfrag {
    pub index: u32,
    pub generation: u32,
    pub credential: u8,
    pub node: u32,
    pub random: u32,
}

impl LocalUfrag {
    pub fn encode(self) -> [u8; UFRAG_BYTES] {
        let mut out = [0; UFRAG_BYTES];
        put(&mut out[0..4], self.index);
        put(&mut out[4..8], self.generation);
        put(&mut out[8..9], u32::from(self.credential));
        put(&mut out[9..12], self.node);
        put(&mut out[12..16], self.random);
        out
    }

    /// `None` when `text` was not made by `encode`.
    pub fn decode(text: &[u8]) -> Option<Self> {
        let text: &[u8; UFRAG_BYTES] = text.try_into().ok()?;
        Some(Self {
            index: take(&text[0..4])?,
            generation: take(&text[4..8])?,
            credential: take(&text[8..9])? as u8,
            node: take(&text[9..12])?,
            random: take(&text[12..16])?,
        })
    }
}

/// 32 ice-chars from 24 random bytes.
pub fn password(random: [u8; 24]) -> [u8; PASSWORD_BYTES] {
    let mut out = [0; PASSWORD_BYTES];
    for (three, four) in random.chunks_exact(3).zip(out.chunks_exact_mut(4)) {
        put(four, u32::from_be_bytes([0, three[0], three[1], three[2]]));
    }
    out
}

fn put(out: &mut [u8], value: u32) {
    let digits = out.len();
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = ALPHABET[(value >> (6 * (digits - 1 - i)) & 63) as usize];
    }
}

fn take(text: &[u8]) -> Option<u32> {
    text.iter().try_fold(0, |value, &byte| {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        Some(value << 6 | u32::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_comes_back() {
        let ufrag =
            LocalUfrag { index: 70_000, generation: 0xff_ffff, credential: 63, node: 0x3_ffff, random: 0xabcdef };
        assert_eq!(LocalUfrag::decode(&ufrag.encode()), Some(ufrag));
    }

    #[test]
    fn foreign_text_is_not_ours() {
        assert_eq!(LocalUfrag::decode(b"short"), None);
        assert_eq!(LocalUfrag::decode(b"abcd-efgh-ijklmn"), None);
    }
}
