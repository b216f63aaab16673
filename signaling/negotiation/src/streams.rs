//! Streams that a section announces, in the order of quality.

use serde::{Deserialize, Serialize};
use signaling_sdp::{Msid, NegotiatedSection, Streams};

use engine_base::limits::LAYERS;

/// One layer of a published track. SSRCs are 0 where only packets tell them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedLayer {
    /// As the client writes it; empty without simulcast.
    pub rid: String,
    pub ssrc: u32,
    pub rtx_ssrc: u32,
}

/// Quality that a rid names, 0 the lowest: `q`, `h`, `f`, or `2`, `1`, `0` (PROTOCOL §2.7). `None` for another name.
pub fn layer_rank(rid: &str) -> Option<u8> {
    match rid {
        "q" | "2" => Some(0),
        "h" | "1" => Some(1),
        "f" | "0" => Some(2),
        _ => None,
    }
}

/// At most [`LAYERS`], the lowest first. Unknown rids keep the offer's order; a section without rids has its simulcast group
/// (`SIM`, lowest first) or its first stream that is no retransmission.
pub(crate) fn layers(streams: &Streams, section: &NegotiatedSection) -> Vec<PublishedLayer> {
    if !section.rids.is_empty() {
        let mut rids: Vec<&String> = section.rids.iter().collect();
        if rids.iter().all(|rid| layer_rank(rid).is_some()) {
            rids.sort_by_key(|rid| layer_rank(rid));
        }
        let layer = |rid: &String| PublishedLayer { rid: rid.clone(), ..PublishedLayer::default() };
        return rids.into_iter().take(LAYERS).map(layer).collect();
    }
    let simulcast = streams.ssrc_groups.iter().find(|group| group.semantics == "SIM" && !group.ssrcs.is_empty());
    let ssrcs: Vec<u32> = match simulcast {
        Some(group) => group.ssrcs.iter().copied().take(LAYERS).collect(),
        None => vec![first_primary(streams)],
    };
    let layer =
        |ssrc| PublishedLayer { rid: String::new(), ssrc, rtx_ssrc: streams.rtx_ssrc_of(ssrc).unwrap_or_default() };
    ssrcs.into_iter().map(layer).collect()
}

/// Of the section or, in older descriptions, of its first stream that has one.
pub(crate) fn msid(streams: &Streams) -> Option<&Msid> {
    streams.msid.as_ref().or_else(|| streams.ssrcs.iter().find_map(|info| info.msid.as_ref()))
}

fn first_primary(streams: &Streams) -> u32 {
    let repairs = |ssrc: u32| {
        streams
            .ssrc_groups
            .iter()
            .any(|group| group.semantics == "FID" && group.ssrcs.iter().skip(1).any(|&s| s == ssrc))
    };
    streams.ssrcs.iter().map(|info| info.ssrc).find(|&ssrc| !repairs(ssrc)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use signaling_sdp::{SsrcGroup, SsrcInfo};

    use super::*;

    fn rids(rids: &[&str]) -> Vec<String> {
        let rids = rids.iter().map(|&rid| rid.to_owned()).collect();
        let section = NegotiatedSection { rids, ..NegotiatedSection::default() };
        layers(&Streams::default(), &section).into_iter().map(|layer| layer.rid).collect()
    }

    #[test]
    fn names_decide_about_layers() {
        assert_eq!(rids(&["f", "h", "q"]), ["q", "h", "f"]);
        assert_eq!(rids(&["0", "1", "2"]), ["2", "1", "0"]);
        assert_eq!(rids(&["h", "f"]), ["h", "f"]);
        assert_eq!(rids(&["low", "high", "x", "y"]), ["low", "high", "x"]);
    }

    #[test]
    fn layers_without_rids_come_from_their_simulcast_group() {
        let group =
            |semantics: &str, ssrcs: &[u32]| SsrcGroup { semantics: semantics.to_owned(), ssrcs: ssrcs.to_vec() };
        let info = |ssrc| SsrcInfo { ssrc, cname: None, msid: None };
        let mut streams = Streams {
            ssrcs: [11, 1, 2, 12].map(info).to_vec(),
            ssrc_groups: vec![group("FID", &[1, 11]), group("FID", &[2, 12]), group("SIM", &[1, 2])],
            ..Streams::default()
        };
        let found = |streams: &Streams| -> Vec<(u32, u32)> {
            layers(streams, &NegotiatedSection::default()).iter().map(|l| (l.ssrc, l.rtx_ssrc)).collect()
        };
        assert_eq!(found(&streams), [(1, 11), (2, 12)]);
        streams.ssrc_groups.pop();
        assert_eq!(found(&streams), [(1, 11)]);
        assert_eq!(found(&Streams::default()), [(0, 0)]);
    }
}
