//! Which packets to one destination leave in one send (UDP_SEGMENT): equal datagrams, of which only the last may be shorter.
//! Shorter ones in between are filled up by RTP padding (RFC 3550 §5.1). Sizes only, no bytes.

use engine_base::limits::TRAIN_PACKETS;

/// Padding of one packet: its length is the last octet.
const PADDING_MAX: usize = u8::MAX as usize;
/// Of a train's bytes at most 1/10 is padding: an egress's rate then grows by less than that. A send costs as much CPU as sealing
/// about 20 KB, so within the bound padding is always the cheaper.
const PADDING_SHARE: usize = 10;

/// A train that is being put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Room for the whole train.
    bytes_max: usize,
    packets_max: usize,
    /// Bytes of every datagram but the last.
    segment: usize,
    packets: usize,
    /// Bytes of the packets before padding.
    sum: usize,
    shortest: usize,
    last: usize,
    /// One of the packets cannot be padded: the segment is what it is.
    fixed: bool,
    last_is_fixed: bool,
}

impl Shape {
    /// **Input**: room in bytes; `single` for a destination that takes no trains.
    pub fn new(bytes_max: usize, single: bool) -> Self {
        Self {
            bytes_max,
            packets_max: if single { 1 } else { TRAIN_PACKETS },
            segment: 0,
            packets: 0,
            sum: 0,
            shortest: usize::MAX,
            last: 0,
            fixed: false,
            last_is_fixed: false,
        }
    }

    /// Adds a sealed packet behind the others. False if it must begin the next train; the first is always taken.
    pub fn add(&mut self, bytes: usize, can_pad: bool) -> bool {
        let segment = self.segment.max(bytes);
        if self.packets > 0 && !self.fits(bytes, segment) {
            return false;
        }
        self.fixed |= self.last_is_fixed;
        (self.segment, self.last, self.last_is_fixed) = (segment, bytes, !can_pad);
        self.shortest = self.shortest.min(bytes);
        self.packets += 1;
        self.sum += bytes;
        true
    }

    fn fits(&self, bytes: usize, segment: usize) -> bool {
        let padded = self.packets * segment;
        let padding = padded - self.sum;
        let is_held = (self.fixed && segment != self.segment) || (self.last_is_fixed && segment != self.last);
        self.packets < self.packets_max
            && !is_held
            && padded + bytes <= self.bytes_max
            && segment - self.shortest <= PADDING_MAX
            && padding * PADDING_SHARE <= padded
    }

    pub fn packets(&self) -> usize {
        self.packets
    }

    /// For the kernel: 0 for a single datagram.
    pub fn segment_bytes(&self) -> usize {
        if self.packets > 1 { self.segment } else { 0 }
    }

    /// Bytes of the datagram at `index`, a packet of `bytes`, with its padding.
    pub fn padded(&self, index: usize, bytes: usize) -> usize {
        if index + 1 < self.packets { self.segment } else { bytes }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shape(sizes: &[usize]) -> Shape {
        let mut shape = Shape::new(40_000, false);
        for &bytes in sizes {
            if !shape.add(bytes, true) {
                break;
            }
        }
        shape
    }

    #[test]
    fn a_frame_that_a_packetiser_split_evenly_is_one_train() {
        let train = shape(&[1_155, 1_156, 1_155, 1_156, 1_155]);
        assert_eq!((train.packets(), train.segment_bytes()), (5, 1_156));
        assert_eq!((train.padded(0, 1_155), train.padded(4, 1_155)), (1_156, 1_155));
    }

    #[test]
    fn the_last_may_be_any_shorter_and_nothing_may_follow_it() {
        assert_eq!(shape(&[1_200, 1_200, 90]).packets(), 3);
        assert_eq!(shape(&[1_200, 1_200, 90, 1_200]).packets(), 3);
        assert_eq!(shape(&[90, 1_200]).packets(), 1);
        assert_eq!(shape(&[1_200]).segment_bytes(), 0);
    }

    #[test]
    fn a_packet_that_cannot_be_padded_decides_the_segment() {
        let mut shape = Shape::new(40_000, false);
        assert!(shape.add(1_000, true) && shape.add(1_000, false) && shape.add(1_000, true));
        assert!(!shape.add(1_010, true), "the second packet cannot grow");
        let mut shape = Shape::new(40_000, false);
        assert!(shape.add(1_000, true) && shape.add(990, false));
        assert!(!shape.add(990, true), "the short one must stay the last");
    }

    #[test]
    fn a_destination_without_trains_gets_single_datagrams() {
        let mut shape = Shape::new(40_000, true);
        assert!(shape.add(100, true) && !shape.add(100, true));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn every_train_is_what_the_kernel_and_rtp_can_carry(
            packets in prop::collection::vec((60usize..1_400, any::<bool>()), 1..100),
            bytes_max in 1_500usize..40_000,
        ) {
            let mut train = Shape::new(bytes_max, false);
            let taken: Vec<_> = packets.iter().take_while(|(bytes, can_pad)| train.add(*bytes, *can_pad)).collect();
            prop_assert_eq!(taken.len(), train.packets());
            prop_assert!(!taken.is_empty() && taken.len() <= TRAIN_PACKETS);
            let sizes: Vec<_> = taken.iter().enumerate().map(|(index, (bytes, _))| train.padded(index, *bytes)).collect();
            let (last, before) = sizes.split_last().unwrap();
            prop_assert!(before.iter().all(|bytes| *bytes == train.segment_bytes()));
            prop_assert!(taken.len() == 1 || *last <= train.segment_bytes());
            prop_assert!(sizes.iter().sum::<usize>() <= bytes_max.max(taken[0].0));
            let mut padding = 0;
            for ((bytes, can_pad), padded) in taken.iter().zip(&sizes) {
                let more = padded - bytes;
                prop_assert!(more <= PADDING_MAX && (more == 0 || *can_pad));
                padding += more;
            }
            prop_assert!(padding * PADDING_SHARE <= sizes.iter().sum::<usize>());
        }
    }
}
