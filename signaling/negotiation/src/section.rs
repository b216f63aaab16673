//! One section of a client's offer and what it is used for.

use engine_base::{Codec, Kind};
use serde::{Deserialize, Serialize};
use signaling_sdp::{
    AnswerPolicy, MediaKind, MediaSection, NegotiatedSection, PublishRequest, SectionAnswer, SendTrack,
    negotiate_publish, negotiate_send,
};

use crate::rows::fitted;
use crate::streams::{PublishedLayer, layers, msid};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Section {
    pub(crate) mid: String,
    pub(crate) kind: MediaKind,
    pub(crate) role: Role,
    /// Place in the [`MediaPool`].
    pub(crate) media: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// The client sends.
    Publish(Publish),
    /// The client receives: a section for tracks of others.
    Receive(Receive),
    Application,
    /// The client sent here and does not now. The Rust SDK then offers `recvonly`, which is no place for tracks of others
    /// (observed: PyPI livekit 1.2.1).
    Stopped,
    /// Neither sends nor receives.
    Idle,
    /// Port 0, outside the BUNDLE, or of an unknown kind.
    Rejected,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Publish {
    /// Track id of the msid, which tells one track of a section from the next.
    pub(crate) track: String,
    pub(crate) layers: Vec<PublishedLayer>,
    pub(crate) request: Option<Request>,
    /// Its track was ended by us; the client still sends.
    pub(crate) ended: bool,
}

/// `told`: the client knows it from an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Receive {
    /// No track so far: answered `sendonly` without streams.
    Fresh,
    Carrying {
        track: SendTrack,
        told: bool,
    },
    /// Its track went away: answered `inactive`, so that the client ends the track, and reused only after that.
    Emptied {
        told: bool,
    },
}

impl Receive {
    pub(crate) fn is_free(&self) -> bool {
        matches!(self, Self::Fresh | Self::Emptied { told: true })
    }

    pub(crate) fn is_told(&self) -> bool {
        !matches!(self, Self::Carrying { told: false, .. } | Self::Emptied { told: false })
    }

    pub(crate) fn tell(&mut self) {
        match self {
            Self::Fresh => {}
            Self::Carrying { told, .. } | Self::Emptied { told } => *told = true,
        }
    }

    /// The client may not have heard of it: an emptied section is not reused before it has.
    pub(crate) fn doubt(&mut self) {
        if let Self::Emptied { told } = self {
            *told = false;
        }
    }

    /// Without its track; a track that the client never heard of leaves no trace.
    pub(crate) fn emptied(&self) -> Self {
        match self {
            Self::Fresh | Self::Emptied { .. } => self.clone(),
            Self::Carrying { told, .. } => Self::Emptied { told: !told },
        }
    }

    fn fitted(&self, media: &NegotiatedSection) -> Self {
        match self {
            Self::Carrying { track, told } => Self::Carrying { track: fitted(track.clone(), media), told: *told },
            Self::Fresh | Self::Emptied { .. } => self.clone(),
        }
    }

    pub(crate) fn track(&self) -> Option<&SendTrack> {
        match self {
            Self::Carrying { track, .. } => Some(track),
            Self::Fresh | Self::Emptied { .. } => None,
        }
    }
}

/// A [`PublishRequest`] as the journal keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    /// `engine_base::Codec`; 0 for none.
    codec: u8,
    red: bool,
    dtx: bool,
    stereo: bool,
}

impl From<PublishRequest> for Request {
    fn from(request: PublishRequest) -> Self {
        let PublishRequest { codec, red, dtx, stereo } = request;
        Self { codec: codec.unwrap_or_default() as u8, red, dtx, stereo }
    }
}

impl From<Request> for PublishRequest {
    fn from(request: Request) -> Self {
        let Request { codec, red, dtx, stereo } = request;
        Self { codec: Codec::from_u8(codec).filter(|&codec| codec != Codec::None), red, dtx, stereo }
    }
}

/// What sections negotiated, each distinct value once: receiving sections of a kind are alike, and a client may have dozens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MediaPool(Vec<NegotiatedSection>);

impl MediaPool {
    pub(crate) fn put(&mut self, media: NegotiatedSection) -> u16 {
        let place = self.0.iter().position(|known| *known == media).unwrap_or_else(|| {
            self.0.push(media);
            self.0.len() - 1
        });
        place as u16
    }

    pub(crate) fn get(&self, place: u16) -> &NegotiatedSection {
        const EMPTY: &NegotiatedSection = &NegotiatedSection {
            payload_types: Vec::new(),
            extensions: Vec::new(),
            rids: Vec::new(),
            simulcast: false,
        };
        self.0.get(usize::from(place)).unwrap_or(EMPTY)
    }
}

impl Section {
    /// The section that `offered` describes now, with what `known`, its former state, still holds of it.
    pub(crate) fn read(
        offered: &MediaSection,
        bundled: bool,
        receives: bool,
        known: Option<&Self>,
        policy: &AnswerPolicy,
        pool: &mut MediaPool,
    ) -> Self {
        let known = known.filter(|known| known.mid == offered.mid).map(|known| &known.role);
        let (role, media) = Self::role(offered, bundled, receives, known, policy);
        Self { mid: offered.mid.clone(), kind: offered.kind, role, media: pool.put(media) }
    }

    fn role(
        offered: &MediaSection,
        bundled: bool,
        receives: bool,
        known: Option<&Role>,
        policy: &AnswerPolicy,
    ) -> (Role, NegotiatedSection) {
        let nothing = NegotiatedSection::default;
        match offered.kind {
            _ if offered.rejected || !bundled => return (Role::Rejected, nothing()),
            MediaKind::Application => return (Role::Application, nothing()),
            MediaKind::Other => return (Role::Rejected, nothing()),
            MediaKind::Audio | MediaKind::Video => {}
        }
        if offered.direction.sends() {
            let track = msid(&offered.streams).map(|msid| msid.track.clone()).unwrap_or_default();
            let (request, ended) = match known {
                Some(Role::Publish(known)) if known.track == track => (known.request, known.ended),
                _ => (None, false),
            };
            let media = negotiate_publish(offered, policy, &request.map(PublishRequest::from).unwrap_or_default());
            let layers = layers(&offered.streams, &media);
            return (Role::Publish(Publish { track, layers, request, ended }), media);
        }
        if matches!(known, Some(Role::Publish(_) | Role::Stopped)) {
            return (Role::Stopped, negotiate_publish(offered, policy, &PublishRequest::default()));
        }
        let media = negotiate_send(offered, policy);
        if !offered.direction.receives() || !receives {
            return (Role::Idle, media);
        }
        if media.is_empty() {
            return (Role::Rejected, media);
        }
        let receive = match known {
            Some(Role::Receive(receive)) => receive.fitted(&media),
            _ => Receive::Fresh,
        };
        (Role::Receive(receive), media)
    }

    pub(crate) fn is_of(&self, kind: Kind) -> bool {
        self.kind == media_kind(kind)
    }

    /// Offered or answered with port 0: the client may use its place for a new section.
    pub(crate) fn is_rejected(&self, pool: &MediaPool) -> bool {
        match self.role {
            Role::Rejected => true,
            Role::Application => false,
            Role::Publish(_) | Role::Receive(_) | Role::Stopped | Role::Idle => pool.get(self.media).is_empty(),
        }
    }

    pub(crate) fn receive(&self) -> Option<&Receive> {
        match &self.role {
            Role::Receive(receive) => Some(receive),
            _ => None,
        }
    }

    pub(crate) fn track(&self) -> Option<&SendTrack> {
        self.receive().and_then(Receive::track)
    }

    pub(crate) fn answer(&self, pool: &MediaPool) -> SectionAnswer {
        let media = || pool.get(self.media).clone();
        match &self.role {
            Role::Publish(_) => SectionAnswer::Publish(media()),
            Role::Receive(Receive::Fresh) => SectionAnswer::SendFree(media()),
            Role::Receive(Receive::Carrying { track, .. }) => SectionAnswer::Send(media(), track.clone()),
            Role::Receive(Receive::Emptied { .. }) | Role::Stopped | Role::Idle => SectionAnswer::Inactive(media()),
            Role::Application => SectionAnswer::Application,
            Role::Rejected => SectionAnswer::Rejected,
        }
    }
}

pub(crate) const fn media_kind(kind: Kind) -> MediaKind {
    match kind {
        Kind::Audio => MediaKind::Audio,
        Kind::Video => MediaKind::Video,
    }
}

pub(crate) const fn engine_kind(kind: MediaKind) -> Option<Kind> {
    match kind {
        MediaKind::Audio => Some(Kind::Audio),
        MediaKind::Video => Some(Kind::Video),
        MediaKind::Application | MediaKind::Other => None,
    }
}
