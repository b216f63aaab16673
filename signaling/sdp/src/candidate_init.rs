//! `candidateInit`: the JSON inside a trickle message (the W3C's RTCIceCandidateInit).

use serde::{Deserialize, Serialize};

use crate::candidate::Candidate;
use crate::error::SdpError;

/// One trickled candidate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CandidateInit {
    /// `None` for the end of candidates (empty text), and for a kind of candidate that we cannot read.
    pub candidate: Option<Candidate>,
    pub sdp_mid: Option<String>,
    pub sdp_m_line_index: Option<u16>,
    /// Of the message, or of the candidate where the message has none.
    pub ufrag: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Json {
    #[serde(default)]
    candidate: String,
    #[serde(default, rename = "sdpMid")]
    sdp_mid: Option<String>,
    #[serde(default, rename = "sdpMLineIndex")]
    sdp_m_line_index: Option<u16>,
    #[serde(default, rename = "usernameFragment")]
    username_fragment: Option<String>,
}

/// No client writes longer ones.
const JSON_BYTES_MAX: usize = 4_096;

impl CandidateInit {
    /// A candidate of ours: always of the first section, as the reference writes it.
    pub fn ours(candidate: Candidate) -> Self {
        let ufrag = candidate.ufrag.clone();
        Self { candidate: Some(candidate), sdp_mid: Some("0".to_owned()), sdp_m_line_index: Some(0), ufrag }
    }

    pub fn parse(json: &str) -> Result<Self, SdpError> {
        if json.len() > JSON_BYTES_MAX {
            return Err(SdpError::Capacity { line: 1, what: "candidateInit" });
        }
        let json: Json =
            serde_json::from_str(json).map_err(|_| SdpError::Malformed { line: 1, what: "candidateInit" })?;
        let candidate = Candidate::parse(&json.candidate).ok();
        let ufrag = json.username_fragment.filter(|ufrag| !ufrag.is_empty());
        let ufrag = ufrag.or_else(|| candidate.as_ref().and_then(|candidate| candidate.ufrag.clone()));
        Ok(Self { candidate, sdp_mid: json.sdp_mid, sdp_m_line_index: json.sdp_m_line_index, ufrag })
    }

    /// `usernameFragment` stays null: the candidate carries its ufrag.
    pub fn to_json(&self) -> String {
        let json = Json {
            candidate: self.candidate.as_ref().map(Candidate::to_string).unwrap_or_default(),
            sdp_mid: self.sdp_mid.clone(),
            sdp_m_line_index: self.sdp_m_line_index,
            username_fragment: None,
        };
        serde_json::to_string(&json).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browser_and_rust_messages_are_read() {
        let chromium = r#"{"candidate":"candidate:1 1 udp 1 192.0.2.2 9 typ host generation 0 ufrag a","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":"a"}"#;
        let init = CandidateInit::parse(chromium).unwrap();
        assert_eq!((init.ufrag.as_deref(), init.sdp_mid.as_deref()), (Some("a"), Some("0")));
        let rust = r#"{"sdpMid":"0","sdpMLineIndex":0,"candidate":"candidate:1 1 udp 1 192.0.2.2 9 typ host ufrag b"}"#;
        assert_eq!(CandidateInit::parse(rust).unwrap().ufrag.as_deref(), Some("b"));
    }

    #[test]
    fn an_empty_candidate_is_the_end() {
        let init = CandidateInit::parse(r#"{"candidate":"","sdpMid":"0","sdpMLineIndex":0}"#).unwrap();
        assert_eq!(init.candidate, None);
    }

    #[test]
    fn ours_comes_back_and_is_shaped_as_the_reference_writes() {
        let ours = CandidateInit::ours(Candidate::host_udp("192.0.2.1:7882".parse().unwrap(), 0, "uf"));
        assert!(ours.to_json().ends_with(r#""sdpMid":"0","sdpMLineIndex":0,"usernameFragment":null}"#));
        assert_eq!(CandidateInit::parse(&ours.to_json()).unwrap(), ours);
    }

    #[test]
    fn json_of_another_shape_is_refused() {
        assert!(CandidateInit::parse("17").is_err());
        assert!(CandidateInit::parse(r#"{"candidate":1}"#).is_err());
    }
}
