//! The demo page of `millrace dev`, and tokens for it. Not served otherwise.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use signaling_token::TokenBuilder;

use crate::auth::{Caller, unix_seconds};
use crate::http::App;
use crate::refusal::Refusal;

macro_rules! files {
    ($($name:literal: $kind:literal,)*) => {
        /// Name, content type, content.
        const FILES: &[(&str, &str, &[u8])] = &[
            $(($name, concat!($kind, "; charset=utf-8"), include_bytes!(concat!("../demo/", $name))),)*
        ];
    };
}

files! {
    "index.html": "text/html",
    "demo.css": "text/css",
    "demo.js": "text/javascript",
    "session.js": "text/javascript",
    "stats.js": "text/javascript",
    "livekit-client.esm.min.mjs": "text/javascript",
    "livekit-client.LICENSE": "text/plain",
    "livekit-client.VERSION": "text/plain",
}

pub(crate) async fn index() -> Response {
    serve("index.html")
}

pub(crate) async fn file(Path(name): Path<String>) -> Response {
    serve(if name.is_empty() { "index.html" } else { &name })
}

fn serve(name: &str) -> Response {
    let Some((_, kind, content)) = FILES.iter().find(|(known, _, _)| *known == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    ([(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, "no-cache")], *content).into_response()
}

/// `{"token": …}` for a room and an identity.
pub(crate) async fn token(State(app): State<App>, Extension(caller): Extension<Arc<Caller>>) -> Response {
    let parameters = &caller.parameters;
    let (room, identity) = (parameters.text("room"), parameters.text("identity"));
    let Some((key, secret)) = app.settings.keys.first() else { return Refusal::unavailable().into_response() };
    let grants = TokenBuilder::new(&identity).name(&identity).join(&room);
    let grants = grants.grant(|video| video.can_update_own_metadata = Some(true));
    if let Err(error) = grants.clone().claims(unix_seconds()).join() {
        return Refusal::from(error).into_response();
    }
    let token = grants.sign(key, secret, unix_seconds());
    Json(serde_json::json!({ "token": token })).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_manifest_is_served_with_its_type() {
        let manifest = include_str!("../demo/manifest.txt");
        let listed: Vec<_> = manifest
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_once(' ').unwrap())
            .map(|(name, kind)| (name, kind.trim()))
            .collect();
        assert_eq!(FILES.iter().map(|(name, kind, _)| (*name, *kind)).collect::<Vec<_>>(), listed);
    }
}
