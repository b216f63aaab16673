//! Goodbye (RFC 3550 §6.6).

use engine_base::Ssrc;

use super::{packet_type, write_message};
use crate::cursor::Reader;
use crate::error::{Result, WireError};

#[derive(Clone, Copy, Debug)]
pub struct Goodbye<'a> {
    sources: &'a [u8],
    /// Empty when none is given.
    pub reason: &'a [u8],
}

impl<'a> Goodbye<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(body);
        let sources = reader.take(usize::from(count) * 4)?;
        let reason = match reader.u8() {
            Ok(len) => reader.take(usize::from(len))?,
            Err(_) => &[],
        };
        Ok(Self { sources, reason })
    }

    pub fn sources(&self) -> impl Iterator<Item = Ssrc> + 'a {
        self.sources.as_chunks::<4>().0.iter().map(|&ssrc| Ssrc(u32::from_be_bytes(ssrc)))
    }
}

/// Writes a goodbye of at most 31 sources and returns its length. An empty `reason` is left out.
pub fn write(out: &mut [u8], sources: &[Ssrc], reason: &[u8]) -> Result<usize> {
    let reason_len = u8::try_from(reason.len()).map_err(|_| WireError::Capacity)?;
    write_message(out, packet_type::GOODBYE, sources.len(), |writer| {
        sources.iter().try_for_each(|ssrc| writer.u32(ssrc.0))?;
        if reason_len != 0 {
            writer.u8(reason_len)?;
            writer.bytes(reason)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::super::{Compound, Rtcp};
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn what_is_written_is_read(
            sources in prop::collection::vec(any::<u32>().prop_map(Ssrc), 0..32),
            reason in prop::collection::vec(any::<u8>(), 0..256),
        ) {
            let mut out = [0; 400];
            let len = write(&mut out, &sources, &reason).unwrap();
            let Some(Ok(Rtcp::Goodbye(bye))) = Compound::new(&out[..len]).next() else { panic!("not a goodbye") };
            prop_assert_eq!(bye.sources().collect::<Vec<_>>(), sources);
            prop_assert_eq!(bye.reason, &reason[..]);
        }
    }
}
