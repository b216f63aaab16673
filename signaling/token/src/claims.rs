//! What a token says.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::error::TokenError;
use crate::grant::{ParticipantKind, Permission, VideoGrant};

/// The claims of a LiveKit token. Times are seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Claims {
    /// The API key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub iss: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sub: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub jti: String,
    /// Absent: the token does not expire (observed: livekit-server 1.13.5).
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "numeric_date")]
    pub exp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "numeric_date")]
    pub nbf: Option<i64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub metadata: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kind_details: Vec<String>,
    /// Base64 of the SHA-256 of a webhook's body.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sha256: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub room_preset: String,
    /// JSON of a RoomConfiguration, applied when the room is created by a join.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_config: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoGrant>,
    /// Every other claim (`sip`, `agent`, `inference` …), kept for refreshed tokens.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Claims {
    /// `sub`, or `jti` in tokens of old SDKs.
    pub fn identity(&self) -> &str {
        if self.sub.is_empty() { &self.jti } else { &self.sub }
    }

    pub fn participant_kind(&self) -> ParticipantKind {
        if self.video.as_ref().is_some_and(|video| video.agent) {
            return ParticipantKind::Agent;
        }
        ParticipantKind::from_name(&self.kind)
    }

    /// The permission of a participant; nothing without a video grant.
    pub fn permission(&self) -> Permission {
        self.video.as_ref().map(VideoGrant::permission).unwrap_or_default()
    }

    /// The room and identity with which the bearer may join, of any length. Checks stand in the reference's order.
    pub fn join(&self) -> Result<(&str, &str), TokenError> {
        let video = self.video.as_ref().ok_or(TokenError::Missing)?;
        if !video.room_join {
            return Err(TokenError::Denied);
        }
        let (room, identity) = (video.room.as_str(), self.identity());
        if identity.is_empty() {
            return Err(TokenError::NoIdentity);
        }
        if room.is_empty() {
            return Err(TokenError::NoRoom);
        }
        Ok((room, identity))
    }

    pub fn can_join(&self, room: &str) -> bool {
        self.join().is_ok_and(|(allowed, _)| allowed == room)
    }

    /// Administration of one room: `roomAdmin`, and the token names that room.
    pub fn can_admin(&self, room: &str) -> bool {
        self.allows(|video| video.room_admin && !room.is_empty() && video.room == room)
    }

    /// CreateRoom and DeleteRoom.
    pub fn can_create(&self) -> bool {
        self.allows(|video| video.room_create)
    }

    pub fn can_list(&self) -> bool {
        self.allows(|video| video.room_list)
    }

    pub fn can_record(&self) -> bool {
        self.allows(|video| video.room_record)
    }

    pub fn can_ingress(&self) -> bool {
        self.allows(|video| video.ingress_admin)
    }

    /// `sip.admin` or `sip.call`, by name.
    pub fn can_sip(&self, right: &str) -> bool {
        self.other.get("sip").and_then(|sip| sip.get(right)).and_then(Value::as_bool).unwrap_or(false)
    }

    fn allows(&self, right: impl Fn(&VideoGrant) -> bool) -> bool {
        self.video.as_ref().is_some_and(right)
    }
}

/// RFC 7519 §2: a number of seconds, perhaps with a fraction.
fn numeric_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let number = Option::<serde_json::Number>::deserialize(deserializer)?;
    Ok(number.and_then(|number| number.as_i64().or_else(|| number.as_f64().map(|seconds| seconds as i64))))
}
