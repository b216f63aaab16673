//! What of the sent media arrived: the two ends' counters over the same time.

use std::time::Duration;

use crate::participant::Participant;
use crate::stats::Stats;
use crate::until;

/// How long statistics of a new track may take to appear.
const STATISTICS: Duration = Duration::from_secs(10);

/// One track on its way from the one who publishes to one who receives, over the time of a [`Take`].
#[derive(Clone, Debug)]
pub struct Flow {
    /// "from to", by identity.
    pub way: String,
    pub sid: String,
    pub kind: String,
    pub codec: String,
    /// Frames encoded for video, packets sent for audio.
    pub sent: u64,
    /// Frames decoded for video, packets received for audio.
    pub arrived: u64,
    pub packets_lost: i64,
    pub width: u32,
    pub height: u32,
    /// Growth of the decoded audio's energy.
    pub energy: f64,
}

impl Flow {
    /// # Panics
    /// When fewer than `percent` of what was sent arrived.
    pub fn assert_arrived(&self, percent: u64) {
        assert!(self.sent > 0 && self.arrived * 100 >= self.sent * percent, "under {percent} % arrived: {self:?}");
    }
}

/// Counters of both ends at one moment.
pub struct Take {
    way: String,
    sender: Stats,
    receiver: Stats,
}

impl Take {
    /// Waits until the statistics of both ends name every track that `sender` publishes.
    pub fn now(sender: &Participant, receiver: &Participant) -> Take {
        until(&format!("statistics of {}", way(sender, receiver)), STATISTICS, || {
            let take = Take { way: way(sender, receiver), sender: sender.stats(), receiver: receiver.stats() };
            match take.missing() {
                None => Ok(take),
                Some(what) => Err(what),
            }
        })
    }

    fn missing(&self) -> Option<String> {
        if self.sender.published.is_empty() {
            return Some("nothing is published".to_owned());
        }
        let unknown = self.sender.published.iter().find(|track| self.receiver.received(&track.sid).is_none());
        unknown.map(|track| format!("the receiver has no statistics of {}", track.sid))
    }

    /// Waits until `sender` has encoded `frames` more pictures of some track than at this take, then takes again.
    pub fn after_frames(&self, frames: u64, sender: &Participant, receiver: &Participant) -> Take {
        let patience = Duration::from_millis(frames * 1000 / 15 * 2 + 10_000);
        until(&format!("{} encodes {frames} frames", sender.identity), patience, || {
            let now = sender.stats();
            let grown = now.published.iter().map(|track| {
                let before = self.sender.published(&track.sid).map_or(0, |old| old.frames_encoded());
                track.frames_encoded().saturating_sub(before)
            });
            let grown = grown.max().unwrap_or(0);
            if grown >= frames {
                Ok(Take { way: way(sender, receiver), sender: now, receiver: receiver.stats() })
            } else {
                Err(format!("{grown}"))
            }
        })
    }
}

fn way(sender: &Participant, receiver: &Participant) -> String {
    format!("{} to {}", sender.identity, receiver.identity)
}

/// What flowed between two takes, for every track that the sender published.
///
/// # Panics
/// When there is none, or an end lacks a track: a check of every flow must not pass because there was nothing to check.
pub fn flows(before: &Take, after: &Take) -> Vec<Flow> {
    assert!(!after.sender.published.is_empty(), "{}: nothing is published", after.way);
    let tracks = after.sender.published.iter();
    let flows = tracks.map(|sent| {
        let lacking = |end: &str| format!("{}: {end} lacks {}", after.way, sent.sid);
        let received = after.receiver.received(&sent.sid).unwrap_or_else(|| panic!("{}", lacking("the receiver")));
        let sent_before =
            before.sender.published(&sent.sid).unwrap_or_else(|| panic!("{}", lacking("the sender's first take")));
        let received_before =
            before.receiver.received(&sent.sid).unwrap_or_else(|| panic!("{}", lacking("the receiver's first take")));
        let video = sent.kind == "video";
        let (out, into) = if video {
            (
                sent.frames_encoded() - sent_before.frames_encoded(),
                received.frames_decoded - received_before.frames_decoded,
            )
        } else {
            (
                sent.packets_sent() - sent_before.packets_sent(),
                received.packets_received - received_before.packets_received,
            )
        };
        Flow {
            way: after.way.clone(),
            sid: sent.sid.clone(),
            kind: sent.kind.clone(),
            codec: received.codec.clone(),
            sent: out,
            arrived: into,
            packets_lost: received.packets_lost - received_before.packets_lost,
            width: received.width,
            height: received.height,
            energy: received.audio_energy - received_before.audio_energy,
        }
    });
    flows.collect()
}
