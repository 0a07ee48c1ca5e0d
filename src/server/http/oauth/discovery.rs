//! The metadata and the public keys.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, header},
    response::Response,
};

use crate::server::http::{App, conditional, note::RequestNote};

/// `GET /.well-known/oauth-authorization-server` and its other names: RFC 8414 section 3.
pub(crate) async fn metadata(State(app): State<Arc<App>>, request: HeaderMap) -> Response {
    conditional::answer(&request, &app.metadata, "application/json", HeaderValue::from_static("public, max-age=3600"))
}

/// `GET /.well-known/jwks.json`: RFC 7517 section 5, with the media type of section 8.5.2.
pub(crate) async fn jwks(State(app): State<Arc<App>>, request: Request) -> Response {
    let (now, jwks) = (app.clock.steady(), app.keys.jwks());
    // The answer to HEAD has no keys. A 304 confirms those that the caller has.
    if request.method() == Method::GET {
        let source = RequestNote::of(request.extensions()).source();
        app.fetchers.record(source, request.headers().get(header::USER_AGENT), &jwks.kids, now);
    }
    let max_age = app.keys.jwks_max_age(now).as_secs();
    let cache_control = HeaderValue::try_from(format!("public, max-age={max_age}")).expect("a number is a valid header value");
    conditional::answer(request.headers(), &jwks.document, "application/jwk-set+json", cache_control)
}
