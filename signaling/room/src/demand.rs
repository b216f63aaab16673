//! What subscribers take of a track, as its publisher hears of it (PROTOCOL §2.8).
//!
//! Each node adds up what its own participants take and tells the publisher, wherever that is connected. Here it only decides about
//! whole codecs: a backup is asked for while somebody needs it, and a primary that nobody takes after a regression is not. Which
//! layers are wanted is not decided: all of them are.

use std::collections::BTreeMap;

use engine_base::Kind;
use signaling_protocol::proto::{self, signal_response::Message};

use crate::input::Context;
use crate::message::Message as ToParticipant;
use crate::outbox::record;
use crate::rendition::Which;
use crate::room::Room;
use crate::subscribe::Want;
use crate::track::Track;

/// Renditions that somebody takes, or would take if they were published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    pub primary: bool,
    pub backup: bool,
}

impl Room {
    /// What this node's participants take of a track has changed, perhaps. Only for a track with a backup is that more than whether
    /// anybody takes it.
    pub(crate) fn note_demand(&mut self, track_sid: &str) {
        if self.published_track(track_sid).is_some_and(|(_, track)| track.backup.is_some()) {
            self.out.demands.insert(track_sid.to_owned());
        }
    }

    pub(crate) fn tell_demand(&mut self, track_sid: &str, context: &mut Context<'_>) {
        let mut demand = Demand::default();
        for (sid, participant) in &self.participants {
            if !participant.subscriptions.contains_key(track_sid) {
                continue;
            }
            match self.want(sid, track_sid) {
                Want::Track(source) if source.which == Which::Primary => demand.primary = true,
                Want::Track(_) | Want::Unpublished(_) => demand.backup = true,
                Want::Nothing | Want::Denied(_) => {}
            }
        }
        let Some((publisher, _)) = self.published_track(track_sid) else { return };
        let identity = publisher.core.identity.clone();
        let node_id = context.node.node_id.clone();
        self.post(&identity, ToParticipant::Demand { track_sid: track_sid.to_owned(), node_id, demand }, context);
    }

    pub(crate) fn take_demand(&mut self, sid: &str, track_sid: &str, node_id: String, demand: Demand) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        let connected = participant.link.connection.is_some();
        let Some(track) = participant.track_mut(track_sid) else { return };
        let before = track.wanted();
        track.demands.insert(node_id, demand);
        let changed = before != track.wanted();
        let told = track.subscribed_told || track.wanted().backup;
        if let Some(update) = quality_update(track).filter(|_| changed && connected && told) {
            self.send(sid, update);
        }
    }

    /// Somebody has begun to receive a track: its publisher hears of it once, and which qualities are wanted.
    pub(crate) fn track_subscribed(&mut self, track_sid: &str) {
        let Some(sid) = self.places.tracks.get(track_sid).cloned() else { return };
        let Some(participant) = self.participants.get_mut(&sid) else { return };
        let connected = participant.link.connection.is_some();
        let Some(track) = participant.track_mut(track_sid) else { return };
        let first = !std::mem::replace(&mut track.subscribed, true);
        let tell = connected && !std::mem::replace(&mut track.subscribed_told, connected);
        let quality = quality_update(track);
        if first {
            self.out.record(&sid, record::CORE);
        }
        if !tell {
            return;
        }
        if let Some(quality) = quality {
            self.send(&sid, quality);
        }
        self.send(&sid, Message::TrackSubscribed(proto::TrackSubscribed { track_sid: track_sid.to_owned() }));
    }

    /// A client that has resumed may have missed that its backup is wanted, or that it is not any more.
    pub(crate) fn repeat_demands(&mut self, sid: &str) {
        let Some(participant) = self.participants.get(sid) else { return };
        let untold = participant.published().filter(|track| track.backup.is_some() && !track.subscribed);
        for update in untold.filter_map(quality_update).collect::<Vec<_>>() {
            self.send(sid, update);
        }
    }
}

impl Track {
    /// Codecs that the publisher shall send.
    fn wanted(&self) -> Demand {
        let any = |takes: fn(&Demand) -> bool| self.demands.values().any(takes);
        Demand { primary: !self.regressed || any(|it| it.primary), backup: any(|it| it.backup) }
    }
}

/// Every layer of a wanted codec is wanted. `None` for audio.
pub(crate) fn quality_update(track: &Track) -> Option<Message> {
    if track.kind() == Kind::Audio {
        return None;
    }
    let wanted = track.wanted();
    let qualities = |enabled: bool| {
        let all = [proto::VideoQuality::Low, proto::VideoQuality::Medium, proto::VideoQuality::High];
        all.map(|quality| proto::SubscribedQuality { quality: quality as i32, enabled }).to_vec()
    };
    let named = |(codec, enabled): (&proto::SimulcastCodecInfo, bool)| {
        let name = codec.mime_type.rsplit('/').next().unwrap_or_default().to_lowercase();
        proto::SubscribedCodec { codec: name, qualities: qualities(enabled) }
    };
    let update = proto::SubscribedQualityUpdate {
        track_sid: track.sid().to_owned(),
        subscribed_qualities: qualities(wanted.primary),
        subscribed_codecs: track.info.codecs.iter().zip([wanted.primary, wanted.backup]).map(named).collect(),
    };
    Some(Message::SubscribedQualityUpdate(update))
}

/// By node id.
pub(crate) type Demands = BTreeMap<String, Demand>;
