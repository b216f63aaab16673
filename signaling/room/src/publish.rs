//! Publishing: requests, sections, first packets, mute, and the end of a track (PROTOCOL §2.7).

use engine_base::{Codec, IngressRef};
use engine_table::IngressObserved;
use signaling_protocol::proto::{self, request_response::Reason, request_response::Request, signal_response::Message};
use signaling_token::Source;

use crate::ids::track_prefix;
use crate::input::Context;
use crate::negotiate::HOLD_MS;
use crate::outbox::record;
use crate::rendition::{Rendition, Which};
use crate::response::refusal;
use crate::room::Room;
use crate::stored::Stored;
use crate::track::{Track, kind_of};

/// Tracks that wait for their section, and requests that wait for a cid (PROTOCOL §2.7).
const PENDING_MAX: usize = 20;
const QUEUED_PER_CID_MAX: usize = 3;
/// Published tracks of one participant: no client comes near.
const TRACKS_MAX: usize = 128;

impl Room {
    pub(crate) fn handle_add_track(&mut self, sid: &str, request: proto::AddTrackRequest, context: &mut Context<'_>) {
        match self.check_add_track(sid, &request) {
            Ok(()) if !request.sid.is_empty() => self.add_backup(sid, request, context),
            Ok(()) => self.add_track(sid, &request, context),
            Err(reason) => {
                if reason == Reason::Queued
                    && let Some(participant) = self.participants.get_mut(sid)
                {
                    participant.core.publishing.queued.push(Stored(request.clone()));
                    self.out.record(sid, record::CORE);
                }
                self.send(sid, refusal(reason, Request::AddTrack(request)));
            }
        }
    }

    fn check_add_track(&self, sid: &str, request: &proto::AddTrackRequest) -> Result<(), Reason> {
        let Some(participant) = self.participants.get(sid) else { return Err(Reason::NotFound) };
        if !participant.core.permission.allows_source(Source::from_number(request.source)) {
            return Err(Reason::NotAllowed);
        }
        if request.r#type == proto::TrackType::Data as i32 {
            return Err(Reason::UnsupportedType);
        }
        if !request.sid.is_empty() {
            return Ok(());
        }
        let publishing = &participant.core.publishing;
        let pending = publishing.tracks.iter().filter(|track| !track.is_published()).count();
        if pending >= PENDING_MAX || publishing.tracks.len() >= TRACKS_MAX {
            return Err(Reason::LimitExceeded);
        }
        if publishing.tracks.iter().any(|track| track.has_cid(&request.cid)) {
            let queued = publishing.queued.iter().filter(|queued| queued.cid == request.cid).count();
            return Err(if queued < QUEUED_PER_CID_MAX { Reason::Queued } else { Reason::LimitExceeded });
        }
        Ok(())
    }

    fn add_track(&mut self, sid: &str, request: &proto::AddTrackRequest, context: &mut Context<'_>) {
        let source = proto::TrackSource::try_from(request.source).unwrap_or_default();
        let kind = proto::TrackType::try_from(request.r#type).unwrap_or_default();
        let track_sid = context.sid(track_prefix(source, kind));
        let track = Track::new(track_sid.clone(), request, context.defaults.enabled_codecs, context.unix_ms);
        let published = proto::TrackPublishedResponse { cid: request.cid.clone(), track: Some(track.info.0.clone()) };
        let Some(participant) = self.participants.get_mut(sid) else { return };
        participant.core.publishing.tracks.push(track);
        self.places.tracks.insert(track_sid, sid.to_owned());
        self.out.record(sid, record::CORE);
        self.send(sid, Message::TrackPublished(published));
        self.begin_rest(sid, kind_of(request.r#type), context.now);
        self.match_tracks(sid, false, context);
        let Some(participant) = self.participants.get_mut(sid) else { return };
        if participant.core.publishing.awaits_match() {
            participant.core.deadlines.hold.get_or_insert(context.now.add_ms(HOLD_MS));
        }
    }

    /// Gives sections without a track the requested tracks that fit: by cid, else the first of the kind. `late`: old sections
    /// have waited long enough for one that names them.
    pub(crate) fn match_tracks(&mut self, sid: &str, late: bool, context: &mut Context<'_>) {
        let mut bound = Vec::new();
        let Some(participant) = self.participants.get_mut(sid) else { return };
        let mut sections = std::mem::take(&mut participant.core.publishing.unmatched);
        for by_cid in [true, false] {
            sections.retain(|section| {
                let mut tracks = participant.core.publishing.tracks.iter_mut();
                let found = tracks.find_map(|track| Some((track.which_of_section(section, by_cid, late)?, track)));
                let Some((which, track)) = found else { return true };
                if !participant.peer.offered.bind_publish(&section.mid, track.publish_request(which)) {
                    return false;
                }
                let codec = participant.peer.offered.codec_keys(&section.mid).first().map(|key| key.codec);
                track.bind(which, section, codec);
                let ingress = context.rows.ingress().unwrap_or_default();
                if let Some(rendition) = track.rendition_mut(which) {
                    rendition.ingress = ingress;
                }
                bound.push((track.sid().to_owned(), ingress));
                false
            });
        }
        participant.core.publishing.unmatched = sections;
        if !participant.core.publishing.awaits_match() {
            participant.core.deadlines.hold = None;
        }
        if !bound.is_empty() {
            self.tracks_bound(sid, &bound, context);
        }
    }

    /// A track that was given the first section of its kind has one of its own: that other one was somebody else's.
    pub(crate) fn correct_guesses(&mut self, sid: &str, context: &mut Context<'_>) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        let mut bound = Vec::new();
        let publishing = &mut participant.core.publishing;
        let offered = &mut participant.peer.offered;
        publishing.unmatched.retain(|section| {
            let mut tracks = publishing.tracks.iter_mut();
            let found = tracks.find_map(|track| Some((track.which_was_guessed(section)?, track)));
            let Some((which, track)) = found else { return true };
            if !offered.bind_publish(&section.mid, track.publish_request(which)) {
                return true;
            }
            let codec = offered.codec_keys(&section.mid).first().map(|key| key.codec);
            if let Some(rendition) = track.rendition(which) {
                offered.unbind_publish(&rendition.mid);
                bound.push((track.sid().to_owned(), rendition.ingress));
            }
            track.bind(which, section, codec);
            false
        });
        for track in bound.iter().map(|(track, _)| track) {
            for subscriber in self.wishing(track) {
                self.out.egress(&subscriber, track);
            }
        }
        if !bound.is_empty() {
            self.tracks_bound(sid, &bound, context);
        }
    }

    fn tracks_bound(&mut self, sid: &str, bound: &[(String, IngressRef)], context: &mut Context<'_>) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        let first = !std::mem::replace(&mut participant.core.publishing.is_publisher, true);
        for (track, ingress) in bound {
            if !ingress.is_none() {
                self.places.ingresses.insert(*ingress, sid.to_owned());
            }
            self.out.ingress(sid, track);
        }
        self.out.record(sid, record::CORE | record::PEER);
        self.out.transport(sid, crate::participant::Part::Offered);
        self.out.negotiate(sid);
        self.announce(sid);
        if first {
            self.schedule_room_update(context.now);
        }
        for (track, _) in bound {
            self.offer_track(track, context);
        }
    }

    /// What packets tell of a track: its codec and its layers' SSRCs.
    pub(crate) fn handle_ingress(
        &mut self,
        ingress: IngressRef,
        observed: &IngressObserved,
        context: &mut Context<'_>,
    ) {
        if observed.generation != ingress.generation {
            return;
        }
        let Some(sid) = self.places.ingresses.get(&ingress).cloned() else { return };
        let found = self.participants.get_mut(&sid).and_then(|it| it.track_of_ingress(ingress));
        let Some((which, track)) = found else { return };
        let seen = || observed.layers.iter().filter(|layer| layer.payload_type != 0 || layer.codec != 0);
        let codec = seen().find_map(|layer| Codec::from_u8(layer.codec)).unwrap_or_default();
        let ssrcs: Vec<(u32, u32)> = observed.layers.iter().map(|layer| (layer.ssrc.0, layer.rtx_ssrc.0)).collect();
        let changed_codec = track.rendition(which).and_then(Rendition::observed) != Some(codec);
        if codec == Codec::None || !track.observe(which, codec, &ssrcs) {
            return;
        }
        let track_sid = track.sid().to_owned();
        if which == Which::Backup && changed_codec {
            self.regress(&sid, &track_sid, context.defaults.codec_regression_threshold);
        }
        self.announce(&sid);
        if changed_codec {
            self.offer_track(&track_sid, context);
        }
    }

    /// The client's own mute, or the API's.
    pub(crate) fn set_muted(&mut self, sid: &str, track_sid: &str, muted: bool, unix_ms: u64) -> bool {
        let Some(track) = self.participants.get_mut(sid).and_then(|p| p.track_mut(track_sid)) else { return false };
        if track.info.muted == muted {
            return true;
        }
        track.info.muted = muted;
        track.touch(unix_ms);
        self.out.record(sid, record::CORE);
        self.out.ingress(sid, track_sid);
        self.announce(sid);
        true
    }

    pub(crate) fn handle_mute(&mut self, sid: &str, mute: proto::MuteTrackRequest, context: &mut Context<'_>) {
        if !self.set_muted(sid, &mute.sid, mute.muted, context.unix_ms) {
            self.send(sid, refusal(Reason::NotFound, Request::Mute(mute)));
        }
    }

    pub(crate) fn handle_audio_track(&mut self, sid: &str, update: proto::UpdateLocalAudioTrack, unix_ms: u64) {
        let Some(track) = self.participants.get_mut(sid).and_then(|p| p.track_mut(&update.track_sid)) else {
            return self.send(sid, refusal(Reason::NotFound, Request::UpdateAudioTrack(update)));
        };
        let has = |feature: proto::AudioTrackFeature| update.features.contains(&(feature as i32));
        track.info.stereo = has(proto::AudioTrackFeature::TfStereo);
        track.info.disable_dtx = has(proto::AudioTrackFeature::TfNoDtx);
        track.info.audio_features = update.features;
        track.touch(unix_ms);
        self.announce(sid);
    }

    pub(crate) fn handle_video_track(&mut self, sid: &str, update: proto::UpdateLocalVideoTrack, unix_ms: u64) {
        let Some(track) = self.participants.get_mut(sid).and_then(|p| p.track_mut(&update.track_sid)) else {
            return self.send(sid, refusal(Reason::NotFound, Request::UpdateVideoTrack(update)));
        };
        (track.info.width, track.info.height) = (update.width, update.height);
        track.touch(unix_ms);
        self.announce(sid);
    }

    /// The client stopped sending on these sections.
    pub(crate) fn stop_tracks(&mut self, sid: &str, mids: &[String], context: &mut Context<'_>) {
        let Some(participant) = self.participants.get(sid) else { return };
        let (mut tracks, mut backups) = (Vec::new(), Vec::new());
        for track in participant.published() {
            let stopped = |which: Which| track.rendition(which).is_some_and(|it| mids.contains(&it.mid));
            match (stopped(Which::Primary), stopped(Which::Backup)) {
                (true, _) => tracks.push(track.sid().to_owned()),
                (false, true) => backups.push(track.sid().to_owned()),
                (false, false) => {}
            }
        }
        for track in &backups {
            self.end_backup(sid, track, context);
        }
        if !tracks.is_empty() || !backups.is_empty() {
            self.unpublish(sid, &tracks);
            self.announce(sid);
            self.take_queued(sid, context);
        }
    }

    /// Ends tracks, with all that carries them. The caller announces it.
    pub(crate) fn unpublish(&mut self, sid: &str, tracks: &[String]) {
        for track_sid in tracks {
            let track = self.participants.get(sid).and_then(|it| it.track(track_sid));
            let ingress = track.map(|track| track.primary.ingress);
            self.end_speaker(sid, track_sid, ingress.unwrap_or_default());
            self.forget_track(track_sid);
            self.places.tracks.remove(track_sid);
            let Some(participant) = self.participants.get_mut(sid) else { return };
            let publishing = &mut participant.core.publishing;
            let Some(index) = publishing.tracks.iter().position(|track| track.sid() == track_sid) else { continue };
            let track = publishing.tracks.remove(index);
            for (_, rendition) in track.renditions().filter(|(_, rendition)| rendition.is_published()) {
                participant.peer.offered.unbind_publish(&rendition.mid);
            }
            for (_, rendition) in track.renditions() {
                self.free_ingress(rendition.ingress);
            }
        }
        self.out.record(sid, record::CORE | record::PEER);
        self.out.transport(sid, crate::participant::Part::Offered);
    }

    /// Requests whose cid has become free.
    pub(crate) fn take_queued(&mut self, sid: &str, context: &mut Context<'_>) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        let publishing = &mut participant.core.publishing;
        let mut ready = Vec::new();
        for request in std::mem::take(&mut publishing.queued) {
            let used = publishing.tracks.iter().any(|track| track.has_cid(&request.cid));
            let chosen = ready.iter().any(|chosen: &Stored<proto::AddTrackRequest>| chosen.cid == request.cid);
            if used || chosen { publishing.queued.push(request) } else { ready.push(request) }
        }
        for request in ready {
            self.handle_add_track(sid, request.0, context);
        }
    }
}
