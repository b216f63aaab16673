//! The backup codec of a track: asked for when a subscriber cannot decode the first, published in a section of its own, and, if
//! its policy says so, taken by everybody from then on (PROTOCOL §2.7; observed: livekit-server 1.13.5, livekit-client 2.23).

use engine_base::IngressRef;
use signaling_program::RowChange;
use signaling_protocol::proto::request_response::{Reason, Request};
use signaling_protocol::proto::{self, signal_response::Message};

use crate::input::Context;
use crate::negotiate::HOLD_MS;
use crate::outbox::record;
use crate::rendition::Which;
use crate::response::refusal;
use crate::room::Room;
use crate::track::Track;

impl Room {
    /// An AddTrack that names a published track: its backup is to come.
    pub(crate) fn add_backup(&mut self, sid: &str, request: proto::AddTrackRequest, context: &mut Context<'_>) {
        match self.request_backup(sid, &request, context) {
            Ok(published) => self.send(sid, Message::TrackPublished(published)),
            Err(reason) => return self.send(sid, refusal(reason, Request::AddTrack(request))),
        }
        self.begin_rest(sid, engine_base::Kind::Video, context.now);
        self.match_tracks(sid, false, context);
        let Some(participant) = self.participants.get_mut(sid) else { return };
        if participant.core.publishing.awaits_match() {
            participant.core.deadlines.hold.get_or_insert(context.now.add_ms(HOLD_MS));
        }
    }

    fn request_backup(
        &mut self,
        sid: &str,
        request: &proto::AddTrackRequest,
        context: &mut Context<'_>,
    ) -> Result<proto::TrackPublishedResponse, Reason> {
        let participant = self.participants.get(sid).ok_or(Reason::NotFound)?;
        let track = participant.track(&request.sid).filter(|track| track.is_published()).ok_or(Reason::NotFound)?;
        let others = participant.core.publishing.tracks.iter().filter(|other| other.sid() != track.sid());
        if request.cid.is_empty()
            || others.chain([track]).any(|other| other.has_cid(&request.cid) && !same(other, request))
        {
            return Err(Reason::UnsupportedType);
        }
        let stale = track.backup.as_ref().is_some_and(|it| it.is_published() && !it.cids.contains(&request.cid));
        if stale {
            self.end_backup(sid, &request.sid, context);
        }
        let track = self.participants.get_mut(sid).and_then(|it| it.track_mut(&request.sid)).ok_or(Reason::NotFound)?;
        if !request.simulcast_codecs.iter().any(|named| track.request_backup(&request.cid, named)) {
            return Err(Reason::UnsupportedType);
        }
        let published = proto::TrackPublishedResponse { cid: request.cid.clone(), track: Some(track.info.0.clone()) };
        self.out.record(sid, record::CORE);
        Ok(published)
    }

    /// No section carries the backup of a track any more: whoever took it waits for another one.
    pub(crate) fn end_backup(&mut self, sid: &str, track_sid: &str, context: &mut Context<'_>) {
        for subscriber in self.wishing(track_sid) {
            if self.takes(&subscriber, track_sid) == Some(Which::Backup) {
                self.stop_sending(&subscriber, track_sid);
            }
        }
        let Some(participant) = self.participants.get_mut(sid) else { return };
        let Some(track) = participant.core.publishing.tracks.iter_mut().find(|track| track.sid() == track_sid) else {
            return;
        };
        let mid = track.backup.as_ref().map(|backup| backup.mid.clone()).unwrap_or_default();
        let ingress = track.unbind_backup();
        participant.peer.offered.unbind_publish(&mid);
        self.free_ingress(ingress);
        self.out.record(sid, record::CORE | record::PEER);
        self.offer_track(track_sid, context);
    }

    pub(crate) fn free_ingress(&mut self, ingress: IngressRef) {
        if !ingress.is_none() {
            self.places.ingresses.remove(&ingress);
            self.out.freed.push(RowChange::FreeIngress(ingress));
        }
    }

    /// The first packets of a backup: by its policy all subscribers move to it, so that the publisher encodes once. The reference
    /// does so in small rooms if the policy only prefers it, and never goes back.
    pub(crate) fn regress(&mut self, sid: &str, track_sid: &str, threshold: u32) {
        let people = self.participants.len() + self.replication.infos().count();
        let small = threshold == 0 || people < threshold as usize;
        let Some(track) = self.participants.get_mut(sid).and_then(|it| it.track_mut(track_sid)) else { return };
        track.regressed |= match proto::BackupCodecPolicy::try_from(track.info.backup_codec_policy) {
            Ok(proto::BackupCodecPolicy::Regression) => true,
            Ok(proto::BackupCodecPolicy::PreferRegression) => small,
            Ok(proto::BackupCodecPolicy::Simulcast) | Err(_) => false,
        };
        self.out.record(sid, record::CORE);
    }
}

/// The client repeats its request.
fn same(track: &Track, request: &proto::AddTrackRequest) -> bool {
    track.sid() == request.sid && track.backup.as_ref().is_some_and(|backup| backup.cids.contains(&request.cid))
}
