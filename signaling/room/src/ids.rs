//! Identifiers and other random values of a room.

use signaling_negotiation::IceRandom;
use signaling_protocol::proto;

use crate::input::Context;

/// LiveKit's alphabet: 57 letters and digits, none that looks like another.
const ALPHABET: &[u8; 57] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const SID_RANDOM: usize = 12;

impl Context<'_> {
    pub(crate) fn random_bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.random)(&mut bytes);
        bytes
    }

    pub(crate) fn random_u64(&mut self) -> u64 {
        u64::from_le_bytes(self.random_bytes())
    }

    pub(crate) fn random_u32(&mut self) -> u32 {
        u32::from_le_bytes(self.random_bytes())
    }

    pub(crate) fn ice(&mut self) -> IceRandom {
        IceRandom { ufrag: self.random_u32(), password: self.random_bytes() }
    }

    /// `prefix` and 12 random characters. The bias of the remainder (256 mod 57 = 28) costs less than 0.2 bit of 70.
    pub(crate) fn sid(&mut self, prefix: &str) -> String {
        let random: [u8; SID_RANDOM] = self.random_bytes();
        let letters = random.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]));
        prefix.chars().chain(letters).collect()
    }

    /// A secret of 43 characters.
    pub(crate) fn secret(&mut self) -> String {
        let random: [u8; 43] = self.random_bytes();
        random.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
    }
}

/// Of a track's sid, by what it shows (PROTOCOL §7).
pub(crate) fn track_prefix(source: proto::TrackSource, kind: proto::TrackType) -> &'static str {
    match (source, kind) {
        (proto::TrackSource::Camera, _) => "TR_VC",
        (proto::TrackSource::Microphone, _) => "TR_AM",
        (proto::TrackSource::ScreenShare, _) => "TR_VS",
        (proto::TrackSource::ScreenShareAudio, _) => "TR_As",
        (proto::TrackSource::Unknown, proto::TrackType::Video) => "TR_V",
        (proto::TrackSource::Unknown, _) => "TR_A",
    }
}
