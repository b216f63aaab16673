//! The checks before a session: the same for `/rtc`, `/rtc/v1` and their `validate` (PROTOCOL §1.2–1.4).

use std::collections::{BTreeMap, HashMap};

use axum::http::HeaderMap;
use signaling_protocol::proto;
use signaling_room::{ConnectionId, JoinRequest, Layout, Resume};
use signaling_token::{Claims, TokenError};

use crate::auth::Caller;
use crate::http::App;
use crate::query::Parameters;
use crate::refusal::Refusal;
use crate::settings::exceeds;
use crate::{client_info, join_request};

/// Which of the two signal paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V0,
    V1,
}

/// What becomes of attributes that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// `validate` says so.
    Explains,
    /// A session goes on without them, as in LiveKit.
    Overlooks,
}

/// A request that may become a session.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) room: String,
    pub(crate) request: Box<JoinRequest>,
}

/// **Errors**: status and body as clients know them. **Cost**: nothing lasting is allocated for who is refused.
pub(crate) async fn admit(
    app: &App,
    headers: &HeaderMap,
    caller: &Caller,
    version: Version,
    strictness: Strictness,
) -> Result<Admitted, Refusal> {
    let mut claims = caller.claims.clone().ok_or(TokenError::Missing)?;
    let (room, identity) = claims.join()?;
    check_names(app, room, identity)?;
    check_metadata(app, &claims.metadata, claims.attributes.iter())?;
    let room = room.to_owned();
    let parameters = &caller.parameters;
    let wrapped = parameters.get("join_request").filter(|text| !text.is_empty());
    let mut request = match (wrapped, version) {
        (Some(text), _) => from_join_request(join_request::decode(text)?, &claims)?,
        (None, Version::V1) => return Err(Refusal::bad_request("join_request is required")),
        (None, Version::V0) => from_parameters(parameters, &mut claims, strictness)?,
    };
    check_metadata(app, request.metadata.as_deref().unwrap_or_default(), request.attributes.iter())?;
    client_info::complete(&mut request.client, headers);
    request.client.address = caller.peer.ip().to_string();
    if app.node.is_over_track_limit(app.settings.limit.num_tracks) {
        return Err(Refusal::over_limits());
    }
    if !app.settings.auto_create && !claims.can_create() && !app.node.room_exists(&room).await? {
        return Err(Refusal::no_room());
    }
    request.claims = claims;
    Ok(Admitted { room, request: Box::new(request) })
}

/// A name in a token may have any length: LiveKit bounds only its change.
fn check_names(app: &App, room: &str, identity: &str) -> Result<(), Refusal> {
    let limit = &app.settings.limit;
    if exceeds(identity.len(), limit.max_participant_identity_length) {
        return Err(Refusal::too_long("participant identity length", limit.max_participant_identity_length));
    }
    if exceeds(room.len(), limit.max_room_name_length) {
        return Err(Refusal::too_long("room name length", limit.max_room_name_length));
    }
    Ok(())
}

fn check_metadata<'a>(
    app: &App,
    metadata: &str,
    attributes: impl Iterator<Item = (&'a String, &'a String)>,
) -> Result<(), Refusal> {
    let limit = &app.settings.limit;
    if exceeds(metadata.len(), limit.max_metadata_size) {
        return Err(Refusal::too_long("metadata size", limit.max_metadata_size));
    }
    let bytes = attributes.map(|(key, value)| key.len() + value.len()).sum();
    if exceeds(bytes, limit.max_attributes_size) {
        return Err(Refusal::too_long("attributes size", limit.max_attributes_size));
    }
    Ok(())
}

/// The claims and the connection are put in later.
fn request(client: proto::ClientInfo, layout: Layout) -> JoinRequest {
    JoinRequest {
        connection: ConnectionId::default(),
        claims: Claims::default(),
        client,
        layout,
        auto_subscribe: false,
        adaptive_stream: false,
        subscriber_allow_pause: false,
        publisher_offer: None,
        add_tracks: Vec::new(),
        metadata: None,
        attributes: BTreeMap::new(),
        resume: None,
    }
}

fn from_parameters(
    parameters: &Parameters,
    claims: &mut Claims,
    strictness: Strictness,
) -> Result<JoinRequest, Refusal> {
    let attributes = parameters.get("attributes").filter(|text| !text.is_empty()).map(decode_attributes);
    let attributes = match attributes.transpose() {
        Err(refusal) if strictness == Strictness::Explains => return Err(refusal),
        decoded => decoded.ok().flatten().unwrap_or_default(),
    };
    if !attributes.is_empty() {
        allow_metadata(claims)?;
    }
    if let Some(published) = parameters.get("publish").filter(|value| !value.is_empty()) {
        if !claims.permission().can_publish {
            return Err(TokenError::Missing.into());
        }
        claims.sub = format!("{}#{published}", claims.identity());
        let video = claims.video.get_or_insert_default();
        video.can_subscribe = Some(false);
    }
    let resume = parameters.flag("reconnect").unwrap_or(false).then(|| Resume {
        participant_sid: parameters.text("sid"),
        reason: parameters.number("reconnect_reason"),
        sync_state: None,
    });
    Ok(JoinRequest {
        auto_subscribe: parameters.flag("auto_subscribe").unwrap_or(true),
        adaptive_stream: parameters.flag("adaptive_stream").unwrap_or(false),
        subscriber_allow_pause: parameters.flag("subscriber_allow_pause").unwrap_or(false),
        attributes,
        resume,
        ..request(client_info::from_parameters(parameters), Layout::Dual)
    })
}

fn from_join_request(join: proto::JoinRequest, claims: &Claims) -> Result<JoinRequest, Refusal> {
    let attributes = without_empty(join.participant_attributes);
    if !attributes.is_empty() || !join.metadata.is_empty() {
        allow_metadata(claims)?;
    }
    let settings = join.connection_settings.unwrap_or_default();
    let resume = join.reconnect.then_some(Resume {
        participant_sid: join.participant_sid,
        reason: join.reconnect_reason,
        sync_state: join.sync_state,
    });
    Ok(JoinRequest {
        auto_subscribe: settings.auto_subscribe,
        adaptive_stream: settings.adaptive_stream,
        subscriber_allow_pause: settings.subscriber_allow_pause.unwrap_or(false),
        publisher_offer: join.publisher_offer,
        add_tracks: join.add_track_requests,
        metadata: Some(join.metadata).filter(|metadata| !metadata.is_empty()),
        attributes,
        resume,
        ..request(join.client_info.unwrap_or_default(), Layout::Single)
    })
}

fn allow_metadata(claims: &Claims) -> Result<(), Refusal> {
    if claims.permission().can_update_own_metadata {
        return Ok(());
    }
    Err(Refusal::unauthorized("does not have permission to update own metadata"))
}

/// Base64url of a JSON object of texts.
fn decode_attributes(parameter: &str) -> Result<BTreeMap<String, String>, Refusal> {
    let bytes = join_request::decode_base64(parameter)
        .ok_or_else(|| Refusal::bad_request("cannot base64 decode attributes"))?;
    let found: HashMap<String, String> =
        serde_json::from_slice(&bytes).map_err(|_| Refusal::bad_request("cannot unmarshal attributes"))?;
    Ok(without_empty(found))
}

/// An empty value deletes nothing at a join.
fn without_empty(attributes: HashMap<String, String>) -> BTreeMap<String, String> {
    attributes.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}
