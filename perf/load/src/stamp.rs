//! What a publisher writes at the end of every payload, where no rewriting of codec descriptors reaches it.
//!
//! ```text
//! | filler | "MRSt" | source u32 | counter u64 | sent u64 |    big endian, 24 bytes
//! ```

use engine_base::TimeNs;

pub const STAMP_BYTES: usize = 24;
const MAGIC: [u8; 4] = *b"MRSt";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Which track of the load.
    pub source: u32,
    /// Packets of that track before this one.
    pub counter: u64,
    /// Just before the packet was sealed.
    pub sent: TimeNs,
}

impl Stamp {
    /// Writes over the last [`STAMP_BYTES`] of `payload`; does nothing when it is shorter.
    pub fn write(&self, payload: &mut [u8]) {
        if let Some(tail) = payload.last_chunk_mut::<STAMP_BYTES>() {
            tail[..4].copy_from_slice(&MAGIC);
            tail[4..8].copy_from_slice(&self.source.to_be_bytes());
            tail[8..16].copy_from_slice(&self.counter.to_be_bytes());
            tail[16..].copy_from_slice(&self.sent.0.to_be_bytes());
        }
    }

    pub fn read(payload: &[u8]) -> Option<Self> {
        let tail = payload.last_chunk::<STAMP_BYTES>()?;
        let (magic, rest) = tail.split_first_chunk::<4>()?;
        let (source, rest) = rest.split_first_chunk::<4>()?;
        let (counter, sent) = rest.split_first_chunk::<8>()?;
        (*magic == MAGIC).then_some(Self {
            source: u32::from_be_bytes(*source),
            counter: u64::from_be_bytes(*counter),
            sent: TimeNs(u64::from_be_bytes(*sent.first_chunk()?)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_found_at_the_end_whatever_stands_before_it() {
        let stamp = Stamp { source: 7, counter: u64::MAX - 1, sent: TimeNs(123_456_789_012) };
        for length in STAMP_BYTES..80 {
            let mut payload = vec![0xAA; length];
            stamp.write(&mut payload);
            assert_eq!(Stamp::read(&payload), Some(stamp));
            payload.insert(0, 1);
            assert_eq!(Stamp::read(&payload), Some(stamp));
        }
    }

    #[test]
    fn other_payloads_have_no_stamp() {
        assert_eq!(Stamp::read(&[0; 100]), None);
        assert_eq!(Stamp::read(&MAGIC), None);
        let mut short = [1; STAMP_BYTES - 1];
        Stamp { source: 1, counter: 1, sent: TimeNs(1) }.write(&mut short);
        assert_eq!(short, [1; STAMP_BYTES - 1]);
    }
}
