//! H.264 payloads (RFC 6184 §5): single NAL units, STAP-A and FU-A. What is inside a slice is not read.

pub mod sps;

use crate::cursor::Reader;
use crate::error::{Result, WireError};

/// NAL unit types (H.264 table 7-1, RFC 6184 table 1).
pub mod nal_type {
    pub const SLICE: u8 = 1;
    pub const IDR_SLICE: u8 = 5;
    pub const SPS: u8 = 7;
    pub const PPS: u8 = 8;
    pub const ACCESS_UNIT_DELIMITER: u8 = 9;
    pub const STAP_A: u8 = 24;
    pub const FU_A: u8 = 28;
}

/// One NAL unit, or the part of one that a FU-A carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NalUnit<'a> {
    pub nal_type: u8,
    /// nal_ref_idc: 0 when nothing depends on the unit.
    pub reference: u8,
    /// False for a FU-A that continues a unit.
    pub start: bool,
    /// Behind the unit's header.
    pub data: &'a [u8],
}

/// What an SFU asks of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// A NAL unit begins here: the packet is no continuation.
    pub unit_start: bool,
    /// A sequence parameter set begins here: browsers and LiveKit's clients send one in front of each key frame only.
    pub sps: Option<NalUnit<'a>>,
    /// A slice of an IDR picture, begun or continued.
    pub idr: bool,
    /// Every unit has nal_ref_idc 0.
    pub discardable: bool,
}

/// **Errors**: `Truncated`; `Unsupported` for the packets of interleaved mode (STAP-B, MTAP, FU-B) and reserved types.
pub fn inspect(payload: &[u8]) -> Result<Packet<'_>> {
    let mut packet = Packet { unit_start: false, sps: None, idr: false, discardable: true };
    let mut reader = Reader::new(payload);
    let header = reader.u8()?;
    match header & 31 {
        1..=23 => packet.add(unit(header, true, reader.rest())),
        nal_type::STAP_A => {
            while !reader.is_empty() {
                let len = reader.u16()?;
                let mut inner = Reader::new(reader.take(usize::from(len))?);
                packet.add(unit(inner.u8()?, true, inner.rest()));
            }
        }
        nal_type::FU_A => {
            let fragment = reader.u8()?;
            packet.add(unit(header & 0xe0 | fragment & 31, fragment & 0x80 != 0, reader.rest()));
        }
        _ => return Err(WireError::Unsupported),
    }
    Ok(packet)
}

const fn unit(header: u8, start: bool, data: &[u8]) -> NalUnit<'_> {
    NalUnit { nal_type: header & 31, reference: header >> 5 & 3, start, data }
}

impl<'a> Packet<'a> {
    fn add(&mut self, unit: NalUnit<'a>) {
        self.unit_start |= unit.start;
        self.idr |= unit.nal_type == nal_type::IDR_SLICE;
        self.discardable &= unit.reference == 0;
        if unit.nal_type == nal_type::SPS && unit.start {
            self.sps = Some(unit);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_stap_a_with_parameter_sets_begins_a_key_frame() {
        let payload = [24, 0, 3, 0x67, 0x42, 0x00, 0, 2, 0x68, 0xce];
        let packet = inspect(&payload).unwrap();
        assert_eq!(packet.sps.unwrap().data, [0x42, 0x00]);
        assert!(packet.unit_start && !packet.idr && !packet.discardable);
    }

    #[test]
    fn fragments_tell_start_and_type() {
        let start = inspect(&[0x7c, 0x85, 0x88]).unwrap();
        assert!(start.unit_start && start.idr);
        let middle = inspect(&[0x7c, 0x05, 0x88]).unwrap();
        assert!(!middle.unit_start && middle.idr);
        let delta = inspect(&[0x1c, 0x81, 0x9a]).unwrap();
        assert!(delta.unit_start && !delta.idr && delta.discardable);
    }

    #[test]
    fn interleaved_packets_are_unsupported() {
        for nal_type in [0, 25, 26, 27, 29, 30, 31] {
            assert_eq!(inspect(&[nal_type, 0, 0]).unwrap_err(), WireError::Unsupported);
        }
        assert_eq!(inspect(&[24, 0, 9, 0x67]).unwrap_err(), WireError::Truncated);
        assert_eq!(inspect(&[24, 0, 0]).unwrap_err(), WireError::Truncated);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn arbitrary_bytes_never_panic(first in prop_oneof![Just(24u8), Just(28), any::<u8>()], rest in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut payload = rest;
            payload.insert(0, first);
            if let Ok(Packet { sps: Some(unit), .. }) = inspect(&payload) {
                sps::size(unit.data).ok();
            }
            sps::size(&payload).ok();
        }
    }
}
