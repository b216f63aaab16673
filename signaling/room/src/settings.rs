//! What a room is created with: by CreateRoom, by the `roomConfig` of the first token, by a named configuration, or by the
//! defaults alone.

use std::collections::BTreeMap;

use signaling_protocol::proto;
use signaling_token::Claims;

/// `None` and zero leave what the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomSettings {
    pub empty_timeout_s: Option<u32>,
    pub departure_timeout_s: Option<u32>,
    pub max_participants: Option<u32>,
    pub metadata: Option<String>,
}

/// `room.room_configurations`, by name.
pub type RoomPresets = BTreeMap<String, RoomSettings>;

/// A request names a configuration that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownPreset;

impl std::fmt::Display for UnknownPreset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("unknown room configuration in create room request")
    }
}

impl std::error::Error for UnknownPreset {}

fn given(value: u32) -> Option<u32> {
    Some(value).filter(|value| *value > 0)
}

impl RoomSettings {
    /// Zeros and an empty text are nothing.
    pub fn new(empty_timeout_s: u32, departure_timeout_s: u32, max_participants: u32, metadata: &str) -> Self {
        Self {
            empty_timeout_s: given(empty_timeout_s),
            departure_timeout_s: given(departure_timeout_s),
            max_participants: given(max_participants),
            metadata: Some(metadata.to_owned()).filter(|metadata| !metadata.is_empty()),
        }
    }

    /// For a room that exists: the configuration that a request names is not applied again.
    pub fn stated(request: &proto::CreateRoomRequest) -> Self {
        let proto::CreateRoomRequest { empty_timeout, departure_timeout, max_participants, metadata, .. } = request;
        Self::new(*empty_timeout, *departure_timeout, *max_participants, metadata)
    }

    /// For a new room. What a request says itself counts more than the configuration that it names.
    pub fn of_request(request: &proto::CreateRoomRequest, presets: &RoomPresets) -> Result<Self, UnknownPreset> {
        Self::stated(request).over(&request.room_preset, presets)
    }

    /// `roomConfig` of a token, in either spelling of protobuf JSON, over the configuration that `roomPreset` names.
    pub fn of_claims(claims: &Claims, presets: &RoomPresets) -> Result<Self, UnknownPreset> {
        let field = |camel: &str, snake: &str| {
            let config = claims.room_config.as_ref()?;
            config.get(camel).or_else(|| config.get(snake))
        };
        let number = |camel: &str, snake: &str| {
            let value = field(camel, snake)?;
            let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
            u32::try_from(number).ok()
        };
        let settings = Self::new(
            number("emptyTimeout", "empty_timeout").unwrap_or_default(),
            number("departureTimeout", "departure_timeout").unwrap_or_default(),
            number("maxParticipants", "max_participants").unwrap_or_default(),
            field("metadata", "metadata").and_then(|value| value.as_str()).unwrap_or_default(),
        );
        settings.over(&claims.room_preset, presets)
    }

    fn over(self, preset: &str, presets: &RoomPresets) -> Result<Self, UnknownPreset> {
        if preset.is_empty() {
            return Ok(self);
        }
        let under = presets.get(preset).ok_or(UnknownPreset)?;
        Ok(Self {
            empty_timeout_s: self.empty_timeout_s.or(under.empty_timeout_s),
            departure_timeout_s: self.departure_timeout_s.or(under.departure_timeout_s),
            max_participants: self.max_participants.or(under.max_participants),
            metadata: self.metadata.or_else(|| under.metadata.clone()),
        })
    }
}
