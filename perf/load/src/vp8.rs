//! VP8-like video: frames of the size that the bitrate asks for, cut into packets of equal size as libwebrtc cuts them, with
//! valid payload descriptors (RFC 7741 §4.2) and frame headers (RFC 6386 §9.1). The pictures are filler.
//!
//! ```text
//! |X R N S R PID| |I L T K RSV| |M picture id (15)| |TL0PICIDX| |TID Y KEYIDX|  payload
//! ```

use crate::stamp::STAMP_BYTES;

pub const DESCRIPTOR_BYTES: usize = 6;
const EXTENDED: u8 = 0x80;
const START_OF_PARTITION: u8 = 0x10;
const HAS_PICTURE_ID_TL0_TID: u8 = 0xE0;
const FRAME_TAG_BYTES: usize = 3;
const KEY_FRAME_HEADER_BYTES: usize = 10;
/// Whatever the bitrate: descriptor, key frame header and stamp.
const PAYLOAD_BYTES_MIN: usize = DESCRIPTOR_BYTES + KEY_FRAME_HEADER_BYTES + STAMP_BYTES;
/// Frame tag: shown (bit 4), version 0; bit 0 is the inverse of "key frame".
const SHOWN: u8 = 0x10;
const START_CODE: [u8; 3] = [0x9D, 0x01, 0x2A];

/// One frame and how it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub is_key: bool,
    /// All payloads together, descriptors included.
    pub bytes: usize,
    pub packets: usize,
    picture_id: u16,
    tl0_picture_index: u8,
    /// Width and height of the picture.
    size: (u16, u16),
}

/// Makes frames at a bitrate.
#[derive(Clone, Debug)]
pub struct Vp8Source {
    bits_per_second: u64,
    frames_per_second: u64,
    payload_bytes_max: usize,
    key_frame_percent: u64,
    /// Remainder of bits / (8 × frames per second), carried so that the bitrate is exact over time.
    remainder: u64,
    pictures: u64,
    size: (u16, u16),
}

impl Vp8Source {
    /// A key frame is `key_frame_percent` of an ordinary one.
    pub fn new(bits_per_second: u64, frames_per_second: u64, payload_bytes_max: usize, key_frame_percent: u64) -> Self {
        let payload_bytes_max = payload_bytes_max.max(PAYLOAD_BYTES_MIN);
        Self {
            bits_per_second,
            frames_per_second,
            payload_bytes_max,
            key_frame_percent,
            remainder: 0,
            pictures: 0,
            size: (1_280, 720),
        }
    }

    /// Of pictures of this width and height instead of 1,280 × 720.
    pub fn sized(self, width: u16, height: u16) -> Self {
        Self { size: (width, height), ..self }
    }

    pub fn next_frame(&mut self, is_key: bool) -> Frame {
        let divisor = 8 * self.frames_per_second;
        let total = self.bits_per_second + self.remainder;
        self.remainder = total % divisor;
        let ordinary = total / divisor;
        let bytes = if is_key { ordinary * self.key_frame_percent / 100 } else { ordinary };
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).max(PAYLOAD_BYTES_MIN);
        let mut packets = bytes.div_ceil(self.payload_bytes_max);
        // A share below the minimum cannot carry a stamp: fewer, larger packets.
        packets = packets.min(bytes / PAYLOAD_BYTES_MIN).max(1);
        let picture = self.pictures;
        self.pictures += 1;
        Frame {
            is_key,
            bytes,
            packets,
            picture_id: (picture & 0x7FFF) as u16,
            tl0_picture_index: picture as u8,
            size: self.size,
        }
    }
}

impl Frame {
    /// Bytes of payload `index`: equal shares, the first ones one byte larger where it does not divide.
    pub fn payload_bytes(&self, index: usize) -> usize {
        self.bytes / self.packets + usize::from(index < self.bytes % self.packets)
    }

    pub fn is_last(&self, index: usize) -> bool {
        index + 1 == self.packets
    }

    /// Writes payload `index` to the front of `out` and returns its length, without a stamp. `out` must have
    /// [`Frame::payload_bytes`]; 0 otherwise.
    pub fn write(&self, index: usize, out: &mut [u8]) -> usize {
        let length = self.payload_bytes(index);
        let Some(payload) = out.get_mut(..length) else { return 0 };
        let Some((descriptor, picture)) = payload.split_first_chunk_mut::<DESCRIPTOR_BYTES>() else { return 0 };
        let [high, low] = (self.picture_id | 0x8000).to_be_bytes();
        let start = if index == 0 { START_OF_PARTITION } else { 0 };
        *descriptor = [EXTENDED | start, HAS_PICTURE_ID_TL0_TID, high, low, self.tl0_picture_index, 0];
        picture.fill(0xA5);
        if index == 0 {
            self.write_frame_header(picture);
        }
        length
    }

    fn write_frame_header(&self, picture: &mut [u8]) {
        // The first partition's size (19 bits) is nominal: nobody decodes it.
        if let Some(tag) = picture.first_chunk_mut::<FRAME_TAG_BYTES>() {
            *tag = [SHOWN | u8::from(!self.is_key), 0x10, 0];
        }
        if self.is_key
            && let Some(header) = picture.first_chunk_mut::<KEY_FRAME_HEADER_BYTES>()
        {
            header[3..6].copy_from_slice(&START_CODE);
            header[6..8].copy_from_slice(&self.size.0.to_le_bytes());
            header[8..10].copy_from_slice(&self.size.1.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use engine_wire::vp8::Descriptor;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn two_and_a_half_mbit_at_30_fps_are_270_packets_of_1157_bytes() {
        let mut source = Vp8Source::new(2_500_000, 30, 1_180, 100);
        let frames: Vec<_> = (0..30).map(|n| source.next_frame(n == 0)).collect();
        assert_eq!(frames.iter().map(|frame| frame.packets).sum::<usize>(), 270);
        assert_eq!(frames.iter().map(|frame| frame.bytes).sum::<usize>(), 312_500);
        assert!(frames.iter().all(|frame| (1_157..=1_158).contains(&frame.payload_bytes(0))));
    }

    #[test]
    fn the_engine_reads_key_frames_and_picture_ids_of_it() {
        let mut source = Vp8Source::new(500_000, 30, 1_180, 400);
        for n in 0..40_000u32 {
            let frame = source.next_frame(n % 100 == 0);
            let mut out = [0; 1_500];
            let length = frame.write(0, &mut out);
            let (descriptor, picture) = Descriptor::parse(&out[..length]).unwrap();
            assert_eq!(descriptor.picture_id.map(|id| u32::from(id.value())), Some(n & 0x7FFF));
            assert_eq!(descriptor.is_key_frame_start(picture), n % 100 == 0);
            let length = frame.write(1, &mut out);
            let (descriptor, picture) = Descriptor::parse(&out[..length]).unwrap();
            assert!(!descriptor.is_key_frame_start(picture));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn payloads_of_a_frame_have_room_for_stamps_and_add_up(
            bits in 1_000u64..50_000_000, fps in 1u64..120, max in 100usize..1_400, is_key in any::<bool>(),
        ) {
            let frame = Vp8Source::new(bits, fps, max, 300).next_frame(is_key);
            let mut out = [0; 65_536];
            let mut sum = 0;
            for index in 0..frame.packets {
                let length = frame.payload_bytes(index);
                prop_assert!(length >= PAYLOAD_BYTES_MIN && length <= max.max(2 * PAYLOAD_BYTES_MIN));
                prop_assert_eq!(frame.write(index, &mut out), length);
                sum += length;
            }
            prop_assert_eq!(sum, frame.bytes);
        }
    }
}
