//! Who is speaking (PROTOCOL §5.11): once per window the level of every microphone, told as differences.

use engine_base::{IngressRef, TimeNs};
use signaling_protocol::proto::{self, signal_response::Message};

use crate::input::AudioLevel;
use crate::participant::Participant;
use crate::room::Room;
use crate::track::Track;

/// A window of 400 ms holds 20 packets of 20 ms. A client that sends nothing in silence (DTX) must not seem active for a few
/// packets, and one with packets of 60 ms sends 6 or 7.
const WINDOW_PACKETS_MIN: u64 = 7;
/// Share of the window that must be active.
const ACTIVE_SHARE: f64 = 0.4;
/// Exponential moving average over two windows: 2 / (2 + 1).
const SMOOTHING: f64 = 2.0 / 3.0;
/// Levels are told in eighths, rounded up.
const STEPS: f64 = 8.0;

/// A microphone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Speaker {
    counted: AudioLevel,
    smoothed: f64,
    /// In eighths as told; 0 is silent.
    told: u8,
}

impl Speaker {
    /// The new level if it differs from the told one.
    fn advance(&mut self, level: &AudioLevel) -> Option<u8> {
        let packets = level.packets.saturating_sub(self.counted.packets);
        let active = level.active_packets.saturating_sub(self.counted.active_packets);
        let sum = level.active_level_sum.saturating_sub(self.counted.active_level_sum);
        self.counted = *level;
        let share = active as f64 / packets.max(WINDOW_PACKETS_MIN) as f64;
        let linear = if active == 0 { 0.0 } else { 10_f64.powf(-(sum as f64 / active as f64) / 20.0) * share };
        self.smoothed += (linear - self.smoothed) * SMOOTHING;
        let speaking = share >= ACTIVE_SHARE;
        let eighths = if speaking { (self.smoothed * STEPS).ceil().clamp(1.0, STEPS) as u8 } else { 0 };
        let changed = eighths != self.told;
        self.told = eighths;
        changed.then_some(eighths)
    }
}

fn info(sid: &str, eighths: u8) -> proto::SpeakerInfo {
    proto::SpeakerInfo { sid: sid.to_owned(), level: f32::from(eighths) / STEPS as f32, active: eighths > 0 }
}

/// Who hears a microphone: its subscribers, and the speaker.
fn hears(participant: &Participant, speaker: &str, track: &str) -> bool {
    participant.sid() == speaker || participant.subscriptions.get(track).is_some_and(|it| it.sending.is_some())
}

impl Room {
    pub(crate) fn handle_levels(&mut self, levels: &[AudioLevel]) {
        let mut changed: Vec<(String, String, proto::SpeakerInfo)> = Vec::new();
        for level in levels {
            let Some(sid) = self.places.ingresses.get(&level.ingress) else { continue };
            let Some(participant) = self.participants.get(sid) else { continue };
            let tracks = &participant.core.publishing.tracks;
            let Some(track) = tracks.iter().find(|track| track.primary.ingress == level.ingress) else { continue };
            if !track.is_microphone() || participant.is_hidden() {
                continue;
            }
            let first = Speaker { counted: *level, smoothed: 0.0, told: 0 };
            let speaker = self.speakers.entry(level.ingress).or_insert(first);
            let muted = AudioLevel { active_packets: speaker.counted.active_packets, ..*level };
            let level = if track.info.muted { &muted } else { level };
            if let Some(eighths) = speaker.advance(level) {
                changed.push((sid.clone(), track.sid().to_owned(), info(sid, eighths)));
            }
        }
        if changed.is_empty() {
            return;
        }
        for participant in self.participants.values() {
            let Some(connection) = participant.link.connection else { continue };
            let heard = changed.iter().filter(|(speaker, track, _)| hears(participant, speaker, track));
            let speakers: Vec<_> = heard.map(|(_, _, info)| info.clone()).collect();
            if !speakers.is_empty() {
                self.out.send(connection, Message::SpeakersChanged(proto::SpeakersChanged { speakers }));
            }
        }
    }

    /// A microphone ends: whoever was told of a voice is told of its end.
    pub(crate) fn end_speaker(&mut self, sid: &str, track: &str, ingress: IngressRef) {
        if self.speakers.remove(&ingress).is_none_or(|speaker| speaker.told == 0) {
            return;
        }
        let listeners = self.participants.values().filter(|participant| hears(participant, sid, track));
        let silent = Message::SpeakersChanged(proto::SpeakersChanged { speakers: vec![info(sid, 0)] });
        self.out.broadcast(listeners.filter_map(|listener| listener.link.connection), silent);
    }

    /// Who of those it hears speaks now, and who does not, for a client that may have missed either.
    pub(crate) fn speakers_for(&self, sid: &str) -> Option<Message> {
        let participant = self.participants.get(sid)?;
        let heard = self.participants.values().filter_map(|publisher| {
            let heard = |track: &&Track| track.is_microphone() && hears(participant, publisher.sid(), track.sid());
            let level = |track: &Track| self.speakers.get(&track.primary.ingress).map_or(0, |speaker| speaker.told);
            let level = publisher.published().filter(heard).map(level).max()?;
            Some(info(publisher.sid(), level))
        });
        let speakers: Vec<_> = heard.collect();
        if speakers.is_empty() { None } else { Some(Message::SpeakersChanged(proto::SpeakersChanged { speakers })) }
    }

    // --- A test hook ---

    /// The participant seems to speak for a while.
    pub(crate) fn simulate_speaking(&mut self, sid: &str, until: TimeNs) {
        self.schedule.simulated.push((until, sid.to_owned()));
        self.broadcast_speaker(sid, STEPS as u8);
    }

    pub(crate) fn end_simulated(&mut self, now: TimeNs) {
        let simulated = std::mem::take(&mut self.schedule.simulated);
        let (over, going): (Vec<_>, Vec<_>) = simulated.into_iter().partition(|(at, _)| *at <= now);
        self.schedule.simulated = going;
        for (_, sid) in over {
            self.broadcast_speaker(&sid, 0);
        }
    }

    fn broadcast_speaker(&mut self, sid: &str, eighths: u8) {
        let message = Message::SpeakersChanged(proto::SpeakersChanged { speakers: vec![info(sid, eighths)] });
        self.out.broadcast(self.places.connections.keys().copied(), message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(packets: u64, active_packets: u64, active_level_sum: u64) -> AudioLevel {
        AudioLevel { ingress: IngressRef::new(0, 1), packets, active_packets, active_level_sum }
    }

    #[test]
    fn a_voice_is_told_once_and_its_end_is_told() {
        let mut speaker = Speaker { counted: level(0, 0, 0), smoothed: 0.0, told: 0 };
        assert_eq!(speaker.advance(&level(20, 18, 18 * 15)), Some(1));
        assert_eq!(speaker.advance(&level(40, 36, 36 * 15)), Some(2));
        assert_eq!(speaker.advance(&level(60, 54, 54 * 15)), None);
        assert_eq!(speaker.advance(&level(80, 54, 54 * 15)), Some(0));
        assert_eq!(speaker.advance(&level(100, 54, 54 * 15)), None);
    }

    #[test]
    fn a_click_between_silences_is_no_speech() {
        let mut speaker = Speaker { counted: level(0, 0, 0), smoothed: 0.0, told: 0 };
        assert_eq!(speaker.advance(&level(2, 2, 20)), None);
        assert!(speaker.advance(&level(9, 9, 90)).is_some());
    }
}
