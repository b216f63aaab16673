//! What is kept of an offered section (PROTOCOL §3.3 for sections that the client sends, §3.5 for those it receives).

use engine_base::extension_ids::{ExtensionIds, uri};
use engine_base::{Codec, Kind};
use serde::{Deserialize, Serialize};

use crate::codec::{CodecKey, EnabledCodecs, PayloadType, identify};
use crate::description::{Direction, ExtensionMap, Format, MediaKind, MediaSection, Parameters, RidDirection};

/// What a node answers with. Feedback and extensions that the client did not offer are never added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerPolicy {
    pub enabled: EnabledCodecs,
    pub publish: FeedbackPolicy,
    pub send: FeedbackPolicy,
}

/// Bandwidth feedback of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedbackPolicy {
    pub remb: bool,
    /// The `transport-cc` feedback. Whoever accepts it on sections that the client sends must send the feedback, or the client
    /// stays at its start bitrate.
    pub transport_cc: bool,
    pub abs_send_time: bool,
}

impl AnswerPolicy {
    /// Single peer connection: REMB and transport-cc as offered where the client sends. Where we send, REMB with
    /// abs-send-time is the receiver's estimate, and transport-cc stays out until a send-side estimator uses it.
    pub const fn single_pc(enabled: EnabledCodecs) -> Self {
        Self {
            enabled,
            publish: FeedbackPolicy { remb: true, transport_cc: true, abs_send_time: true },
            send: FeedbackPolicy { remb: true, transport_cc: false, abs_send_time: true },
        }
    }

    /// The publisher connection of the dual layout.
    pub const fn dual_publisher(enabled: EnabledCodecs) -> Self {
        Self {
            enabled,
            publish: FeedbackPolicy { remb: false, transport_cc: true, abs_send_time: false },
            send: FeedbackPolicy { remb: true, transport_cc: false, abs_send_time: true },
        }
    }
}

/// What the client's AddTrack said about the track of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishRequest {
    /// Announced codec: its payload types come first, as clients send the first common one.
    pub codec: Option<Codec>,
    /// RED before Opus: neither `disable_red` was set nor a codec named.
    pub red: bool,
    /// The client may stop sending in silence (`usedtx=1` stands in *our* answer).
    pub dtx: bool,
    pub stereo: bool,
}

impl Default for PublishRequest {
    fn default() -> Self {
        Self { codec: None, red: true, dtx: true, stereo: false }
    }
}

/// The kept part of a section.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NegotiatedSection {
    /// In the order of preference; RTX formats stand inside.
    pub payload_types: Vec<PayloadType>,
    pub extensions: Vec<ExtensionMap>,
    /// Rids that the client will send, in the offer's order. The name decides about the layer, not the order.
    pub rids: Vec<String>,
    /// Whether `a=simulcast` was offered with these rids.
    pub simulcast: bool,
}

impl NegotiatedSection {
    pub fn extension_ids(&self) -> ExtensionIds {
        let mut ids = ExtensionIds::NONE;
        for extension in &self.extensions {
            ids.set(&extension.uri, extension.id);
        }
        ids
    }

    /// The payload type that best carries a track of `wanted`; the earliest of equals.
    pub fn payload_type_for(&self, wanted: &CodecKey) -> Option<&PayloadType> {
        let fits = self.payload_types.iter().filter_map(|pt| pt.fit(wanted).map(|fit| (fit, pt)));
        fits.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, pt)| pt)
    }

    pub fn payload_type(&self, number: u8) -> Option<&PayloadType> {
        self.payload_types.iter().find(|pt| pt.payload_type == number)
    }

    /// No common codec: the section is answered as rejected.
    pub fn is_empty(&self) -> bool {
        self.payload_types.is_empty()
    }
}

/// The simulcast layer that a rid names: 0 lowest. Clients of LiveKit write `q`, `h`, `f`; some write `2`, `1`, `0`,
/// which count how often the full resolution is halved.
pub fn layer_of_rid(rid: &str) -> Option<usize> {
    match rid {
        "q" | "2" => Some(0),
        "h" | "1" => Some(1),
        "f" | "0" => Some(2),
        _ => None,
    }
}

/// Opus parameters of every answer and offer of ours.
pub(crate) const OPUS_FMTP: &str = "minptime=10;useinbandfec=1";

/// What we take from a client that sends on `section`.
///
/// Output: empty when there is no common codec, or the section is neither audio nor video.
pub fn negotiate_publish(section: &MediaSection, policy: &AnswerPolicy, request: &PublishRequest) -> NegotiatedSection {
    let feedback = |codec: Codec, name: &str| match (codec.kind(), name) {
        (_, "nack") => codec != Codec::Red,
        (Kind::Video, "nack pli" | "ccm fir") => true,
        (Kind::Video, "transport-cc") => policy.publish.transport_cc,
        (Kind::Video, "goog-remb") => policy.publish.remb,
        _ => false,
    };
    let mut payload_types = keep_payload_types(section, policy.enabled, feedback);
    for pt in payload_types.iter_mut().filter(|pt| pt.codec == Codec::Opus) {
        pt.fmtp = opus_fmtp(request);
    }
    let red_first = request.red && request.codec.is_none_or(|codec| codec == Codec::Red);
    let wanted = request.codec.filter(|&codec| codec != Codec::Red);
    payload_types.sort_by_key(|pt| match pt.codec {
        Codec::Red if red_first => 0,
        codec if Some(codec) == wanted => 1,
        Codec::Opus => 2,
        _ => 3,
    });
    let extension = |uri: &str| match uri {
        uri::MID | uri::ABS_CAPTURE_TIME => true,
        uri::AUDIO_LEVEL => section.kind == MediaKind::Audio,
        uri::RID | uri::REPAIRED_RID | uri::DEPENDENCY_DESCRIPTOR | uri::FRAME_MARKING => {
            section.kind == MediaKind::Video
        }
        uri::TRANSPORT_CC => section.kind == MediaKind::Video && policy.publish.transport_cc,
        uri::ABS_SEND_TIME => section.kind == MediaKind::Video && policy.publish.abs_send_time,
        _ => false,
    };
    let rids: Vec<String> = section
        .streams
        .rids
        .iter()
        .filter(|rid| rid.direction == RidDirection::Send)
        .map(|rid| rid.id.clone())
        .collect();
    let simulcast = !rids.is_empty() && !section.streams.simulcast.send.is_empty();
    NegotiatedSection { payload_types, extensions: keep_extensions(section, extension), rids, simulcast }
}

/// What we use to send to a client that receives on `section`.
///
/// `nack` is kept only with RTX: without it a packet would be sealed twice under one SRTP index (DESIGN §4, order rule).
pub fn negotiate_send(section: &MediaSection, policy: &AnswerPolicy) -> NegotiatedSection {
    let feedback = |codec: Codec, name: &str| match (codec.kind(), name) {
        (Kind::Video, "nack" | "nack pli" | "ccm fir") => true,
        (Kind::Video, "transport-cc") => policy.send.transport_cc,
        (Kind::Video, "goog-remb") => policy.send.remb,
        _ => false,
    };
    let mut payload_types = keep_payload_types(section, policy.enabled, feedback);
    for pt in &mut payload_types {
        if pt.rtx.is_none() {
            pt.feedback.retain(|feedback| feedback != "nack");
        }
        if pt.codec == Codec::Opus {
            OPUS_FMTP.clone_into(&mut pt.fmtp);
        } else {
            pt.fmtp = without_hints(&pt.fmtp);
        }
    }
    // Chromium 156 leaves an extension out of its next offers once an answer leaves it out, in new sections too (observed: "negotiates
    // simulcast but does not negotiate the RID RTP header extension"). So those that publishing needs stay, though we never write them.
    let extension = |uri: &str| match uri {
        uri::MID => true,
        uri::AUDIO_LEVEL => section.kind == MediaKind::Audio,
        uri::RID | uri::REPAIRED_RID | uri::DEPENDENCY_DESCRIPTOR => section.kind == MediaKind::Video,
        uri::TRANSPORT_CC => section.kind == MediaKind::Video,
        uri::ABS_SEND_TIME => policy.send.abs_send_time,
        _ => false,
    };
    NegotiatedSection {
        payload_types,
        extensions: keep_extensions(section, extension),
        rids: Vec::new(),
        simulcast: false,
    }
}

/// Hints of the client to its own encoder (`x-google-start-bitrate`) mean nothing where we send.
fn without_hints(fmtp: &str) -> String {
    Parameters::new(fmtp).without(|key| key.starts_with("x-google-")).raw().to_owned()
}

fn opus_fmtp(request: &PublishRequest) -> String {
    let mut fmtp = OPUS_FMTP.to_owned();
    if request.dtx {
        fmtp.push_str(";usedtx=1");
    }
    if request.stereo {
        fmtp.push_str(";stereo=1;maxaveragebitrate=510000");
    }
    fmtp
}

fn keep_payload_types(
    section: &MediaSection,
    enabled: EnabledCodecs,
    feedback: impl Fn(Codec, &str) -> bool,
) -> Vec<PayloadType> {
    let mut kept: Vec<PayloadType> = Vec::new();
    for format in &section.formats {
        let Some((codec, h264)) = identify(section.kind, format) else { continue };
        if !enabled.contains(codec) || kept.iter().any(|pt| pt.payload_type == format.payload_type) {
            continue;
        }
        kept.push(PayloadType {
            payload_type: format.payload_type,
            codec,
            rtx: section.rtx_of(format.payload_type),
            h264,
            fmtp: format.parameters.raw().to_owned(),
            feedback: format.feedback.iter().filter(|name| feedback(codec, name)).cloned().collect(),
        });
    }
    let opus = kept.iter().find(|pt| pt.codec == Codec::Opus).map(|pt| pt.payload_type);
    kept.retain(|pt| {
        pt.codec != Codec::Red || opus.is_some_and(|opus| red_wraps(section.format(pt.payload_type), opus))
    });
    kept
}

/// RFC 2198 §3: `a=fmtp:63 111/111` lists the payload types of the blocks.
fn red_wraps(red: Option<&Format>, opus: u8) -> bool {
    red.is_some_and(|red| {
        let mut blocks = red.parameters.raw().split('/').peekable();
        blocks.peek().is_some() && blocks.all(|block| block.trim().parse() == Ok(opus))
    })
}

fn keep_extensions(section: &MediaSection, keep: impl Fn(&str) -> bool) -> Vec<ExtensionMap> {
    let mut kept: Vec<ExtensionMap> = Vec::new();
    for extension in &section.extensions {
        let wanted = extension.direction != Direction::Inactive && keep(&extension.uri);
        if wanted && !kept.iter().any(|known| known.id == extension.id || known.uri == extension.uri) {
            kept.push(ExtensionMap { direction: Direction::SendRecv, ..extension.clone() });
        }
    }
    kept
}
