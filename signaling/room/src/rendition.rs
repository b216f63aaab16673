//! One encoding of a track: a codec in a section of its own. A track has one, and a second one, the backup, if its publisher has
//! announced another codec for those who cannot decode the first (PROTOCOL §2.7).

use engine_base::{Codec, IngressRef};
use serde::{Deserialize, Serialize};
use signaling_negotiation::PublishedLayer;
use signaling_sdp::CodecKey;

use crate::participant::Unmatched;
use crate::stored;

/// Names a rendition of a track. The number is its place in `TrackInfo.codecs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Which {
    Primary = 0,
    Backup = 1,
}

impl Which {
    pub(crate) const BOTH: [Self; 2] = [Self::Primary, Self::Backup];
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rendition {
    /// Of the requests; none while the client has only announced it.
    pub(crate) cids: Vec<String>,
    /// The codec that the request named, as `engine_base::Codec`; 0 for none.
    announced: u8,
    /// Section that carries it; empty until one does.
    pub(crate) mid: String,
    pub(crate) layers: Vec<PublishedLayer>,
    #[serde(with = "stored::ingress")]
    pub(crate) ingress: IngressRef,
    /// The codec that packets had, as `engine_base::Codec`; 0 before the first.
    codec: u8,
}

impl Rendition {
    pub(crate) fn new(cids: Vec<String>, announced: Option<Codec>) -> Self {
        Self {
            cids,
            announced: announced.unwrap_or_default() as u8,
            mid: String::new(),
            layers: Vec::new(),
            ingress: IngressRef::NONE,
            codec: 0,
        }
    }

    /// A section carries it.
    pub(crate) fn is_published(&self) -> bool {
        !self.mid.is_empty()
    }

    /// The client has asked for it, and no section carries it so far.
    pub(crate) fn is_pending(&self) -> bool {
        !self.is_published() && !self.cids.is_empty()
    }

    pub(crate) fn announced(&self) -> Option<Codec> {
        Codec::from_u8(self.announced).filter(|codec| *codec != Codec::None)
    }

    pub(crate) fn observed(&self) -> Option<Codec> {
        Codec::from_u8(self.codec).filter(|codec| *codec != Codec::None)
    }

    pub(crate) fn observe(&mut self, codec: Codec) {
        if codec != Codec::None {
            self.codec = codec as u8;
        }
    }

    /// Whether `section`, of its kind, may be its own. `by_cid`: only one that names it. `late`: old sections have waited long
    /// enough for one that names them.
    pub(crate) fn fits(&self, section: &Unmatched, by_cid: bool, late: bool) -> bool {
        let named = self.cids.contains(&section.track);
        self.is_pending() && (named || !(by_cid || section.ended || (section.old && !late)))
    }

    /// Of `keys`, what its packets have or, before the first, will most likely have: this is what a subscriber must be able
    /// to decode. RED needs no support, as the engine unwraps it. Without a section there are no keys, and what was announced
    /// counts.
    pub(crate) fn expected(&self, keys: &[CodecKey]) -> Vec<CodecKey> {
        if !self.is_published() {
            return self.announced().map(CodecKey::of).into_iter().collect();
        }
        let first = keys.first().map(|key| key.codec);
        let codec = self.observed().or(self.announced().filter(|codec| keys.iter().any(|key| key.codec == *codec)));
        let Some(codec) = codec.or(first) else { return Vec::new() };
        let fits = |key: &&CodecKey| key.codec == codec || (codec == Codec::Red && key.codec == Codec::Opus);
        keys.iter().filter(fits).copied().collect()
    }

    /// No section carries it any more. Returns its ingress, which is to be freed unless it is none.
    pub(crate) fn unbind(&mut self) -> IngressRef {
        self.mid.clear();
        self.layers.clear();
        self.codec = 0;
        std::mem::take(&mut self.ingress)
    }
}
