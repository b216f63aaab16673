//! LiveKit's test hooks: a client asks for a failure.

use signaling_protocol::proto::{self, DisconnectReason, leave_request::Action, simulate_scenario::Scenario};

use crate::input::Context;
use crate::join::CLOSE_NORMAL;
use crate::participant::Cut;
use crate::response::leave;
use crate::resume::CLOSE_GOING_AWAY;
use crate::room::Room;

impl Room {
    pub(crate) fn handle_simulate(&mut self, sid: &str, simulate: proto::SimulateScenario, context: &mut Context<'_>) {
        match simulate.scenario {
            Some(Scenario::SpeakerUpdate(seconds)) => {
                let seconds = u64::from(seconds.clamp(1, 60).unsigned_abs());
                self.simulate_speaking(sid, context.now.add_ms(seconds * 1_000));
            }
            Some(Scenario::NodeFailure(_)) => self.drop_connection(sid, CLOSE_GOING_AWAY),
            Some(Scenario::Migration(_)) => self.ask_to_resume(sid, DisconnectReason::Migration),
            Some(Scenario::SwitchCandidateProtocol(_)) => match self.is_dual(sid) {
                true => self.restart_subscriber(sid, context),
                false => self.ask_to_resume(sid, DisconnectReason::UnknownReason),
            },
            Some(Scenario::ServerLeave(_)) => self.remove(sid, DisconnectReason::ServerShutdown, context),
            Some(Scenario::LeaveRequestFullReconnect(_)) => {
                self.ask_to_reconnect(sid, DisconnectReason::UnknownReason, context);
            }
            Some(Scenario::DisconnectSignalOnResume(_)) => self.cut_next_resume(sid, Cut::AfterMessages),
            Some(Scenario::DisconnectSignalOnResumeNoMessages(_)) => self.cut_next_resume(sid, Cut::BeforeMessages),
            // There is no estimate to override yet.
            Some(Scenario::SubscriberBandwidth(_)) | None => {}
        }
    }

    fn is_dual(&self, sid: &str) -> bool {
        self.participants.get(sid).is_some_and(|participant| participant.peer.subscriber.is_some())
    }

    fn ask_to_resume(&mut self, sid: &str, reason: DisconnectReason) {
        self.send(sid, leave(Action::Resume, reason));
        self.drop_connection(sid, CLOSE_NORMAL);
    }

    fn cut_next_resume(&mut self, sid: &str, cut: Cut) {
        if let Some(participant) = self.participants.get_mut(sid) {
            participant.link.cut = Some(cut);
        }
    }
}
