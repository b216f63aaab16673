//! Lines to sections (RFC 8866 §5, RFC 9429 §5.8). Every bound is checked before anything is stored.

use crate::attribute::{SectionBuilder, SessionLevel};
use crate::description::{MediaKind, SessionDescription};
use crate::error::SdpError;

/// A browser with every codec and 60 sections writes 200 kB.
const DESCRIPTION_BYTES_MAX: usize = 1 << 20;
const SECTIONS_MAX: usize = 256;
/// A mid travels in a one-byte header extension of at most 16 bytes.
const MID_BYTES_MAX: usize = 32;

impl SessionDescription {
    /// Reads an offer or an answer. Unknown lines and attributes are ignored.
    ///
    /// Input: text with CRLF or LF. Errors: `Malformed` for a line that is no SDP, a known attribute that cannot be read, a
    /// missing or repeated mid; `Capacity` beyond the bounds of this module. Cost: allocates, O(text).
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        if text.len() > DESCRIPTION_BYTES_MAX {
            return Err(SdpError::Capacity { line: 1, what: "description" });
        }
        let mut session = SessionLevel::default();
        let mut sections: Vec<SectionBuilder> = Vec::new();
        let mut first = true;
        for (number, line) in (1..).zip(text.split('\n')) {
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            let (kind, value) = split_line(line).ok_or(SdpError::Malformed { line: number, what: "line" })?;
            if std::mem::take(&mut first) && (kind, value) != ('v', "0") {
                return Err(SdpError::Malformed { line: number, what: "version" });
            }
            match kind {
                'o' => session.origin(value),
                'm' if sections.len() == SECTIONS_MAX => {
                    return Err(SdpError::Capacity { line: number, what: "sections" });
                }
                'm' => sections.push(media_line(value, number)?),
                'a' => match sections.last_mut() {
                    Some(section) => section.attribute(value, number, &mut session)?,
                    None => session.attribute(value, number)?,
                },
                _ => {}
            }
        }
        if first {
            return Err(SdpError::Malformed { line: 1, what: "version" });
        }
        finish(session, sections)
    }
}

fn finish(session: SessionLevel, builders: Vec<SectionBuilder>) -> Result<SessionDescription, SdpError> {
    let mut sections = Vec::with_capacity(builders.len());
    let mut mids = std::collections::HashSet::new();
    for builder in builders {
        let line = builder.line();
        let section = builder.finish(&session);
        let fits =
            (1..=MID_BYTES_MAX).contains(&section.mid.len()) && section.mid.bytes().all(|b| b.is_ascii_graphic());
        if !fits || !mids.insert(section.mid.clone()) {
            return Err(SdpError::Malformed { line, what: "mid" });
        }
        sections.push(section);
    }
    Ok(session.finish(sections))
}

/// `x=value`; no control characters, so that nothing we echo can start another line.
fn split_line(line: &str) -> Option<(char, &str)> {
    let (kind, value) = line.split_once('=')?;
    let mut kind = kind.chars();
    let letter = kind.next().filter(char::is_ascii_lowercase)?;
    let clean = kind.next().is_none() && !value.contains(|c: char| c.is_control() && c != '\t');
    clean.then_some((letter, value))
}

/// `m=<media> <port>[/<count>] <protocol> <format> …`
fn media_line(value: &str, line: u32) -> Result<SectionBuilder, SdpError> {
    let malformed = SdpError::Malformed { line, what: "media line" };
    let mut words = value.split_ascii_whitespace();
    let (Some(media), Some(port), Some(protocol)) = (words.next(), words.next(), words.next()) else {
        return Err(malformed);
    };
    let port = port.split('/').next().and_then(|port| port.parse::<u16>().ok()).ok_or(malformed)?;
    let kind = match media {
        "audio" => MediaKind::Audio,
        "video" => MediaKind::Video,
        "application" => MediaKind::Application,
        _ => MediaKind::Other,
    };
    SectionBuilder::new(kind, media, port, protocol, words, line)
}
