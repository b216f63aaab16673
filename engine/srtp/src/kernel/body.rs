//! The part of a packet that is encrypted, with its plain bytes in up to three places. Kernels take it in chunks: a chunk
//! that lies in the payload is read from there, any other is put together on the stack first. So no kernel knows where
//! plain bytes come from, and none of its loops has a branch for it.
//!
//! ```text
//! packet   │ prefix │ room for the payload │ room for padding │
//! payload           └─── read from elsewhere ───┘
//! chunks   │ staged   │ direct   │ direct   │ staged  │
//! ```

/// Plain bytes that are put together at a time.
pub(crate) const CHUNK_BYTES: usize = 256;
pub(crate) type Stage = [u8; CHUNK_BYTES];

pub(crate) struct Body<'a> {
    bytes: &'a mut [u8],
    payload: &'a [u8],
    /// Where the payload belongs in `bytes`.
    prefix: usize,
}

impl<'a> Body<'a> {
    /// Plain bytes that stand in the packet already.
    pub fn in_place(bytes: &'a mut [u8]) -> Self {
        let prefix = bytes.len();
        Self { bytes, payload: &[], prefix }
    }

    /// `bytes` is a prefix that stands there already, room for the payload, and room for padding: what is left, zeros and
    /// their number, at most 255.
    pub fn across(bytes: &'a mut [u8], prefix: usize, payload: &'a [u8]) -> Self {
        Self { bytes, payload, prefix }
    }

    #[inline(always)]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The plain bytes of the chunk at `at`. They must not have been sealed yet.
    #[inline(always)]
    pub fn plain<'s>(&self, at: usize, stage: &'s mut Stage) -> &'s Stage
    where
        'a: 's,
    {
        let payload = self.payload;
        match payload.get(at.wrapping_sub(self.prefix)..).and_then(<[u8]>::first_chunk) {
            Some(plain) => plain,
            None => {
                self.stage(at, stage);
                stage
            }
        }
    }

    /// The place of the chunk at `at`, which is asked for only where there is a whole one.
    #[inline(always)]
    pub fn sealed(&mut self, at: usize) -> &mut Stage {
        self.bytes[at..].first_chunk_mut().unwrap_or_else(|| unreachable!())
    }

    #[inline(always)]
    /// Puts the plain bytes from `at` to the end of `room`, or of the body, at the start of `room`.
    pub fn stage(&self, at: usize, room: &mut [u8]) {
        let len = room.len().min(self.bytes.len() - at);
        let room = &mut room[..len];
        if let Some(payload) = self.payload.get(at.wrapping_sub(self.prefix)..).and_then(|rest| rest.get(..len)) {
            return room.copy_from_slice(payload);
        }
        self.stage_parts(at, room);
    }

    fn stage_parts(&self, at: usize, room: &mut [u8]) {
        let len = room.len();
        let (prefix_end, payload_end) = (self.prefix, self.prefix + self.payload.len());
        // The three parts, cut to what is asked for.
        let prefix_len = prefix_end.saturating_sub(at).min(len);
        let payload_at = at.max(prefix_end);
        let payload_len = payload_end.saturating_sub(payload_at).min(len - prefix_len);
        let (prefix, rest) = room.split_at_mut(prefix_len);
        let (payload, padding) = rest.split_at_mut(payload_len);
        prefix.copy_from_slice(&self.bytes[at..at + prefix_len]);
        if payload_len > 0 {
            payload.copy_from_slice(&self.payload[payload_at - prefix_end..][..payload_len]);
        }
        if !padding.is_empty() {
            padding.fill(0);
            if let (Some(last), true) = (padding.last_mut(), at + len == self.bytes.len()) {
                *last = (self.bytes.len() - payload_end) as u8;
            }
        }
    }

    /// `sealed` goes to `at`.
    #[inline(always)]
    pub fn put(&mut self, at: usize, sealed: &[u8]) {
        self.bytes[at..][..sealed.len()].copy_from_slice(sealed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn every_chunk_reads_the_bytes_of_the_whole() {
        for prefix in [0, 1, 3, 255, 256, 257] {
            for len in (0..600).step_by(7).chain([0, 1, 255, 256, 257, 512]) {
                for padding in [0u8, 1, 40, 255] {
                    check(prefix, len, padding);
                }
            }
        }
    }

    fn check(prefix: usize, len: usize, padding: u8) {
        let payload: Vec<u8> = (0..len).map(|at| at as u8 | 1).collect();
        let mut whole = std::vec![0xAA; prefix];
        whole.extend(&payload);
        whole.resize(prefix + len + usize::from(padding), 0);
        if padding != 0 {
            *whole.last_mut().unwrap() = padding;
        }
        let mut bytes = std::vec![0xAA; whole.len()];
        let body = Body::across(&mut bytes, prefix, &payload);
        let mut at = 0;
        while whole.len() - at >= CHUNK_BYTES {
            let mut stage = [0; CHUNK_BYTES];
            assert_eq!(body.plain(at, &mut stage), &whole[at..][..CHUNK_BYTES], "{prefix} {len} {padding} at {at}");
            at += CHUNK_BYTES;
        }
        let mut rest = [0; CHUNK_BYTES];
        body.stage(at, &mut rest);
        assert_eq!(rest[..whole.len() - at], whole[at..], "{prefix} {len} {padding} at {at}");
    }
}
