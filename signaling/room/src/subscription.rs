//! What an own participant wants of one track of another, and the egress that carries it.

use engine_base::{EgressRef, Kind, TimeNs};
use serde::{Deserialize, Serialize};
use signaling_protocol::proto;

use crate::rendition::Which;
use crate::stored;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Subscription {
    /// `None` as long as the client has not said: then `auto_subscribe` decides.
    pub(crate) wish: Option<bool>,
    /// When an unknown track was first wished for.
    #[serde(with = "stored::time")]
    pub(crate) since: TimeNs,
    pub(crate) settings: Settings,
    pub(crate) sending: Option<Sending>,
    /// The publisher's permission as the subscriber knows it.
    #[serde(skip)]
    pub(crate) allowed_told: Option<bool>,
    /// `stream_state_update` ACTIVE was sent.
    #[serde(skip)]
    pub(crate) active_told: bool,
}

/// A track in a section of the subscriber's connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sending {
    #[serde(with = "stored::egress")]
    pub(crate) egress: EgressRef,
    pub(crate) mid: String,
    /// What is sent of the track.
    pub(crate) which: Which,
    /// The client knows the section: packets may flow.
    pub(crate) bound: bool,
    /// A packet was sent.
    #[serde(skip)]
    pub(crate) flows: bool,
}

/// `track_setting`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) disabled: bool,
    quality: i32,
    width: u32,
    height: u32,
    fps: u32,
    priority: u32,
}

impl Settings {
    /// An adaptive client says what it needs once its elements are laid out.
    pub(crate) fn initial(adaptive: bool) -> Self {
        let quality = if adaptive { proto::VideoQuality::Low } else { proto::VideoQuality::High };
        Self { disabled: false, quality: quality as i32, width: 0, height: 0, fps: 0, priority: 0 }
    }

    pub(crate) fn of(setting: &proto::UpdateTrackSettings) -> Self {
        let &proto::UpdateTrackSettings { disabled, quality, width, height, fps, priority, .. } = setting;
        Self { disabled, quality, width, height, fps, priority }
    }

    /// Highest of the ingress's `streams` layers that is worth sending.
    pub(crate) fn layer_max(&self, described: &[proto::VideoLayer], streams: usize) -> u8 {
        let top = streams.clamp(1, engine_base::limits::LAYERS) - 1;
        if described.is_empty() {
            return self.quality.clamp(0, top as i32) as u8;
        }
        let layers = || described.iter().take(top + 1);
        let index = if self.width > 0 && self.height > 0 {
            let covers = |layer: &proto::VideoLayer| match layer.width < layer.height {
                true => layer.width >= self.width,
                false => layer.height >= self.height,
            };
            layers().position(covers)
        } else {
            layers().collect::<Vec<_>>().iter().rposition(|layer| layer.quality <= self.quality).or(Some(0))
        };
        index.unwrap_or(top) as u8
    }

    /// Highest temporal layer for the wanted rate. Encoders halve the rate per layer below the full one, which is taken as
    /// 30 frames/s: 7.5, 15, 30.
    pub(crate) const fn temporal_max(&self) -> u8 {
        match self.fps {
            1..=7 => 0,
            8..=15 => 1,
            _ => 3,
        }
    }

    pub(crate) fn priority(&self) -> u8 {
        self.priority.clamp(1, 255) as u8
    }
}

impl Subscription {
    pub(crate) fn new(wish: Option<bool>, adaptive: bool, now: TimeNs) -> Self {
        Self {
            wish,
            since: now,
            settings: Settings::initial(adaptive),
            sending: None,
            allowed_told: None,
            active_told: false,
        }
    }

    pub(crate) fn flows(&self) -> bool {
        self.sending.as_ref().is_some_and(|sending| sending.flows)
    }
}

/// What is needed of a track to send it to somebody.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) publisher: String,
    pub(crate) kind: Kind,
    pub(crate) which: Which,
    /// What a subscriber must decode.
    pub(crate) expected: Vec<signaling_sdp::CodecKey>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(of: &[(i32, u32, u32)]) -> Vec<proto::VideoLayer> {
        let layer = |&(quality, width, height)| proto::VideoLayer { quality, width, height, ..Default::default() };
        of.iter().map(layer).collect()
    }

    fn sized(width: u32, height: u32) -> Settings {
        Settings { width, height, ..Settings::initial(false) }
    }

    #[test]
    fn the_smallest_layer_that_covers_the_element_is_taken() {
        let info = layers(&[(0, 320, 180), (1, 640, 360), (2, 960, 540)]);
        let layer = |height| sized(1, height).layer_max(&info, 3);
        assert_eq!([layer(100), layer(180), layer(181), layer(540), layer(1080)], [0, 0, 1, 2, 2]);
        let portrait = layers(&[(0, 180, 320), (1, 360, 640)]);
        assert_eq!(sized(200, 10).layer_max(&portrait, 2), 1);
    }

    #[test]
    fn a_quality_names_the_highest_layer_up_to_it() {
        let info = layers(&[(0, 320, 180), (2, 960, 540)]);
        let of = |quality| Settings { quality, ..Settings::initial(false) }.layer_max(&info, 2);
        assert_eq!([of(0), of(1), of(2)], [0, 0, 1]);
        assert_eq!(Settings::initial(false).layer_max(&layers(&[]), 3), 2);
    }
}
