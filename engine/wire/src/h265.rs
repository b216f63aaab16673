//! H.265 payloads (RFC 7798 §4.4): single NAL units, aggregation packets and fragmentation units, all without
//! decoding order numbers (sprop-max-don-diff = 0, what WebRTC sends).

use crate::cursor::Reader;
use crate::error::{Result, WireError};

const HEADER_BYTES: usize = 2;
const AGGREGATION: u8 = 48;
const FRAGMENTATION: u8 = 49;
const VPS: u8 = 32;
const SPS: u8 = 33;
/// BLA, IDR, CRA and their reserved kin (H.265 table 7-1).
const IRAP: core::ops::RangeInclusive<u8> = 16..=23;
/// Sub-layer non-reference pictures have the even types below 16.
const NON_REFERENCE_BELOW: u8 = 16;

/// What an SFU asks of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// A NAL unit begins here: the packet is no continuation.
    pub unit_start: bool,
    /// A video or sequence parameter set begins here: encoders for RTC send them in front of each key frame only.
    pub parameter_sets: bool,
    /// A slice of a random access picture, begun or continued.
    pub irap: bool,
    /// TemporalId of the first unit.
    pub temporal: u8,
    /// Every unit is a picture that no picture of its temporal layer refers to.
    pub discardable: bool,
}

/// **Errors**: `Truncated`; `Malformed` header; `Unsupported` for PACI and reserved types.
pub fn inspect(payload: &[u8]) -> Result<Packet> {
    let mut reader = Reader::new(payload);
    let &[first, second] = reader.array::<HEADER_BYTES>()?;
    let temporal = (second & 7).checked_sub(1).ok_or(WireError::Malformed)?;
    let mut packet = Packet { unit_start: false, parameter_sets: false, irap: false, temporal, discardable: true };
    match first >> 1 & 63 {
        AGGREGATION => {
            while !reader.is_empty() {
                let len = reader.u16()?;
                let &[inner, _] = Reader::new(reader.take(usize::from(len))?).array::<HEADER_BYTES>()?;
                packet.add(inner >> 1 & 63, true);
            }
        }
        FRAGMENTATION => {
            let fragment = reader.u8()?;
            packet.add(fragment & 63, fragment & 0x80 != 0);
        }
        nal_type @ 0..AGGREGATION => packet.add(nal_type, true),
        _ => return Err(WireError::Unsupported),
    }
    Ok(packet)
}

impl Packet {
    fn add(&mut self, nal_type: u8, start: bool) {
        self.unit_start |= start;
        self.parameter_sets |= start && matches!(nal_type, VPS | SPS);
        self.irap |= IRAP.contains(&nal_type);
        self.discardable &= nal_type < NON_REFERENCE_BELOW && nal_type.is_multiple_of(2);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_aggregate_of_parameter_sets_begins_a_key_frame() {
        let packet = inspect(&[48 << 1, 1, 0, 2, 32 << 1, 1, 0, 3, 33 << 1, 1, 9, 0, 2, 34 << 1, 1]).unwrap();
        assert!(packet.unit_start && packet.parameter_sets && !packet.irap && packet.temporal == 0);
    }

    #[test]
    fn fragments_of_an_idr_picture_are_irap() {
        let start = inspect(&[49 << 1, 1, 0x80 | 19, 0xff]).unwrap();
        assert!(start.unit_start && start.irap && !start.parameter_sets);
        let middle = inspect(&[49 << 1, 1, 19, 0xff]).unwrap();
        assert!(!middle.unit_start && middle.irap);
    }

    #[test]
    fn a_non_reference_picture_of_an_upper_layer_is_discardable() {
        let packet = inspect(&[0, 3, 0xff]).unwrap();
        assert_eq!((packet.temporal, packet.discardable), (2, true));
        assert!(!inspect(&[1 << 1, 1, 0xff]).unwrap().discardable);
    }

    #[test]
    fn broken_headers_are_named() {
        assert_eq!(inspect(&[2, 0, 1]).unwrap_err(), WireError::Malformed);
        assert_eq!(inspect(&[50 << 1, 1, 1]).unwrap_err(), WireError::Unsupported);
        assert_eq!(inspect(&[48 << 1, 1, 0, 9, 1]).unwrap_err(), WireError::Truncated);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn arbitrary_bytes_never_panic(first in prop_oneof![Just(96u8), Just(98), any::<u8>()], rest in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut payload = rest;
            payload.insert(0, first);
            inspect(&payload).ok();
        }
    }
}
