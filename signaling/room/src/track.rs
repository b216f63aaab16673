//! A track that an own participant publishes, or has asked to publish.

use engine_base::{Codec, IngressRef, Kind};
use serde::{Deserialize, Serialize};
use signaling_negotiation::PublishedLayer;
use signaling_protocol::proto;
use signaling_sdp::{CodecKey, EnabledCodecs, PublishRequest, codec_of_mime, mime_of_codec};

use crate::stored::{self, Stored};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Track {
    pub(crate) info: Stored<proto::TrackInfo>,
    /// Of the request: its own and those of its codecs.
    pub(crate) cids: Vec<String>,
    /// The codec that the request named, as `engine_base::Codec`; 0 for none.
    announced: u8,
    /// Section that carries it; empty until one does.
    pub(crate) mid: String,
    pub(crate) layers: Vec<PublishedLayer>,
    #[serde(with = "stored::ingress")]
    pub(crate) ingress: IngressRef,
    /// The codec that packets had, as `engine_base::Codec`; 0 before the first.
    pub(crate) codec: u8,
    /// Somebody has received it.
    pub(crate) subscribed: bool,
    /// The publisher knows that.
    #[serde(skip)]
    pub(crate) subscribed_told: bool,
}

/// Order in which a codec replaces one that is not enabled.
const PREFERENCE: [Codec; 8] =
    [Codec::Vp8, Codec::H264, Codec::Vp9, Codec::Av1, Codec::H265, Codec::Opus, Codec::Pcmu, Codec::Pcma];

impl Track {
    /// The track of an AddTrack request (PROTOCOL §2.7).
    pub(crate) fn new(sid: String, request: &proto::AddTrackRequest, enabled: EnabledCodecs, unix_ms: u64) -> Self {
        let kind = kind_of(request.r#type);
        let named = request.simulcast_codecs.first();
        let announced = named.and_then(|named| codec_of_mime(&named.codec)).filter(|codec| codec.kind() == kind);
        let announced = announced.map(|codec| enabled_codec(codec, enabled));
        let mut cids = vec![request.cid.clone()];
        cids.extend(request.simulcast_codecs.iter().map(|codec| codec.cid.clone()).filter(|cid| !cid.is_empty()));
        let layers = sorted_layers(request, named);
        let mode = layer_mode(kind, named, announced);
        let audio = kind == Kind::Audio;
        let codec = proto::SimulcastCodecInfo {
            mime_type: announced.map(|codec| mime_of_codec(codec).to_lowercase()).unwrap_or_default(),
            cid: named.map(|named| named.cid.clone()).filter(|cid| !cid.is_empty()).unwrap_or(request.cid.clone()),
            layers: layers.clone(),
            video_layer_mode: mode as i32,
            ..Default::default()
        };
        let feature = |feature: proto::AudioTrackFeature| request.audio_features.contains(&(feature as i32));
        let info = proto::TrackInfo {
            sid,
            r#type: request.r#type,
            name: request.name.clone(),
            muted: request.muted,
            width: request.width,
            height: request.height,
            simulcast: layers.len() > 1 && mode == proto::video_layer::Mode::OneSpatialLayerPerStream,
            disable_dtx: request.disable_dtx || feature(proto::AudioTrackFeature::TfNoDtx),
            source: request.source,
            layers,
            codecs: vec![codec],
            stereo: request.stereo || feature(proto::AudioTrackFeature::TfStereo),
            disable_red: request.disable_red,
            encryption: request.encryption,
            stream: stream_of(request).to_owned(),
            version: Some(version(unix_ms)),
            audio_features: request.audio_features.clone(),
            backup_codec_policy: match audio {
                true => proto::BackupCodecPolicy::Simulcast as i32,
                false => request.backup_codec_policy,
            },
            packet_trailer_features: request.packet_trailer_features.clone(),
            ..Default::default()
        };
        Self {
            info: Stored(info),
            cids,
            announced: announced.unwrap_or_default() as u8,
            mid: String::new(),
            layers: Vec::new(),
            ingress: IngressRef::NONE,
            codec: 0,
            subscribed: false,
            subscribed_told: false,
        }
    }

    pub(crate) fn sid(&self) -> &str {
        &self.info.sid
    }

    pub(crate) fn kind(&self) -> Kind {
        kind_of(self.info.r#type)
    }

    /// A section carries it: everybody may know.
    pub(crate) fn is_published(&self) -> bool {
        !self.mid.is_empty()
    }

    /// Its section is not named by it: the first of its kind was taken.
    pub(crate) fn is_guessed(&self) -> bool {
        self.is_published() && self.info.codecs.first().is_some_and(|codec| !codec.sdp_cid.is_empty())
    }

    pub(crate) fn is_microphone(&self) -> bool {
        self.info.source == proto::TrackSource::Microphone as i32
    }

    fn announced(&self) -> Option<Codec> {
        Codec::from_u8(self.announced).filter(|codec| *codec != Codec::None)
    }

    pub(crate) fn observed(&self) -> Option<Codec> {
        Codec::from_u8(self.codec).filter(|codec| *codec != Codec::None)
    }

    pub(crate) fn publish_request(&self) -> PublishRequest {
        PublishRequest {
            codec: self.announced(),
            red: !self.info.disable_red && self.announced().is_none(),
            dtx: !self.info.disable_dtx,
            stereo: self.info.stereo,
        }
    }

    /// Of `keys`, what its packets have or, before the first, will most likely have: this is what a subscriber must be able
    /// to decode. RED needs no support, as the engine unwraps it.
    pub(crate) fn expected(&self, keys: &[CodecKey]) -> Vec<CodecKey> {
        let first = keys.first().map(|key| key.codec);
        let codec = self.observed().or(self.announced().filter(|codec| keys.iter().any(|key| key.codec == *codec)));
        let Some(codec) = codec.or(first) else { return Vec::new() };
        let fits = |key: &&CodecKey| key.codec == codec || (codec == Codec::Red && key.codec == Codec::Opus);
        keys.iter().filter(fits).copied().collect()
    }

    /// One stream that holds several spatial layers.
    pub(crate) fn is_svc(&self) -> bool {
        let several = proto::video_layer::Mode::MultipleSpatialLayersPerStream as i32;
        self.layers.len() <= 1 && self.info.codecs.first().is_some_and(|codec| codec.video_layer_mode == several)
    }

    /// The section `mid` carries it from now on. `codec` is the first of the answer.
    pub(crate) fn bind(&mut self, mid: &str, cid: &str, layers: &[PublishedLayer], codec: Option<Codec>) {
        self.mid = mid.to_owned();
        self.layers = layers.to_vec();
        let announced_cid = self.cids.iter().any(|known| known == cid);
        if let Some(info) = self.info.0.codecs.first_mut() {
            info.mid = mid.to_owned();
            info.sdp_cid = if announced_cid { String::new() } else { cid.to_owned() };
        }
        self.info.mid = mid.to_owned();
        if let Some(codec) = codec {
            self.set_mime(codec);
        }
        let ssrcs: Vec<(u32, u32)> = layers.iter().map(|layer| (layer.ssrc, layer.rtx_ssrc)).collect();
        self.set_ssrcs(&ssrcs);
    }

    fn set_mime(&mut self, codec: Codec) {
        let mime = mime_of_codec(codec);
        self.info.mime_type.clone_from(&mime);
        if let Some(info) = self.info.0.codecs.first_mut() {
            info.mime_type = mime;
        }
    }

    fn set_ssrcs(&mut self, ssrcs: &[(u32, u32)]) {
        let rids: Vec<&str> = self.layers.iter().map(|layer| layer.rid.as_str()).collect();
        let fill = |layers: &mut Vec<proto::VideoLayer>| {
            for (index, layer) in layers.iter_mut().enumerate() {
                let stream = if rids.len() > 1 { index } else { 0 };
                let Some(&(ssrc, repair_ssrc)) = ssrcs.get(stream) else { continue };
                layer.spatial_layer = index as i32;
                layer.rid = rids.get(stream).map(|&rid| rid.to_owned()).unwrap_or_default();
                if ssrc != 0 {
                    (layer.ssrc, layer.repair_ssrc) = (ssrc, repair_ssrc);
                }
            }
        };
        fill(&mut self.info.0.layers);
        if let Some(info) = self.info.0.codecs.first_mut() {
            fill(&mut info.layers);
        }
    }

    /// What packets told: codec and SSRCs by layer. True when something of it is new.
    pub(crate) fn observe(&mut self, codec: Codec, ssrcs: &[(u32, u32)]) -> bool {
        let before = (self.info.clone(), self.codec);
        if codec != Codec::None {
            self.codec = codec as u8;
            self.set_mime(codec);
        }
        if self.kind() == Kind::Video {
            self.set_ssrcs(ssrcs);
        }
        before != (self.info.clone(), self.codec)
    }

    /// A new version of the info, whose first is the time of publication.
    pub(crate) fn touch(&mut self, unix_ms: u64) {
        let micros = unix_ms as i64 * 1_000;
        let version = self.info.0.version.get_or_insert_default();
        if version.unix_micro >= micros {
            version.ticks += 1;
        } else {
            *version = proto::TimedVersion { unix_micro: micros, ticks: 0 };
        }
    }
}

fn version(unix_ms: u64) -> proto::TimedVersion {
    proto::TimedVersion { unix_micro: unix_ms as i64 * 1_000, ticks: 0 }
}

pub(crate) fn kind_of(track_type: i32) -> Kind {
    if track_type == proto::TrackType::Video as i32 { Kind::Video } else { Kind::Audio }
}

fn enabled_codec(codec: Codec, enabled: EnabledCodecs) -> Codec {
    if enabled.contains(codec) {
        return codec;
    }
    let usable = |other: &Codec| enabled.contains(*other) && other.kind() == codec.kind();
    PREFERENCE.into_iter().find(usable).unwrap_or(codec)
}

/// By quality, the lowest first: the order of the ingress's layers.
fn sorted_layers(request: &proto::AddTrackRequest, named: Option<&proto::SimulcastCodec>) -> Vec<proto::VideoLayer> {
    let own = named.map(|named| &named.layers).filter(|layers| !layers.is_empty());
    let mut layers = own.unwrap_or(&request.layers).clone();
    layers.truncate(engine_base::limits::LAYERS);
    layers.sort_by_key(|layer| layer.quality);
    if layers.is_empty() && kind_of(request.r#type) == Kind::Video && request.width > 0 {
        let quality = proto::VideoQuality::High as i32;
        layers.push(proto::VideoLayer { quality, width: request.width, height: request.height, ..Default::default() });
    }
    layers
}

/// VP9 and AV1 come as SVC unless the client says otherwise.
fn layer_mode(kind: Kind, named: Option<&proto::SimulcastCodec>, announced: Option<Codec>) -> proto::video_layer::Mode {
    let said = named.and_then(|named| proto::video_layer::Mode::try_from(named.video_layer_mode).ok());
    match said {
        Some(mode) if mode != proto::video_layer::Mode::Unused => mode,
        _ if kind == Kind::Video && matches!(announced, Some(Codec::Vp9 | Codec::Av1)) => {
            proto::video_layer::Mode::MultipleSpatialLayersPerStream
        }
        _ => proto::video_layer::Mode::OneSpatialLayerPerStream,
    }
}

/// Tracks of one stream are synchronised by the receiver.
fn stream_of(request: &proto::AddTrackRequest) -> &str {
    if !request.stream.is_empty() {
        return &request.stream;
    }
    match proto::TrackSource::try_from(request.source) {
        Ok(proto::TrackSource::Camera | proto::TrackSource::Microphone) => "camera",
        Ok(proto::TrackSource::ScreenShare | proto::TrackSource::ScreenShareAudio) => "screen",
        _ => "unknown",
    }
}
