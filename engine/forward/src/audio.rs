//! What an audio packet adds to the counters from which signaling computes who speaks (PROTOCOL §5.11).

use engine_table::slots::packet_flags;
use engine_table::{IngressCounter, PacketHeader};

/// −dBov of the quietest packet that counts as active.
pub const ACTIVE_LEVEL_MAX: u8 = 35;

/// Amounts to add to an ingress's counters.
pub fn level_counts(header: &PacketHeader) -> impl Iterator<Item = (IngressCounter, u64)> {
    let level = header.audio_level & 0x7f;
    let has_level = header.flags & packet_flags::HAS_AUDIO_LEVEL != 0;
    let active = has_level && level <= ACTIVE_LEVEL_MAX;
    [
        (IngressCounter::LevelPackets, u64::from(has_level)),
        (IngressCounter::ActivePackets, u64::from(active)),
        (IngressCounter::ActiveLevelSum, if active { u64::from(level) } else { 0 }),
    ]
    .into_iter()
    .filter(|(_, amount)| *amount != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_active_up_to_the_threshold() {
        let counts = |level, flags| {
            level_counts(&PacketHeader { audio_level: level, flags, ..Default::default() })
                .map(|(counter, amount)| (counter.name(), amount))
                .collect::<Vec<_>>()
        };
        let flags = packet_flags::HAS_AUDIO_LEVEL;
        assert_eq!(counts(0x80 | 35, flags), [("level_packets", 1), ("active_packets", 1), ("active_level_sum", 35)]);
        assert_eq!(counts(36, flags), [("level_packets", 1)]);
        assert_eq!(counts(0, 0), []);
    }
}
