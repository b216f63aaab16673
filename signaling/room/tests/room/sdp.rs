//! Descriptions as a client would write them.

use std::fmt::Write;

/// A section of a client's offer.
#[derive(Clone, Debug)]
pub enum Part {
    Application,
    Receive(&'static str),
    Send { kind: &'static str, cid: String, simulcast: bool },
    Inactive(&'static str),
}

impl Part {
    pub fn audio(cid: &str) -> Self {
        Self::Send { kind: "audio", cid: cid.to_owned(), simulcast: false }
    }

    pub fn video(cid: &str) -> Self {
        Self::Send { kind: "video", cid: cid.to_owned(), simulcast: true }
    }
}

const FINGERPRINT: &str =
    "7B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:1B:35:DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08";
const AUDIO: &str = "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
    a=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\n\
    a=fmtp:63 111/111\r\n";
const VIDEO: &str = "a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
    a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n\
    a=rtcp-mux\r\na=rtcp-rsize\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\n\
    a=rtcp-fb:96 transport-cc\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=rtpmap:45 AV1/90000\r\n\
    a=rtcp-fb:45 nack\r\na=rtpmap:46 rtx/90000\r\na=fmtp:46 apt=45\r\n";

fn media(text: &mut String, kind: &str, direction: &str, extra: &str) {
    let body = if kind == "audio" { AUDIO } else { VIDEO };
    let _ = write!(text, "a={direction}\r\n{extra}{body}");
}

/// `ufrag` tells ICE generations apart.
pub fn offer(parts: &[Part], ufrag: &str) -> String {
    let mids: Vec<String> = (0..parts.len()).map(|mid| mid.to_string()).collect();
    let mut text = format!("v=0\r\no=- 7 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\n", mids.join(" "));
    for (mid, part) in parts.iter().enumerate() {
        let line = match part {
            Part::Application => "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
            Part::Receive("audio") | Part::Inactive("audio") => "m=audio 9 UDP/TLS/RTP/SAVPF 111 63",
            Part::Send { kind: "audio", .. } => "m=audio 9 UDP/TLS/RTP/SAVPF 111 63",
            _ => "m=video 9 UDP/TLS/RTP/SAVPF 96 97 45 46",
        };
        let _ = write!(
            text,
            "{line}\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:0123456789012345678901\r\n\
             a=fingerprint:sha-256 {FINGERPRINT}\r\na=setup:actpass\r\na=mid:{mid}\r\n"
        );
        match part {
            Part::Application => text.push_str("a=sctp-port:5000\r\n"),
            Part::Receive(kind) => media(&mut text, kind, "recvonly", ""),
            Part::Inactive(kind) => media(&mut text, kind, "inactive", ""),
            Part::Send { kind, cid, simulcast } => {
                let mut extra = format!("a=msid:stream {cid}\r\n");
                if *simulcast {
                    extra.push_str("a=rid:q send\r\na=rid:h send\r\na=rid:f send\r\na=simulcast:send q;h;f\r\n");
                }
                media(&mut text, kind, "sendonly", &extra);
            }
        }
    }
    text
}

/// The same of a client that decodes no video but VP8.
pub fn decoding_vp8(description: &str) -> String {
    let mut sections = description.split("m=");
    let mut text = sections.next().unwrap().to_owned();
    for section in sections {
        let receives = section.starts_with("video") && !section.contains("a=sendonly");
        text.push_str("m=");
        text.push_str(&if receives { vp8_section(section) } else { section.to_owned() });
    }
    text
}

fn vp8_section(section: &str) -> String {
    let number = |line: &str, of: &str| Some(line.strip_prefix(of)?.split_once(' ')?.0.to_owned());
    let vp8 = section.lines().filter(|line| line.ends_with(" VP8/90000")).find_map(|line| number(line, "a=rtpmap:"));
    let vp8 = vp8.unwrap();
    let rtx = section.lines().find(|line| line.ends_with(&format!(" apt={vp8}")));
    let kept: Vec<String> = rtx.and_then(|line| number(line, "a=fmtp:")).into_iter().chain([vp8]).collect();
    let mut text = String::new();
    for line in section.lines() {
        let of = ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"].iter().find_map(|attribute| number(line, attribute));
        if of.is_some_and(|of| !kept.contains(&of)) {
            continue;
        }
        match line.strip_prefix("video ") {
            Some(_) => text.push_str(&format!("video 9 UDP/TLS/RTP/SAVPF {}", kept.join(" "))),
            None => text.push_str(line),
        }
        text.push_str("\r\n");
    }
    text
}

/// The answer of a client that takes everything.
pub fn answer(offer: &str, ufrag: &str) -> String {
    let mut text = String::new();
    for line in offer.lines() {
        let line = match line {
            line if line.starts_with("a=ssrc") || line.starts_with("a=msid:") || line.starts_with("a=candidate") => {
                continue;
            }
            "a=end-of-candidates" | "a=ice-lite" => continue,
            line if line.starts_with("a=ice-ufrag") => format!("a=ice-ufrag:{ufrag}"),
            line if line.starts_with("a=ice-pwd") => "a=ice-pwd:0123456789012345678901".to_owned(),
            line if line.starts_with("a=fingerprint") => format!("a=fingerprint:sha-256 {FINGERPRINT}"),
            "a=setup:actpass" => "a=setup:active".to_owned(),
            "a=sendrecv" => "a=recvonly".to_owned(),
            "a=recvonly" => "a=inactive".to_owned(),
            line => line.to_owned(),
        };
        text.push_str(&line);
        text.push_str("\r\n");
    }
    text
}
