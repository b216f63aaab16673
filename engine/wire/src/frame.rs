//! One view of all codecs: what forwarding asks of a packet. It keeps no state, so what needs the packets before it (the
//! structure of a dependency descriptor) is the caller's: see [`FrameInfo::refine`].

use engine_base::Codec;

use crate::dependency_descriptor::{Descriptor, Head};
use crate::error::{Result, WireError};
use crate::{av1, h264, h265, vp8, vp9};

/// What one packet says of its frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameInfo {
    /// The packet begins a key frame: a receiver may begin here. Never set on the later packets of a key frame.
    /// H264 and H265: a parameter set begins, since a receiver needs it as much as the picture.
    pub key_frame: bool,
    /// The packet begins a frame. H264 and H265: it begins a NAL unit, of which a frame may have several.
    pub frame_start: bool,
    /// The packet ends a frame, as VP9 and the dependency descriptor tell. With other codecs see the marker bit.
    pub frame_end: bool,
    pub spatial: u8,
    pub temporal: u8,
    /// A receiver of lower temporal layers may go on with this layer from here.
    pub switching_up: bool,
    /// No other frame depends on this one.
    pub discardable: bool,
    pub picture_id: Option<u16>,
    pub tl0_picture_index: Option<u8>,
    pub key_index: Option<u8>,
    /// Width and height, on key frames that tell them; of the largest spatial layer where there are several.
    pub size: Option<(u16, u16)>,
}

impl FrameInfo {
    /// Takes layers, start, end and key from a dependency descriptor, which knows them better than the payload.
    pub const fn refine(&mut self, descriptor: &Descriptor) {
        self.take_head(&descriptor.head);
        self.spatial = descriptor.spatial;
        self.temporal = descriptor.temporal;
        self.switching_up = descriptor.is_switching_up();
        self.discardable = descriptor.is_discardable();
        if self.key_frame && descriptor.size_max.is_some() {
            self.size = descriptor.size_max;
        }
    }

    const fn take_head(&mut self, head: &Head) {
        self.key_frame = head.has_structure && head.start_of_frame;
        self.frame_start = head.start_of_frame;
        self.frame_end = head.end_of_frame;
    }
}

/// **Input**: the payload without padding, and the value of the dependency descriptor extension if the packet has one. With
/// a descriptor that attaches no structure, start, end and key come from it but layers do not: call `refine`.
/// **Errors**: of the codec's parser; `Unsupported` for `Codec::None`. A descriptor that cannot be read is an error too.
pub fn inspect(codec: Codec, payload: &[u8], descriptor: Option<&[u8]>) -> Result<FrameInfo> {
    let mut info = match codec {
        Codec::Opus | Codec::Red | Codec::Pcmu | Codec::Pcma => {
            // Every packet of audio stands alone.
            return Ok(FrameInfo { key_frame: true, frame_start: true, frame_end: true, ..FrameInfo::default() });
        }
        Codec::Vp8 => inspect_vp8(payload)?,
        Codec::Vp9 => inspect_vp9(payload)?,
        Codec::H264 => inspect_h264(payload)?,
        Codec::H265 => inspect_h265(payload)?,
        Codec::Av1 => inspect_av1(payload)?,
        Codec::None => return Err(WireError::Unsupported),
    };
    if let Some(bytes) = descriptor {
        let head = Head::parse(bytes)?;
        if head.has_structure {
            info.refine(&Descriptor::parse(bytes, None)?);
        } else {
            info.take_head(&head);
        }
    }
    Ok(info)
}

fn inspect_vp8(payload: &[u8]) -> Result<FrameInfo> {
    let (descriptor, frame) = vp8::Descriptor::parse(payload)?;
    let key_frame = descriptor.is_key_frame_start(frame);
    Ok(FrameInfo {
        key_frame,
        frame_start: descriptor.is_frame_start(),
        frame_end: false,
        spatial: 0,
        temporal: descriptor.temporal.map_or(0, |temporal| temporal.layer),
        // Every frame of layer 0 depends on layer 0 only.
        switching_up: descriptor.temporal.is_none_or(|temporal| temporal.sync || temporal.layer == 0),
        discardable: descriptor.non_reference,
        picture_id: descriptor.picture_id.map(vp8::PictureId::value),
        tl0_picture_index: descriptor.tl0_picture_index,
        key_index: descriptor.key_index,
        size: if key_frame { vp8::key_frame_size(frame) } else { None },
    })
}

fn inspect_vp9(payload: &[u8]) -> Result<FrameInfo> {
    let (descriptor, _) = vp9::Descriptor::parse(payload)?;
    let largest = |structure: vp9::Structure| structure.size(structure.spatial_layers.saturating_sub(1));
    Ok(FrameInfo {
        key_frame: descriptor.is_key_frame_start(),
        frame_start: descriptor.frame_start,
        frame_end: descriptor.frame_end,
        spatial: descriptor.spatial(),
        temporal: descriptor.temporal(),
        switching_up: descriptor.layer.is_none_or(|layer| layer.switching_up || layer.temporal == 0),
        discardable: false,
        picture_id: descriptor.picture_id,
        tl0_picture_index: descriptor.tl0_picture_index,
        key_index: None,
        size: descriptor.structure.filter(|_| descriptor.is_key_frame_start()).and_then(largest),
    })
}

fn inspect_h264(payload: &[u8]) -> Result<FrameInfo> {
    let packet = h264::inspect(payload)?;
    Ok(FrameInfo {
        key_frame: packet.sps.is_some(),
        frame_start: packet.unit_start,
        switching_up: true,
        discardable: packet.discardable,
        // A set that cannot be read costs the size only.
        size: packet.sps.and_then(|unit| h264::sps::size(unit.data).ok()),
        ..FrameInfo::default()
    })
}

fn inspect_h265(payload: &[u8]) -> Result<FrameInfo> {
    let packet = h265::inspect(payload)?;
    Ok(FrameInfo {
        key_frame: packet.parameter_sets,
        frame_start: packet.unit_start,
        temporal: packet.temporal,
        switching_up: packet.temporal == 0,
        discardable: packet.discardable,
        ..FrameInfo::default()
    })
}

fn inspect_av1(payload: &[u8]) -> Result<FrameInfo> {
    let (header, _) = av1::Header::parse(payload)?;
    Ok(FrameInfo {
        key_frame: header.is_key_frame_start(),
        frame_start: !header.continues,
        switching_up: true,
        ..FrameInfo::default()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CODECS: [Codec; 10] = [
        Codec::None,
        Codec::Opus,
        Codec::Red,
        Codec::Vp8,
        Codec::H264,
        Codec::Vp9,
        Codec::Av1,
        Codec::H265,
        Codec::Pcmu,
        Codec::Pcma,
    ];

    #[test]
    fn a_vp8_key_frame_tells_its_size_and_indices() {
        let payload = [0x90, 0xf0, 0x81, 0x02, 7, 0x05, 0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0xe0, 0x01];
        let info = inspect(Codec::Vp8, &payload, None).unwrap();
        let expected = FrameInfo {
            key_frame: true,
            frame_start: true,
            switching_up: true,
            picture_id: Some(0x102),
            tl0_picture_index: Some(7),
            key_index: Some(5),
            size: Some((640, 480)),
            ..FrameInfo::default()
        };
        assert_eq!(info, expected);
    }

    #[test]
    fn only_the_first_packet_of_a_key_frame_is_key() {
        let later = inspect(Codec::Vp8, &[0x80, 0x80, 0x01, 0x00], None).unwrap();
        assert!(!later.key_frame && !later.frame_start);
        let later = inspect(Codec::H264, &[0x7c, 0x05, 0x88], None).unwrap();
        assert!(!later.key_frame && !later.frame_start);
        let later = inspect(Codec::Av1, &[0x90, 1], None).unwrap();
        assert!(!later.key_frame && !later.frame_start);
    }

    #[test]
    fn layers_of_vp9_are_told_by_its_descriptor() {
        // I, P, L, B, E; TID 2, U, SID 1.
        let info = inspect(Codec::Vp9, &[0b1110_1100, 5, 0b0101_0010, 9, 0], None).unwrap();
        let expected = FrameInfo {
            frame_start: true,
            frame_end: true,
            spatial: 1,
            temporal: 2,
            switching_up: true,
            picture_id: Some(5),
            tl0_picture_index: Some(9),
            ..FrameInfo::default()
        };
        assert_eq!(info, expected);
    }

    #[test]
    fn a_descriptor_without_structure_tells_start_and_end() {
        // Middle of a frame, though the payload alone looks like its start.
        let info = inspect(Codec::Av1, &[0x18, 0x0a], Some(&[0x40, 0, 9])).unwrap();
        assert!(!info.key_frame && !info.frame_start && info.frame_end);
    }

    #[test]
    fn audio_begins_anywhere() {
        for codec in [Codec::Opus, Codec::Red, Codec::Pcmu, Codec::Pcma] {
            let info = inspect(codec, &[], None).unwrap();
            assert!(info.key_frame && info.frame_start && info.frame_end);
        }
        assert_eq!(inspect(Codec::None, &[1], None), Err(WireError::Unsupported));
        assert_eq!(inspect(Codec::Vp8, &[], None), Err(WireError::Truncated));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn arbitrary_bytes_never_panic(
            codec in prop::sample::select(&CODECS[..]), payload in prop::collection::vec(any::<u8>(), 0..60),
            descriptor in prop::option::of(prop::collection::vec(any::<u8>(), 0..60)),
        ) {
            if let Ok(info) = inspect(codec, &payload, descriptor.as_deref()) {
                prop_assert!(info.frame_start || !info.key_frame);
            }
        }
    }
}
