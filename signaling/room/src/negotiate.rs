//! Offers and answers: the client's, ours, and the question for more sections (PROTOCOL §2.5, §3.6).

use signaling_negotiation::{NegotiationError, Offered, PublishedSection, SectionCounts};
use signaling_protocol::proto::{self, signal_response::Message};

use crate::input::Context;
use crate::outbox::record;
use crate::participant::{Part, Unmatched};
use crate::response::{description, trickles};
use crate::room::{Room, local_node};

/// No answer by then: the client starts anew.
const ANSWER_TIMEOUT_MS: u64 = 15_000;
/// JS sends an AddTrack and the offer that carries it at once; the answer should name the announced codec.
pub(crate) const HOLD_MS: u64 = 200;
/// From the end of a step to an applied answer: 1 ms until the rows are adopted, and 10 to 50 ms in a client (observed: Chromium 156,
/// from an answer to its first setting of the track). An SSRC that comes earlier gets a receiver of its own in libwebrtc, which the
/// answer then replaces, and the first key frame is lost.
const APPLY_MS: u64 = 50;
/// Where the client's next offer may remake its receivers (`rest`): that offer, if it comes at once, should be first.
const APPLY_SLOWLY_MS: u64 = 100;
/// A socket on which nothing arrives any more is lost before.
const SURE_MS: u64 = 60_000;

impl Room {
    pub(crate) fn handle_offer(&mut self, sid: &str, offer: &proto::SessionDescription, context: &mut Context<'_>) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        let nominated = participant.nominated(participant.peer.uplink());
        let taken = participant.peer.offered.handle_offer(offer.id, &offer.sdp, context.ice(), nominated);
        self.out.record(sid, record::PEER);
        self.out.transport(sid, Part::Offered);
        match taken {
            Ok(offered) => self.offer_taken(sid, &offered, context),
            Err(error) => self.negotiation_failed(sid, error, context),
        }
    }

    fn offer_taken(&mut self, sid: &str, offered: &Offered, context: &mut Context<'_>) {
        if offered.ice_restart
            && let Some(participant) = self.participants.get_mut(sid)
        {
            participant.peer.trickled = false;
        }
        if offered.applied {
            self.bind_told(sid, context);
        }
        self.note_sections(sid, &offered.published);
        self.correct_guesses(sid, context);
        self.stop_tracks(sid, &offered.stopped, context);
        for (_, track) in &offered.evicted {
            self.stop_sending(sid, track);
        }
        let unmatched = self.match_sections(sid, context);
        self.offer_ends_rest(sid);
        self.refill(sid);
        let hold = unmatched.then(|| context.now.add_ms(HOLD_MS));
        if let Some(participant) = self.participants.get_mut(sid) {
            participant.core.deadlines.hold = hold;
        }
        self.out.record(sid, record::CORE);
        self.reconcile_all(sid, context);
        self.out.negotiate(sid);
    }

    /// The client's payload types or ids may have changed: every row that quotes them.
    fn refill(&mut self, sid: &str) {
        let Some(participant) = self.participants.get(sid) else { return };
        for track in participant.published() {
            self.out.ingress(sid, track.sid());
        }
        for (track, _) in participant.subscriptions.iter().filter(|(_, subscription)| subscription.sending.is_some()) {
            self.out.egress(sid, track);
        }
    }

    fn note_sections(&mut self, sid: &str, published: &[PublishedSection]) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        let before = std::mem::take(&mut participant.core.publishing.unmatched);
        let old = |section: &PublishedSection| {
            before.iter().any(|known| known.old && known.mid == section.mid && known.track == section.track)
        };
        participant.core.publishing.unmatched = published
            .iter()
            .filter(|section| !section.bound && !section.codecs.is_empty())
            .map(|section| Unmatched {
                mid: section.mid.clone(),
                audio: section.kind == engine_base::Kind::Audio,
                track: section.track.clone(),
                ended: section.ended,
                old: old(section),
                layers: section.layers.clone(),
            })
            .collect();
    }

    /// Pairs sections that the client sends on with requested tracks. True when the answer may wait for an AddTrack.
    fn match_sections(&mut self, sid: &str, context: &mut Context<'_>) -> bool {
        self.match_tracks(sid, false, context);
        let Some(participant) = self.participants.get(sid) else { return false };
        participant.core.publishing.awaits_match() && participant.core.permission.can_publish
    }

    pub(crate) fn handle_answer(&mut self, sid: &str, answer: &proto::SessionDescription, context: &mut Context<'_>) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        let Some(subscriber) = &mut participant.peer.subscriber else { return };
        let taken = match subscriber.handle_answer(answer.id, &answer.sdp) {
            Ok(Some(taken)) => taken,
            Ok(None) => return,
            Err(error) => return self.negotiation_failed(sid, error, context),
        };
        participant.core.deadlines.answer = None;
        self.out.record(sid, record::PEER | record::CORE);
        self.out.transport(sid, Part::Subscriber);
        if taken.media_reduced {
            self.refill(sid);
        }
        for (_, track) in &taken.refused {
            self.codec_unsupported(sid, track);
        }
        if taken.first || taken.media_reduced {
            self.reconcile_all(sid, context);
        }
        for (mid, track) in &taken.accepted {
            self.bind_sending(sid, track, mid, context);
        }
        self.out.negotiate(sid);
    }

    /// What the participant's connection needs now: an answer, an offer, or a question. Nothing without a socket: a resume
    /// makes up for it.
    pub(crate) fn negotiate(&mut self, sid: &str, context: &mut Context<'_>) {
        let Some(participant) = self.participants.get(sid) else { return };
        if participant.link.connection.is_none() {
            return;
        }
        if participant.peer.offered.has_pending_offer() && participant.core.deadlines.hold.is_none() {
            self.place_waiting(sid, context);
            self.send_answer(sid, context);
        }
        match self.participants.get(sid).map(|participant| participant.peer.subscriber.is_some()) {
            Some(true) => self.send_offer(sid, context),
            Some(false) => self.ask_for_sections(sid, context),
            None => {}
        }
    }

    fn send_answer(&mut self, sid: &str, context: &mut Context<'_>) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        let answer = match participant.peer.offered.answer(&local_node(context)) {
            Ok(Some(answer)) => answer,
            Ok(None) => return,
            Err(error) => return self.negotiation_failed(sid, error, context),
        };
        let first = !std::mem::replace(&mut participant.peer.trickled, true);
        let candidates = participant.peer.offered.ice().trickles(&context.node.candidates);
        participant.core.publishing.unmatched.iter_mut().for_each(|section| section.old = true);
        self.out.record(sid, record::PEER);
        self.out.transport(sid, Part::Offered);
        self.send(sid, Message::Answer(description("answer", answer.id, answer.sdp, answer.mid_to_track_id)));
        if first {
            for trickle in trickles(candidates, proto::SignalTarget::Publisher) {
                self.send(sid, trickle);
            }
        }
        let Some(participant) = self.participants.get_mut(sid) else { return };
        let told = participant.peer.offered.awaits_application();
        let apply_ms = if participant.remakes_receivers() { APPLY_SLOWLY_MS } else { APPLY_MS };
        participant.core.deadlines.apply = told.then(|| context.now.add_ms(apply_ms));
        participant.core.deadlines.sure = told.then(|| context.now.add_ms(SURE_MS));
        self.out.record(sid, record::CORE);
    }

    /// Single layout: the client has applied our last answer, so packets may flow. Nothing tells so but its next offer, or time:
    /// too early is no harm, so little time will do.
    pub(crate) fn bind_told(&mut self, sid: &str, context: &mut Context<'_>) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        participant.core.deadlines.apply = None;
        let told: Vec<(String, String)> =
            participant.peer.offered.told_tracks().map(|(mid, track)| (mid.to_owned(), track.to_owned())).collect();
        self.out.record(sid, record::CORE);
        for (mid, track) in told {
            self.bind_sending(sid, &track, &mid, context);
        }
    }

    /// The client's socket lives long after our last answer.
    pub(crate) fn note_applied(&mut self, sid: &str) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        participant.core.deadlines.sure = None;
        participant.peer.offered.note_applied();
        self.out.record(sid, record::CORE | record::PEER);
    }

    fn send_offer(&mut self, sid: &str, context: &mut Context<'_>) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        let Some(subscriber) = &mut participant.peer.subscriber else { return };
        let first = subscriber.ice().remote().is_none();
        let offer = match subscriber.offer(&local_node(context)) {
            Ok(Some(offer)) => offer,
            Ok(None) => return,
            Err(error) => return self.negotiation_failed(sid, error, context),
        };
        let candidates = subscriber.ice().trickles(&context.node.candidates);
        participant.core.deadlines.answer = Some(context.now.add_ms(ANSWER_TIMEOUT_MS));
        self.out.record(sid, record::PEER | record::CORE);
        self.out.transport(sid, Part::Subscriber);
        self.send(sid, Message::Offer(description("offer", offer.id, offer.sdp, offer.mid_to_track_id)));
        if first {
            for trickle in trickles(candidates, proto::SignalTarget::Subscriber) {
                self.send(sid, trickle);
            }
        }
    }

    /// Single layout: the client offers again when it must learn something, with more sections if tracks wait for one.
    fn ask_for_sections(&mut self, sid: &str, context: &mut Context<'_>) {
        let waiting = self.place_waiting(sid, context);
        let Some(participant) = self.participants.get_mut(sid) else { return };
        if participant.peer.offered.dtls_role().is_none() {
            return;
        }
        if let Some(SectionCounts { audio, video }) = participant.peer.offered.requirement(waiting) {
            self.out.record(sid, record::PEER);
            let requirement = proto::MediaSectionsRequirement { num_audios: audio, num_videos: video };
            self.send(sid, Message::MediaSectionsRequirement(requirement));
        }
    }

    /// A description that contradicts the session: only a new one helps.
    fn negotiation_failed(&mut self, sid: &str, error: NegotiationError, context: &mut Context<'_>) {
        let reason = match error {
            NegotiationError::Capacity { .. } | NegotiationError::Unsupported { .. } => {
                proto::DisconnectReason::MediaFailure
            }
            NegotiationError::Sdp(_) | NegotiationError::PeerMisbehaved { .. } => {
                proto::DisconnectReason::StateMismatch
            }
        };
        self.ask_to_reconnect(sid, reason, context);
    }
}
