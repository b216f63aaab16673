//! The subscriber connection of the dual layout: we make the offers (PROTOCOL §3.4).
//!
//! Section 0 is the data channels'; the others come in the order of subscription, are never removed, and carry one track
//! after another. One offer is outstanding at a time; what changes meanwhile goes into the next.

use std::borrow::Cow;
use std::collections::BTreeMap;

use engine_base::{Kind, TransportRef};
use engine_table::{EgressRow, TransportRow, transport_flags};
use serde::{Deserialize, Serialize};
use signaling_sdp::{
    AcceptedSection, CodecKey, EnabledCodecs, Fingerprint, LocalDescription, MediaKind, NegotiatedSection,
    OfferSection, OfferState, SendTrack, SessionDescription, Setup, SubscriberMedia, read_answer, write_offer,
};

use crate::error::NegotiationError;
use crate::ice::{IceRandom, LocalIce, LocalNode, check_remote};
use crate::remote::Remote;
use crate::rows;
use crate::section::media_kind;

/// An offer to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub id: u32,
    pub sdp: String,
    /// Complete: every mid that carries a track.
    pub mid_to_track_id: BTreeMap<String, String>,
}

/// What an answer brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// The first answer of the connection.
    pub first: bool,
    /// The client has dropped payload types or extensions that were offered: egress rows are to be filled again.
    pub media_reduced: bool,
    /// Tracks that the client takes, by mid and track id.
    pub accepted: Vec<(String, String)>,
    /// Tracks that it does not take. They stay in their section until they are removed, unless the section was rejected.
    pub refused: Vec<(String, String)>,
}

/// See the module head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriberPc {
    ice: LocalIce,
    session_id: u64,
    /// Of the last description.
    version: u64,
    remote: Option<Remote>,
    enabled: EnabledCodecs,
    audio: Agreed,
    video: Agreed,
    sections: Vec<Section>,
    next_id: u32,
    outstanding: Option<Outstanding>,
    /// Something that the client was not offered yet.
    changed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Section {
    offer: OfferSection,
    /// Free since before the last offer that the client answered: it has ended the former track.
    settled: bool,
}

/// What a kind of sections carries: what we offer, which follows from the enabled codecs and is made when it is needed (it takes
/// 2.5 kB), or what the client's first answer of this kind left of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Agreed {
    #[default]
    Offered,
    /// The answer took everything.
    Whole,
    Reduced(Box<NegotiatedSection>),
}

/// An offer without an answer: what each of its sections carried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Outstanding {
    id: u32,
    ssrcs: Vec<Option<u32>>,
}

/// At 3 kB a section, the client's answer is half of the 1 MiB that the SDP parser takes.
const SECTIONS_MAX: usize = 192;

impl SubscriberPc {
    /// `session_id`: random, 63 bits are used. `first_id`: of the first offer; random 1 to 256, so that a client can tell the
    /// offers of two sessions apart.
    pub fn new(enabled: EnabledCodecs, ice: LocalIce, session_id: u64, first_id: u32) -> Self {
        let data = OfferSection { mid: "0".to_owned(), state: OfferState::Data };
        Self {
            ice,
            session_id: session_id >> 1,
            version: 0,
            remote: None,
            enabled,
            audio: Agreed::default(),
            video: Agreed::default(),
            sections: vec![Section { offer: data, settled: false }],
            next_id: first_id.max(1),
            outstanding: None,
            changed: true,
        }
    }

    pub fn ice(&self) -> &LocalIce {
        &self.ice
    }

    pub fn transport(&self) -> TransportRef {
        self.ice.transport()
    }

    /// Our role in DTLS once an answer came.
    pub fn dtls_role(&self) -> Option<Setup> {
        self.remote.as_ref().map(|remote| remote.setup)
    }

    /// Of the client's certificate.
    pub fn fingerprint(&self) -> Option<&Fingerprint> {
        self.remote.as_ref().map(|remote| &remote.fingerprint)
    }

    /// Whether the client can take a track of one of `source`'s codecs, as far as is known.
    pub fn can_receive(&self, kind: Kind, source: &[CodecKey]) -> bool {
        rows::carries(&self.offered(kind), source)
    }

    fn offered(&self, kind: Kind) -> Cow<'_, NegotiatedSection> {
        match (kind, self.agreed(kind)) {
            (_, Agreed::Reduced(media)) => Cow::Borrowed(media),
            (Kind::Audio, _) => Cow::Owned(SubscriberMedia::audio(self.enabled)),
            (Kind::Video, _) => Cow::Owned(SubscriberMedia::video(self.enabled)),
        }
    }

    fn agreed(&self, kind: Kind) -> &Agreed {
        match kind {
            Kind::Audio => &self.audio,
            Kind::Video => &self.video,
        }
    }

    /// Of the kinds that there are sections of.
    fn media(&self) -> SubscriberMedia {
        let of = |kind| {
            let used = self.sections.iter().any(|section| section.offer.state.kind() == Some(media_kind(kind)));
            if used { self.offered(kind).into_owned() } else { NegotiatedSection::default() }
        };
        SubscriberMedia { audio: of(Kind::Audio), video: of(Kind::Video) }
    }

    /// Whether a track of this connection has `ssrc`. A new track needs one that no other has, nor had before.
    pub fn uses_ssrc(&self, ssrc: u32) -> bool {
        let uses = |track: &SendTrack| track.ssrc == ssrc || track.rtx_ssrc == Some(ssrc);
        self.sections.iter().filter_map(Section::track).any(uses)
    }

    /// Puts a track into a free section of its kind or a new one, and returns its mid. `None` when the client can take none of
    /// `source`'s codecs or has too many sections.
    pub fn add(&mut self, kind: Kind, track: SendTrack, source: &[CodecKey]) -> Option<String> {
        let offered = self.offered(kind);
        if !rows::carries(&offered, source) {
            return None;
        }
        let track = rows::fitted(track, &offered);
        let media_kind = media_kind(kind);
        let free = |section: &Section| section.settled && section.offer.state == OfferState::Free(media_kind);
        let state = OfferState::Send(media_kind, track);
        let count = self.sections.len();
        let mid = match self.sections.iter_mut().find(|section| free(section)) {
            Some(section) => {
                section.offer.state = state;
                section.offer.mid.clone()
            }
            None if count >= SECTIONS_MAX => return None,
            None => {
                let mid = count.to_string();
                self.sections.push(Section { offer: OfferSection { mid: mid.clone(), state }, settled: false });
                mid
            }
        };
        self.changed = true;
        Some(mid)
    }

    /// Takes a track out of its section. `false` when none carries it.
    pub fn remove(&mut self, track_id: &str) -> bool {
        let carries = |section: &&mut Section| section.track().is_some_and(|track| track.track_id == track_id);
        let Some(section) = self.sections.iter_mut().find(carries) else { return false };
        if let OfferState::Send(kind, _) = section.offer.state {
            section.offer.state = OfferState::Free(kind);
            section.settled = false;
        }
        self.changed = true;
        true
    }

    /// The mid that carries `track_id`.
    pub fn mid_of(&self, track_id: &str) -> Option<&str> {
        let carries = |section: &&Section| section.track().is_some_and(|track| track.track_id == track_id);
        self.sections.iter().find(carries).map(|section| section.offer.mid.as_str())
    }

    /// Every mid that carries a track.
    pub fn mid_to_track_id(&self) -> BTreeMap<String, String> {
        let entry = |section: &Section| Some((section.offer.mid.clone(), section.track()?.track_id.clone()));
        self.sections.iter().filter_map(entry).collect()
    }

    /// Whether [`Self::offer`] would make an offer, now or after the outstanding answer.
    pub fn needs_offer(&self) -> bool {
        self.changed
    }

    /// Id of the offer that the client has not answered: the room gives it 15 s.
    pub fn outstanding(&self) -> Option<u32> {
        self.outstanding.as_ref().map(|outstanding| outstanding.id)
    }

    /// The next offer; `None` when nothing changed or the last one has no answer yet.
    pub fn offer(&mut self, node: &LocalNode<'_>) -> Result<Option<Offer>, NegotiationError> {
        if !self.changed || self.outstanding.is_some() {
            return Ok(None);
        }
        let local = LocalDescription {
            session_id: self.session_id,
            version: self.version + 1,
            setup: Setup::ActPass,
            ice: self.ice.local(),
            fingerprint: &Fingerprint::sha256(node.fingerprint),
            candidates: &self.ice.candidates(node.addresses),
            ice_lite: node.ice_lite,
        };
        let sections: Vec<OfferSection> = self.sections.iter().map(|section| section.offer.clone()).collect();
        let sdp = write_offer(&local, &self.media(), &sections)?;
        let id = self.next_id;
        let ssrcs = self.sections.iter().map(|section| section.track().map(|track| track.ssrc)).collect();
        self.outstanding = Some(Outstanding { id, ssrcs });
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        self.version += 1;
        self.changed = false;
        Ok(Some(Offer { id, sdp, mid_to_track_id: self.mid_to_track_id() }))
    }

    /// Takes the client's answer; `None` for one to an offer that is not outstanding. Id 0 is that of clients that give none.
    ///
    /// Errors: the state is unchanged.
    pub fn handle_answer(&mut self, id: u32, sdp: &str) -> Result<Option<Answered>, NegotiationError> {
        let Some(outstanding) = self.outstanding.as_ref().filter(|offer| id == 0 || offer.id == id) else {
            return Ok(None);
        };
        let answer = SessionDescription::parse(sdp)?;
        let accepted = read_answer(&answer, &self.media());
        self.check_order(outstanding, &accepted)?;
        let no_ice = NegotiationError::PeerMisbehaved { what: "no ICE credentials" };
        let remote_ice = answer.ice().ok_or(no_ice)?.clone();
        check_remote(&remote_ice)?;
        let setup = if answer.setup() == Some(Setup::Passive) { Setup::Active } else { Setup::Passive };
        let remote = Remote::read(&answer, setup, self.remote.as_ref())?;

        let ssrcs = outstanding.ssrcs.clone();
        self.outstanding = None;
        self.ice.set_remote(remote_ice);
        let mut answered = Answered { first: self.remote.is_none(), ..Answered::default() };
        self.remote = Some(remote);
        answered.media_reduced = self.reduce(&accepted);
        for ((section, accepted), offered) in self.sections.iter_mut().zip(&accepted).zip(ssrcs) {
            section.answered(accepted, offered, &mut answered);
        }
        Ok(Some(answered))
    }

    fn check_order(&self, offer: &Outstanding, accepted: &[AcceptedSection]) -> Result<(), NegotiationError> {
        let same = |(ours, theirs): (&Section, &AcceptedSection)| ours.offer.mid == theirs.mid;
        if offer.ssrcs.len() == accepted.len() && self.sections.iter().zip(accepted).all(same) {
            return Ok(());
        }
        Err(NegotiationError::PeerMisbehaved { what: "an answer with other sections than the offer" })
    }

    /// Keeps of a kind what the first accepted section of it kept.
    fn reduce(&mut self, accepted: &[AcceptedSection]) -> bool {
        let mut reduced = false;
        for kind in [Kind::Audio, Kind::Video] {
            let of_kind = |section: &&AcceptedSection| section.kind == media_kind(kind) && !section.rejected;
            let mut usable = accepted.iter().filter(of_kind).map(|section| &section.media);
            let Some(media) = usable.find(|media| !media.is_empty()) else { continue };
            if *self.agreed(kind) != Agreed::Offered {
                continue;
            }
            let whole = *self.offered(kind) == *media;
            reduced |= !whole;
            let agreed = if whole { Agreed::Whole } else { Agreed::Reduced(Box::new(media.clone())) };
            match kind {
                Kind::Audio => self.audio = agreed,
                Kind::Video => self.video = agreed,
            }
        }
        reduced
    }

    /// New credentials and an offer of them: the client resumed, or its connection failed. The answer to an outstanding offer
    /// is not awaited any more. `nominated`: [`LocalIce::restart`].
    pub fn restart_ice(&mut self, random: IceRandom, nominated: Option<u8>) {
        self.ice.restart(random, nominated);
        self.outstanding = None;
        self.changed = true;
    }

    /// Fills an egress row but `state`, `generation`, `ingress`, `priority`, `label`, the layer limits and the flag enabled.
    /// `source`: codec keys of the publisher's section. `false` when `mid` carries no track or the client takes none of the
    /// codecs.
    pub fn fill_egress(&self, mid: &str, source: &[CodecKey], row: &mut EgressRow) -> bool {
        let Some(section) = self.sections.iter().find(|section| section.offer.mid == mid) else { return false };
        let OfferState::Send(kind, track) = &section.offer.state else { return false };
        let kind = if *kind == MediaKind::Audio { Kind::Audio } else { Kind::Video };
        row.kind = kind as u8;
        row.transport = self.transport();
        rows::fill_egress(&self.offered(kind), track, source, mid, row)
    }

    /// Fills all of a transport row but `state`, `label` and the closing flag.
    pub fn fill_transport(&self, row: &mut TransportRow) {
        self.ice.fill_transport(row);
        Remote::fill_transport(self.remote.as_ref(), Setup::Passive, row);
        row.receive_extensions = engine_base::ExtensionIds::NONE;
        rows::set(&mut row.flags, transport_flags::SCTP, true);
        rows::set(&mut row.flags, transport_flags::OPEN_CHANNELS, true);
    }
}

impl Section {
    fn track(&self) -> Option<&SendTrack> {
        match &self.offer.state {
            OfferState::Send(_, track) => Some(track),
            _ => None,
        }
    }

    /// `offered`: the SSRC of the track that the answered offer had here. Its section may hold another one by now.
    fn answered(&mut self, accepted: &AcceptedSection, offered: Option<u32>, answered: &mut Answered) {
        if let Some(track) = self.track().filter(|track| accepted.rejected || Some(track.ssrc) == offered) {
            let entry = (self.offer.mid.clone(), track.track_id.clone());
            let takes = !accepted.rejected && accepted.direction.receives();
            if takes { answered.accepted.push(entry) } else { answered.refused.push(entry) }
        }
        match self.offer.state {
            OfferState::Send(kind, _) | OfferState::Free(kind) if accepted.rejected => {
                self.offer.state = OfferState::Rejected(kind);
            }
            OfferState::Free(_) if offered.is_none() => self.settled = true,
            _ => {}
        }
    }
}
