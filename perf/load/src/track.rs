//! A track to publish: its streams, and what is said about it to the server.

use engine_base::{Kind, TimeNs};
use signaling_protocol::proto::{AddTrackRequest, SimulcastCodec, TrackSource, TrackType, VideoLayer, VideoQuality};

use crate::description::{Encoding, OfferedTrack};
use crate::publication::Publication;
use crate::scenario::{AudioShape, VideoShape};

/// Simulcast layers from the lowest up, with livekit-client's rids, and what each divides width and height by.
const LAYERS: [(&str, u16, VideoQuality); 3] =
    [("q", 4, VideoQuality::Low), ("h", 2, VideoQuality::Medium), ("f", 1, VideoQuality::High)];

#[derive(Clone, Copy, Debug)]
pub struct TrackPlan {
    /// Which track of the load.
    pub number: u32,
    pub shape: TrackShape,
}

#[derive(Clone, Copy, Debug)]
pub enum TrackShape {
    Video(VideoShape),
    Audio(AudioShape),
}

impl TrackPlan {
    /// With new SSRCs; `at` is its media section.
    pub fn offered(&self, at: usize) -> OfferedTrack {
        let (kind, is_simulcast) = match self.shape {
            TrackShape::Video(shape) => (Kind::Video, shape.simulcast),
            TrackShape::Audio(_) => (Kind::Audio, false),
        };
        let encodings = if is_simulcast {
            LAYERS.iter().map(|(rid, ..)| Encoding::new(Some(rid))).collect()
        } else {
            vec![Encoding::new(None)]
        };
        OfferedTrack { kind, cid: format!("load-{}", self.number), mid: at.to_string(), encodings }
    }

    /// Its stream number `layer`.
    pub fn publication(&self, offered: &OfferedTrack, layer: usize, now: TimeNs) -> Publication {
        let encoding = offered.encodings.get(layer).copied().unwrap_or_else(|| Encoding::new(None));
        match &self.shape {
            TrackShape::Video(shape) => {
                let layer = LAYERS.get(layer).filter(|_| encoding.rid.is_some());
                let divisor = layer.map_or(1, |(_, divisor, _)| *divisor);
                Publication::video(offered, encoding, divisor, shape, self.number, now)
            }
            TrackShape::Audio(shape) => Publication::audio(offered, encoding, shape, self.number, now),
        }
    }

    pub fn request(&self, offered: &OfferedTrack) -> AddTrackRequest {
        let cid = offered.cid.clone();
        match &self.shape {
            TrackShape::Audio(_) => AddTrackRequest {
                cid,
                name: "microphone".to_owned(),
                r#type: TrackType::Audio.into(),
                source: TrackSource::Microphone.into(),
                disable_red: true,
                ..AddTrackRequest::default()
            },
            TrackShape::Video(shape) => {
                let layers = layers(shape);
                let codec = SimulcastCodec {
                    codec: "vp8".to_owned(),
                    cid: cid.clone(),
                    layers: layers.clone(),
                    ..SimulcastCodec::default()
                };
                AddTrackRequest {
                    cid,
                    name: "camera".to_owned(),
                    r#type: TrackType::Video.into(),
                    source: TrackSource::Camera.into(),
                    width: shape.width().into(),
                    height: shape.height.into(),
                    layers,
                    simulcast_codecs: vec![codec],
                    ..AddTrackRequest::default()
                }
            }
        }
    }
}

/// Of simulcast; a track of one layer needs none.
fn layers(shape: &VideoShape) -> Vec<VideoLayer> {
    let layers = LAYERS.iter().filter(|_| shape.simulcast).map(|(rid, divisor, quality)| VideoLayer {
        quality: (*quality).into(),
        width: (shape.width() / divisor).into(),
        height: (shape.height / divisor).into(),
        bitrate: u32::try_from(shape.bitrate / u64::from(*divisor).pow(2)).unwrap_or(u32::MAX),
        rid: (*rid).to_owned(),
        ..VideoLayer::default()
    });
    layers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Pacing;

    #[test]
    fn simulcast_has_three_streams_and_three_layers_and_anything_else_one() {
        let mut shape = VideoShape {
            bitrate: 1_600_000,
            frame_rate: 30,
            pacing: Pacing::Chrome,
            payload_bytes_max: 1_180,
            key_frame_percent: 300,
            height: 720,
            simulcast: true,
        };
        let plan = |shape| TrackPlan { number: 0, shape: TrackShape::Video(shape) };
        let offered = plan(shape).offered(1);
        let request = plan(shape).request(&offered);
        assert_eq!(offered.encodings.iter().filter_map(|encoding| encoding.rid).collect::<Vec<_>>(), ["q", "h", "f"]);
        let sizes: Vec<_> = request.layers.iter().map(|layer| (layer.height, layer.bitrate)).collect();
        assert_eq!(sizes, [(180, 100_000), (360, 400_000), (720, 1_600_000)]);
        shape.simulcast = false;
        let offered = plan(shape).offered(1);
        assert_eq!((offered.encodings.len(), offered.encodings[0].rid), (1, None));
        assert!(plan(shape).request(&offered).layers.is_empty());
    }
}
