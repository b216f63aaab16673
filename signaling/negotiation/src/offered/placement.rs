//! Tracks of others in sections that the client receives on: the single layout.

use engine_base::Kind;
use engine_table::EgressRow;
use signaling_sdp::{CodecKey, SendTrack};

use super::{Delivery, Layout, OfferedPc};
use crate::requirement::SectionCounts;
use crate::rows;
use crate::section::{Receive, Role, Section, engine_kind};

/// Receiving sections of a kind that we make a client have: two kinds are 192 of the 256 sections that the SDP parser takes,
/// which leaves 64 for data and for what the client publishes.
const RECEIVING_SECTIONS_MAX: u32 = 96;

impl OfferedPc {
    /// Whether some section of `kind` can carry a track of one of `source`'s codecs. `None` while there is no section.
    pub fn can_receive(&self, kind: Kind, source: &[CodecKey]) -> Option<bool> {
        let mut sections = self.sections.iter().filter(|section| section.is_of(kind) && section.receive().is_some());
        let first = sections.next()?;
        let carries = |section: &Section| rows::carries(self.media.get(section.media), source);
        Some(carries(first) || sections.any(carries))
    }

    /// Whether a stream of this connection has `ssrc`. A new track needs one that no other has, nor had before.
    pub fn uses_ssrc(&self, ssrc: u32) -> bool {
        self.sections.iter().any(|section| match &section.role {
            Role::Publish(publish) => publish.layers.iter().any(|layer| layer.ssrc == ssrc || layer.rtx_ssrc == ssrc),
            Role::Receive(receive) => {
                receive.track().is_some_and(|track| track.ssrc == ssrc || track.rtx_ssrc == Some(ssrc))
            }
            _ => false,
        })
    }

    /// Puts a track into a free section of its kind that can carry one of `source`'s codecs, and returns its mid. The client
    /// learns it from the answer to the pending offer, or to the next one.
    pub fn place(&mut self, kind: Kind, track: SendTrack, source: &[CodecKey]) -> Option<String> {
        let media = &self.media;
        // That a section was emptied must have reached the client, or it would take the next track for the former one.
        let on_its_way = |index: u16| matches!(&self.delivery, Delivery::Sent(news) if news.contains(&index));
        let fits = |index: u16, section: &Section| {
            let free = section.is_of(kind) && section.receive().is_some_and(Receive::is_free);
            free && !on_its_way(index) && rows::carries(media.get(section.media), source)
        };
        let (_, section) = (0..).zip(&mut self.sections).find(|(index, section)| fits(*index, section))?;
        let track = rows::fitted(track, media.get(section.media));
        section.role = Role::Receive(Receive::Carrying { track, told: false });
        Some(section.mid.clone())
    }

    /// Takes the track out of its section. `false` when there is none.
    pub fn free(&mut self, mid: &str) -> bool {
        let Some(section) = self.sections.iter_mut().find(|section| section.mid == mid) else { return false };
        match &mut section.role {
            Role::Receive(receive) if receive.track().is_some() => *receive = receive.emptied(),
            _ => return false,
        }
        true
    }

    /// The mid that carries `track_id`.
    pub fn mid_of(&self, track_id: &str) -> Option<&str> {
        let carries = |section: &&Section| section.track().is_some_and(|track| track.track_id == track_id);
        self.sections.iter().find(carries).map(|section| section.mid.as_str())
    }

    /// Whether the client has yet to learn of a placed or freed track.
    pub fn needs_offer(&self) -> bool {
        let untold = |receive: &Receive| !receive.is_told();
        self.delivery == Delivery::Doubtful || self.sections.iter().filter_map(Section::receive).any(untold)
    }

    /// Our last answer told the client of tracks or their ends, and nothing says so far that it has applied it.
    pub fn awaits_application(&self) -> bool {
        matches!(self.delivery, Delivery::Sent(_))
    }

    /// The client lives, and so long after the last answer that it has applied it.
    pub fn note_applied(&mut self) {
        if self.awaits_application() {
            self.delivery = Delivery::Applied;
        }
    }

    /// Mids and tracks that an answer has told the client of. Once that is applied, it knows their SSRCs.
    pub fn told_tracks(&self) -> impl Iterator<Item = (&str, &str)> {
        let told = self.sections.iter().filter(|section| section.receive().is_some_and(Receive::is_told));
        told.filter_map(|section| Some((section.mid.as_str(), section.track()?.track_id.as_str())))
    }

    /// The `media_sections_requirement` to send now, if any: sections that the client shall add for `waiting` tracks without
    /// one, or zeros when it shall only offer again. Nothing is asked twice, and nothing while an offer is pending, as its
    /// answer may settle it: call this after the answer.
    pub fn requirement(&mut self, waiting: SectionCounts) -> Option<SectionCounts> {
        if self.pending.is_some() || self.layout == Layout::Publisher {
            return None;
        }
        let mut spare = SectionCounts::default();
        for section in &self.sections {
            let usable = section.receive().is_some_and(|receive| receive.track().is_none());
            if let Some(kind) = engine_kind(section.kind).filter(|_| usable) {
                *spare.of(kind) += 1;
            }
        }
        let receiving = self.receiving();
        let most = SectionCounts { audio: RECEIVING_SECTIONS_MAX, video: RECEIVING_SECTIONS_MAX }.less(receiving);
        let needed = waiting.less(spare).at_most(most);
        // A section that was emptied is usable once an offer shows that the client knows.
        let usable_then = self.awaits_application() && !waiting.is_zero();
        self.asked.ask(needed, self.needs_offer() || usable_then)
    }

    /// The client resumed: what was asked of it, and an answer that was on its way, may be lost. Its next offer settles that.
    pub fn resumed(&mut self) {
        self.asked.resumed();
        let Delivery::Sent(news) = &self.delivery else { return };
        for index in news {
            if let Some(Role::Receive(receive)) = self.sections.get_mut(usize::from(*index)).map(|it| &mut it.role) {
                receive.doubt();
            }
        }
        self.delivery = Delivery::Doubtful;
    }

    /// Fills an egress row but `state`, `generation`, `ingress`, `priority`, `label`, the layer limits and the flag enabled.
    /// `source`: [`Self::codec_keys`] of the publisher's section. `false` when `mid` carries no track or none of the codecs.
    pub fn fill_egress(&self, mid: &str, source: &[CodecKey], row: &mut EgressRow) -> bool {
        let Some(section) = self.section(mid) else { return false };
        let (Some(track), Some(kind)) = (section.track(), engine_kind(section.kind)) else { return false };
        row.kind = kind as u8;
        row.transport = self.transport();
        rows::fill_egress(self.media.get(section.media), track, source, mid, row)
    }
}
