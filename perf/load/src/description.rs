//! Session descriptions of a client in the dual layout: offers of what we publish, answers to what the server sends.

use std::fmt::Write;

use anyhow::{Context, Result, bail};
use engine_base::Kind;
use engine_base::extension_ids::{ExtensionIds, uri};
use signaling_sdp::{
    Candidate, Direction, Fingerprint, Format, IceCredentials, MediaKind, MediaSection, SessionDescription, Setup,
};

pub const MID_DATA: &str = "0";
const SCTP_PORT: u16 = 5_000;
const MAX_MESSAGE_SIZE: u32 = 262_144;
const VP8: (u8, u8) = (96, 97);
const OPUS: u8 = 111;
/// We are the DTLS client on every connection, offered or answered (RFC 8842 §5.2): the client offers the SRTP profiles.
const SETUP: Setup = Setup::Active;

/// What the server said about its end.
#[derive(Clone, Debug)]
pub struct Remote {
    pub ice: IceCredentials,
    pub fingerprint: Fingerprint,
    pub ice_lite: bool,
    pub has_data: bool,
    pub candidates: Vec<Candidate>,
}

impl Remote {
    pub fn read(description: &SessionDescription) -> Result<Self> {
        Ok(Self {
            ice: description.ice().context("the server's description has no ICE credentials")?.clone(),
            fingerprint: description.fingerprint().context("the server's description has no fingerprint")?.clone(),
            ice_lite: description.ice_lite,
            has_data: description.sections.iter().any(|section| section.data.is_some() && !section.rejected),
            candidates: description.candidates().cloned().collect(),
        })
    }
}

/// Our side of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Local<'a> {
    pub session_id: u64,
    pub version: u64,
    pub ice: &'a IceCredentials,
    pub fingerprint: &'a Fingerprint,
}

/// A track to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedTrack {
    pub kind: Kind,
    /// The client's id of the track, as in its AddTrack.
    pub cid: String,
    pub mid: String,
    /// One, or the layers of simulcast from the lowest up.
    pub encodings: Vec<Encoding>,
}

/// One stream of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// Of simulcast only.
    pub rid: Option<&'static str>,
    pub ssrc: u32,
    pub rtx_ssrc: u32,
}

impl Encoding {
    pub fn new(rid: Option<&'static str>) -> Self {
        Self { rid, ssrc: rand::random(), rtx_ssrc: rand::random() }
    }
}

/// What became of an offered track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedTrack {
    pub payload_type: u8,
    pub rtx_payload_type: Option<u8>,
    pub extensions: ExtensionIds,
}

/// A stream that the server announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnouncedStream {
    pub kind: Kind,
    pub ssrc: u32,
    pub is_retransmission: bool,
    pub wants_estimate: bool,
}

/// The offer of the publisher connection: data channels, then the tracks.
pub fn publisher_offer(local: &Local<'_>, tracks: &[OfferedTrack]) -> String {
    let mids = std::iter::once(MID_DATA).chain(tracks.iter().map(|track| track.mid.as_str()));
    let mut text = beginning(local, mids);
    data_section(&mut text, local, MID_DATA);
    for track in tracks {
        match track.kind {
            Kind::Audio => audio_section(&mut text, local, track),
            Kind::Video => video_section(&mut text, local, track),
        }
    }
    text
}

/// What the server's answer took of each track, in their order.
pub fn read_publisher_answer(answer: &SessionDescription, tracks: &[OfferedTrack]) -> Result<Vec<AcceptedTrack>> {
    tracks.iter().map(|track| read_accepted(answer, track)).collect()
}

fn read_accepted(answer: &SessionDescription, track: &OfferedTrack) -> Result<AcceptedTrack> {
    let codec = codec_name(track.kind);
    let section = answer.section(&track.mid).filter(|section| !section.rejected);
    let section = section.with_context(|| format!("the server rejected the {codec} track"))?;
    if !section.direction.receives() {
        bail!("the server does not receive the {codec} track: its section is {}", section.direction.name());
    }
    let format = section.formats.iter().find(|format| format.is(codec));
    let payload_type = format.with_context(|| format!("the server does not take {codec}"))?.payload_type;
    let mut extensions = ExtensionIds::NONE;
    for extension in &section.extensions {
        extensions.set(&extension.uri, extension.id);
    }
    Ok(AcceptedTrack { payload_type, rtx_payload_type: section.rtx_of(payload_type), extensions })
}

/// The answer to the server's offer on the subscriber connection: everything it sends in VP8 or Opus.
pub fn subscriber_answer(local: &Local<'_>, offer: &SessionDescription) -> String {
    let bundled = offer.sections.iter().filter(|section| !section.rejected).map(|section| section.mid.as_str());
    let mut text = beginning(local, bundled);
    for section in &offer.sections {
        match section.kind {
            MediaKind::Application if section.data.is_some() => data_section(&mut text, local, &section.mid),
            MediaKind::Audio | MediaKind::Video if !section.rejected => answer_section(&mut text, local, section),
            _ => {
                let format = section.formats.first().map_or(0, |format| format.payload_type);
                let _ = write!(text, "m={} 0 {} {format}\r\n", section.media_name, section.protocol);
                let _ = write!(text, "c=IN IP4 0.0.0.0\r\na=mid:{}\r\na=inactive\r\n", section.mid);
            }
        }
    }
    text
}

/// Streams of all sections that the server sends on.
pub fn announced_streams(offer: &SessionDescription) -> Vec<AnnouncedStream> {
    let mut streams = Vec::new();
    for section in offer.sections.iter().filter(|section| !section.rejected && section.direction.sends()) {
        let kind = match section.kind {
            MediaKind::Audio => Kind::Audio,
            MediaKind::Video => Kind::Video,
            _ => continue,
        };
        let groups = section.streams.ssrc_groups.iter().filter(|group| group.semantics == "FID");
        let retransmissions: Vec<u32> = groups.filter_map(|group| group.ssrcs.get(1).copied()).collect();
        let wants_estimate = kept(section).any(|format| format.feedback.iter().any(|name| name == "goog-remb"));
        streams.extend(section.streams.ssrcs.iter().map(|info| AnnouncedStream {
            kind,
            ssrc: info.ssrc,
            is_retransmission: retransmissions.contains(&info.ssrc),
            wants_estimate,
        }));
    }
    streams
}

fn codec_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Audio => "opus",
        Kind::Video => "VP8",
    }
}

fn beginning<'m>(local: &Local<'_>, mids: impl Iterator<Item = &'m str>) -> String {
    let mut text = format!("v=0\r\no=- {} {} IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n", local.session_id, local.version);
    text.push_str("a=group:BUNDLE");
    for mid in mids {
        text.push(' ');
        text.push_str(mid);
    }
    text.push_str("\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS *\r\n");
    text
}

fn transport(text: &mut String, local: &Local<'_>, mid: &str) {
    let IceCredentials { ufrag, password } = local.ice;
    let _ =
        write!(text, "c=IN IP4 0.0.0.0\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\na=ice-options:trickle\r\n");
    let _ = write!(text, "a=fingerprint:{}\r\na=setup:{}\r\na=mid:{mid}\r\n", local.fingerprint, SETUP.name());
}

fn data_section(text: &mut String, local: &Local<'_>, mid: &str) {
    text.push_str("m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n");
    transport(text, local, mid);
    let _ = write!(text, "a=sctp-port:{SCTP_PORT}\r\na=max-message-size:{MAX_MESSAGE_SIZE}\r\n");
}

fn audio_section(text: &mut String, local: &Local<'_>, track: &OfferedTrack) {
    let _ = write!(text, "m=audio 9 UDP/TLS/RTP/SAVPF {OPUS}\r\n");
    transport(text, local, &track.mid);
    extensions(text, &[(1, uri::AUDIO_LEVEL), (2, uri::ABS_SEND_TIME), (3, uri::TRANSPORT_CC), (4, uri::MID)]);
    let _ = write!(text, "a=sendonly\r\na=msid:load {}\r\na=rtcp-mux\r\na=rtcp-rsize\r\n", track.cid);
    let _ = write!(text, "a=rtpmap:{OPUS} opus/48000/2\r\na=rtcp-fb:{OPUS} transport-cc\r\n");
    let _ = write!(text, "a=fmtp:{OPUS} minptime=10;useinbandfec=1\r\n");
    ssrcs(text, track);
}

fn video_section(text: &mut String, local: &Local<'_>, track: &OfferedTrack) {
    let (vp8, rtx) = VP8;
    let _ = write!(text, "m=video 9 UDP/TLS/RTP/SAVPF {vp8} {rtx}\r\n");
    transport(text, local, &track.mid);
    let media =
        [(2, uri::ABS_SEND_TIME), (3, uri::TRANSPORT_CC), (4, uri::MID), (10, uri::RID), (11, uri::REPAIRED_RID)];
    extensions(text, &media);
    let _ = write!(text, "a=sendonly\r\na=msid:load {}\r\na=rtcp-mux\r\na=rtcp-rsize\r\n", track.cid);
    let _ = write!(text, "a=rtpmap:{vp8} VP8/90000\r\n");
    for feedback in ["goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"] {
        let _ = write!(text, "a=rtcp-fb:{vp8} {feedback}\r\n");
    }
    let _ = write!(text, "a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={vp8}\r\n");
    let rids: Vec<&str> = track.encodings.iter().filter_map(|encoding| encoding.rid).collect();
    if rids.is_empty() {
        for Encoding { ssrc, rtx_ssrc, .. } in &track.encodings {
            let _ = write!(text, "a=ssrc-group:FID {ssrc} {rtx_ssrc}\r\n");
        }
        ssrcs(text, track);
    } else {
        // As libwebrtc: layers are known by their rid, no ssrc is announced.
        for rid in &rids {
            let _ = write!(text, "a=rid:{rid} send\r\n");
        }
        let _ = write!(text, "a=simulcast:send {}\r\n", rids.join(";"));
    }
}

fn extensions(text: &mut String, extensions: &[(u8, &str)]) {
    for (id, uri) in extensions {
        let _ = write!(text, "a=extmap:{id} {uri}\r\n");
    }
}

fn ssrcs(text: &mut String, track: &OfferedTrack) {
    for encoding in &track.encodings {
        let rtx = (track.kind == Kind::Video).then_some(encoding.rtx_ssrc);
        for ssrc in std::iter::once(encoding.ssrc).chain(rtx) {
            let _ = write!(text, "a=ssrc:{ssrc} cname:load\r\na=ssrc:{ssrc} msid:load {}\r\n", track.cid);
        }
    }
}

/// The formats of an offered section that we take.
fn kept(section: &MediaSection) -> impl Iterator<Item = &Format> {
    let codec = if section.kind == MediaKind::Audio { "opus" } else { "VP8" };
    section.formats.iter().filter(move |format| format.is(codec))
}

fn answer_section(text: &mut String, local: &Local<'_>, section: &MediaSection) {
    let formats: Vec<&Format> = kept(section)
        .flat_map(|format| {
            let rtx = section.rtx_of(format.payload_type).and_then(|rtx| section.format(rtx));
            std::iter::once(format).chain(rtx)
        })
        .collect();
    let _ = write!(text, "m={} {} {}", section.media_name, if formats.is_empty() { 0 } else { 9 }, section.protocol);
    for format in &formats {
        let _ = write!(text, " {}", format.payload_type);
    }
    text.push_str(if formats.is_empty() { " 0\r\n" } else { "\r\n" });
    transport(text, local, &section.mid);
    let direction = if section.direction.sends() { Direction::RecvOnly } else { Direction::Inactive };
    let _ = write!(text, "a={}\r\na=rtcp-mux\r\na=rtcp-rsize\r\n", direction.name());
    for extension in &section.extensions {
        let _ = write!(text, "a=extmap:{} {}\r\n", extension.id, extension.uri);
    }
    for format in formats {
        let number = format.payload_type;
        let channels = if format.channels > 1 { format!("/{}", format.channels) } else { String::new() };
        let _ = write!(text, "a=rtpmap:{number} {}/{}{channels}\r\n", format.name, format.clock_rate);
        for feedback in &format.feedback {
            let _ = write!(text, "a=rtcp-fb:{number} {feedback}\r\n");
        }
        if !format.parameters.is_empty() {
            let _ = write!(text, "a=fmtp:{number} {}\r\n", format.parameters.raw());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ice;

    const OFFER: &str = include_str!("../../../signaling/sdp/tests/fixtures/chromium-dual-subscriber-offer.sdp");

    fn tracks() -> Vec<OfferedTrack> {
        let track = |kind, mid: &str, ssrc| OfferedTrack {
            kind,
            cid: format!("cid{mid}"),
            mid: mid.to_owned(),
            encodings: vec![Encoding { rid: None, ssrc, rtx_ssrc: ssrc + 1 }],
        };
        vec![track(Kind::Audio, "1", 10), track(Kind::Video, "2", 20)]
    }

    fn local<'a>(ice: &'a IceCredentials, fingerprint: &'a Fingerprint) -> Local<'a> {
        Local { session_id: 1, version: 2, ice, fingerprint }
    }

    #[test]
    fn an_offer_reads_back_with_tracks_feedback_and_extensions() {
        let (ice, fingerprint) = (ice::credentials(), Fingerprint::sha256([7; 32]));
        let text = publisher_offer(&local(&ice, &fingerprint), &tracks());
        let offer = SessionDescription::parse(&text).unwrap();
        assert_eq!(offer.bundle, ["0", "1", "2"]);
        assert_eq!((offer.ice(), offer.fingerprint()), (Some(&ice), Some(&fingerprint)));
        let video = offer.section("2").unwrap();
        assert_eq!((video.direction, video.rtx_of(96)), (Direction::SendOnly, Some(97)));
        assert_eq!(video.streams.rtx_ssrc_of(20), Some(21));
        assert_eq!(video.streams.msid.as_ref().unwrap().track, "cid2");
        assert!(video.format(96).unwrap().feedback.contains(&"nack pli".to_owned()));
    }

    #[test]
    fn a_simulcast_offer_has_layers_by_rid_and_no_ssrc() {
        let (ice, fingerprint) = (ice::credentials(), Fingerprint::sha256([7; 32]));
        let mut track = tracks().remove(1);
        track.encodings = ["q", "h", "f"].map(|rid| Encoding::new(Some(rid))).to_vec();
        let offer = SessionDescription::parse(&publisher_offer(&local(&ice, &fingerprint), &[track])).unwrap();
        let video = offer.section("2").unwrap();
        assert!(video.streams.ssrcs.is_empty());
        let rids: Vec<&str> = video.streams.rids.iter().map(|rid| rid.id.as_str()).collect();
        assert_eq!(rids, ["q", "h", "f"]);
    }

    #[test]
    fn the_answer_to_a_recorded_offer_mirrors_its_sections() {
        let offer = SessionDescription::parse(OFFER).unwrap();
        let (ice, fingerprint) = (ice::credentials(), Fingerprint::sha256([7; 32]));
        let answer = SessionDescription::parse(&subscriber_answer(&local(&ice, &fingerprint), &offer)).unwrap();
        let mids = |description: &SessionDescription| {
            description.sections.iter().map(|section| section.mid.clone()).collect::<Vec<_>>()
        };
        assert_eq!(mids(&answer), mids(&offer));
        for (ours, theirs) in answer.sections.iter().zip(&offer.sections) {
            let expected = if theirs.direction.sends() { Direction::RecvOnly } else { Direction::Inactive };
            assert!(ours.data.is_some() || ours.direction == expected);
            assert_eq!(ours.transport.setup, Some(Setup::Active));
        }
    }

    #[test]
    fn announced_streams_tell_media_from_retransmission() {
        let offer = SessionDescription::parse(OFFER).unwrap();
        let streams = announced_streams(&offer);
        let video = |is_rtx| streams.iter().filter(|s| s.kind == Kind::Video && s.is_retransmission == is_rtx).count();
        assert!(video(false) > 0);
        assert_eq!(video(false), video(true));
        assert!(streams.iter().filter(|s| s.kind == Kind::Video).all(|stream| stream.wants_estimate));
    }

    #[test]
    fn a_rejected_track_is_an_error_that_names_the_codec() {
        let (ice, fingerprint) = (ice::credentials(), Fingerprint::sha256([7; 32]));
        let text = publisher_offer(&local(&ice, &fingerprint), &tracks());
        let answer = text.replace("sendonly", "recvonly").replace("VP8/90000", "VP9/90000");
        let answer = SessionDescription::parse(&answer).unwrap();
        let error = read_publisher_answer(&answer, &tracks()).unwrap_err().to_string();
        assert!(error.contains("VP8"), "{error}");
        let accepted = read_publisher_answer(&answer, &tracks()[..1]).unwrap();
        assert_eq!((accepted[0].payload_type, accepted[0].extensions.audio_level), (111, 1));
    }
}
