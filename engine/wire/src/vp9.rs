//! VP9 payload descriptor (RFC 9628 §4.2).
//!
//! ```text
//! |I|P|L|F|B|E|V|Z| always
//! |M| PictureID   | I; 15 bits in two bytes when M
//! | TID |U| SID |D| L
//! |   TL0PICIDX   | L and not F
//! |   P_DIFF    |N| F and P, up to three times
//! | scalability structure … | V
//! ```

use crate::cursor::Reader;
use crate::error::{Result, WireError};

pub const SPATIAL_LAYERS_MAX: usize = 8;
const REFERENCES_MAX: usize = 3;

/// Where a frame stands in the layers of its picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    /// TID: 0–7.
    pub temporal: u8,
    /// U: a receiver may switch up to this temporal layer here.
    pub switching_up: bool,
    /// SID: 0–7.
    pub spatial: u8,
    /// D: predicted from the spatial layer below.
    pub inter_layer: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// I; 7 or 15 bits.
    pub picture_id: Option<u16>,
    pub long_picture_id: bool,
    /// P: predicted from earlier pictures.
    pub inter_picture: bool,
    /// L; without it there is one layer.
    pub layer: Option<Layer>,
    /// F: references are listed instead of a fixed pattern.
    pub flexible: bool,
    /// B: the first packet of a frame, that is of one spatial layer of a picture.
    pub frame_start: bool,
    /// E: the last packet of a frame.
    pub frame_end: bool,
    /// Z: no higher spatial layer of this picture depends on this frame.
    pub not_reference_for_upper: bool,
    pub tl0_picture_index: Option<u8>,
    /// V.
    pub structure: Option<Structure>,
}

/// The parts of a scalability structure that an SFU uses: how many spatial layers, and their sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Structure {
    /// 1–8.
    pub spatial_layers: u8,
    sizes: Option<[(u16, u16); SPATIAL_LAYERS_MAX]>,
}

impl Structure {
    /// Width and height of a spatial layer, when the structure tells.
    pub fn size(&self, spatial: u8) -> Option<(u16, u16)> {
        let index = usize::from(spatial);
        self.sizes.filter(|_| spatial < self.spatial_layers).and_then(|sizes| sizes.get(index).copied())
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let first = reader.u8()?;
        let spatial_layers = (first >> 5) + 1;
        let mut structure = Self { spatial_layers, sizes: None };
        if first & 0x10 != 0 {
            let mut sizes = [(0, 0); SPATIAL_LAYERS_MAX];
            for size in sizes.iter_mut().take(usize::from(spatial_layers)) {
                *size = (reader.u16()?, reader.u16()?);
            }
            structure.sizes = Some(sizes);
        }
        if first & 0x08 != 0 {
            for _ in 0..reader.u8()? {
                let references = reader.u8()? >> 2 & 3;
                reader.take(usize::from(references))?;
            }
        }
        Ok(structure)
    }
}

impl Descriptor {
    /// The descriptor and the VP9 bytes behind it.
    pub fn parse(payload: &[u8]) -> Result<(Self, &[u8])> {
        let mut reader = Reader::new(payload);
        let first = reader.u8()?;
        let bit = |position: u8| first >> position & 1 != 0;
        let mut descriptor = Self {
            inter_picture: bit(6),
            flexible: bit(4),
            frame_start: bit(3),
            frame_end: bit(2),
            not_reference_for_upper: bit(0),
            ..Self::default()
        };
        if bit(7) {
            let high = reader.u8()?;
            descriptor.long_picture_id = high & 0x80 != 0;
            descriptor.picture_id = Some(if descriptor.long_picture_id {
                u16::from_be_bytes([high & 0x7f, reader.u8()?])
            } else {
                u16::from(high)
            });
        }
        if bit(5) {
            let byte = reader.u8()?;
            descriptor.layer = Some(Layer {
                temporal: byte >> 5,
                switching_up: byte & 0x10 != 0,
                spatial: byte >> 1 & 7,
                inter_layer: byte & 1 != 0,
            });
            if !descriptor.flexible {
                descriptor.tl0_picture_index = Some(reader.u8()?);
            }
        }
        if descriptor.flexible && descriptor.inter_picture {
            let mut references = 1;
            while reader.u8()? & 1 != 0 {
                references += 1;
                if references > REFERENCES_MAX {
                    return Err(WireError::Malformed);
                }
            }
        }
        if bit(1) {
            descriptor.structure = Some(Structure::read(&mut reader)?);
        }
        Ok((descriptor, reader.rest()))
    }

    pub fn spatial(&self) -> u8 {
        self.layer.map_or(0, |layer| layer.spatial)
    }

    pub fn temporal(&self) -> u8 {
        self.layer.map_or(0, |layer| layer.temporal)
    }

    /// The packet begins a key picture: nothing before it is needed to decode it.
    pub fn is_key_frame_start(&self) -> bool {
        self.frame_start && !self.inter_picture && self.spatial() == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_picture_with_its_structure_is_read() {
        let payload = [
            0b1010_1010,
            0x92,
            0x34, // I, L, B, V; PictureID 0x1234
            0b0001_0000,
            9,           // TID 0, U, SID 0; TL0PICIDX
            0b0011_1000, // two layers with sizes and a picture group
            0x01,
            0x40,
            0x00,
            0xb4, // 320 × 180
            0x02,
            0x80,
            0x01,
            0x68, // 640 × 360
            2,
            0b0000_0000,
            0b0010_1000,
            1,
            2, // two pictures, the second with two references
            0x55,
        ];
        let (descriptor, frame) = Descriptor::parse(&payload).unwrap();
        assert_eq!(frame, [0x55]);
        assert!(descriptor.is_key_frame_start() && descriptor.long_picture_id);
        assert_eq!((descriptor.picture_id, descriptor.tl0_picture_index), (Some(0x1234), Some(9)));
        let structure = descriptor.structure.unwrap();
        assert_eq!(
            (structure.size(0), structure.size(1), structure.size(2)),
            (Some((320, 180)), Some((640, 360)), None)
        );
    }

    #[test]
    fn upper_layers_of_a_key_picture_do_not_begin_it() {
        let (descriptor, _) = Descriptor::parse(&[0b0010_1000, 0b0000_0011, 0]).unwrap();
        assert_eq!((descriptor.spatial(), descriptor.is_key_frame_start()), (1, false));
    }

    #[test]
    fn flexible_mode_lists_at_most_three_references() {
        let (descriptor, frame) = Descriptor::parse(&[0b0111_0000, 0b0100_0000, 3, 5, 6, 0xaa]).unwrap();
        assert_eq!((descriptor.temporal(), descriptor.tl0_picture_index, frame), (2, None, &[0xaa][..]));
        assert_eq!(Descriptor::parse(&[0b0101_0000, 1, 1, 1, 0]).unwrap_err(), WireError::Malformed);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn arbitrary_bytes_never_panic(payload in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok((descriptor, frame)) = Descriptor::parse(&payload) {
                prop_assert!(payload.ends_with(frame) && frame.len() < payload.len());
                if let Some(structure) = descriptor.structure {
                    prop_assert!((structure.spatial_layers..=255).all(|spatial| structure.size(spatial).is_none()));
                }
            }
        }
    }
}
