//! The `video` grant and what it comes to.

use serde::{Deserialize, Serialize};

/// The `video` claim as written: `None` is "not said", which is not the same as `false`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VideoGrant {
    #[serde(skip_serializing_if = "is_false")]
    pub room_create: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub room_list: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub room_record: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub room_admin: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub room_join: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub room: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub destination_room: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_subscribe: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish_data: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub can_publish_sources: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_update_own_metadata: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_subscribe_metrics: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_manage_agent_session: Option<bool>,
    #[serde(skip_serializing_if = "is_false")]
    pub ingress_admin: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub hidden: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub recorder: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub agent: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_false(value: &bool) -> bool {
    !value
}

impl VideoGrant {
    /// Defaults filled in (PROTOCOL §1.5).
    pub fn permission(&self) -> Permission {
        let can_publish = self.can_publish.unwrap_or(true);
        Permission {
            can_publish,
            can_subscribe: self.can_subscribe.unwrap_or(true),
            can_publish_data: self.can_publish_data.unwrap_or(can_publish),
            can_publish_sources: self.can_publish_sources.iter().map(|name| Source::from_name(name)).collect(),
            can_update_own_metadata: self.can_update_own_metadata.unwrap_or(false),
            can_subscribe_metrics: self.can_subscribe_metrics.unwrap_or(false),
            can_manage_agent_session: self.can_manage_agent_session.unwrap_or(false),
            hidden: self.hidden,
            recorder: self.recorder,
            agent: self.agent,
        }
    }

    /// The grant that comes to `permission`; what is about rooms stays.
    pub fn with_permission(&self, permission: &Permission) -> Self {
        Self {
            can_publish: Some(permission.can_publish),
            can_subscribe: Some(permission.can_subscribe),
            can_publish_data: Some(permission.can_publish_data),
            can_publish_sources: permission.can_publish_sources.iter().map(|source| source.name().to_owned()).collect(),
            can_update_own_metadata: Some(permission.can_update_own_metadata),
            can_subscribe_metrics: Some(permission.can_subscribe_metrics),
            can_manage_agent_session: Some(permission.can_manage_agent_session),
            hidden: permission.hidden,
            recorder: permission.recorder,
            agent: permission.agent,
            ..self.clone()
        }
    }
}

/// What a participant may do in its room: LiveKit's ParticipantPermission.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permission {
    pub can_publish: bool,
    pub can_subscribe: bool,
    pub can_publish_data: bool,
    /// Empty: all.
    pub can_publish_sources: Vec<Source>,
    pub can_update_own_metadata: bool,
    pub can_subscribe_metrics: bool,
    pub can_manage_agent_session: bool,
    pub hidden: bool,
    pub recorder: bool,
    pub agent: bool,
}

impl Permission {
    pub fn allows_source(&self, source: Source) -> bool {
        self.can_publish && (self.can_publish_sources.is_empty() || self.can_publish_sources.contains(&source))
    }
}

/// LiveKit's TrackSource, with its numbers.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    Unknown = 0,
    Camera = 1,
    Microphone = 2,
    ScreenShare = 3,
    ScreenShareAudio = 4,
}

impl Source {
    const ALL: [Self; 5] = [Self::Unknown, Self::Camera, Self::Microphone, Self::ScreenShare, Self::ScreenShareAudio];

    /// As in `canPublishSources`; anything else is `Unknown`, so that a mistyped list never allows everything.
    pub fn from_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|source| source.name() == name).unwrap_or(Self::Unknown)
    }

    /// From the number of the protobuf enum.
    pub fn from_number(number: i32) -> Self {
        Self::ALL.into_iter().find(|source| *source as i32 == number).unwrap_or(Self::Unknown)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Camera => "camera",
            Self::Microphone => "microphone",
            Self::ScreenShare => "screen_share",
            Self::ScreenShareAudio => "screen_share_audio",
        }
    }
}

/// LiveKit's ParticipantInfo.Kind, with its numbers.
#[repr(i32)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ParticipantKind {
    #[default]
    Standard = 0,
    Ingress = 1,
    Egress = 2,
    Sip = 3,
    Agent = 4,
    Connector = 7,
    Bridge = 8,
}

impl ParticipantKind {
    /// As in the `kind` claim, in any case; anything else is a standard participant.
    pub fn from_name(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "ingress" => Self::Ingress,
            "egress" => Self::Egress,
            "sip" => Self::Sip,
            "agent" => Self::Agent,
            "connector" => Self::Connector,
            "bridge" => Self::Bridge,
            _ => Self::Standard,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_grants_have_their_own_defaults() {
        let permission = VideoGrant::default().permission();
        assert!(permission.can_publish && permission.can_subscribe && permission.can_publish_data);
        assert!(!permission.can_update_own_metadata && !permission.hidden);
        assert!(permission.allows_source(Source::Camera));
    }

    #[test]
    fn data_follows_publish_unless_said() {
        let silent = VideoGrant { can_publish: Some(false), ..VideoGrant::default() };
        assert!(!silent.permission().can_publish_data);
        let data = VideoGrant { can_publish_data: Some(true), ..silent };
        assert!(data.permission().can_publish_data && !data.permission().can_publish);
    }

    #[test]
    fn sources_limit_what_may_be_published() {
        let grant = VideoGrant { can_publish_sources: vec!["microphone".into()], ..VideoGrant::default() };
        assert!(
            grant.permission().allows_source(Source::Microphone) && !grant.permission().allows_source(Source::Camera)
        );
        let mistyped = VideoGrant { can_publish_sources: vec!["Camera".into()], ..VideoGrant::default() };
        assert!(!mistyped.permission().allows_source(Source::Camera));
    }

    #[test]
    fn a_permission_survives_the_grant() {
        let grant =
            VideoGrant { room: "r".into(), can_publish_sources: vec!["camera".into()], ..VideoGrant::default() };
        let permission = Permission { can_subscribe: false, hidden: true, ..grant.permission() };
        assert_eq!(grant.with_permission(&permission).permission(), permission);
        assert_eq!(grant.with_permission(&permission).room, "r");
    }
}
