//! Connection quality, every 5 s: each participant's own and that of those it is subscribed to, told as differences.

use std::collections::{BTreeMap, BTreeSet};

use engine_table::transport_state;
use signaling_protocol::proto::{self, signal_response::Message};

use crate::input::TransportQuality;
use crate::participant::Participant;
use crate::room::Room;

/// Bounds of loss (share of packets) and round-trip time up to which a connection is excellent, or good.
const EXCELLENT: (f32, u32) = (0.02, 300_000);
const GOOD: (f32, u32) = (0.08, 800_000);

fn grade(quality: &TransportQuality) -> proto::ConnectionQuality {
    let within = |(loss, rtt_us): (f32, u32)| quality.loss <= loss && quality.rtt_us <= rtt_us;
    if within(EXCELLENT) {
        proto::ConnectionQuality::Excellent
    } else if within(GOOD) {
        proto::ConnectionQuality::Good
    } else {
        proto::ConnectionQuality::Poor
    }
}

/// On the scale of mean opinion scores, as the reference has it.
const fn score(quality: proto::ConnectionQuality) -> f32 {
    match quality {
        proto::ConnectionQuality::Excellent => 4.5,
        proto::ConnectionQuality::Good => 3.5,
        proto::ConnectionQuality::Poor => 2.0,
        proto::ConnectionQuality::Lost => 1.0,
    }
}

/// Worse is smaller.
const fn rank(quality: proto::ConnectionQuality) -> u8 {
    match quality {
        proto::ConnectionQuality::Lost => 0,
        proto::ConnectionQuality::Poor => 1,
        proto::ConnectionQuality::Good => 2,
        proto::ConnectionQuality::Excellent => 3,
    }
}

impl Room {
    pub(crate) fn handle_quality(&mut self, qualities: &[TransportQuality]) {
        let mut worst: BTreeMap<&str, proto::ConnectionQuality> = BTreeMap::new();
        for quality in qualities {
            let Some(sid) = self.places.transports.get(&quality.transport) else { continue };
            let grade = self
                .participants
                .get(sid)
                .filter(|it| it.is_lost())
                .map_or(grade(quality), |_| proto::ConnectionQuality::Lost);
            let known = worst.entry(sid).or_insert(grade);
            if rank(grade) < rank(*known) {
                *known = grade;
            }
        }
        let worst: BTreeMap<String, i32> =
            worst.into_iter().map(|(sid, quality)| (sid.to_owned(), quality as i32)).collect();
        let listeners = self.participants.keys().cloned().collect::<Vec<_>>();
        for sid in listeners {
            self.tell_quality(&sid, &worst);
        }
    }

    fn tell_quality(&mut self, sid: &str, now: &BTreeMap<String, i32>) {
        let Some(participant) = self.participants.get(sid) else { return };
        let Some(connection) = participant.link.connection else { return };
        let publishers = participant.subscriptions.iter().filter(|(_, subscription)| subscription.sending.is_some());
        let publishers = publishers.filter_map(|(track, _)| self.places.tracks.get(track));
        let interesting: BTreeSet<&String> = publishers.chain(std::iter::once(&participant.core.sid)).collect();
        let told = &participant.link.qualities;
        let news: BTreeMap<String, i32> = interesting
            .into_iter()
            .filter_map(|sid| Some((sid.clone(), *now.get(sid)?)))
            .filter(|(sid, quality)| told.get(sid) != Some(quality))
            .collect();
        if news.is_empty() {
            return;
        }
        let info = |(participant_sid, quality): (&String, &i32)| proto::ConnectionQualityInfo {
            participant_sid: participant_sid.clone(),
            quality: *quality,
            score: score(proto::ConnectionQuality::try_from(*quality).unwrap_or_default()),
        };
        let updates = news.iter().map(info).collect();
        self.out.send(connection, Message::ConnectionQuality(proto::ConnectionQualityUpdate { updates }));
        let gone: Vec<String> = told.keys().filter(|sid| !self.participants.contains_key(*sid)).cloned().collect();
        if let Some(participant) = self.participants.get_mut(sid) {
            participant.link.qualities.extend(news);
            participant.link.qualities.retain(|sid, _| !gone.contains(sid));
        }
    }
}

impl Participant {
    fn is_lost(&self) -> bool {
        let silent = [transport_state::DISCONNECTED, transport_state::FAILED];
        self.link.observed.values().any(|observed| silent.contains(&observed.ice))
    }
}
