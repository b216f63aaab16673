//! A connection on which the client makes the offers: the publisher connection of the dual layout, and the only one of the
//! single layout, on which tracks of others go into sections that the client receives on (PROTOCOL §2.5, §3.5).

mod placement;

use std::collections::BTreeMap;

use engine_base::{Kind, TransportRef};
use engine_table::{IngressRow, TransportRow, transport_flags};
use serde::{Deserialize, Serialize};
use signaling_sdp::{
    AnswerPolicy, CodecKey, Fingerprint, LocalDescription, MediaSection, NegotiatedSection, PublishRequest,
    SectionAnswer, SessionDescription, Setup, answer_setup, negotiate_publish, write_answer,
};

use crate::error::NegotiationError;
use crate::ice::{IceRandom, LocalIce, LocalNode, check_remote};
use crate::remote::Remote;
use crate::requirement::{Asked, SectionCounts};
use crate::rows::{self, check_name};
use crate::section::{MediaPool, Role, Section, engine_kind};
use crate::streams::{PublishedLayer, msid};

/// What the connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// Dual: the client only publishes here.
    Publisher,
    /// Single: it receives here, too.
    Single,
}

/// What an offer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// New ICE credentials on both sides: the transport row changes before the answer leaves.
    pub ice_restart: bool,
    /// Every section on which the client sends, in m-line order.
    pub published: Vec<PublishedSection>,
    /// Mids on which it sent before, and does not now or sends another track, which is then in `published`, too.
    pub stopped: Vec<String>,
    /// Tracks whose section is gone, by mid and track id: they wait for another section.
    pub evicted: Vec<(String, String)>,
    /// Sections that the client receives on, whether they carry a track or not.
    pub receiving: SectionCounts,
    pub has_application: bool,
    /// The client has applied our last answer, as it could not offer before: see [`OfferedPc::told_tracks`].
    pub applied: bool,
}

/// A section on which the client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedSection {
    pub mid: String,
    pub kind: Kind,
    /// `cid` of the client's AddTrack in most SDKs (msid track id); empty when absent.
    pub track: String,
    /// `-` or empty for no stream.
    pub stream: String,
    /// The lowest quality first; at least one.
    pub layers: Vec<PublishedLayer>,
    /// Codecs in common, in the offer's order of preference; none when the section will be answered as rejected.
    pub codecs: Vec<CodecKey>,
    /// Whether [`OfferedPc::bind_publish`] was called for it.
    pub bound: bool,
    /// Whether its track was ended by [`OfferedPc::unbind_publish`] and the client has not stopped it so far.
    pub ended: bool,
}

/// The answer to the client's last offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Of the offer; 0 where the client gave none.
    pub id: u32,
    pub sdp: String,
    /// Complete: every mid that carries a track of another participant.
    pub mid_to_track_id: BTreeMap<String, String>,
}

/// See the module head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferedPc {
    layout: Layout,
    policy: AnswerPolicy,
    ice: LocalIce,
    session_id: u64,
    /// Of the last description.
    version: u64,
    remote: Option<Remote>,
    sections: Vec<Section>,
    media: MediaPool,
    pending: Option<PendingOffer>,
    asked: Asked,
    delivery: Delivery,
}

/// Whether the client has applied our last answer, as far as that told it of tracks of others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Delivery {
    #[default]
    Applied,
    /// It is on its way, with news of these sections.
    Sent(Vec<u16>),
    /// The signal connection broke while it was on its way: the next answer tells everything again.
    Doubtful,
}

/// An offer without an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PendingOffer {
    id: u32,
    offer: ParsedOffer,
}

/// Kept as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct ParsedOffer {
    text: String,
    description: SessionDescription,
}

impl TryFrom<String> for ParsedOffer {
    type Error = signaling_sdp::SdpError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Ok(Self { description: SessionDescription::parse(&text)?, text })
    }
}

impl From<ParsedOffer> for String {
    fn from(offer: ParsedOffer) -> Self {
        offer.text
    }
}

impl OfferedPc {
    /// `session_id`: random, 63 bits are used (`o=`).
    pub fn new(layout: Layout, policy: AnswerPolicy, ice: LocalIce, session_id: u64) -> Self {
        Self {
            layout,
            policy,
            ice,
            session_id: session_id >> 1,
            version: 0,
            remote: None,
            sections: Vec::new(),
            media: MediaPool::default(),
            pending: None,
            asked: Asked::default(),
            delivery: Delivery::default(),
        }
    }

    pub fn ice(&self) -> &LocalIce {
        &self.ice
    }

    pub fn transport(&self) -> TransportRef {
        self.ice.transport()
    }

    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// An offer waits for [`Self::answer`].
    pub fn has_pending_offer(&self) -> bool {
        self.pending.is_some()
    }

    /// Id of the offer that waits for an answer; 0 where the client gave none.
    pub fn pending_id(&self) -> Option<u32> {
        self.pending.as_ref().map(|pending| pending.id)
    }

    /// The pending offer is not answered: the client makes another one.
    pub fn drop_pending(&mut self) {
        self.pending = None;
    }

    pub fn has_application(&self) -> bool {
        self.sections.iter().any(|section| section.role == Role::Application)
    }

    /// Our role in DTLS once an offer came: `Active` is the client's part.
    pub fn dtls_role(&self) -> Option<Setup> {
        self.remote.as_ref().map(|remote| remote.setup)
    }

    /// Of the client's certificate.
    pub fn fingerprint(&self) -> Option<&Fingerprint> {
        self.remote.as_ref().map(|remote| &remote.fingerprint)
    }

    /// Takes the client's offer; an earlier one without an answer is superseded. `random` and `nominated`
    /// ([`LocalIce::restart`]) are used if the offer restarts ICE.
    ///
    /// Errors: the state is unchanged. Cost: allocates, O(text).
    pub fn handle_offer(
        &mut self,
        id: u32,
        sdp: &str,
        random: IceRandom,
        nominated: Option<u8>,
    ) -> Result<Offered, NegotiationError> {
        let offer = ParsedOffer::try_from(sdp.to_owned())?;
        let description = &offer.description;
        self.check_order(description)?;
        let no_ice = NegotiationError::PeerMisbehaved { what: "no ICE credentials" };
        let remote_ice = description.ice().ok_or(no_ice)?.clone();
        check_remote(&remote_ice)?;
        let remote = Remote::read(description, answer_setup(description), self.remote.as_ref())?;
        let mut media = MediaPool::default();
        let sections = self.read_sections(description, &mut media)?;

        let ice_restart = self.ice.remote().is_some_and(|known| *known != remote_ice);
        if ice_restart {
            self.ice.restart(random, nominated);
        }
        self.ice.set_remote(remote_ice);
        let before = std::mem::replace(&mut self.sections, sections);
        self.media = media;
        self.remote = Some(remote);
        let added = self.receiving().less(receiving(&before));
        self.asked.offer_came(added);
        let applied = self.delivery != Delivery::Doubtful;
        self.note_applied();
        let offered = Offered { applied, ..self.offered(description, &before, ice_restart) };
        self.pending = Some(PendingOffer { id, offer });
        Ok(offered)
    }

    /// Sections are never removed, and keep their mid and kind unless they were rejected (RFC 9429 §5.2.2).
    fn check_order(&self, description: &SessionDescription) -> Result<(), NegotiationError> {
        if description.sections.len() < self.sections.len() {
            return Err(NegotiationError::PeerMisbehaved { what: "fewer sections than before" });
        }
        for (known, offered) in self.sections.iter().zip(&description.sections) {
            let same = known.mid == offered.mid && known.kind == offered.kind;
            if !same && !known.is_rejected(&self.media) {
                return Err(NegotiationError::PeerMisbehaved { what: "sections in another order" });
            }
        }
        Ok(())
    }

    fn read_sections(
        &self,
        description: &SessionDescription,
        media: &mut MediaPool,
    ) -> Result<Vec<Section>, NegotiationError> {
        let alone = description.sections.len() == 1;
        let read = |(index, offered): (usize, &MediaSection)| {
            check_name(&offered.mid, "mid")?;
            for rid in &offered.streams.rids {
                check_name(&rid.id, "rid")?;
            }
            let bundled = alone || description.bundle.contains(&offered.mid);
            let receives = self.layout == Layout::Single;
            Ok(Section::read(offered, bundled, receives, self.sections.get(index), &self.policy, media))
        };
        description.sections.iter().enumerate().map(read).collect()
    }

    fn offered(&self, description: &SessionDescription, before: &[Section], ice_restart: bool) -> Offered {
        let mut offered = Offered {
            ice_restart,
            published: Vec::new(),
            stopped: Vec::new(),
            evicted: Vec::new(),
            receiving: self.receiving(),
            has_application: self.has_application(),
            applied: false,
        };
        for (section, text) in self.sections.iter().zip(&description.sections) {
            offered.published.extend(self.published(section, text));
        }
        for (index, old) in before.iter().enumerate() {
            let new = self.sections.get(index).filter(|new| new.mid == old.mid).map(|new| &new.role);
            let now = |track: &str| matches!(new, Some(Role::Publish(publish)) if publish.track == track);
            if matches!(&old.role, Role::Publish(publish) if !now(&publish.track)) {
                offered.stopped.push(old.mid.clone());
            }
            let receives = matches!(new, Some(Role::Receive(_)));
            if let Some(track) = old.track().filter(|_| !receives) {
                offered.evicted.push((old.mid.clone(), track.track_id.clone()));
            }
        }
        offered
    }

    fn published(&self, section: &Section, text: &MediaSection) -> Option<PublishedSection> {
        let Role::Publish(publish) = &section.role else { return None };
        let media = self.media.get(section.media);
        let kept = |number: u8| media.payload_type(number).map(|pt| pt.key());
        Some(PublishedSection {
            mid: section.mid.clone(),
            kind: engine_kind(section.kind)?,
            track: publish.track.clone(),
            stream: msid(&text.streams).map(|msid| msid.stream.clone()).unwrap_or_default(),
            layers: publish.layers.clone(),
            codecs: text.formats.iter().filter_map(|format| kept(format.payload_type)).collect(),
            bound: publish.request.is_some(),
            ended: publish.ended,
        })
    }

    /// The room has found the AddTrack of a section that the client sends on. It decides about the answer to the pending
    /// offer, or, without one, about the next. `false` when the client does not send there.
    pub fn bind_publish(&mut self, mid: &str, publish: PublishRequest) -> bool {
        self.set_request(mid, Some(publish))
    }

    /// The track has ended: the section is answered as one that no AddTrack names.
    pub fn unbind_publish(&mut self, mid: &str) -> bool {
        self.set_request(mid, None)
    }

    fn set_request(&mut self, mid: &str, request: Option<PublishRequest>) -> bool {
        let Some(section) = self.sections.iter_mut().find(|section| section.mid == mid) else { return false };
        let Role::Publish(publish) = &mut section.role else { return false };
        publish.ended = request.is_none() && (publish.ended || publish.request.is_some());
        publish.request = request.map(Into::into);
        let offered = self.pending.as_ref().and_then(|pending| pending.offer.description.section(mid));
        if let Some(offered) = offered {
            section.media = self.media.put(negotiate_publish(offered, &self.policy, &request.unwrap_or_default()));
        }
        true
    }

    /// Codecs that the client may send on `mid`, in the order of preference: the source of every egress of this track.
    pub fn codec_keys(&self, mid: &str) -> Vec<CodecKey> {
        self.published_media(mid).map(|(media, _)| rows::codec_keys(media)).unwrap_or_default()
    }

    fn published_media(&self, mid: &str) -> Option<(&NegotiatedSection, &[PublishedLayer])> {
        let section = self.section(mid)?;
        match &section.role {
            Role::Publish(publish) => Some((self.media.get(section.media), &publish.layers)),
            _ => None,
        }
    }

    fn section(&self, mid: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.mid == mid)
    }

    /// Fills an ingress row but `state`, `generation`, `label` and the flags muted, SVC and microphone. `false` when the client
    /// does not send on `mid`.
    pub fn fill_ingress(&self, mid: &str, row: &mut IngressRow) -> bool {
        let Some((media, layers)) = self.published_media(mid) else { return false };
        row.transport = self.transport();
        rows::fill_ingress(media, layers, mid, row);
        true
    }

    fn receiving(&self) -> SectionCounts {
        receiving(&self.sections)
    }

    /// Answers the pending offer, once; `None` without one.
    pub fn answer(&mut self, node: &LocalNode<'_>) -> Result<Option<Answer>, NegotiationError> {
        let (Some(pending), Some(remote)) = (&self.pending, &self.remote) else { return Ok(None) };
        let decisions: Vec<SectionAnswer> = self.sections.iter().map(|section| section.answer(&self.media)).collect();
        let local = LocalDescription {
            session_id: self.session_id,
            version: self.version + 1,
            setup: remote.setup,
            ice: self.ice.local(),
            fingerprint: &Fingerprint::sha256(node.fingerprint),
            candidates: &self.ice.candidates(node.addresses),
            ice_lite: node.ice_lite,
        };
        let sdp = write_answer(&pending.offer.description, &local, &decisions)?;
        let id = pending.id;
        self.version += 1;
        self.pending = None;
        let again = self.delivery == Delivery::Doubtful;
        let mut news = Vec::new();
        for (index, section) in (0..).zip(&mut self.sections) {
            if let Role::Receive(receive) = &mut section.role
                && (again || !receive.is_told())
            {
                receive.tell();
                news.push(index);
            }
        }
        self.delivery = if news.is_empty() { Delivery::Applied } else { Delivery::Sent(news) };
        Ok(Some(Answer { id, sdp, mid_to_track_id: self.mid_to_track_id() }))
    }

    /// Every mid that carries a track of another participant.
    pub fn mid_to_track_id(&self) -> BTreeMap<String, String> {
        let entry = |section: &Section| Some((section.mid.clone(), section.track()?.track_id.clone()));
        self.sections.iter().filter_map(entry).collect()
    }

    /// Fills all of a transport row but `state`, `label` and the closing flag.
    pub fn fill_transport(&self, row: &mut TransportRow) {
        self.ice.fill_transport(row);
        Remote::fill_transport(self.remote.as_ref(), Setup::Active, row);
        let published = self.sections.iter().filter(|section| matches!(section.role, Role::Publish(_)));
        row.receive_extensions = rows::merge_extensions(published.map(|section| self.media.get(section.media)));
        rows::set(&mut row.flags, transport_flags::SCTP, self.has_application());
        rows::set(&mut row.flags, transport_flags::OPEN_CHANNELS, false);
    }
}

fn receiving(sections: &[Section]) -> SectionCounts {
    let mut counts = SectionCounts::default();
    for section in sections.iter().filter(|section| section.receive().is_some()) {
        if let Some(kind) = engine_kind(section.kind) {
            *counts.of(kind) += 1;
        }
    }
    counts
}
