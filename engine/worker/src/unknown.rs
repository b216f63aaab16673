//! Decrypted packets of an SSRC that names no ingress yet: the answer that carries its mid may still be on its way to the table.
//! Few per transport, for a short time.

use engine_base::TimeNs;

/// Packets held per transport.
pub const HELD_MAX: usize = 8;
/// How long they are held.
pub const HELD_MS: u64 = 100;

#[derive(Debug)]
pub struct HeldPacket {
    /// Plain RTP.
    pub bytes: Vec<u8>,
    pub arrival: TimeNs,
}

/// **Cost**: allocates a buffer when it holds one; nothing while every SSRC is known.
#[derive(Debug, Default)]
pub struct Held {
    packets: Vec<HeldPacket>,
}

impl Held {
    /// False when there is no room.
    pub fn push(&mut self, bytes: &[u8], arrival: TimeNs) -> bool {
        if self.packets.len() >= HELD_MAX {
            return false;
        }
        self.packets.push(HeldPacket { bytes: bytes.to_vec(), arrival });
        true
    }

    /// Takes all, oldest first, to try them again.
    pub fn take(&mut self) -> Vec<HeldPacket> {
        std::mem::take(&mut self.packets)
    }

    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// When the oldest is given up.
    pub fn poll_timeout(&self) -> TimeNs {
        self.packets.first().map_or(TimeNs::MAX, |packet| packet.arrival.add_ms(HELD_MS))
    }

    /// Gives up what is too old; returns how many.
    pub fn handle_timeout(&mut self, now: TimeNs) -> usize {
        let before = self.packets.len();
        self.packets.retain(|packet| now < packet.arrival.add_ms(HELD_MS));
        before - self.packets.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_packets_are_held_for_a_tenth_of_a_second() {
        let mut held = Held::default();
        for i in 0..HELD_MAX as u64 {
            assert!(held.push(&[i as u8], TimeNs::from_ms(i)));
        }
        assert!(!held.push(&[9], TimeNs::from_ms(9)));
        assert_eq!(held.poll_timeout(), TimeNs::from_ms(100));
        assert_eq!(held.handle_timeout(TimeNs::from_ms(101)), 2);
        assert_eq!(held.take().first().unwrap().bytes, [2]);
        assert!(held.is_empty() && held.poll_timeout() == TimeNs::MAX);
    }
}
