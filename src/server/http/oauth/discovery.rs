//! The metadata and the public keys.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue},
    response::Response,
};

use crate::server::http::{App, conditional};

/// `GET /.well-known/oauth-authorization-server` and its other names: RFC 8414 section 3.
pub(crate) async fn metadata(State(app): State<Arc<App>>, request: HeaderMap) -> Response {
    conditional::answer(&request, &app.metadata, "application/json", HeaderValue::from_static("public, max-age=3600"))
}

/// `GET /.well-known/jwks.json`: RFC 7517 section 5, with the media type of section 8.5.2.
pub(crate) async fn jwks(State(app): State<Arc<App>>, request: HeaderMap) -> Response {
    let max_age = app.keys.jwks_max_age(app.clock.steady()).as_secs();
    let cache_control = HeaderValue::try_from(format!("public, max-age={max_age}")).expect("a number is a valid header value");
    conditional::answer(&request, &app.keys.jwks(), "application/jwk-set+json", cache_control)
}
