//! Publishing: requests, sections, first packets, mute, and the end of a track (PROTOCOL §2.7).

use engine_base::{Codec, IngressRef};
use engine_table::IngressObserved;
use signaling_program::RowChange;
use signaling_protocol::proto::{self, request_response::Reason, request_response::Request, signal_response::Message};
use signaling_token::Source;

use crate::ids::track_prefix;
use crate::input::Context;
use crate::negotiate::HOLD_MS;
use crate::outbox::record;
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
            let known = participant.track(&request.sid).is_some();
            return Err(if known { Reason::UnsupportedType } else { Reason::NotFound });
        }
        let publishing = &participant.core.publishing;
        let pending = publishing.tracks.iter().filter(|track| !track.is_published()).count();
        if pending >= PENDING_MAX || publishing.tracks.len() >= TRACKS_MAX {
            return Err(Reason::LimitExceeded);
        }
        if publishing.tracks.iter().any(|track| track.cids.contains(&request.cid)) {
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
                let publishing = &mut participant.core.publishing;
                let fits = |track: &&mut Track| {
                    let same_kind = (track.kind() == engine_base::Kind::Audio) == section.audio;
                    let named = track.cids.contains(&section.track);
                    !track.is_published()
                        && same_kind
                        && (named || !(by_cid || section.ended || (section.old && !late)))
                };
                let Some(track) = publishing.tracks.iter_mut().find(fits) else { return true };
                if !participant.peer.offered.bind_publish(&section.mid, track.publish_request()) {
                    return false;
                }
                let codec = participant.peer.offered.codec_keys(&section.mid).first().map(|key| key.codec);
                track.bind(&section.mid, &section.track, &section.layers, codec);
                track.ingress = context.rows.ingress().unwrap_or_default();
                bound.push((track.sid().to_owned(), track.ingress));
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
            let guessed = |track: &&mut Track| track.is_guessed() && track.cids.contains(&section.track);
            let Some(track) = publishing.tracks.iter_mut().find(guessed) else { return true };
            if !offered.bind_publish(&section.mid, track.publish_request()) {
                return true;
            }
            offered.unbind_publish(&track.mid);
            let codec = offered.codec_keys(&section.mid).first().map(|key| key.codec);
            track.bind(&section.mid, &section.track, &section.layers, codec);
            bound.push((track.sid().to_owned(), track.ingress));
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
        let Some(track) = self.participants.get_mut(&sid).and_then(|p| p.track_of_ingress(ingress)) else { return };
        let seen = || observed.layers.iter().filter(|layer| layer.payload_type != 0 || layer.codec != 0);
        let codec = seen().find_map(|layer| Codec::from_u8(layer.codec)).unwrap_or_default();
        let ssrcs: Vec<(u32, u32)> = observed.layers.iter().map(|layer| (layer.ssrc.0, layer.rtx_ssrc.0)).collect();
        let changed_codec = codec != Codec::None && track.observed() != Some(codec);
        if codec == Codec::None || !track.observe(codec, &ssrcs) {
            return;
        }
        let track_sid = track.sid().to_owned();
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
        let stopped = participant.published().filter(|track| mids.contains(&track.mid));
        let tracks: Vec<String> = stopped.map(|track| track.sid().to_owned()).collect();
        if !tracks.is_empty() {
            self.unpublish(sid, &tracks);
            self.announce(sid);
            self.take_queued(sid, context);
        }
    }

    /// Ends tracks, with all that carries them. The caller announces it.
    pub(crate) fn unpublish(&mut self, sid: &str, tracks: &[String]) {
        for track_sid in tracks {
            let ingress = self.participants.get(sid).and_then(|it| it.track(track_sid)).map(|track| track.ingress);
            self.end_speaker(sid, track_sid, ingress.unwrap_or_default());
            self.forget_track(track_sid);
            self.places.tracks.remove(track_sid);
            let Some(participant) = self.participants.get_mut(sid) else { return };
            let publishing = &mut participant.core.publishing;
            let Some(index) = publishing.tracks.iter().position(|track| track.sid() == track_sid) else { continue };
            let track = publishing.tracks.remove(index);
            if track.is_published() {
                participant.peer.offered.unbind_publish(&track.mid);
            }
            if !track.ingress.is_none() {
                self.places.ingresses.remove(&track.ingress);
                self.out.freed.push(RowChange::FreeIngress(track.ingress));
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
            let used = publishing.tracks.iter().any(|track| track.cids.contains(&request.cid));
            let chosen = ready.iter().any(|chosen: &Stored<proto::AddTrackRequest>| chosen.cid == request.cid);
            if used || chosen { publishing.queued.push(request) } else { ready.push(request) }
        }
        for request in ready {
            self.handle_add_track(sid, request.0, context);
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
}

/// Every layer is wanted: decisions about that come with dynacast. `None` for audio.
pub(crate) fn quality_update(track: &Track) -> Option<Message> {
    if kind_of(track.info.r#type) == engine_base::Kind::Audio {
        return None;
    }
    let codec = track.info.codecs.first()?;
    let mime = codec.mime_type.rsplit('/').next().unwrap_or_default().to_lowercase();
    let all = [proto::VideoQuality::Low, proto::VideoQuality::Medium, proto::VideoQuality::High];
    let qualities: Vec<proto::SubscribedQuality> =
        all.into_iter().map(|quality| proto::SubscribedQuality { quality: quality as i32, enabled: true }).collect();
    let named = proto::SubscribedCodec { codec: mime, qualities: qualities.clone() };
    let update = proto::SubscribedQualityUpdate {
        track_sid: track.sid().to_owned(),
        subscribed_qualities: qualities,
        subscribed_codecs: vec![named],
    };
    Some(Message::SubscribedQualityUpdate(update))
}
