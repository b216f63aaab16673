//! RTP header extensions that Millrace knows: their URIs, and the ids that one media section negotiated for them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// URIs as they stand in `a=extmap`.
pub mod uri {
    /// RFC 9143 §15.
    pub const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
    /// RFC 8852 §4.1.
    pub const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
    /// RFC 8852 §4.2.
    pub const REPAIRED_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
    /// draft-holmer-rmcat-transport-wide-cc-extensions-01 §2.
    pub const TRANSPORT_CC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
    pub const ABS_SEND_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
    /// RFC 6464.
    pub const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
    pub const DEPENDENCY_DESCRIPTOR: &str =
        "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";
    pub const ABS_CAPTURE_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";
    pub const FRAME_MARKING: &str = "http://tools.ietf.org/html/draft-ietf-avtext-framemarking-07";
    pub const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";
    /// 3GPP TS 26.114 §7.4.5.
    pub const VIDEO_ORIENTATION: &str = "urn:3gpp:video-orientation";
}

/// Negotiated ids (1–255) of the known header extensions; 0 is "not negotiated".
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ExtensionIds {
    pub mid: u8,
    pub rid: u8,
    pub repaired_rid: u8,
    pub transport_cc: u8,
    pub abs_send_time: u8,
    pub audio_level: u8,
    pub dependency_descriptor: u8,
    pub abs_capture_time: u8,
    pub frame_marking: u8,
    pub playout_delay: u8,
    pub video_orientation: u8,
    pub reserved: [u8; 5],
}

const _: () = assert!(size_of::<ExtensionIds>() == 16 && align_of::<ExtensionIds>() == 1);

impl ExtensionIds {
    pub const NONE: Self = Self {
        mid: 0,
        rid: 0,
        repaired_rid: 0,
        transport_cc: 0,
        abs_send_time: 0,
        audio_level: 0,
        dependency_descriptor: 0,
        abs_capture_time: 0,
        frame_marking: 0,
        playout_delay: 0,
        video_orientation: 0,
        reserved: [0; 5],
    };

    /// The id negotiated for `uri`; 0 when it is unknown or was not negotiated.
    pub fn get(&self, uri: &str) -> u8 {
        let mut copy = *self;
        copy.slot(uri).map_or(0, |id| *id)
    }

    /// Stores the id of `uri`; `false` when the extension is unknown.
    pub fn set(&mut self, uri: &str, id: u8) -> bool {
        self.slot(uri).map(|slot| *slot = id).is_some()
    }

    fn slot(&mut self, uri: &str) -> Option<&mut u8> {
        Some(match uri {
            uri::MID => &mut self.mid,
            uri::RID => &mut self.rid,
            uri::REPAIRED_RID => &mut self.repaired_rid,
            uri::TRANSPORT_CC => &mut self.transport_cc,
            uri::ABS_SEND_TIME => &mut self.abs_send_time,
            uri::AUDIO_LEVEL => &mut self.audio_level,
            uri::DEPENDENCY_DESCRIPTOR => &mut self.dependency_descriptor,
            uri::ABS_CAPTURE_TIME => &mut self.abs_capture_time,
            uri::FRAME_MARKING => &mut self.frame_marking,
            uri::PLAYOUT_DELAY => &mut self.playout_delay,
            uri::VIDEO_ORIENTATION => &mut self.video_orientation,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_id_is_found_by_its_uri_only() {
        let mut ids = ExtensionIds::NONE;
        assert!(ids.set(uri::TRANSPORT_CC, 5));
        assert_eq!(ids.get(uri::TRANSPORT_CC), 5);
        assert_eq!(ids, ExtensionIds { transport_cc: 5, ..ExtensionIds::NONE });
        assert!(!ids.set("urn:unknown", 1));
        assert_eq!(ids.get("urn:unknown"), 0);
    }
}
