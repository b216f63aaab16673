//! Desired rows, computed from what is journaled only: a restored room comes to the same ones.

use engine_base::Kind;
use engine_table::{
    DataRow, EgressRow, IngressRow, Text, TransportRow, data_flags, egress_flags, ingress_flags, transport_flags,
};
use signaling_negotiation::SubscriberPc;
use signaling_program::RowChange;
use signaling_token::ParticipantKind;
use zerocopy::FromZeros;

use crate::outbox::RowKey;
use crate::participant::{Part, Participant};
use crate::rendition::Which;
use crate::room::Room;
use crate::track::Track;

impl Room {
    /// `None` when what the row is for has ended: its row was freed then.
    pub(crate) fn row(&self, key: &RowKey) -> Option<RowChange> {
        match key {
            RowKey::Transport { sid, part } => self.participants.get(sid).and_then(|p| transport_row(p, *part, false)),
            RowKey::Data { sid } => self.participants.get(sid).and_then(|p| self.data_row(p)),
            RowKey::Ingress { sid, track, which } => {
                let participant = self.participants.get(sid)?;
                ingress_row(participant, participant.track(track)?, *which)
            }
            RowKey::Egress { sid, track } => self.egress_row(self.participants.get(sid)?, track),
        }
    }

    fn data_row(&self, participant: &Participant) -> Option<RowChange> {
        let core = &participant.core;
        let mut row = DataRow::new_zeroed();
        let permission = &core.permission;
        let agent = permission.agent || core.kind == ParticipantKind::Agent;
        let flags = [
            (permission.can_publish_data, data_flags::CAN_PUBLISH),
            (permission.hidden, data_flags::HIDDEN),
            (agent, data_flags::AGENT),
            // The permission to subscribe is about media.
            (true, data_flags::CAN_RECEIVE),
        ];
        row.flags = flags.into_iter().filter(|(on, _)| *on).fold(0, |flags, (_, flag)| flags | flag);
        row.group = self.record.group;
        (row.uplink, row.downlink) = (participant.peer.uplink(), participant.peer.downlink());
        row.sid = Text::cut(&core.sid);
        row.identity = Text::cut(&core.identity);
        (!core.data.is_none()).then(|| RowChange::Data(core.data, Box::new(row)))
    }

    fn egress_row(&self, subscriber: &Participant, track_sid: &str) -> Option<RowChange> {
        let subscription = subscriber.subscriptions.get(track_sid)?;
        let sending = subscription.sending.as_ref()?;
        let (publisher, track) = self.published_track(track_sid)?;
        let rendition = track.rendition(sending.which).filter(|rendition| rendition.is_published())?;
        let keys = publisher.peer.offered.codec_keys(&rendition.mid);
        let mut row = EgressRow::new_zeroed();
        let filled = match &subscriber.peer.subscriber {
            Some(pc) => pc.fill_egress(&sending.mid, &keys, &mut row),
            None => subscriber.peer.offered.fill_egress(&sending.mid, &keys, &mut row),
        };
        row.transport = subscriber.peer.downlink();
        row.ingress = rendition.ingress;
        let described = track.described_layers(sending.which);
        row.layer_max = subscription.settings.layer_max(described, rendition.layers.len());
        row.temporal_max = subscription.settings.temporal_max();
        row.priority = subscription.settings.priority();
        row.label = Text::cut(track_sid);
        let rests = subscriber.rests(track.kind());
        let enabled = filled && sending.bound && !subscription.settings.disabled && !rests;
        set(&mut row.flags, egress_flags::ENABLED, enabled);
        Some(RowChange::Egress(sending.egress, Box::new(row)))
    }
}

/// `closing`: the participant is going.
pub(crate) fn transport_row(participant: &Participant, part: Part, closing: bool) -> Option<RowChange> {
    let mut row = TransportRow::new_zeroed();
    let peer = &participant.peer;
    let transport = match (part, &peer.subscriber) {
        (Part::Offered, _) => {
            peer.offered.fill_transport(&mut row);
            peer.uplink()
        }
        (Part::Subscriber, Some(pc)) => {
            pc.fill_transport(&mut row);
            SubscriberPc::transport(pc)
        }
        (Part::Subscriber, None) => return None,
    };
    row.label = Text::cut(participant.sid());
    set(&mut row.flags, transport_flags::CLOSING, closing);
    Some(RowChange::Transport(transport, Box::new(row)))
}

fn ingress_row(participant: &Participant, track: &Track, which: Which) -> Option<RowChange> {
    let rendition = track.rendition(which).filter(|rendition| rendition.is_published())?;
    if rendition.ingress.is_none() {
        return None;
    }
    let mut row = IngressRow::new_zeroed();
    participant.peer.offered.fill_ingress(&rendition.mid, &mut row);
    row.transport = participant.peer.uplink();
    row.kind = track.kind() as u8;
    row.layer_count = row.layer_count.max(1);
    set(&mut row.flags, ingress_flags::MUTED, track.info.muted);
    set(&mut row.flags, ingress_flags::SVC, track.kind() == Kind::Video && track.is_svc(which));
    set(&mut row.flags, ingress_flags::MICROPHONE, track.is_microphone());
    row.label = Text::cut(track.sid());
    Some(RowChange::Ingress(rendition.ingress, Box::new(row)))
}

fn set(flags: &mut u8, flag: u8, on: bool) {
    *flags = if on { *flags | flag } else { *flags & !flag };
}
