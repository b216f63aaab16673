//! Answers to a client's offer: the publisher connection of the dual layout and the only one of the single layout.

use crate::description::{Direction, MediaKind, MediaSection, SessionDescription, Setup};
use crate::error::SdpError;
use crate::negotiate::NegotiatedSection;
use crate::write::{LocalDescription, Media, SendTrack, Writer};

/// The room's decision about one section of the offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SectionAnswer {
    /// We receive what the client publishes here.
    Publish(NegotiatedSection),
    /// We send a track here.
    Send(NegotiatedSection, SendTrack),
    /// A section that the client receives on and that carries no track yet: `sendonly` without streams, so that it can be
    /// filled without another round (PROTOCOL §10.22).
    SendFree(NegotiatedSection),
    /// Stopped or emptied; kept for reuse.
    Inactive(NegotiatedSection),
    Application,
    /// No common codec, or a kind that we do not know: port 0.
    Rejected,
}

/// Our DTLS role: active wherever the client leaves the choice (RFC 8842 §5.3; PROTOCOL §3.1).
pub fn answer_setup(offer: &SessionDescription) -> Setup {
    match offer.setup() {
        Some(Setup::Active) => Setup::Passive,
        Some(Setup::ActPass | Setup::Passive) | None => Setup::Active,
    }
}

/// The answer to `offer`, with one decision per section in m-line order. Sections that the offer rejects, and those whose
/// decision has no payload type, are rejected.
///
/// Errors: `Misuse` when the number of decisions differs or a decision does not fit its kind.
pub fn write_answer(
    offer: &SessionDescription,
    local: &LocalDescription<'_>,
    decisions: &[SectionAnswer],
) -> Result<String, SdpError> {
    if decisions.len() != offer.sections.len() {
        return Err(SdpError::Misuse { what: "one decision per section is needed" });
    }
    if local.setup == Setup::ActPass {
        return Err(SdpError::Misuse { what: "an answer names a DTLS role" });
    }
    let sections = || offer.sections.iter().zip(decisions);
    let bundle = sections().filter(|(section, decision)| !is_rejected(section, decision));
    let mut writer = Writer::new(local, offer.extmap_allow_mixed, bundle.map(|(section, _)| section.mid.as_str()));
    for (section, decision) in sections() {
        write_section(&mut writer, section, decision)?;
    }
    Ok(writer.finish())
}

fn is_rejected(section: &MediaSection, decision: &SectionAnswer) -> bool {
    section.rejected
        || match decision {
            SectionAnswer::Publish(kept)
            | SectionAnswer::Send(kept, _)
            | SectionAnswer::SendFree(kept)
            | SectionAnswer::Inactive(kept) => kept.is_empty(),
            SectionAnswer::Application => false,
            SectionAnswer::Rejected => true,
        }
}

fn write_section(writer: &mut Writer<'_>, section: &MediaSection, decision: &SectionAnswer) -> Result<(), SdpError> {
    if is_rejected(section, decision) {
        let numbers: Vec<String> = section.formats.iter().map(|format| format.payload_type.to_string()).collect();
        let formats = numbers.iter().chain(&section.other_formats).map(String::as_str);
        writer.rejected(&section.media_name, &section.protocol, formats, &section.mid);
        return Ok(());
    }
    let (kept, track, direction) = match decision {
        SectionAnswer::Publish(kept) => (kept, None, Direction::RecvOnly),
        SectionAnswer::Send(kept, track) => (kept, Some(track), Direction::SendOnly),
        SectionAnswer::SendFree(kept) => (kept, None, Direction::SendOnly),
        SectionAnswer::Inactive(kept) => (kept, None, Direction::Inactive),
        SectionAnswer::Application if section.kind == MediaKind::Application => {
            let format = section.other_formats.first().map_or("webrtc-datachannel", String::as_str);
            writer.data(&section.protocol, format, &section.mid);
            return Ok(());
        }
        SectionAnswer::Application | SectionAnswer::Rejected => {
            return Err(SdpError::Misuse { what: "an application answer to a media section" });
        }
    };
    if !matches!(section.kind, MediaKind::Audio | MediaKind::Video) {
        return Err(SdpError::Misuse { what: "a media answer to another section" });
    }
    let rtx_without_format =
        track.is_some_and(|track| track.rtx_ssrc.is_some()) && kept.payload_types.iter().all(|pt| pt.rtx.is_none());
    if rtx_without_format {
        return Err(SdpError::Misuse { what: "an RTX SSRC without an RTX payload type" });
    }
    writer.media(&Media {
        kind: section.kind,
        protocol: &section.protocol,
        mid: &section.mid,
        section: kept,
        track,
        direction,
    });
    Ok(())
}
