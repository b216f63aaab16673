//! Routes (PROTOCOL §1.1), and what is done to every request around them.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Extension;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, Request, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use tower::ServiceExt;

use crate::admission::{Strictness, Version, admit};
use crate::auth::Caller;
use crate::node::NodeHandle;
use crate::refusal::Refusal;
use crate::settings::ServerSettings;
use crate::{cors, demo, socket, twirp};

/// What every route may use.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) settings: Arc<ServerSettings>,
    pub(crate) node: NodeHandle,
}

/// Answers requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpService {
    router: Router,
    settings: Arc<ServerSettings>,
}

impl HttpService {
    pub fn new(settings: Arc<ServerSettings>, node: NodeHandle) -> Self {
        let mut router = Router::new()
            .route("/", get(|| async { "OK" }))
            .route("/rtc", get(socket::v0))
            .route("/rtc/v1", get(socket::v1))
            .route("/rtc/validate", get(validate_v0))
            .route("/rtc/v1/validate", get(validate_v1))
            .route("/twirp/{service}/{method}", any(twirp::call))
            .fallback(nowhere);
        if settings.dev {
            router = router
                .route("/demo", get(demo::index))
                .route("/demo/", get(demo::index))
                .route("/demo/token", get(demo::token))
                .route("/demo/{file}", get(demo::file));
        }
        Self { router: router.with_state(App { settings: Arc::clone(&settings), node }), settings }
    }

    /// **Cost**: bounded; bodies are read by Twirp only, after the token was checked.
    pub async fn respond(&self, mut request: Request<Body>, peer: SocketAddr) -> Response {
        let cors = cors::Cors::of(request.headers());
        if let Some(response) = cors.preflight(&request) {
            return response;
        }
        collapse_slashes(request.uri_mut());
        let mut response = match Caller::of(request.headers(), request.uri(), peer, &self.settings.keys) {
            Ok(caller) => {
                request.extensions_mut().insert(Arc::new(caller));
                match self.router.clone().oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            }
            Err(error) => refuse(request.uri(), error.into()),
        };
        cors.apply(response.headers_mut());
        response
    }
}

/// Twirp clients parse an error's JSON even where there is no such path.
async fn nowhere(request: Request<Body>) -> Response {
    if request.uri().path().starts_with("/twirp/") {
        return twirp::no_route(request).await;
    }
    StatusCode::NOT_FOUND.into_response()
}

/// Users write `wss://host/` and clients append `/rtc`.
fn collapse_slashes(uri: &mut Uri) {
    let path = uri.path();
    if !path.starts_with("//") {
        return;
    }
    let path = format!("/{}", path.trim_start_matches('/'));
    let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(format!("{path}{query}")).ok();
    if let Ok(collapsed) = Uri::from_parts(parts) {
        *uri = collapsed;
    }
}

/// Before any route; `validate` tells browsers why.
fn refuse(uri: &Uri, refusal: Refusal) -> Response {
    let mut response = refusal.into_response();
    if matches!(uri.path(), "/rtc/validate" | "/rtc/v1/validate") {
        cors::allow_any(response.headers_mut());
    }
    response
}

type Validate = (State<App>, Extension<Arc<Caller>>, HeaderMap);

async fn validate_v0((State(app), Extension(caller), headers): Validate) -> Response {
    validate(&app, &headers, &caller, Version::V0).await
}

async fn validate_v1((State(app), Extension(caller), headers): Validate) -> Response {
    validate(&app, &headers, &caller, Version::V1).await
}

async fn validate(app: &App, headers: &HeaderMap, caller: &Caller, version: Version) -> Response {
    let mut response = match admit(app, headers, caller, version, Strictness::Explains).await {
        Ok(_) => (StatusCode::OK, "success").into_response(),
        Err(refusal) => refusal.into_response(),
    };
    cors::allow_any(response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_slashes_become_one_and_the_query_stays() {
        for (from, to) in [("//rtc?a=1", "/rtc?a=1"), ("///rtc/v1", "/rtc/v1"), ("/rtc//v1", "/rtc//v1"), ("//", "/")] {
            let mut uri = from.parse().unwrap();
            collapse_slashes(&mut uri);
            assert_eq!(uri, to);
        }
    }
}
