//! Subscribing: wishes, permissions and sections become egresses (PROTOCOL §2.5, §2.6, §2.10).
//!
//! By level: [`Room::reconcile`] compares what a subscriber wants of a track with what it has, after anything has changed.

use std::collections::BTreeSet;

use engine_base::{Codec, EgressRef, Kind, TimeNs};
use engine_table::EgressObserved;
use signaling_negotiation::SectionCounts;
use signaling_program::RowChange;
use signaling_protocol::proto::{self, signal_response::Message};
use signaling_sdp::{CodecKey, SendTrack};

use crate::input::Context;
use crate::outbox::record;
use crate::participant::Participant;
use crate::rendition::Which;
use crate::room::Room;
use crate::stored::Stored;
use crate::subscription::{Sending, Settings, Source, Subscription};
use crate::track::Track;

/// Wishes of one participant, for known and unknown tracks: 16 times the sections of its connection.
const SUBSCRIPTIONS_MAX: usize = 4_096;
/// An unknown track may still come.
pub(crate) const UNKNOWN_TIMEOUT_MS: u64 = 60_000;

/// What a subscriber shall have of a track.
pub(crate) enum Want {
    Nothing,
    /// The publisher, which does not let it.
    Denied(String),
    /// The publisher, which does not send so far what alone the subscriber can decode: its backup.
    Unpublished(String),
    Track(Source),
}

impl Room {
    // --- Requests ---

    pub(crate) fn handle_subscription(
        &mut self,
        sid: &str,
        request: &proto::UpdateSubscription,
        context: &mut Context<'_>,
    ) {
        let of_participants = request.participant_tracks.iter().flat_map(|tracks| &tracks.track_sids);
        for track in request.track_sids.iter().chain(of_participants) {
            self.wish(sid, track, request.subscribe, context);
        }
        self.out.negotiate(sid);
    }

    pub(crate) fn wish(&mut self, sid: &str, track: &str, subscribe: bool, context: &mut Context<'_>) {
        let known = self.places.tracks.contains_key(track);
        let Some(participant) = self.participants.get_mut(sid) else { return };
        let adaptive = participant.core.client.adaptive_stream;
        let subscriptions = &mut participant.subscriptions;
        let full = subscriptions.len() >= SUBSCRIPTIONS_MAX;
        match subscriptions.get_mut(track) {
            Some(subscription) if subscription.wish == Some(subscribe) => return,
            Some(subscription) => {
                subscription.wish = Some(subscribe);
                subscription.since = context.now;
            }
            None if !known && !subscribe => return,
            None if full => return,
            None => {
                let subscription = Subscription::new(Some(subscribe), adaptive, context.now);
                subscriptions.insert(track.to_owned(), Box::new(subscription));
            }
        }
        if !known {
            self.wait_for_unknown(sid, track, context.now);
        }
        self.out.record(sid, record::SUBSCRIPTIONS);
        self.reconcile(sid, track, context);
    }

    pub(crate) fn handle_track_setting(
        &mut self,
        sid: &str,
        setting: &proto::UpdateTrackSettings,
        context: &mut Context<'_>,
    ) {
        for track in &setting.track_sids {
            self.set_track(sid, track, context.now, |settings| *settings = Settings::of(setting));
        }
    }

    pub(crate) fn set_track(&mut self, sid: &str, track: &str, now: TimeNs, set: impl FnOnce(&mut Settings)) {
        let known = self.places.tracks.contains_key(track);
        let Some(participant) = self.participants.get_mut(sid) else { return };
        let adaptive = participant.core.client.adaptive_stream;
        let subscriptions = &mut participant.subscriptions;
        if !subscriptions.contains_key(track) && (!known || subscriptions.len() >= SUBSCRIPTIONS_MAX) {
            return;
        }
        let subscription =
            subscriptions.entry(track.to_owned()).or_insert_with(|| Box::new(Subscription::new(None, adaptive, now)));
        let before = subscription.settings;
        set(&mut subscription.settings);
        if before != subscription.settings {
            self.out.record(sid, record::SUBSCRIPTIONS);
            self.out.egress(sid, track);
        }
    }

    /// A publisher says who may subscribe. JS says "everybody" on each join.
    pub(crate) fn handle_subscription_permission(
        &mut self,
        sid: &str,
        permission: proto::SubscriptionPermission,
        context: &mut Context<'_>,
    ) {
        let rule = (!permission.all_participants).then_some(Stored(permission));
        let Some(participant) = self.participants.get_mut(sid) else { return };
        if participant.core.publishing.rule == rule {
            return;
        }
        participant.core.publishing.rule = rule;
        let tracks: Vec<String> = participant.published().map(|track| track.sid().to_owned()).collect();
        self.out.record(sid, record::CORE);
        self.share(sid);
        for track in &tracks {
            for subscriber in self.wishing(track) {
                self.reconcile(&subscriber, track, context);
            }
        }
    }

    // --- Tracks that come and go ---

    /// A track was published, or what a subscriber must decode has changed.
    pub(crate) fn offer_track(&mut self, track: &str, context: &mut Context<'_>) {
        let Some(publisher) = self.places.tracks.get(track) else { return };
        let others = self.participants.keys().filter(|sid| *sid != publisher);
        for sid in others.cloned().collect::<Vec<_>>() {
            self.consider(&sid, track, context);
        }
    }

    pub(crate) fn auto_subscribe_to_all(&mut self, sid: &str, context: &mut Context<'_>) {
        // Of a thousand participants few publish.
        let publishers: BTreeSet<&String> = self.places.tracks.values().filter(|other| *other != sid).collect();
        let publishers = publishers.into_iter().filter_map(|other| self.participants.get(other));
        let tracks: Vec<String> =
            publishers.flat_map(Participant::published).map(|track| track.sid().to_owned()).collect();
        for track in tracks {
            self.consider(sid, &track, context);
        }
    }

    /// `auto_subscribe` makes a subscription of every track.
    fn consider(&mut self, sid: &str, track: &str, context: &mut Context<'_>) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        let client = &participant.core.client;
        let subscriptions = &mut participant.subscriptions;
        if !subscriptions.contains_key(track) {
            if !client.auto_subscribe || subscriptions.len() >= SUBSCRIPTIONS_MAX {
                return;
            }
            let subscription = Subscription::new(None, client.adaptive_stream, context.now);
            subscriptions.insert(track.to_owned(), Box::new(subscription));
            self.out.record(sid, record::SUBSCRIPTIONS);
        }
        self.reconcile(sid, track, context);
    }

    /// The track has ended for everybody.
    pub(crate) fn forget_track(&mut self, track: &str) {
        for sid in self.wishing(track) {
            self.stop_sending(&sid, track);
            if let Some(participant) = self.participants.get_mut(&sid) {
                participant.subscriptions.remove(track);
                self.out.record(&sid, record::SUBSCRIPTIONS);
            }
        }
    }

    /// Participants with a subscription of this track, whether it is served or not.
    pub(crate) fn wishing(&self, track: &str) -> Vec<String> {
        let wishing = self.participants.values().filter(|other| other.subscriptions.contains_key(track));
        wishing.map(|participant| participant.sid().to_owned()).collect()
    }

    // --- Reconciling ---

    pub(crate) fn reconcile_all(&mut self, sid: &str, context: &mut Context<'_>) {
        let Some(participant) = self.participants.get(sid) else { return };
        for track in participant.subscriptions.keys().cloned().collect::<Vec<_>>() {
            self.reconcile(sid, &track, context);
        }
    }

    pub(crate) fn want(&self, sid: &str, track_sid: &str) -> Want {
        let Some(subscriber) = self.participants.get(sid) else { return Want::Nothing };
        let Some(subscription) = subscriber.subscriptions.get(track_sid) else { return Want::Nothing };
        let wished = subscription.wish.unwrap_or(subscriber.core.client.auto_subscribe);
        let Some((publisher, track)) = self.published_track(track_sid) else { return Want::Nothing };
        let possible = publisher.sid() != sid && !publisher.is_hidden() && !track.primary.ingress.is_none();
        if !wished || !possible || !subscriber.core.permission.can_subscribe {
            return Want::Nothing;
        }
        if !publisher.allows(&subscriber.core, track_sid) {
            return Want::Denied(publisher.sid().to_owned());
        }
        let source = chosen(subscriber, publisher, track);
        match track.rendition(source.which).filter(|rendition| !rendition.ingress.is_none()) {
            Some(_) => Want::Track(source),
            None => Want::Unpublished(source.publisher),
        }
    }

    pub(crate) fn wanted_rendition(&self, sid: &str, track: &str) -> Option<Which> {
        match self.want(sid, track) {
            Want::Track(source) => Some(source.which),
            Want::Nothing | Want::Denied(_) | Want::Unpublished(_) => None,
        }
    }

    /// What a subscriber is sent of a track.
    pub(crate) fn takes(&self, sid: &str, track: &str) -> Option<Which> {
        let subscription = self.participants.get(sid)?.subscriptions.get(track)?;
        subscription.sending.as_ref().map(|sending| sending.which)
    }

    pub(crate) fn reconcile(&mut self, sid: &str, track: &str, context: &mut Context<'_>) {
        self.note_demand(track);
        match self.want(sid, track) {
            Want::Nothing => self.stop_sending(sid, track),
            Want::Denied(publisher) => {
                self.stop_sending(sid, track);
                self.tell_allowed(sid, &publisher, track, false);
            }
            Want::Unpublished(publisher) => {
                self.stop_sending(sid, track);
                self.tell_allowed(sid, &publisher, track, true);
            }
            Want::Track(source) => {
                // Another source has another timeline: to the client it is another stream.
                if self.takes(sid, track).is_some_and(|which| which != source.which) {
                    self.stop_sending(sid, track);
                }
                self.tell_allowed(sid, &source.publisher, track, true);
                self.place(sid, track, &source, context);
                self.out.negotiate(sid);
            }
        }
    }

    fn tell_allowed(&mut self, sid: &str, publisher: &str, track: &str, allowed: bool) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        let Some(subscription) = participant.subscriptions.get_mut(track) else { return };
        if participant.link.connection.is_none() || subscription.allowed_told == Some(allowed) {
            return;
        }
        subscription.allowed_told = Some(allowed);
        let update = proto::SubscriptionPermissionUpdate {
            participant_sid: publisher.to_owned(),
            track_sid: track.to_owned(),
            allowed,
        };
        self.send(sid, Message::SubscriptionPermissionUpdate(update));
    }

    /// Tries to put a wanted track into a section. True when it has one.
    fn place(&mut self, sid: &str, track: &str, source: &Source, context: &mut Context<'_>) -> bool {
        let Some(participant) = self.participants.get_mut(sid) else { return false };
        let Some(subscription) = participant.subscriptions.get(track) else { return false };
        match carries(participant, source.kind, &source.expected) {
            Some(true) => {}
            Some(false) => {
                self.codec_unsupported(sid, track);
                return false;
            }
            None => return subscription.sending.is_some(),
        }
        if subscription.sending.is_some() {
            return true;
        }
        let send = send_track(participant, track, source, context);
        let peer = &mut participant.peer;
        let mid = match &mut peer.subscriber {
            Some(pc) => pc.add(source.kind, send, &source.expected),
            None => peer.offered.place(source.kind, send, &source.expected),
        };
        let Some(mid) = mid else { return false };
        let Some(egress) = context.rows.egress() else {
            match &mut peer.subscriber {
                Some(pc) => pc.remove(track),
                None => peer.offered.free(&mid),
            };
            return false;
        };
        if let Some(subscription) = participant.subscriptions.get_mut(track) {
            subscription.sending = Some(Sending { egress, mid, which: source.which, bound: false, flows: false });
        }
        self.places.egresses.insert(egress, (sid.to_owned(), track.to_owned()));
        self.out.record(sid, record::SUBSCRIPTIONS | record::PEER);
        self.out.egress(sid, track);
        true
    }

    /// Places what it can; returns how many tracks still wait for a section.
    pub(crate) fn place_waiting(&mut self, sid: &str, context: &mut Context<'_>) -> SectionCounts {
        let mut waiting = SectionCounts::default();
        let Some(participant) = self.participants.get(sid) else { return waiting };
        let without = participant.subscriptions.iter().filter(|(_, subscription)| subscription.sending.is_none());
        for track in without.map(|(track, _)| track.clone()).collect::<Vec<_>>() {
            let Want::Track(source) = self.want(sid, &track) else { continue };
            let placed = self.place(sid, &track, &source, context);
            if !placed && self.wanted_rendition(sid, &track).is_some() {
                *waiting.of(source.kind) += 1;
            }
        }
        waiting
    }

    /// The client knows the section `mid` of a track: packets may flow.
    pub(crate) fn bind_sending(&mut self, sid: &str, track: &str, mid: &str, context: &mut Context<'_>) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        let Some(subscription) = participant.subscriptions.get_mut(track) else { return };
        let Some(sending) = subscription.sending.as_mut().filter(|sending| sending.mid == mid) else { return };
        if std::mem::replace(&mut sending.bound, true) {
            return;
        }
        self.out.record(sid, record::SUBSCRIPTIONS);
        self.out.egress(sid, track);
        let publisher = self.places.tracks.get(track).and_then(|sid| self.participants.get(sid));
        if let Some(identity) = publisher.map(|publisher| publisher.core.identity.clone()) {
            let subscribed = crate::message::Message::Subscribed { track_sid: track.to_owned() };
            self.post(&identity, subscribed, context);
        }
    }

    /// Takes a track out of its section; its wish stays.
    pub(crate) fn stop_sending(&mut self, sid: &str, track: &str) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        let Some(subscription) = participant.subscriptions.get_mut(track) else { return };
        let Some(sending) = subscription.sending.take() else { return };
        (subscription.allowed_told, subscription.active_told) = (None, false);
        match &mut participant.peer.subscriber {
            Some(pc) => drop(pc.remove(track)),
            None => drop(participant.peer.offered.free(&sending.mid)),
        }
        self.places.egresses.remove(&sending.egress);
        self.out.freed.push(RowChange::FreeEgress(sending.egress));
        self.out.record(sid, record::SUBSCRIPTIONS | record::PEER);
        self.out.negotiate(sid);
    }

    /// No payload type of the client fits: it is told, and the wish ends.
    pub(crate) fn codec_unsupported(&mut self, sid: &str, track: &str) {
        self.note_demand(track);
        self.stop_sending(sid, track);
        if let Some(subscription) = self.participants.get_mut(sid).and_then(|p| p.subscriptions.get_mut(track)) {
            subscription.wish = Some(false);
        }
        self.out.record(sid, record::SUBSCRIPTIONS);
        self.subscription_failed(sid, track, proto::SubscriptionError::SeCodecUnsupported);
    }

    pub(crate) fn subscription_failed(&mut self, sid: &str, track: &str, error: proto::SubscriptionError) {
        let response = proto::SubscriptionResponse { track_sid: track.to_owned(), err: error as i32 };
        self.send(sid, Message::SubscriptionResponse(response));
    }

    /// What the worker does for a subscription. Its first packet makes it flow.
    pub(crate) fn handle_egress(&mut self, egress: EgressRef, observed: &EgressObserved) {
        if observed.generation != egress.generation || observed.codec == Codec::None as u8 {
            return;
        }
        let Some((sid, track)) = self.places.egresses.get(&egress).cloned() else { return };
        let subscription = self.participants.get_mut(&sid).and_then(|it| it.subscriptions.get_mut(&track));
        let Some(sending) = subscription.and_then(|it| it.sending.as_mut()) else { return };
        sending.flows = true;
        self.tell_stream_active(&sid, &track);
    }

    /// Video that flows is ACTIVE: its subscriber hears of it once.
    pub(crate) fn tell_stream_active(&mut self, sid: &str, track_sid: &str) {
        let Some((publisher, track)) = self.published_track(track_sid) else { return };
        let state = proto::StreamStateInfo {
            participant_sid: publisher.sid().to_owned(),
            track_sid: track_sid.to_owned(),
            state: proto::StreamState::Active as i32,
        };
        let video = track.kind() == Kind::Video;
        let Some(participant) = self.participants.get_mut(sid).filter(|_| video) else { return };
        let Some(connection) = participant.link.connection else { return };
        let Some(subscription) = participant.subscriptions.get_mut(track_sid) else { return };
        if subscription.flows() && !std::mem::replace(&mut subscription.active_told, true) {
            let update = proto::StreamStateUpdate { stream_states: vec![state] };
            self.out.send(connection, Message::StreamStateUpdate(update));
        }
    }
}

/// Whether the client can decode the track; `None` while its connection has not said.
fn carries(participant: &Participant, kind: Kind, expected: &[CodecKey]) -> Option<bool> {
    match &participant.peer.subscriber {
        Some(pc) => pc.dtls_role().map(|_| pc.can_receive(kind, expected)),
        None => participant.peer.offered.can_receive(kind, expected),
    }
}

/// The first rendition that the client can decode, as far as is known; the first of all if it can decode none.
fn chosen(subscriber: &Participant, publisher: &Participant, track: &Track) -> Source {
    let source = |which: Which| {
        let rendition = track.rendition(which)?;
        let expected = rendition.expected(&publisher.peer.offered.codec_keys(&rendition.mid));
        Some(Source { publisher: publisher.sid().to_owned(), kind: track.kind(), which, expected })
    };
    let fits = |source: &Source| carries(subscriber, source.kind, &source.expected) != Some(false);
    let sources = || track.preferred().into_iter().filter_map(source);
    let none = || Source { publisher: String::new(), kind: track.kind(), which: Which::Primary, expected: Vec::new() };
    sources().find(fits).or_else(|| source(Which::Primary)).unwrap_or_else(none)
}

/// New SSRCs: a decoder must not take a new subscription for the former one (PROTOCOL §10.27).
fn send_track(participant: &Participant, track: &str, source: &Source, context: &mut Context<'_>) -> SendTrack {
    let mut ssrc = || loop {
        let ssrc = context.random_u32();
        if ssrc != 0 && !participant.peer.uses_ssrc(ssrc) {
            break ssrc;
        }
    };
    let stream_id = format!("{}|{track}", source.publisher);
    SendTrack {
        ssrc: ssrc(),
        rtx_ssrc: (source.kind == Kind::Video).then(&mut ssrc),
        cname: stream_id.clone(),
        stream_id,
        track_id: track.to_owned(),
    }
}
