//! Lines that answers and offers have in common (PROTOCOL §3.1).

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::candidate::Candidate;
use crate::description::{Direction, Fingerprint, IceCredentials, MediaKind, Setup};
use crate::negotiate::NegotiatedSection;

/// Our side of a session.
#[derive(Clone, Copy, Debug)]
pub struct LocalDescription<'a> {
    /// Constant for a peer connection.
    pub session_id: u64,
    /// One more with every description of the session (RFC 9429 §5.2.1).
    pub version: u64,
    pub setup: Setup,
    pub ice: &'a IceCredentials,
    pub fingerprint: &'a Fingerprint,
    /// Written into the first section that is not rejected, with the end of candidates; none when they are trickled.
    pub candidates: &'a [Candidate],
    /// `a=ice-lite`: we only answer checks (RFC 8445 §2.5).
    pub ice_lite: bool,
}

/// A track that we send in a section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendTrack {
    pub ssrc: u32,
    /// Of video with RTX.
    pub rtx_ssrc: Option<u32>,
    /// `PA_x|TR_y`: clients split it at `|`.
    pub stream_id: String,
    /// `TR_y`.
    pub track_id: String,
    pub cname: String,
}

/// Largest SCTP message that we take, bytes (observed: livekit-server 1.13.5).
const MAX_MESSAGE_SIZE: u32 = 65_535;
const SCTP_PORT: u16 = 5_000;

pub(crate) struct Writer<'a> {
    text: String,
    local: &'a LocalDescription<'a>,
    candidates_written: bool,
}

impl<'a> Writer<'a> {
    pub(crate) fn new<'m>(
        local: &'a LocalDescription<'a>,
        extmap_allow_mixed: bool,
        bundle: impl Iterator<Item = &'m str>,
    ) -> Self {
        let mut writer = Self { text: String::with_capacity(8_192), local, candidates_written: false };
        writer.line("v=0");
        writer.line(format_args!("o=- {} {} IN IP4 0.0.0.0", local.session_id, local.version));
        writer.line("s=-");
        writer.line("t=0 0");
        writer.line("a=msid-semantic:WMS *");
        writer.line(format_args!("a=fingerprint:{}", local.fingerprint));
        if local.ice_lite {
            writer.line("a=ice-lite");
        }
        if extmap_allow_mixed {
            writer.line("a=extmap-allow-mixed");
        }
        writer.text.push_str("a=group:BUNDLE");
        for mid in bundle {
            writer.text.push(' ');
            writer.text.push_str(mid);
        }
        writer.text.push_str("\r\n");
        writer
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }

    pub(crate) fn line(&mut self, line: impl std::fmt::Display) {
        let _ = write!(self.text, "{line}\r\n");
    }

    pub(crate) fn data(&mut self, protocol: &str, format: &str, mid: &str) {
        self.line(format_args!("m=application 9 {protocol} {format}"));
        self.transport(mid);
        self.line("a=sendrecv");
        self.line(format_args!("a=sctp-port:{SCTP_PORT}"));
        self.line(format_args!("a=max-message-size:{MAX_MESSAGE_SIZE}"));
    }

    /// Port 0 with the formats of the offer, as an answer must have at least one (RFC 9429 §5.3.1).
    pub(crate) fn rejected<'f>(
        &mut self,
        kind: &str,
        protocol: &str,
        formats: impl Iterator<Item = &'f str>,
        mid: &str,
    ) {
        let _ = write!(self.text, "m={kind} 0 {protocol}");
        for format in formats {
            self.text.push(' ');
            self.text.push_str(format);
        }
        self.text.push_str("\r\n");
        self.line("c=IN IP4 0.0.0.0");
        self.line(format_args!("a=mid:{mid}"));
        self.line("a=inactive");
    }

    pub(crate) fn media(&mut self, media: &Media<'_>) {
        let _ = write!(self.text, "m={} 9 {}", media.kind.name(), media.protocol);
        for pt in &media.section.payload_types {
            let _ = write!(self.text, " {}", pt.payload_type);
            if let Some(rtx) = pt.rtx {
                let _ = write!(self.text, " {rtx}");
            }
        }
        self.text.push_str("\r\n");
        self.transport(media.mid);
        self.line("a=rtcp-mux");
        self.line("a=rtcp-rsize");
        self.codecs(media.section);
        for extension in &media.section.extensions {
            self.line(format_args!("a=extmap:{} {}", extension.id, extension.uri));
        }
        self.rids(media.section);
        if let Some(track) = media.track {
            self.track(track);
        }
        self.line(format_args!("a={}", media.direction.name()));
    }

    fn transport(&mut self, mid: &str) {
        let local = self.local;
        self.line("c=IN IP4 0.0.0.0");
        self.line(format_args!("a=setup:{}", local.setup.name()));
        self.line(format_args!("a=mid:{mid}"));
        self.line(format_args!("a=ice-ufrag:{}", local.ice.ufrag));
        self.line(format_args!("a=ice-pwd:{}", local.ice.password));
        if self.candidates_written || local.candidates.is_empty() {
            return;
        }
        self.candidates_written = true;
        for candidate in local.candidates {
            self.line(format_args!("a={candidate}"));
        }
        self.line("a=end-of-candidates");
    }

    fn codecs(&mut self, section: &NegotiatedSection) {
        for pt in &section.payload_types {
            let number = pt.payload_type;
            self.line(format_args!("a=rtpmap:{number} {}", pt.rtpmap()));
            if !pt.fmtp.is_empty() {
                self.line(format_args!("a=fmtp:{number} {}", pt.fmtp));
            }
            for feedback in &pt.feedback {
                self.line(format_args!("a=rtcp-fb:{number} {feedback}"));
            }
            if let Some(rtx) = pt.rtx {
                self.line(format_args!("a=rtpmap:{rtx} rtx/{}", pt.codec.clock_rate()));
                self.line(format_args!("a=fmtp:{rtx} apt={number}"));
            }
        }
    }

    fn rids(&mut self, section: &NegotiatedSection) {
        for rid in &section.rids {
            self.line(format_args!("a=rid:{rid} recv"));
        }
        if section.simulcast {
            self.line(format_args!("a=simulcast:recv {}", section.rids.join(";")));
        }
    }

    fn track(&mut self, track: &SendTrack) {
        if let Some(rtx) = track.rtx_ssrc {
            self.line(format_args!("a=ssrc-group:FID {} {rtx}", track.ssrc));
        }
        for ssrc in [Some(track.ssrc), track.rtx_ssrc].into_iter().flatten() {
            self.line(format_args!("a=ssrc:{ssrc} cname:{}", track.cname));
            self.line(format_args!("a=ssrc:{ssrc} msid:{} {}", track.stream_id, track.track_id));
            self.line(format_args!("a=ssrc:{ssrc} mslabel:{}", track.stream_id));
            self.line(format_args!("a=ssrc:{ssrc} label:{}", track.track_id));
        }
        self.line(format_args!("a=msid:{} {}", track.stream_id, track.track_id));
    }
}

pub(crate) struct Media<'a> {
    pub(crate) kind: MediaKind,
    pub(crate) protocol: &'a str,
    pub(crate) mid: &'a str,
    pub(crate) section: &'a NegotiatedSection,
    pub(crate) track: Option<&'a SendTrack>,
    pub(crate) direction: Direction,
}
