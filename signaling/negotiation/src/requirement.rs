//! `media_sections_requirement` of the single layout: what the client was asked to add, and whether it shall offer again.

use engine_base::Kind;
use serde::{Deserialize, Serialize};

/// Sections per kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionCounts {
    pub audio: u32,
    pub video: u32,
}

impl SectionCounts {
    pub const fn is_zero(self) -> bool {
        self.audio == 0 && self.video == 0
    }

    pub fn of(&mut self, kind: Kind) -> &mut u32 {
        match kind {
            Kind::Audio => &mut self.audio,
            Kind::Video => &mut self.video,
        }
    }

    fn zip(self, other: Self, f: impl Fn(u32, u32) -> u32) -> Self {
        Self { audio: f(self.audio, other.audio), video: f(self.video, other.video) }
    }

    pub(crate) fn less(self, other: Self) -> Self {
        self.zip(other, u32::saturating_sub)
    }

    pub(crate) fn at_most(self, other: Self) -> Self {
        self.zip(other, u32::min)
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        self.zip(other, u32::saturating_add)
    }
}

/// What was asked of the client and has not shown up in an offer yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asked {
    sections: SectionCounts,
    /// Any offer at all.
    offer: bool,
    /// The signal connection broke since: the client may not have heard of it.
    doubtful: bool,
}

impl Asked {
    /// An offer came with `added` sections that the client receives on. The first one after a resume holds every section
    /// that the client has heard of: what is not in it must be asked again.
    pub(crate) fn offer_came(&mut self, added: SectionCounts) {
        self.offer = false;
        self.sections = if self.doubtful { SectionCounts::default() } else { self.sections.less(added) };
        self.doubtful = false;
    }

    pub(crate) fn resumed(&mut self) {
        (self.offer, self.doubtful) = (false, true);
    }

    /// What to ask now: `needed` sections less those asked already, or, with zeros, only another offer. After a resume an
    /// offer must first tell which sections the client has heard of.
    pub(crate) fn ask(&mut self, needed: SectionCounts, offer_needed: bool) -> Option<SectionCounts> {
        let lacking = needed.less(self.sections);
        let missing = if self.doubtful { SectionCounts::default() } else { lacking };
        let offer_needed = offer_needed || (self.doubtful && !needed.is_zero());
        if missing.is_zero() && (!offer_needed || self.offer) {
            return None;
        }
        self.sections = self.sections.plus(missing);
        self.offer = true;
        Some(missing)
    }
}
