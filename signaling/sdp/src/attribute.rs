//! Values of `a=` lines, at session level and in a section.

use crate::candidate::Candidate;
use crate::description::{
    DataChannel, Direction, ExtensionMap, Fingerprint, Format, HashFunction, IceCredentials, MediaKind, MediaSection,
    Msid, Parameters, Rid, RidDirection, SessionDescription, Setup, Simulcast, SsrcGroup, SsrcInfo, Streams, Transport,
};
use crate::error::SdpError;

/// Payload types are 7 bits.
const FORMATS_MAX: usize = 128;
const FEEDBACK_MAX: usize = 32;
const EXTENSIONS_MAX: usize = 64;
const CANDIDATES_MAX: usize = 64;
const FINGERPRINTS_MAX: usize = 8;
const RIDS_MAX: usize = 16;
/// Three layers with RTX are six; some clients list more.
const SSRCS_MAX: usize = 64;
const SSRC_GROUPS_MAX: usize = 32;
const SSRCS_PER_GROUP_MAX: usize = 16;
/// RFC 8839 §5.4: 4 to 256 characters for the fragment, 22 to 256 for the password.
const ICE_TEXT_BYTES_MAX: usize = 256;

/// What stands above the first section.
#[derive(Default)]
pub(crate) struct SessionLevel {
    session_id: String,
    bundle: Vec<String>,
    extmap_allow_mixed: bool,
    ice_lite: bool,
    shared: Shared,
    extensions: Vec<ExtensionMap>,
}

/// Attributes that may stand at both levels.
#[derive(Default)]
struct Shared {
    ufrag: Option<String>,
    password: Option<String>,
    fingerprints: Vec<Fingerprint>,
    setup: Option<Setup>,
    direction: Option<Direction>,
}

impl SessionLevel {
    pub(crate) fn origin(&mut self, value: &str) {
        self.session_id = value.split_ascii_whitespace().nth(1).unwrap_or_default().to_owned();
    }

    pub(crate) fn attribute(&mut self, text: &str, line: u32) -> Result<(), SdpError> {
        let (name, value) = split(text);
        match name {
            "extmap-allow-mixed" => self.extmap_allow_mixed = true,
            "ice-lite" => self.ice_lite = true,
            "group" => {
                let mut words = value.split_ascii_whitespace();
                if words.next() == Some("BUNDLE") && self.bundle.is_empty() {
                    self.bundle = words.map(str::to_owned).collect();
                }
            }
            "extmap" => push_extension(&mut self.extensions, value, line)?,
            _ => {
                self.shared.attribute(name, value, line)?;
            }
        }
        Ok(())
    }

    pub(crate) fn finish(self, sections: Vec<MediaSection>) -> SessionDescription {
        let Self { session_id, bundle, extmap_allow_mixed, ice_lite, .. } = self;
        SessionDescription { session_id, bundle, extmap_allow_mixed, ice_lite, sections }
    }
}

impl Shared {
    /// `false` when the attribute is not one of these.
    fn attribute(&mut self, name: &str, value: &str, line: u32) -> Result<bool, SdpError> {
        let malformed = |what| SdpError::Malformed { line, what };
        match name {
            "ice-ufrag" => self.ufrag = Some(ice_text(value).ok_or(malformed("ice-ufrag"))?),
            "ice-pwd" => self.password = Some(ice_text(value).ok_or(malformed("ice-pwd"))?),
            "fingerprint" => {
                if let Some(fingerprint) = fingerprint(value).map_err(|()| malformed("fingerprint"))? {
                    push(&mut self.fingerprints, fingerprint, FINGERPRINTS_MAX, line, "fingerprints")?;
                }
            }
            "setup" => {
                self.setup = match value {
                    "actpass" => Some(Setup::ActPass),
                    "active" => Some(Setup::Active),
                    "passive" => Some(Setup::Passive),
                    "holdconn" => None,
                    _ => return Err(malformed("setup")),
                }
            }
            _ => match direction(name) {
                Some(direction) => self.direction = Some(direction),
                None => return Ok(false),
            },
        }
        Ok(true)
    }
}

/// A section while its lines are read.
pub(crate) struct SectionBuilder {
    line: u32,
    port: u16,
    bundle_only: bool,
    shared: Shared,
    /// `a=rtcp-fb:*` holds for every payload type.
    feedback_of_all: Vec<String>,
    sctp_port: Option<u16>,
    max_message_size: Option<u32>,
    section: MediaSection,
}

impl SectionBuilder {
    pub(crate) fn new<'a>(
        kind: MediaKind,
        media: &str,
        port: u16,
        protocol: &str,
        formats: impl Iterator<Item = &'a str>,
        line: u32,
    ) -> Result<Self, SdpError> {
        let mut section = MediaSection {
            kind,
            media_name: media.to_owned(),
            mid: String::new(),
            protocol: protocol.to_owned(),
            other_formats: Vec::new(),
            direction: Direction::SendRecv,
            rejected: false,
            transport: Transport::default(),
            formats: Vec::new(),
            extensions: Vec::new(),
            streams: Streams::default(),
            data: None,
        };
        for word in formats {
            if protocol.contains("RTP") {
                let payload_type = word.parse().ok().filter(|&pt| pt < 128);
                let payload_type = payload_type.ok_or(SdpError::Malformed { line, what: "payload type" })?;
                if section.format(payload_type).is_none() {
                    push(&mut section.formats, static_format(payload_type), FORMATS_MAX, line, "payload types")?;
                }
            } else {
                push(&mut section.other_formats, word.to_owned(), FORMATS_MAX, line, "formats")?;
            }
        }
        Ok(Self {
            line,
            port,
            bundle_only: false,
            shared: Shared::default(),
            feedback_of_all: Vec::new(),
            sctp_port: None,
            max_message_size: None,
            section,
        })
    }

    pub(crate) const fn line(&self) -> u32 {
        self.line
    }

    pub(crate) fn attribute(&mut self, text: &str, line: u32, session: &mut SessionLevel) -> Result<(), SdpError> {
        let (name, value) = split(text);
        let malformed = |what| SdpError::Malformed { line, what };
        match name {
            "mid" => value.clone_into(&mut self.section.mid),
            "bundle-only" => self.bundle_only = true,
            "extmap-allow-mixed" => session.extmap_allow_mixed = true,
            "rtcp-mux" => self.section.transport.rtcp_mux = true,
            "rtcp-rsize" => self.section.transport.rtcp_rsize = true,
            "end-of-candidates" => self.section.transport.end_of_candidates = true,
            "candidate" => self.candidate(value),
            "rtpmap" => self.rtpmap(value).ok_or(malformed("rtpmap"))?,
            "fmtp" => self.fmtp(value).ok_or(malformed("fmtp"))?,
            "rtcp-fb" => self.feedback(value, line)?,
            "extmap" => push_extension(&mut self.section.extensions, value, line)?,
            "sctp-port" => self.sctp_port = Some(value.parse().map_err(|_| malformed("sctp-port"))?),
            "max-message-size" => {
                let bytes = value.parse::<u64>().map_err(|_| malformed("max-message-size"))?;
                self.max_message_size = Some(u32::try_from(bytes).unwrap_or(u32::MAX));
            }
            _ if self.shared.attribute(name, value, line)? => {}
            _ => stream_attribute(&mut self.section.streams, name, value, line)?,
        }
        Ok(())
    }

    /// Kinds of candidates that we cannot read are no error (RFC 8839 §5.1).
    fn candidate(&mut self, value: &str) {
        let candidates = &mut self.section.transport.candidates;
        if candidates.len() < CANDIDATES_MAX {
            candidates.extend(Candidate::parse(value));
        }
    }

    /// Values of payload types that the `m=` line does not list are ignored.
    fn format_mut(&mut self, payload_type: u8) -> Option<&mut Format> {
        self.section.formats.iter_mut().find(|format| format.payload_type == payload_type)
    }

    fn rtpmap(&mut self, value: &str) -> Option<()> {
        let (payload_type, encoding) = value.split_once(' ')?;
        let mut parts = encoding.trim().split('/');
        let (name, clock_rate) = (parts.next()?, parts.next()?.parse().ok()?);
        let channels = parts.next().map_or(Some(1), |channels| channels.parse().ok())?;
        if let Some(format) = self.format_mut(payload_type.parse().ok()?) {
            name.clone_into(&mut format.name);
            (format.clock_rate, format.channels) = (clock_rate, channels);
        }
        Some(())
    }

    fn fmtp(&mut self, value: &str) -> Option<()> {
        let (payload_type, parameters) = value.split_once(' ')?;
        if let Some(format) = self.format_mut(payload_type.parse().ok()?) {
            format.parameters = Parameters::new(parameters.trim());
        }
        Some(())
    }

    fn feedback(&mut self, value: &str, line: u32) -> Result<(), SdpError> {
        let malformed = SdpError::Malformed { line, what: "rtcp-fb" };
        let (payload_type, feedback) = value.split_once(' ').ok_or(malformed)?;
        let feedback = feedback.trim().to_owned();
        if payload_type == "*" {
            return push(&mut self.feedback_of_all, feedback, FEEDBACK_MAX, line, "feedback");
        }
        match self.format_mut(payload_type.parse().map_err(|_| malformed)?) {
            Some(format) => push(&mut format.feedback, feedback, FEEDBACK_MAX, line, "feedback"),
            None => Ok(()),
        }
    }

    pub(crate) fn finish(self, session: &SessionLevel) -> MediaSection {
        let Self { mut section, shared, .. } = self;
        let either = |ours: Option<String>, theirs: &Option<String>| ours.or_else(|| theirs.clone());
        let ufrag = either(shared.ufrag, &session.shared.ufrag);
        let password = either(shared.password, &session.shared.password);
        let transport = &mut section.transport;
        transport.ice = ufrag.zip(password).map(|(ufrag, password)| IceCredentials { ufrag, password });
        transport.fingerprints = match shared.fingerprints {
            own if own.is_empty() => session.shared.fingerprints.clone(),
            own => own,
        };
        transport.setup = shared.setup.or(session.shared.setup);
        section.direction = shared.direction.or(session.shared.direction).unwrap_or_default();
        section.rejected = self.port == 0 && !self.bundle_only;
        for format in &mut section.formats {
            format.feedback.extend(self.feedback_of_all.iter().cloned());
        }
        section.extensions.extend(session.extensions.iter().cloned());
        if section.kind == MediaKind::Application {
            section.data = Some(DataChannel {
                sctp_port: self.sctp_port.unwrap_or(5_000),
                max_message_size: self.max_message_size.unwrap_or(65_536),
            });
        }
        section
    }
}

fn stream_attribute(streams: &mut Streams, name: &str, value: &str, line: u32) -> Result<(), SdpError> {
    let malformed = |what| SdpError::Malformed { line, what };
    match name {
        "msid" => streams.msid = Some(msid(value).ok_or(malformed("msid"))?),
        "ssrc" => ssrc(streams, value, line)?,
        "ssrc-group" => {
            let mut words = value.split_ascii_whitespace();
            let semantics = words.next().ok_or(malformed("ssrc-group"))?.to_owned();
            let ssrcs: Option<Vec<u32>> = words.take(SSRCS_PER_GROUP_MAX).map(|ssrc| ssrc.parse().ok()).collect();
            let group = SsrcGroup { semantics, ssrcs: ssrcs.ok_or(malformed("ssrc-group"))? };
            push(&mut streams.ssrc_groups, group, SSRC_GROUPS_MAX, line, "ssrc groups")?;
        }
        "rid" => {
            let mut words = value.split_ascii_whitespace();
            let (id, direction) = (words.next(), words.next());
            let direction = match direction {
                Some("send") => RidDirection::Send,
                Some("recv") => RidDirection::Recv,
                _ => return Err(malformed("rid")),
            };
            let id = id.filter(|id| is_rid(id)).ok_or(malformed("rid"))?.to_owned();
            if !streams.rids.iter().any(|rid| rid.id == id) {
                push(&mut streams.rids, Rid { id, direction }, RIDS_MAX, line, "rids")?;
            }
        }
        "simulcast" => streams.simulcast = simulcast(value).ok_or(malformed("simulcast"))?,
        _ => {}
    }
    Ok(())
}

/// RFC 8851 §10: letters, digits, `-` and `_`; 255 at most, and one that a header extension carries is short.
fn is_rid(id: &str) -> bool {
    id.len() <= 32 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn ssrc(streams: &mut Streams, value: &str, line: u32) -> Result<(), SdpError> {
    let malformed = SdpError::Malformed { line, what: "ssrc" };
    let (number, attribute) = value.split_once(' ').unwrap_or((value, ""));
    let number: u32 = number.parse().map_err(|_| malformed)?;
    let index = match streams.ssrcs.iter().position(|known| known.ssrc == number) {
        Some(index) => index,
        None => {
            push(&mut streams.ssrcs, SsrcInfo { ssrc: number, cname: None, msid: None }, SSRCS_MAX, line, "ssrcs")?;
            streams.ssrcs.len() - 1
        }
    };
    if let Some(info) = streams.ssrcs.get_mut(index) {
        match split(attribute.trim()) {
            ("cname", cname) => info.cname = Some(cname.to_owned()),
            ("msid", value) => info.msid = msid(value),
            _ => {}
        }
    }
    Ok(())
}

fn msid(value: &str) -> Option<Msid> {
    let mut words = value.split_ascii_whitespace();
    let stream = words.next()?.to_owned();
    Some(Msid { stream, track: words.next().unwrap_or_default().to_owned() })
}

/// `send q;h;f recv a,~b;c`; Firefox before 2019 wrote `send rid=q;h;f`.
fn simulcast(value: &str) -> Option<Simulcast> {
    let mut simulcast = Simulcast::default();
    let mut words = value.split_ascii_whitespace();
    while let Some(direction) = words.next() {
        let list = words.next()?;
        let list = list.strip_prefix("rid=").unwrap_or(list);
        let rids = list.split([';', ',']).map(|rid| rid.strip_prefix('~').unwrap_or(rid)).filter(|rid| !rid.is_empty());
        let rids: Vec<String> = rids.take(RIDS_MAX).map(str::to_owned).collect();
        match direction {
            "send" => simulcast.send = rids,
            "recv" => simulcast.recv = rids,
            _ => return None,
        }
    }
    Some(simulcast)
}

/// `<id>[/<direction>] <uri> [attributes]`. Ids that no packet can carry are ignored (RFC 8285 §7).
fn push_extension(extensions: &mut Vec<ExtensionMap>, value: &str, line: u32) -> Result<(), SdpError> {
    let malformed = SdpError::Malformed { line, what: "extmap" };
    let mut words = value.split_ascii_whitespace();
    let (Some(id), Some(uri)) = (words.next(), words.next()) else { return Err(malformed) };
    let (id, way) = id.split_once('/').map_or((id, None), |(id, way)| (id, Some(way)));
    let direction = way.map_or(Some(Direction::SendRecv), direction).ok_or(malformed)?;
    let id: u32 = id.parse().map_err(|_| malformed)?;
    match u8::try_from(id) {
        Ok(id) if id > 0 => {
            let extension = ExtensionMap { id, uri: uri.to_owned(), direction };
            push(extensions, extension, EXTENSIONS_MAX, line, "extensions")
        }
        _ => Ok(()),
    }
}

fn push<T>(list: &mut Vec<T>, item: T, max: usize, line: u32, what: &'static str) -> Result<(), SdpError> {
    if list.len() >= max {
        return Err(SdpError::Capacity { line, what });
    }
    list.push(item);
    Ok(())
}

fn split(text: &str) -> (&str, &str) {
    text.split_once(':').unwrap_or((text, ""))
}

fn direction(name: &str) -> Option<Direction> {
    Some(match name {
        "sendrecv" => Direction::SendRecv,
        "sendonly" => Direction::SendOnly,
        "recvonly" => Direction::RecvOnly,
        "inactive" => Direction::Inactive,
        _ => return None,
    })
}

fn ice_text(value: &str) -> Option<String> {
    let fits =
        !value.is_empty() && value.len() <= ICE_TEXT_BYTES_MAX && value.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| value.to_owned())
}

/// `Ok(None)` for a hash function that is not in RFC 8122 or is broken (md5): another line may have a better one.
fn fingerprint(value: &str) -> Result<Option<Fingerprint>, ()> {
    let (name, hex) = value.split_once(' ').ok_or(())?;
    let hash = match name.to_ascii_lowercase().as_str() {
        "sha-1" => HashFunction::Sha1,
        "sha-224" => HashFunction::Sha224,
        "sha-256" => HashFunction::Sha256,
        "sha-384" => HashFunction::Sha384,
        "sha-512" => HashFunction::Sha512,
        _ => return Ok(None),
    };
    let byte = |pair: &str| (pair.len() == 2).then(|| u8::from_str_radix(pair, 16).ok()).flatten();
    let bytes: Option<Vec<u8>> = hex.trim().split(':').take(hash.bytes() + 1).map(byte).collect();
    let bytes = bytes.filter(|bytes| bytes.len() == hash.bytes()).ok_or(())?;
    Ok(Some(Fingerprint { hash, bytes }))
}

/// Names of static payload types (RFC 3551 §6), which need no rtpmap.
fn static_format(payload_type: u8) -> Format {
    let (name, clock_rate) = match payload_type {
        0 => ("PCMU", 8_000),
        8 => ("PCMA", 8_000),
        9 => ("G722", 8_000),
        13 => ("CN", 8_000),
        _ => ("", 0),
    };
    Format {
        payload_type,
        name: name.to_owned(),
        clock_rate,
        channels: 1,
        parameters: Parameters::default(),
        feedback: Vec::new(),
    }
}
