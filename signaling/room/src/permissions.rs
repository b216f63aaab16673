//! Changes of a participant: its name, metadata, attributes and permission, by itself or by the API.

use std::collections::BTreeMap;

use signaling_protocol::proto::request_response::{self, Reason};
use signaling_protocol::proto::{self, signal_response::Message};

use crate::input::Context;
use crate::message::{Message as ToParticipant, Update};
use crate::outbox::record;
use crate::participant::permission_of;
use crate::room::Room;

const NAME_BYTES_MAX: usize = 256;
/// Older SDKs do not know `request_response` (PROTOCOL §2.2).
const PROTOCOL_REQUEST_RESPONSE: i32 = 10;

impl Room {
    /// The client changes its own metadata. The order is `update`, `refresh_token`, `request_response`.
    pub(crate) fn handle_update_metadata(
        &mut self,
        sid: &str,
        request: proto::UpdateParticipantMetadata,
        context: &mut Context<'_>,
    ) {
        let filled = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let update = Update {
            name: filled(&request.name),
            metadata: filled(&request.metadata),
            attributes: request.attributes.clone().into_iter().collect(),
            permission: None,
        };
        let allowed =
            self.participants.get(sid).is_some_and(|participant| participant.core.permission.can_update_own_metadata);
        let (reason, message) = match self.check_sizes(sid, &update, context) {
            _ if !allowed => (Reason::NotAllowed, "no permission to update own metadata"),
            Err(what) => (Reason::LimitExceeded, what),
            Ok(()) => {
                self.update_participant(sid, &update, context);
                (Reason::Ok, "")
            }
        };
        let knows = |protocol| protocol >= PROTOCOL_REQUEST_RESPONSE;
        if self.participants.get(sid).is_some_and(|participant| knows(participant.core.client.protocol)) {
            let response = proto::RequestResponse {
                request_id: request.request_id,
                reason: reason as i32,
                message: message.to_owned(),
                request: Some(request_response::Request::UpdateMetadata(request)),
            };
            self.send(sid, Message::RequestResponse(response));
        }
    }

    /// `Err` names what is too long.
    pub(crate) fn check_sizes(&self, sid: &str, update: &Update, context: &Context<'_>) -> Result<(), &'static str> {
        let defaults = context.defaults;
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        if length(&update.name) > NAME_BYTES_MAX {
            return Err("name is too long");
        }
        if defaults.max_metadata_bytes > 0 && length(&update.metadata) > defaults.max_metadata_bytes {
            return Err("metadata is too long");
        }
        let Some(participant) = self.participants.get(sid) else { return Ok(()) };
        let mut attributes = participant.bulk.attributes.clone();
        merge(&mut attributes, &update.attributes);
        let bytes: usize = attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
        if defaults.max_attributes_bytes > 0 && bytes > defaults.max_attributes_bytes {
            return Err("attributes are too long");
        }
        Ok(())
    }

    pub(crate) fn update_participant(&mut self, sid: &str, update: &Update, context: &mut Context<'_>) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        if let Some(name) = &update.name {
            participant.core.name.clone_from(name);
        }
        if let Some(metadata) = &update.metadata {
            participant.bulk.metadata.clone_from(metadata);
        }
        merge(&mut participant.bulk.attributes, &update.attributes);
        if update.metadata.is_some() || !update.attributes.is_empty() {
            self.out.record(sid, record::BULK);
        }
        match &update.permission {
            Some(permission) => self.change_permission(sid, permission, context),
            None => self.announce(sid),
        }
        self.send_refresh_token(sid, context);
        self.out.record(sid, record::CORE);
    }

    /// Tracks that are no longer allowed end; subscriptions follow (PROTOCOL §9).
    fn change_permission(&mut self, sid: &str, permission: &proto::ParticipantPermission, context: &mut Context<'_>) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        let was_hidden = participant.is_hidden();
        participant.core.permission = permission_of(permission);
        let allowed = &participant.core.permission;
        let source = |track: &crate::track::Track| signaling_token::Source::from_number(track.info.source);
        let tracks = participant.core.publishing.tracks.iter();
        let denied = tracks.filter(|track| !allowed.allows_source(source(track)));
        let denied: Vec<String> = denied.map(|track| track.sid().to_owned()).collect();
        if !allowed.can_publish {
            participant.core.publishing.is_publisher = false;
            participant.core.publishing.queued.clear();
        }
        self.out.record(sid, record::CORE);
        self.unpublish(sid, &denied);
        self.announce(sid);
        if was_hidden != permission.hidden {
            self.change_visibility(sid, context);
        }
        for track_sid in denied {
            self.send(sid, Message::TrackUnpublished(proto::TrackUnpublishedResponse { track_sid }));
        }
        self.out.data(sid);
        self.reconcile_all(sid, context);
        self.note_emptiness(context);
        self.schedule_room_update(context.now);
    }

    /// To the others, who cannot know better, it has left, or has come.
    fn change_visibility(&mut self, sid: &str, context: &mut Context<'_>) {
        let Some(participant) = self.participants.get(sid) else { return };
        let tracks: Vec<String> = participant.published().map(|track| track.sid().to_owned()).collect();
        if participant.is_hidden() {
            let info = participant.info();
            self.tell_vanished(info, context);
        }
        for track in tracks {
            self.offer_track(&track, context);
        }
    }

    /// What somebody else wants of this participant.
    pub(crate) fn take_message(&mut self, sid: &str, message: ToParticipant, context: &mut Context<'_>) {
        match message {
            ToParticipant::End { sid: Some(meant), .. } if meant != sid => {}
            ToParticipant::End { reason, replaced: true, .. } => self.replace(sid, reason, context),
            ToParticipant::End { reason, .. } => self.remove(sid, reason, context),
            ToParticipant::Mute { track_sid, muted } => self.mute_by_server(sid, &track_sid, muted, context.unix_ms),
            ToParticipant::Update(update) => self.update_participant(sid, &update, context),
            ToParticipant::Subscribe { tracks, subscribe } => {
                for track in tracks {
                    self.wish(sid, &track, subscribe, context);
                }
            }
            ToParticipant::Subscribed { track_sid } => self.track_subscribed(&track_sid),
            ToParticipant::Demand { track_sid, node_id, demand } => self.take_demand(sid, &track_sid, node_id, demand),
        }
    }

    /// The client applies it, and echoes.
    fn mute_by_server(&mut self, sid: &str, track_sid: &str, muted: bool, unix_ms: u64) {
        if self.participants.get(sid).is_none_or(|participant| participant.track(track_sid).is_none()) {
            return;
        }
        self.send(sid, Message::Mute(proto::MuteTrackRequest { sid: track_sid.to_owned(), muted }));
        self.set_muted(sid, track_sid, muted, unix_ms);
    }
}

/// An empty value removes the key.
fn merge(attributes: &mut BTreeMap<String, String>, changes: &BTreeMap<String, String>) {
    for (key, value) in changes {
        match value.is_empty() {
            true => drop(attributes.remove(key)),
            false => drop(attributes.insert(key.clone(), value.clone())),
        }
    }
}
