//! Which payload types mean a codec that Millrace forwards.

use engine_base::Codec;
use serde::{Deserialize, Serialize};

use crate::description::{Format, MediaKind};

/// A set of codecs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnabledCodecs(u16);

impl EnabledCodecs {
    pub const NONE: Self = Self(0);
    /// Everything that an engine forwards whole.
    pub const ALL: Self = Self::NONE
        .with(Codec::Opus)
        .with(Codec::Red)
        .with(Codec::Vp8)
        .with(Codec::H264)
        .with(Codec::Vp9)
        .with(Codec::Av1)
        .with(Codec::H265)
        .with(Codec::Pcmu)
        .with(Codec::Pcma);

    pub const fn with(self, codec: Codec) -> Self {
        Self(self.0 | 1 << codec as u8)
    }

    pub const fn without(self, codec: Codec) -> Self {
        Self(self.0 & !(1 << codec as u8))
    }

    pub const fn contains(self, codec: Codec) -> bool {
        self.0 & 1 << codec as u8 != 0
    }

    /// From `room.enabled_codecs`, for example `video/vp8`, in any case. Unknown names (and `video/rtx`, which is always on)
    /// add nothing.
    pub fn from_mimes<'a>(mimes: impl IntoIterator<Item = &'a str>) -> Self {
        mimes.into_iter().filter_map(codec_of_mime).fold(Self::NONE, Self::with)
    }
}

impl Default for EnabledCodecs {
    fn default() -> Self {
        Self::ALL
    }
}

/// The codec of a MIME type such as `audio/opus`, or of a bare name such as `vp8`, in any case.
pub fn codec_of_mime(mime: &str) -> Option<Codec> {
    let (kind, name) = mime.split_once('/').map_or((None, mime), |(kind, name)| (Some(kind), name));
    let codec = codec_of_name(name)?;
    let fits = kind.is_none_or(|kind| kind.eq_ignore_ascii_case(mime_kind(codec)));
    fits.then_some(codec)
}

/// The MIME type as LiveKit writes it in TrackInfo: `video/VP8`, `audio/opus`, `audio/red`.
pub fn mime_of_codec(codec: Codec) -> String {
    format!("{}/{}", mime_kind(codec), codec.name())
}

fn mime_kind(codec: Codec) -> &'static str {
    match codec.kind() {
        engine_base::Kind::Audio => "audio",
        engine_base::Kind::Video => "video",
    }
}

fn codec_of_name(name: &str) -> Option<Codec> {
    const NAMED: [Codec; 9] = [
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
    NAMED.into_iter().find(|codec| codec.name().eq_ignore_ascii_case(name))
}

/// H.264 parameters that must fit between sender and receiver (RFC 6184 §8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct H264 {
    /// profile_idc, constraint flags, level_idc in the lower 24 bits.
    pub profile_level_id: u32,
    pub packetization_mode: u8,
}

impl H264 {
    /// Baseline profile without a level: what absent parameters mean.
    const DEFAULT_PROFILE_LEVEL_ID: u32 = 0x42_00_0a;

    pub const fn profile_idc(self) -> u8 {
        (self.profile_level_id >> 16) as u8
    }

    const fn profile(self) -> u32 {
        self.profile_level_id >> 8
    }

    fn of(format: &Format) -> Option<Self> {
        let parameters = &format.parameters;
        let profile_level_id = match parameters.get("profile-level-id") {
            Some(hex) if hex.len() == 6 => u32::from_str_radix(hex, 16).ok()?,
            Some(_) => return None,
            None => Self::DEFAULT_PROFILE_LEVEL_ID,
        };
        let packetization_mode = parameters.get("packetization-mode").map_or(Some(0), |mode| mode.parse().ok())?;
        Some(Self { profile_level_id, packetization_mode })
    }
}

/// What decides whether a payload type can carry a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodecKey {
    pub codec: Codec,
    pub h264: Option<H264>,
}

impl CodecKey {
    pub const fn of(codec: Codec) -> Self {
        Self { codec, h264: None }
    }
}

/// A kept payload type with its retransmission format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadType {
    pub payload_type: u8,
    #[serde(with = "codec_number")]
    pub codec: Codec,
    pub rtx: Option<u8>,
    pub h264: Option<H264>,
    /// The text after `a=fmtp:<pt> `; empty for none.
    pub fmtp: String,
    pub feedback: Vec<String>,
}

impl PayloadType {
    pub fn key(&self) -> CodecKey {
        CodecKey { codec: self.codec, h264: self.h264 }
    }

    pub fn has_feedback(&self, name: &str) -> bool {
        self.feedback.iter().any(|feedback| feedback == name)
    }

    /// `opus/48000/2`, as in `a=rtpmap`.
    pub fn rtpmap(&self) -> String {
        let channels = if matches!(self.codec, Codec::Opus | Codec::Red) { "/2" } else { "" };
        format!("{}/{}{channels}", self.codec.name(), self.codec.clock_rate())
    }

    /// How well this payload type carries `wanted`: higher is better, `None` not at all. A decoder of H.264 baseline plays
    /// constrained baseline and both packetization modes, so a difference there only ranks lower.
    pub fn fit(&self, wanted: &CodecKey) -> Option<u8> {
        if self.codec != wanted.codec {
            return None;
        }
        let (Some(ours), Some(theirs)) = (self.h264, wanted.h264) else { return Some(0) };
        let mode = u8::from(ours.packetization_mode == theirs.packetization_mode);
        let profile = u8::from(ours.profile() == theirs.profile());
        Some(1 + 2 * mode + profile)
    }
}

/// The codec of an offered format, if Millrace forwards it: VP9 and AV1 in profile 0, H.264 in the baseline profiles
/// (PROTOCOL §3.3; observed: livekit-server 1.13.5).
pub(crate) fn identify(kind: MediaKind, format: &Format) -> Option<(Codec, Option<H264>)> {
    let codec = codec_of_name(&format.name)?;
    let fits = match codec.kind() {
        engine_base::Kind::Audio => kind == MediaKind::Audio,
        engine_base::Kind::Video => kind == MediaKind::Video,
    };
    if !fits || format.clock_rate != codec.clock_rate() {
        return None;
    }
    let profile = |key| format.parameters.get(key).unwrap_or("0");
    match codec {
        Codec::H264 => H264::of(format).filter(|h264| h264.profile_idc() == 0x42).map(|h264| (codec, Some(h264))),
        Codec::Vp9 => (profile("profile-id") == "0").then_some((codec, None)),
        Codec::Av1 => (profile("profile") == "0").then_some((codec, None)),
        _ => Some((codec, None)),
    }
}

mod codec_number {
    use engine_base::Codec;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(codec: &Codec, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*codec as u8)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Codec, D::Error> {
        Codec::from_u8(u8::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("unknown codec number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn h264(profile_level_id: u32, packetization_mode: u8) -> PayloadType {
        PayloadType {
            payload_type: 100,
            codec: Codec::H264,
            rtx: None,
            h264: Some(H264 { profile_level_id, packetization_mode }),
            fmtp: String::new(),
            feedback: Vec::new(),
        }
    }

    #[test]
    fn mimes_and_codecs_name_each_other() {
        assert_eq!(codec_of_mime("video/VP8"), Some(Codec::Vp8));
        assert_eq!(codec_of_mime("video/vp8"), Some(Codec::Vp8));
        assert_eq!(codec_of_mime("audio/vp8"), None);
        assert_eq!(codec_of_mime("AUDIO/Opus"), Some(Codec::Opus));
        assert_eq!(codec_of_mime("video/rtx"), None);
        assert_eq!(mime_of_codec(Codec::Red), "audio/red");
        let enabled = EnabledCodecs::from_mimes(["audio/opus", "video/vp8", "video/rtx"]);
        assert!(enabled.contains(Codec::Opus) && enabled.contains(Codec::Vp8) && !enabled.contains(Codec::H264));
    }

    #[test]
    fn the_same_packetization_mode_counts_more_than_the_same_constraints() {
        let wanted = h264(0x42e01f, 1).key();
        assert!(h264(0x42e01f, 1).fit(&wanted) > h264(0x42001f, 1).fit(&wanted));
        assert!(h264(0x42001f, 1).fit(&wanted) > h264(0x42e01f, 0).fit(&wanted));
        assert_eq!(h264(0x42e01f, 1).fit(&CodecKey::of(Codec::Vp8)), None);
    }
}
