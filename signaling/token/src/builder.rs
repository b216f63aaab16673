//! Tokens for tools and tests.

use std::collections::BTreeMap;

use crate::claims::Claims;
use crate::grant::VideoGrant;
use crate::verify::sign;

/// Six hours, as in LiveKit's SDKs.
pub const DEFAULT_TTL_SECONDS: i64 = 6 * 3_600;

/// Collects claims, then signs them.
#[derive(Clone, Debug)]
pub struct TokenBuilder {
    claims: Claims,
    video: VideoGrant,
    ttl_seconds: i64,
}

impl TokenBuilder {
    pub fn new(identity: &str) -> Self {
        let claims = Claims { sub: identity.to_owned(), ..Claims::default() };
        Self { claims, video: VideoGrant::default(), ttl_seconds: DEFAULT_TTL_SECONDS }
    }

    /// Allows to join `room`.
    pub fn join(mut self, room: &str) -> Self {
        self.video.room_join = true;
        room.clone_into(&mut self.video.room);
        self
    }

    /// Allows to administer `room`.
    pub fn admin(mut self, room: &str) -> Self {
        self.video.room_admin = true;
        room.clone_into(&mut self.video.room);
        self
    }

    /// Allows to create, delete and list rooms.
    pub fn manage_rooms(mut self) -> Self {
        self.video.room_create = true;
        self.video.room_list = true;
        self
    }

    /// Any other right.
    pub fn grant(mut self, change: impl FnOnce(&mut VideoGrant)) -> Self {
        change(&mut self.video);
        self
    }

    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.claims.name);
        self
    }

    pub fn metadata(mut self, metadata: &str) -> Self {
        metadata.clone_into(&mut self.claims.metadata);
        self
    }

    pub fn attributes(mut self, attributes: BTreeMap<String, String>) -> Self {
        self.claims.attributes = attributes;
        self
    }

    pub fn kind(mut self, kind: &str) -> Self {
        kind.clone_into(&mut self.claims.kind);
        self
    }

    pub fn ttl_seconds(mut self, seconds: i64) -> Self {
        self.ttl_seconds = seconds;
        self
    }

    /// The claims, valid from `now` on.
    pub fn claims(self, now: i64) -> Claims {
        let exp = Some(now.saturating_add(self.ttl_seconds));
        Claims { nbf: Some(now), exp, video: Some(self.video), ..self.claims }
    }

    pub fn sign(self, key: &str, secret: &str, now: i64) -> String {
        sign(&self.claims(now), key, secret)
    }
}
