//! What a room is created with: by CreateRoom, by the `roomConfig` of the first token, or by the configuration alone.

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

impl RoomSettings {
    pub fn of_request(request: &proto::CreateRoomRequest) -> Self {
        let given = |value: u32| Some(value).filter(|value| *value > 0);
        Self {
            empty_timeout_s: given(request.empty_timeout),
            departure_timeout_s: given(request.departure_timeout),
            max_participants: given(request.max_participants),
            metadata: Some(request.metadata.clone()).filter(|metadata| !metadata.is_empty()),
        }
    }

    /// `roomConfig` of a token, in either spelling of protobuf JSON.
    pub fn of_claims(claims: &Claims) -> Self {
        let Some(config) = &claims.room_config else { return Self::default() };
        let field = |camel: &str, snake: &str| config.get(camel).or_else(|| config.get(snake));
        let number = |camel: &str, snake: &str| {
            let value = field(camel, snake)?;
            let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
            u32::try_from(number).ok().filter(|number| *number > 0)
        };
        Self {
            empty_timeout_s: number("emptyTimeout", "empty_timeout"),
            departure_timeout_s: number("departureTimeout", "departure_timeout"),
            max_participants: number("maxParticipants", "max_participants"),
            metadata: field("metadata", "metadata").and_then(|value| value.as_str()).map(str::to_owned),
        }
    }
}
