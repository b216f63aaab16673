//! Our offers on the subscriber connection of the dual layout (PROTOCOL §3.4), and what the client answers.
//!
//! There is no mid extension here: the client finds the stream by the `a=ssrc` lines, which are therefore never left out.

use engine_base::Codec;
use engine_base::extension_ids::uri;
use serde::{Deserialize, Serialize};

use crate::codec::{EnabledCodecs, H264, PayloadType};
use crate::description::{Direction, ExtensionMap, MediaKind, MediaSection, SessionDescription};
use crate::error::SdpError;
use crate::negotiate::{NegotiatedSection, OPUS_FMTP};
use crate::write::{LocalDescription, Media, SendTrack, Writer};

const MEDIA_PROTOCOL: &str = "UDP/TLS/RTP/SAVPF";

/// One section of our offer. Sections are never removed or reordered; their mids never change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferSection {
    pub mid: String,
    pub state: OfferState,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OfferState {
    /// `m=application`: the first section.
    Data,
    /// A track that we send.
    Send(MediaKind, SendTrack),
    /// A section between two tracks: `recvonly`, which the client answers `inactive`.
    Free(MediaKind),
    /// The client rejected it: port 0 and outside the BUNDLE for good.
    Rejected(MediaKind),
}

impl OfferState {
    /// `None` for the data channels.
    pub const fn kind(&self) -> Option<MediaKind> {
        match self {
            Self::Data => None,
            Self::Send(kind, _) | Self::Free(kind) | Self::Rejected(kind) => Some(*kind),
        }
    }
}

/// What we offer in audio and in video sections. Of a kind without sections it may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriberMedia {
    pub audio: NegotiatedSection,
    pub video: NegotiatedSection,
}

impl SubscriberMedia {
    pub fn new(enabled: EnabledCodecs) -> Self {
        Self { audio: Self::audio(enabled), video: Self::video(enabled) }
    }

    /// Of a new connection. **Cost**: allocates.
    pub fn audio(enabled: EnabledCodecs) -> NegotiatedSection {
        audio(enabled)
    }

    /// As [`Self::audio`]; some fifty allocations.
    pub fn video(enabled: EnabledCodecs) -> NegotiatedSection {
        video(enabled)
    }

    pub fn of(&self, kind: MediaKind) -> Option<&NegotiatedSection> {
        match kind {
            MediaKind::Audio => Some(&self.audio),
            MediaKind::Video => Some(&self.video),
            MediaKind::Application | MediaKind::Other => None,
        }
    }
}

/// What the client's answer says about one section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedSection {
    pub mid: String,
    pub kind: MediaKind,
    /// From the client's side: `recvonly` where it takes our track.
    pub direction: Direction,
    pub rejected: bool,
    /// Our payload types and extensions that the client kept.
    pub media: NegotiatedSection,
}

/// The text of an offer. `local.setup` is `ActPass`.
pub fn write_offer(
    local: &LocalDescription<'_>,
    media: &SubscriberMedia,
    sections: &[OfferSection],
) -> Result<String, SdpError> {
    let bundle = sections.iter().filter(|section| !matches!(section.state, OfferState::Rejected(_)));
    let mut writer = Writer::new(local, true, bundle.map(|section| section.mid.as_str()));
    for section in sections {
        let (kind, track, direction) = match &section.state {
            OfferState::Data => {
                writer.data("UDP/DTLS/SCTP", "webrtc-datachannel", &section.mid);
                continue;
            }
            OfferState::Send(kind, track) => (*kind, Some(track), Direction::SendRecv),
            OfferState::Free(kind) => (*kind, None, Direction::RecvOnly),
            OfferState::Rejected(kind) => {
                writer.rejected(kind.name(), MEDIA_PROTOCOL, std::iter::once("0"), &section.mid);
                continue;
            }
        };
        let offered = media.of(kind).ok_or(SdpError::Misuse { what: "a track is audio or video" })?;
        if offered.is_empty() {
            return Err(SdpError::Misuse { what: "no codec of this kind is enabled" });
        }
        writer.media(&Media { kind, protocol: MEDIA_PROTOCOL, mid: &section.mid, section: offered, track, direction });
    }
    Ok(writer.finish())
}

/// Reads the client's answer to an offer of `media`, in m-line order. The caller compares mids with its offer.
pub fn read_answer(answer: &SessionDescription, media: &SubscriberMedia) -> Vec<AcceptedSection> {
    let accept = |section: &MediaSection| AcceptedSection {
        mid: section.mid.clone(),
        kind: section.kind,
        direction: section.direction,
        rejected: section.rejected,
        media: media.of(section.kind).map(|offered| accepted(section, offered)).unwrap_or_default(),
    };
    answer.sections.iter().map(accept).collect()
}

fn accepted(section: &MediaSection, offered: &NegotiatedSection) -> NegotiatedSection {
    let mut kept = NegotiatedSection::default();
    for pt in &offered.payload_types {
        let Some(format) = section.format(pt.payload_type).filter(|format| format.is(pt.codec.name())) else {
            continue;
        };
        let rtx = pt.rtx.filter(|_| section.rtx_of(pt.payload_type) == pt.rtx);
        let feedback = pt.feedback.iter().filter(|name| format.feedback.contains(name)).cloned().collect();
        kept.payload_types.push(PayloadType { rtx, feedback, ..pt.clone() });
    }
    let answered =
        |ours: &ExtensionMap| section.extensions.iter().any(|theirs| (theirs.id, &theirs.uri) == (ours.id, &ours.uri));
    kept.extensions = offered.extensions.iter().filter(|ours| answered(ours)).cloned().collect();
    kept
}

fn audio(enabled: EnabledCodecs) -> NegotiatedSection {
    let plain = |payload_type, codec, fmtp: &str| PayloadType {
        payload_type,
        codec,
        rtx: None,
        h264: None,
        fmtp: fmtp.to_owned(),
        feedback: Vec::new(),
    };
    let mut payload_types = vec![
        plain(111, Codec::Opus, OPUS_FMTP),
        plain(63, Codec::Red, "111/111"),
        plain(0, Codec::Pcmu, ""),
        plain(8, Codec::Pcma, ""),
    ];
    let opus = enabled.contains(Codec::Opus);
    payload_types.retain(|pt| enabled.contains(pt.codec) && (pt.codec != Codec::Red || opus));
    NegotiatedSection { payload_types, ..NegotiatedSection::default() }
}

/// Payload types and ids as the reference offers them. abs-capture-time is left out until it is rewritten.
fn video(enabled: EnabledCodecs) -> NegotiatedSection {
    let with_rtx = |payload_type, rtx, codec, fmtp: &str| PayloadType {
        payload_type,
        codec,
        rtx: Some(rtx),
        h264: None,
        fmtp: fmtp.to_owned(),
        feedback: ["goog-remb", "ccm fir", "nack", "nack pli"].map(str::to_owned).to_vec(),
    };
    let h264 = |payload_type, rtx, profile_level_id, packetization_mode| {
        let fmtp = format!(
            "level-asymmetry-allowed=1;packetization-mode={packetization_mode};profile-level-id={profile_level_id:06x}"
        );
        let h264 = Some(H264 { profile_level_id, packetization_mode });
        PayloadType { h264, ..with_rtx(payload_type, rtx, Codec::H264, &fmtp) }
    };
    let mut payload_types = vec![
        with_rtx(96, 97, Codec::Vp8, ""),
        with_rtx(98, 99, Codec::Vp9, "profile-id=0"),
        h264(108, 109, 0x42e01f, 1),
        h264(125, 126, 0x42e01f, 0),
        h264(102, 103, 0x42001f, 1),
        h264(104, 105, 0x42001f, 0),
        with_rtx(35, 36, Codec::Av1, "level-idx=5;profile=0;tier=0"),
        with_rtx(116, 117, Codec::H265, ""),
    ];
    payload_types.retain(|pt| enabled.contains(pt.codec));
    let extension = |id, uri: &str| ExtensionMap { id, uri: uri.to_owned(), direction: Direction::SendRecv };
    let extensions = vec![extension(1, uri::DEPENDENCY_DESCRIPTOR), extension(3, uri::ABS_SEND_TIME)];
    NegotiatedSection { payload_types, extensions, ..NegotiatedSection::default() }
}
