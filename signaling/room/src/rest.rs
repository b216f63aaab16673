//! Video rests while a client remakes its receivers.
//!
//! LiveKit's Rust SDK, and those built on it, writes `x-google-start-bitrate` into every video section of the offer that follows an
//! AddTrack of video. In the single layout it receives on some of these sections, so its libwebrtc destroys their receivers in
//! setLocalDescription and makes them anew. A packet that comes in between finds no receiver: libwebrtc tries to make a default one,
//! fails because the SSRC "already exists", and then takes the picture's sink away all the same. Everything is decoded and shown to
//! nobody from then on (observed: Python SDK 1.2.1, 7 of 90 times that somebody who watched a track published another). The remade
//! receiver waits for a key frame in any case, so that the rest costs nothing.
//!
//! Not here: the time that an answer takes to be applied (`negotiate`).

use engine_base::{Kind, TimeNs};
use signaling_protocol::proto::client_info::Sdk;

use crate::outbox::record;
use crate::participant::Participant;
use crate::room::Room;

/// From the AddTrack to the offer: 15 to 60 ms (observed), several times as long on a busy machine. An offer that has not come by
/// then is not to be waited for.
const REST_MS: u64 = 1_000;

/// What is built on the Rust SDK, of which the server is told.
const BUILT_ON_RUST: [Sdk; 6] = [Sdk::Rust, Sdk::Python, Sdk::Node, Sdk::Cpp, Sdk::Unity, Sdk::Unreal];

impl Participant {
    /// No video is sent to it for the moment.
    pub(crate) fn rests(&self, kind: Kind) -> bool {
        kind == Kind::Video && self.core.deadlines.rest.is_some()
    }

    pub(crate) fn remakes_receivers(&self) -> bool {
        let sdk = Sdk::try_from(self.core.client.sdk).unwrap_or_default();
        self.peer.subscriber.is_none() && BUILT_ON_RUST.contains(&sdk)
    }
}

impl Room {
    /// The client has announced a track: if it will remake its receivers with the next offer, they get nothing until that is there.
    pub(crate) fn begin_rest(&mut self, sid: &str, kind: Kind, now: TimeNs) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        if kind == Kind::Video && participant.remakes_receivers() {
            participant.core.deadlines.rest = Some(now.add_ms(REST_MS));
            self.changed_rest(sid);
        }
    }

    /// An offer came. It ends the rest if it carries all the video that was announced: one that was on its way does not.
    pub(crate) fn offer_ends_rest(&mut self, sid: &str) {
        let Some(participant) = self.participants.get(sid) else { return };
        let tracks = &participant.core.publishing.tracks;
        if tracks.iter().all(|track| !track.is_pending() || track.kind() == Kind::Audio) {
            self.end_rest(sid);
        }
    }

    pub(crate) fn end_rest(&mut self, sid: &str) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        if participant.core.deadlines.rest.take().is_some() {
            self.changed_rest(sid);
        }
    }

    fn changed_rest(&mut self, sid: &str) {
        self.out.record(sid, record::CORE);
        let Some(participant) = self.participants.get(sid) else { return };
        for (track, _) in participant.subscriptions.iter().filter(|(_, subscription)| subscription.sending.is_some()) {
            self.out.egress(sid, track);
        }
    }
}
