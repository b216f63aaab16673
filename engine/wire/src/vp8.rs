//! VP8 payload descriptor (RFC 7741 §4.2) and the start of a VP8 frame (§4.3).
//!
//! ```text
//! |X|R|N|S|R| PID | always
//! |I|L|T|K|  RSV  | X
//! |M| PictureID   | I; 15 bits in two bytes when M
//! |   TL0PICIDX   | L
//! |TID|Y| KEYIDX  | T or K
//! ```

use crate::cursor::{Reader, Writer};
use crate::error::Result;

/// Longest descriptor.
pub const DESCRIPTOR_BYTES_MAX: usize = 6;

/// Which temporal layer a frame belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Temporal {
    /// TID: 0–3.
    pub layer: u8,
    /// Y: the frame depends on layer 0 only, so a receiver may switch up here.
    pub sync: bool,
}

/// A picture id with its width on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureId {
    Short(u8),
    Long(u16),
}

impl PictureId {
    pub const fn value(self) -> u16 {
        match self {
            Self::Short(id) => id as u16,
            Self::Long(id) => id,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// N: no other frame depends on this one.
    pub non_reference: bool,
    /// S: the first packet of a partition.
    pub partition_start: bool,
    /// PID: 0–7.
    pub partition: u8,
    pub picture_id: Option<PictureId>,
    pub tl0_picture_index: Option<u8>,
    pub temporal: Option<Temporal>,
    /// KEYIDX: 5 bits.
    pub key_index: Option<u8>,
}

impl Descriptor {
    /// The descriptor and the VP8 bytes behind it.
    pub fn parse(payload: &[u8]) -> Result<(Self, &[u8])> {
        let mut reader = Reader::new(payload);
        let first = reader.u8()?;
        let mut descriptor = Self {
            non_reference: first & 0x20 != 0,
            partition_start: first & 0x10 != 0,
            partition: first & 7,
            ..Self::default()
        };
        let extension = if first & 0x80 != 0 { reader.u8()? } else { 0 };
        if extension & 0x80 != 0 {
            let high = reader.u8()?;
            descriptor.picture_id = Some(if high & 0x80 != 0 {
                PictureId::Long(u16::from_be_bytes([high & 0x7f, reader.u8()?]))
            } else {
                PictureId::Short(high)
            });
        }
        if extension & 0x40 != 0 {
            descriptor.tl0_picture_index = Some(reader.u8()?);
        }
        if extension & 0x30 != 0 {
            let byte = reader.u8()?;
            if extension & 0x20 != 0 {
                descriptor.temporal = Some(Temporal { layer: byte >> 6, sync: byte & 0x20 != 0 });
            }
            if extension & 0x10 != 0 {
                descriptor.key_index = Some(byte & 0x1f);
            }
        }
        Ok((descriptor, reader.rest()))
    }

    /// Writes the descriptor to the front of `out` and returns its length. A descriptor that changed only in value has its
    /// old length, so it may be written over the old one. Values above their width are cut.
    pub fn write(&self, out: &mut [u8]) -> Result<usize> {
        let mut writer = Writer::new(out);
        let tail = self.temporal.is_some() || self.key_index.is_some();
        let extended = self.picture_id.is_some() || self.tl0_picture_index.is_some() || tail;
        writer.u8(u8::from(extended) << 7
            | u8::from(self.non_reference) << 5
            | u8::from(self.partition_start) << 4
            | self.partition & 7)?;
        if extended {
            writer.u8(u8::from(self.picture_id.is_some()) << 7
                | u8::from(self.tl0_picture_index.is_some()) << 6
                | u8::from(self.temporal.is_some()) << 5
                | u8::from(self.key_index.is_some()) << 4)?;
        }
        match self.picture_id {
            Some(PictureId::Short(id)) => writer.u8(id & 0x7f)?,
            Some(PictureId::Long(id)) => writer.u16(id | 0x8000)?,
            None => {}
        }
        if let Some(index) = self.tl0_picture_index {
            writer.u8(index)?;
        }
        if tail {
            let temporal = self.temporal.map_or(0, |temporal| temporal.layer << 6 | u8::from(temporal.sync) << 5);
            writer.u8(temporal | self.key_index.unwrap_or(0) & 0x1f)?;
        }
        Ok(writer.len())
    }

    /// Bytes that `write` writes.
    pub fn len(&self) -> usize {
        let picture_id = match self.picture_id {
            Some(PictureId::Short(_)) => 1,
            Some(PictureId::Long(_)) => 2,
            None => 0,
        };
        let tail = usize::from(self.temporal.is_some() || self.key_index.is_some());
        let optional = picture_id + usize::from(self.tl0_picture_index.is_some()) + tail;
        1 + usize::from(optional != 0) + optional
    }

    /// Never: a descriptor has at least one byte.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// The packet begins a frame.
    pub const fn is_frame_start(&self) -> bool {
        self.partition_start && self.partition == 0
    }

    /// The packet begins a key frame; `frame` is what follows the descriptor.
    pub fn is_key_frame_start(&self, frame: &[u8]) -> bool {
        self.is_frame_start() && frame.first().is_some_and(|first| first & 1 == 0)
    }
}

/// Width and height of the key frame that begins `frame` (RFC 6386 §9.1).
pub const fn key_frame_size(frame: &[u8]) -> Option<(u16, u16)> {
    match *frame {
        [first, _, _, 0x9d, 0x01, 0x2a, a, b, c, d, ..] if first & 1 == 0 => {
            // The upper two bits are a scaling hint.
            Some((u16::from_le_bytes([a, b]) & 0x3fff, u16::from_le_bytes([c, d]) & 0x3fff))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_full_descriptor_of_a_key_frame_is_read() {
        let payload = [0x90, 0xf0, 0x81, 0x02, 7, 0x65, 0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0xe0, 0x41];
        let (descriptor, frame) = Descriptor::parse(&payload).unwrap();
        let expected = Descriptor {
            non_reference: false,
            partition_start: true,
            partition: 0,
            picture_id: Some(PictureId::Long(0x102)),
            tl0_picture_index: Some(7),
            temporal: Some(Temporal { layer: 1, sync: true }),
            key_index: Some(5),
        };
        assert_eq!(descriptor, expected);
        assert!(descriptor.is_key_frame_start(frame));
        assert_eq!(key_frame_size(frame), Some((640, 480)));
    }

    #[test]
    fn a_delta_frame_or_a_later_packet_is_no_key_frame_start() {
        let (descriptor, frame) = Descriptor::parse(&[0x10, 0x01]).unwrap();
        assert!(descriptor.is_frame_start() && !descriptor.is_key_frame_start(frame));
        let (descriptor, frame) = Descriptor::parse(&[0x00, 0x00]).unwrap();
        assert!(!descriptor.is_key_frame_start(frame));
        let (descriptor, frame) = Descriptor::parse(&[0x11, 0x00]).unwrap();
        assert!(!descriptor.is_key_frame_start(frame));
    }

    fn descriptor() -> impl Strategy<Value = Descriptor> {
        let picture_id = prop_oneof![(0u8..128).prop_map(PictureId::Short), (0u16..0x8000).prop_map(PictureId::Long)];
        let temporal = (0u8..4, any::<bool>()).prop_map(|(layer, sync)| Temporal { layer, sync });
        (
            any::<(bool, bool)>(),
            0u8..8,
            prop::option::of(picture_id),
            any::<Option<u8>>(),
            prop::option::of(temporal),
            prop::option::of(0u8..32),
        )
            .prop_map(
                |((non_reference, partition_start), partition, picture_id, tl0_picture_index, temporal, key_index)| {
                    Descriptor {
                        non_reference,
                        partition_start,
                        partition,
                        picture_id,
                        tl0_picture_index,
                        temporal,
                        key_index,
                    }
                },
            )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn what_is_written_is_read(descriptor in descriptor(), frame in prop::collection::vec(any::<u8>(), 0..5)) {
            let mut out = [0; 16];
            let len = descriptor.write(&mut out).unwrap();
            prop_assert_eq!(len, descriptor.len());
            prop_assert!(len <= DESCRIPTOR_BYTES_MAX);
            out[len..len + frame.len()].copy_from_slice(&frame);
            prop_assert_eq!(Descriptor::parse(&out[..len + frame.len()]), Ok((descriptor, &frame[..])));
            prop_assert!(descriptor.write(&mut out[..len - 1]).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(payload in prop::collection::vec(any::<u8>(), 0..20)) {
            if let Ok((descriptor, frame)) = Descriptor::parse(&payload) {
                descriptor.is_key_frame_start(frame);
                key_frame_size(frame);
            }
        }
    }
}
