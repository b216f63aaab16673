//! The words of a parsed session description. Session-level values (ICE, fingerprint, setup, direction) are already copied
//! into the sections that lack their own.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::candidate::Candidate;

/// A whole offer or answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionDescription {
    /// `o=` session id, as text: it may exceed 64 bits in hostile input.
    pub session_id: String,
    /// Mids of the BUNDLE group, in its order.
    pub bundle: Vec<String>,
    pub extmap_allow_mixed: bool,
    pub ice_lite: bool,
    /// In m-line order.
    pub sections: Vec<MediaSection>,
}

impl SessionDescription {
    pub fn section(&self, mid: &str) -> Option<&MediaSection> {
        self.sections.iter().find(|section| section.mid == mid)
    }

    /// ICE credentials of the first section that is not rejected: all are equal in a BUNDLE.
    pub fn ice(&self) -> Option<&IceCredentials> {
        self.live().find_map(|section| section.transport.ice.as_ref())
    }

    /// The sha-256 fingerprint if there is one, otherwise the first.
    pub fn fingerprint(&self) -> Option<&Fingerprint> {
        let all = || self.live().flat_map(|section| &section.transport.fingerprints);
        all().find(|fingerprint| fingerprint.hash == HashFunction::Sha256).or_else(|| all().next())
    }

    pub fn setup(&self) -> Option<Setup> {
        self.live().find_map(|section| section.transport.setup)
    }

    /// Candidates of all sections, in order.
    pub fn candidates(&self) -> impl Iterator<Item = &Candidate> {
        self.live().flat_map(|section| &section.transport.candidates)
    }

    fn live(&self) -> impl Iterator<Item = &MediaSection> {
        self.sections.iter().filter(|section| !section.rejected)
    }
}

/// One `m=` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaSection {
    pub kind: MediaKind,
    /// The first word of the `m=` line.
    pub media_name: String,
    pub mid: String,
    /// The transport protocol of the `m=` line, for example `UDP/TLS/RTP/SAVPF`.
    pub protocol: String,
    /// Formats of the `m=` line that are no payload types, for example `webrtc-datachannel`.
    pub other_formats: Vec<String>,
    pub direction: Direction,
    /// Port 0 (RFC 9429 §5.2.2), unless `bundle-only`.
    pub rejected: bool,
    pub transport: Transport,
    /// In the order of the `m=` line: preference.
    pub formats: Vec<Format>,
    pub extensions: Vec<ExtensionMap>,
    pub streams: Streams,
    pub data: Option<DataChannel>,
}

impl MediaSection {
    pub fn format(&self, payload_type: u8) -> Option<&Format> {
        self.formats.iter().find(|format| format.payload_type == payload_type)
    }

    /// The payload type of the retransmission format of `payload_type` (RFC 4588 §8.6).
    pub fn rtx_of(&self, payload_type: u8) -> Option<u8> {
        let rtx = self.formats.iter().find(|format| format.retransmits() == Some(payload_type))?;
        Some(rtx.payload_type)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MediaKind {
    Audio,
    Video,
    Application,
    Other,
}

impl MediaKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Application => "application",
            Self::Other => "text",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    #[default]
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    pub const fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// ICE and DTLS parameters of a section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transport {
    pub ice: Option<IceCredentials>,
    pub fingerprints: Vec<Fingerprint>,
    pub setup: Option<Setup>,
    pub candidates: Vec<Candidate>,
    pub end_of_candidates: bool,
    pub rtcp_mux: bool,
    pub rtcp_rsize: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IceCredentials {
    pub ufrag: String,
    pub password: String,
}

/// RFC 8122 §5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HashFunction {
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl HashFunction {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha-1",
            Self::Sha224 => "sha-224",
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }

    pub const fn bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// The hash of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    pub hash: HashFunction,
    /// `hash.bytes()` bytes.
    pub bytes: Vec<u8>,
}

impl Fingerprint {
    pub fn sha256(bytes: [u8; 32]) -> Self {
        Self { hash: HashFunction::Sha256, bytes: bytes.to_vec() }
    }

    pub fn as_sha256(&self) -> Option<[u8; 32]> {
        (self.hash == HashFunction::Sha256).then(|| self.bytes.as_slice().try_into().ok()).flatten()
    }
}

/// `sha-256 AB:CD:…`, as after `a=fingerprint:`.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.hash.name())?;
        for (i, byte) in self.bytes.iter().enumerate() {
            write!(f, "{}{byte:02X}", if i == 0 { ' ' } else { ':' })?;
        }
        Ok(())
    }
}

/// DTLS role (RFC 8842 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Setup {
    ActPass,
    Active,
    Passive,
}

impl Setup {
    pub const fn name(self) -> &'static str {
        match self {
            Self::ActPass => "actpass",
            Self::Active => "active",
            Self::Passive => "passive",
        }
    }
}

/// One payload type of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    pub payload_type: u8,
    /// Encoding name as written; static types without rtpmap get theirs from RFC 3551 §6. Empty when unknown.
    pub name: String,
    pub clock_rate: u32,
    /// 1 when absent.
    pub channels: u8,
    pub parameters: Parameters,
    /// `nack`, `nack pli`, `goog-remb` …, in the order written, `*` included.
    pub feedback: Vec<String>,
}

impl Format {
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The payload type that this format retransmits, if it is RTX.
    pub fn retransmits(&self) -> Option<u8> {
        if !self.is("rtx") {
            return None;
        }
        self.parameters.get("apt")?.parse().ok()
    }
}

/// `a=fmtp` values: raw text and, on demand, key and value pairs. Order never matters to equality.
#[derive(Clone, Debug, Default, Eq)]
pub struct Parameters {
    raw: String,
}

impl Parameters {
    pub fn new(raw: &str) -> Self {
        Self { raw: raw.to_owned() }
    }

    /// As written.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// Pairs in the order written; the value is empty where there is no `=`.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.raw.split(';').map(str::trim).filter(|part| !part.is_empty()).map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            (key.trim(), value.trim())
        })
    }

    /// Keys are compared without case (RFC 4855 §3).
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs().find(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, value)| value)
    }

    /// The same without keys for which `drop` holds.
    pub fn without(&self, drop: impl Fn(&str) -> bool) -> Self {
        let mut raw = String::with_capacity(self.raw.len());
        for (key, value) in self.pairs().filter(|(key, _)| !drop(key)) {
            if !raw.is_empty() {
                raw.push(';');
            }
            raw.push_str(key);
            if !value.is_empty() {
                raw.push('=');
                raw.push_str(value);
            }
        }
        Self { raw }
    }
}

impl PartialEq for Parameters {
    fn eq(&self, other: &Self) -> bool {
        let sorted = |parameters: &Self| {
            let mut pairs: Vec<_> =
                parameters.pairs().map(|(key, value)| (key.to_ascii_lowercase(), value.to_owned())).collect();
            pairs.sort();
            pairs
        };
        self.raw == other.raw || sorted(self) == sorted(other)
    }
}

/// `a=extmap` (RFC 8285 §7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtensionMap {
    /// 1–255; 1–14 fit the one-byte form.
    pub id: u8,
    pub uri: String,
    pub direction: Direction,
}

/// Streams that a section announces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    pub msid: Option<Msid>,
    pub ssrcs: Vec<SsrcInfo>,
    pub ssrc_groups: Vec<SsrcGroup>,
    pub rids: Vec<Rid>,
    pub simulcast: Simulcast,
}

impl Streams {
    /// The RTX SSRC of `ssrc` in an `FID` group.
    pub fn rtx_ssrc_of(&self, ssrc: u32) -> Option<u32> {
        self.ssrc_groups
            .iter()
            .filter(|group| group.semantics == "FID")
            .find_map(|group| (group.ssrcs.first() == Some(&ssrc)).then(|| group.ssrcs.get(1).copied()).flatten())
    }
}

/// `a=msid` (RFC 8830 §2): the track id of a publisher is its `cid`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Msid {
    /// `-` for no stream.
    pub stream: String,
    /// Empty when absent.
    pub track: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SsrcInfo {
    pub ssrc: u32,
    pub cname: Option<String>,
    pub msid: Option<Msid>,
}

/// RFC 5576 §4.2: `FID` pairs a stream with its RTX, `SIM` lists simulcast layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SsrcGroup {
    pub semantics: String,
    pub ssrcs: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RidDirection {
    Send,
    Recv,
}

/// `a=rid` (RFC 8851).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rid {
    pub id: String,
    pub direction: RidDirection,
}

/// `a=simulcast` (RFC 8853): rids in the order written, alternatives and pause marks (`~`) flattened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Simulcast {
    pub send: Vec<String>,
    pub recv: Vec<String>,
}

/// RFC 8841.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataChannel {
    pub sctp_port: u16,
    /// Bytes; 0 is "any size". 65,536 when absent.
    pub max_message_size: u32,
}
