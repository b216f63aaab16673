//! What the drivers count, of both kinds of client in one shape. Counters are since the start of the track.

use serde::Deserialize;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Stats {
    pub published: Vec<PublishedTrack>,
    pub received: Vec<ReceivedTrack>,
    pub transports: Vec<Transport>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PublishedTrack {
    pub sid: String,
    pub kind: String,
    pub codec: String,
    pub layers: Vec<Layer>,
    pub packets_lost: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Layer {
    pub rid: String,
    pub active: bool,
    pub width: u32,
    pub height: u32,
    pub frames_encoded: u64,
    pub packets_sent: u64,
    pub nack_count: u64,
    pub pli_count: u64,
    pub scalability: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReceivedTrack {
    pub sid: String,
    pub identity: String,
    pub participant_sid: String,
    pub ssrc: u32,
    pub kind: String,
    pub codec: String,
    pub width: u32,
    pub height: u32,
    pub frames_decoded: u64,
    pub frames_dropped: u64,
    pub key_frames_decoded: u64,
    pub freezes_ms: f64,
    pub packets_received: u64,
    pub packets_lost: i64,
    pub retransmitted: u64,
    pub nack_count: u64,
    pub pli_count: u64,
    pub audio_energy: f64,
    pub shown: Option<Shown>,
}

/// Pictures that reached the application: a `<video>` element or the SDK's frame stream.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Shown {
    pub count: u64,
    /// The longest time between two pictures since the last reset.
    pub gap_ms_max: f64,
    /// Wall milliseconds.
    pub first_at: u64,
    pub width: u32,
    pub height: u32,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Transport {
    pub name: String,
    pub dtls_state: serde_json::Value,
    pub srtp_cipher: String,
    pub ice_ufrag: String,
    pub pair_changes: u64,
    pub packets_received: u64,
}

impl Stats {
    /// The received track of that sid.
    pub fn received(&self, sid: &str) -> Option<&ReceivedTrack> {
        self.received.iter().find(|track| track.sid == sid)
    }

    /// The published track of that sid.
    pub fn published(&self, sid: &str) -> Option<&PublishedTrack> {
        self.published.iter().find(|track| track.sid == sid)
    }
}

impl PublishedTrack {
    /// Frames of the layer with the most; what a subscriber of the highest layer can get.
    pub fn frames_encoded(&self) -> u64 {
        self.layers.iter().map(Layer::pictures).max().unwrap_or(0)
    }

    pub fn packets_sent(&self) -> u64 {
        self.layers.iter().map(|layer| layer.packets_sent).sum()
    }
}

impl Layer {
    /// Frames encoded, each once: Chromium counts every spatial layer of a picture (202 in `L2T3_KEY` for 101 pictures, observed).
    fn pictures(&self) -> u64 {
        let spatial = self.scalability.strip_prefix('L').and_then(|mode| mode.get(..1)?.parse().ok());
        self.frames_encoded / spatial.unwrap_or(1).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spatial_layers_of_a_picture_count_once() {
        let encoded = |scalability: &str| {
            let layer = Layer { frames_encoded: 202, scalability: scalability.to_owned(), ..Layer::default() };
            PublishedTrack { layers: vec![layer], ..PublishedTrack::default() }.frames_encoded()
        };
        assert_eq!(["L2T3_KEY", "L1T3", "", "S2T1", "L"].map(encoded), [101, 202, 202, 202, 202]);
    }
}
