//! A track that an own participant publishes, or has asked to publish.

use engine_base::{Codec, IngressRef, Kind};
use serde::{Deserialize, Serialize};
use signaling_protocol::proto;
use signaling_sdp::{EnabledCodecs, PublishRequest, codec_of_mime, mime_of_codec};

use crate::demand::Demands;
use crate::participant::Unmatched;
use crate::rendition::{Rendition, Which};
use crate::stored::Stored;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Track {
    pub(crate) info: Stored<proto::TrackInfo>,
    pub(crate) primary: Rendition,
    pub(crate) backup: Option<Rendition>,
    /// Everybody who can decode the backup takes it, for good, so that the publisher need not encode twice.
    pub(crate) regressed: bool,
    /// Somebody has received it.
    pub(crate) subscribed: bool,
    /// The publisher knows that.
    #[serde(skip)]
    pub(crate) subscribed_told: bool,
    /// What the subscribers of each node take of it.
    #[serde(skip)]
    pub(crate) demands: Demands,
}

/// Order in which a codec replaces one that is not enabled.
const PREFERENCE: [Codec; 8] =
    [Codec::Vp8, Codec::H264, Codec::Vp9, Codec::Av1, Codec::H265, Codec::Opus, Codec::Pcmu, Codec::Pcma];

impl Track {
    /// The track of an AddTrack request (PROTOCOL §2.7).
    pub(crate) fn new(sid: String, request: &proto::AddTrackRequest, enabled: EnabledCodecs, unix_ms: u64) -> Self {
        let kind = kind_of(request.r#type);
        let named = request.simulcast_codecs.first();
        let announced = named.and_then(|named| announced_codec(named, kind, enabled));
        let mut cids = vec![request.cid.clone()];
        cids.extend(named.map(|named| named.cid.clone()).filter(|cid| !cid.is_empty() && *cid != request.cid));
        let layers = sorted_layers(request, named);
        let mode = layer_mode(kind, named, announced);
        let codec = proto::SimulcastCodecInfo {
            cid: named.map(|named| named.cid.clone()).filter(|cid| !cid.is_empty()).unwrap_or(request.cid.clone()),
            ..codec_info(announced, mode, layers.clone())
        };
        let second = request.simulcast_codecs.get(1).filter(|_| kind == Kind::Video);
        let second = second.and_then(|named| Some((named, announced_codec(named, kind, enabled)?)));
        let second = second.filter(|(_, codec)| announced.is_some_and(|first| first != *codec));
        let mut codecs = vec![codec];
        codecs.extend(second.map(|(named, codec)| proto::SimulcastCodecInfo {
            cid: named.cid.clone(),
            ..codec_info(Some(codec), layer_mode(kind, Some(named), Some(codec)), sorted_layers(request, Some(named)))
        }));
        let backup = second.map(|(named, codec)| {
            let cid = Some(named.cid.clone()).filter(|cid| !cid.is_empty());
            Rendition::new(cid.into_iter().collect(), Some(codec))
        });
        let mut info = info_of(request, layers, codecs);
        (info.sid, info.version) = (sid, Some(version(unix_ms)));
        info.simulcast = info.layers.len() > 1 && mode == proto::video_layer::Mode::OneSpatialLayerPerStream;
        Self {
            info: Stored(info),
            primary: Rendition::new(cids, announced),
            backup,
            regressed: false,
            subscribed: false,
            subscribed_told: false,
            demands: Demands::new(),
        }
    }

    pub(crate) fn sid(&self) -> &str {
        &self.info.sid
    }

    pub(crate) fn kind(&self) -> Kind {
        kind_of(self.info.r#type)
    }

    pub(crate) fn rendition(&self, which: Which) -> Option<&Rendition> {
        match which {
            Which::Primary => Some(&self.primary),
            Which::Backup => self.backup.as_ref(),
        }
    }

    pub(crate) fn rendition_mut(&mut self, which: Which) -> Option<&mut Rendition> {
        match which {
            Which::Primary => Some(&mut self.primary),
            Which::Backup => self.backup.as_mut(),
        }
    }

    pub(crate) fn renditions(&self) -> impl Iterator<Item = (Which, &Rendition)> {
        std::iter::once((Which::Primary, &self.primary)).chain(self.backup.as_ref().map(|it| (Which::Backup, it)))
    }

    /// In the order in which a subscriber is served: the first that it can decode.
    pub(crate) fn preferred(&self) -> [Which; 2] {
        if self.regressed { [Which::Backup, Which::Primary] } else { Which::BOTH }
    }

    /// A section carries it: everybody may know.
    pub(crate) fn is_published(&self) -> bool {
        self.primary.is_published()
    }

    /// A section of it is still to come.
    pub(crate) fn is_pending(&self) -> bool {
        self.renditions().any(|(_, rendition)| rendition.is_pending())
    }

    pub(crate) fn has_cid(&self, cid: &str) -> bool {
        self.renditions().any(|(_, rendition)| rendition.cids.iter().any(|known| known == cid))
    }

    pub(crate) fn which_of_ingress(&self, ingress: IngressRef) -> Option<Which> {
        self.renditions().find(|(_, rendition)| rendition.ingress == ingress).map(|(which, _)| which)
    }

    /// The rendition that `section` shall carry.
    pub(crate) fn which_of_section(&self, section: &Unmatched, by_cid: bool, late: bool) -> Option<Which> {
        let same_kind = (self.kind() == Kind::Audio) == section.audio;
        let fits = |(_, rendition): &(Which, &Rendition)| same_kind && rendition.fits(section, by_cid, late);
        self.renditions().find(fits).map(|(which, _)| which)
    }

    /// A rendition that has the section of another one, although `section` names it.
    pub(crate) fn which_was_guessed(&self, section: &Unmatched) -> Option<Which> {
        let guessed = |(which, rendition): &(Which, &Rendition)| {
            let named = self.info.codecs.get(*which as usize).is_none_or(|info| info.sdp_cid.is_empty());
            rendition.is_published() && !named && rendition.cids.contains(&section.track)
        };
        self.renditions().find(guessed).map(|(which, _)| which)
    }

    pub(crate) fn is_microphone(&self) -> bool {
        self.info.source == proto::TrackSource::Microphone as i32
    }

    pub(crate) fn publish_request(&self, which: Which) -> PublishRequest {
        let codec = self.rendition(which).and_then(Rendition::announced);
        PublishRequest {
            codec,
            red: !self.info.disable_red && codec.is_none(),
            dtx: !self.info.disable_dtx,
            stereo: self.info.stereo,
        }
    }

    /// Layers of a rendition as the client described them.
    pub(crate) fn described_layers(&self, which: Which) -> &[proto::VideoLayer] {
        let own = self.info.codecs.get(which as usize).map(|info| info.layers.as_slice());
        own.filter(|layers| !layers.is_empty()).unwrap_or(&self.info.layers)
    }

    /// One stream that holds several spatial layers.
    pub(crate) fn is_svc(&self, which: Which) -> bool {
        let several = proto::video_layer::Mode::MultipleSpatialLayersPerStream as i32;
        let one = self.rendition(which).is_some_and(|rendition| rendition.layers.len() <= 1);
        one && self.info.codecs.get(which as usize).is_some_and(|codec| codec.video_layer_mode == several)
    }

    /// The client publishes its backup under this cid. False when it has announced no such codec.
    pub(crate) fn request_backup(&mut self, cid: &str, named: &proto::SimulcastCodec) -> bool {
        let codec = codec_of_mime(&named.codec);
        let Some(backup) = self.backup.as_mut().filter(|backup| backup.announced() == codec) else { return false };
        backup.cids = vec![cid.to_owned()];
        if let Some(info) = self.info.0.codecs.get_mut(Which::Backup as usize) {
            info.cid = cid.to_owned();
            if !named.layers.is_empty() {
                info.layers = by_quality(named.layers.clone());
            }
        }
        true
    }

    /// The section `mid` carries it from now on. `codec` is the first of the answer.
    pub(crate) fn bind(&mut self, which: Which, section: &Unmatched, codec: Option<Codec>) {
        let Some(rendition) = self.rendition_mut(which) else { return };
        rendition.mid.clone_from(&section.mid);
        rendition.layers.clone_from(&section.layers);
        let announced_cid = rendition.cids.contains(&section.track);
        if let Some(info) = self.info.0.codecs.get_mut(which as usize) {
            info.mid.clone_from(&section.mid);
            info.sdp_cid = if announced_cid { String::new() } else { section.track.clone() };
        }
        if which == Which::Primary {
            self.info.mid.clone_from(&section.mid);
        }
        if let Some(codec) = codec {
            self.set_mime(which, codec);
        }
        let ssrcs: Vec<(u32, u32)> = section.layers.iter().map(|layer| (layer.ssrc, layer.rtx_ssrc)).collect();
        self.set_ssrcs(which, &ssrcs);
    }

    /// No section carries the backup any more; the client may ask for it again. Returns its ingress.
    pub(crate) fn unbind_backup(&mut self) -> IngressRef {
        let Some(backup) = &mut self.backup else { return IngressRef::NONE };
        backup.cids.clear();
        if let Some(info) = self.info.0.codecs.get_mut(Which::Backup as usize) {
            (info.mid, info.cid, info.sdp_cid) = Default::default();
        }
        self.regressed = false;
        // It is to be asked for anew.
        self.demands.clear();
        backup.unbind()
    }

    fn set_mime(&mut self, which: Which, codec: Codec) {
        let mime = mime_of_codec(codec);
        if which == Which::Primary {
            self.info.mime_type.clone_from(&mime);
        }
        if let Some(info) = self.info.0.codecs.get_mut(which as usize) {
            info.mime_type = mime;
        }
    }

    fn set_ssrcs(&mut self, which: Which, ssrcs: &[(u32, u32)]) {
        let Some(rendition) = self.rendition(which) else { return };
        let rids: Vec<String> = rendition.layers.iter().map(|layer| layer.rid.clone()).collect();
        let fill = |layers: &mut Vec<proto::VideoLayer>| {
            for (index, layer) in layers.iter_mut().enumerate() {
                let stream = if rids.len() > 1 { index } else { 0 };
                let Some(&(ssrc, repair_ssrc)) = ssrcs.get(stream) else { continue };
                layer.spatial_layer = index as i32;
                layer.rid = rids.get(stream).cloned().unwrap_or_default();
                if ssrc != 0 {
                    (layer.ssrc, layer.repair_ssrc) = (ssrc, repair_ssrc);
                }
            }
        };
        if which == Which::Primary {
            fill(&mut self.info.0.layers);
        }
        if let Some(info) = self.info.0.codecs.get_mut(which as usize) {
            fill(&mut info.layers);
        }
    }

    /// What packets told: codec and SSRCs by layer. True when something of it is new.
    pub(crate) fn observe(&mut self, which: Which, codec: Codec, ssrcs: &[(u32, u32)]) -> bool {
        let before = (self.info.clone(), self.rendition(which).and_then(Rendition::observed));
        if let Some(rendition) = self.rendition_mut(which).filter(|_| codec != Codec::None) {
            rendition.observe(codec);
            self.set_mime(which, codec);
        }
        if self.kind() == Kind::Video {
            self.set_ssrcs(which, ssrcs);
        }
        before != (self.info.clone(), self.rendition(which).and_then(Rendition::observed))
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

fn announced_codec(named: &proto::SimulcastCodec, kind: Kind, enabled: EnabledCodecs) -> Option<Codec> {
    let codec = codec_of_mime(&named.codec).filter(|codec| codec.kind() == kind)?;
    Some(enabled_codec(codec, enabled))
}

fn codec_info(
    codec: Option<Codec>,
    mode: proto::video_layer::Mode,
    layers: Vec<proto::VideoLayer>,
) -> proto::SimulcastCodecInfo {
    proto::SimulcastCodecInfo {
        mime_type: codec.map(|codec| mime_of_codec(codec).to_lowercase()).unwrap_or_default(),
        layers,
        video_layer_mode: mode as i32,
        ..Default::default()
    }
}

/// What a request says by itself.
fn info_of(
    request: &proto::AddTrackRequest,
    layers: Vec<proto::VideoLayer>,
    codecs: Vec<proto::SimulcastCodecInfo>,
) -> proto::TrackInfo {
    let feature = |feature: proto::AudioTrackFeature| request.audio_features.contains(&(feature as i32));
    proto::TrackInfo {
        r#type: request.r#type,
        name: request.name.clone(),
        muted: request.muted,
        width: request.width,
        height: request.height,
        disable_dtx: request.disable_dtx || feature(proto::AudioTrackFeature::TfNoDtx),
        source: request.source,
        layers,
        codecs,
        stereo: request.stereo || feature(proto::AudioTrackFeature::TfStereo),
        disable_red: request.disable_red,
        encryption: request.encryption,
        stream: stream_of(request).to_owned(),
        audio_features: request.audio_features.clone(),
        backup_codec_policy: match kind_of(request.r#type) {
            Kind::Audio => proto::BackupCodecPolicy::Simulcast as i32,
            Kind::Video => request.backup_codec_policy,
        },
        packet_trailer_features: request.packet_trailer_features.clone(),
        ..Default::default()
    }
}

/// The lowest first: the order of the ingress's layers.
fn by_quality(mut layers: Vec<proto::VideoLayer>) -> Vec<proto::VideoLayer> {
    layers.truncate(engine_base::limits::LAYERS);
    layers.sort_by_key(|layer| layer.quality);
    layers
}

fn sorted_layers(request: &proto::AddTrackRequest, named: Option<&proto::SimulcastCodec>) -> Vec<proto::VideoLayer> {
    let own = named.map(|named| &named.layers).filter(|layers| !layers.is_empty());
    let mut layers = by_quality(own.unwrap_or(&request.layers).clone());
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
