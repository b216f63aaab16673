//! What a client sends after it has joined.

use signaling_protocol::proto::{self, request_response::Reason, request_response::Request, signal_request::Message};

use crate::input::{ConnectionId, Context};
use crate::response::refusal;
use crate::room::Room;

impl Room {
    /// Frames of a socket that was replaced are ignored. Pings are answered where they arrive.
    pub(crate) fn handle_signal(
        &mut self,
        connection: ConnectionId,
        request: proto::SignalRequest,
        context: &mut Context<'_>,
    ) {
        let Some(sid) = self.sid_of_connection(connection) else { return };
        let sid = sid.as_str();
        match request.message {
            Some(Message::Offer(offer)) => self.handle_offer(sid, &offer, context),
            Some(Message::Answer(answer)) => self.handle_answer(sid, &answer, context),
            Some(Message::AddTrack(request)) => self.handle_add_track(sid, request, context),
            Some(Message::Mute(mute)) => self.handle_mute(sid, mute, context),
            Some(Message::Subscription(request)) => self.handle_subscription(sid, &request, context),
            Some(Message::TrackSetting(setting)) => self.handle_track_setting(sid, &setting, context),
            Some(Message::Leave(_)) => self.handle_leave(sid, context),
            Some(Message::SubscriptionPermission(rule)) => self.handle_subscription_permission(sid, rule, context),
            Some(Message::SyncState(state)) => self.handle_sync_state(sid, &state, context),
            Some(Message::Simulate(simulate)) => self.handle_simulate(sid, simulate, context),
            Some(Message::UpdateMetadata(update)) => self.handle_update_metadata(sid, update, context),
            Some(Message::UpdateAudioTrack(update)) => self.handle_audio_track(sid, update, context.unix_ms),
            Some(Message::UpdateVideoTrack(update)) => self.handle_video_track(sid, update, context.unix_ms),
            // ICE-lite: we send no checks and so need no candidates.
            Some(Message::Trickle(_)) => {}
            Some(Message::Ping(_) | Message::PingReq(_) | Message::UpdateLayers(_)) => {}
            Some(Message::PublishDataTrackRequest(request)) => {
                self.send(sid, refusal(Reason::UnsupportedType, Request::PublishDataTrack(request)));
            }
            Some(
                Message::UnpublishDataTrackRequest(_)
                | Message::UpdateDataSubscription(_)
                | Message::StoreDataBlobRequest(_)
                | Message::GetDataBlobRequest(_),
            )
            | None => {}
        }
    }
}
