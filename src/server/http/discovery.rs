//! What verifiers and clients read to find their way: the metadata and the public keys.

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{App, error::Failure};
use crate::protocol::ServerMetadata;

/// The metadata as the bytes that go out: they change with the configuration alone.
#[derive(Debug)]
pub(crate) struct MetadataDocument(Bytes);

impl MetadataDocument {
    pub(crate) fn render(metadata: &ServerMetadata) -> Self {
        Self(serde_json::json!(metadata).to_string().into())
    }
}

/// `GET /.well-known/oauth-authorization-server` and its other names: RFC 8414 section 3.
pub(super) async fn metadata(State(app): State<App>) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "public, max-age=3600")];
    (headers, app.metadata.0.clone()).into_response()
}

/// `GET /.well-known/jwks.json`: RFC 7517 section 5.
pub(super) async fn jwks(State(app): State<App>, request: HeaderMap) -> Result<Response, Failure> {
    let jwks = app.keys.jwks();
    let max_age = app.keys.jwks_max_age(app.clock.now()).as_secs();
    let mut response = if is_current(&request, &jwks.etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        // RFC 7517 section 8.5.2. The bytes are shared, not copied.
        ([(header::CONTENT_TYPE, "application/jwk-set+json")], jwks.body.clone()).into_response()
    };
    let value = |text: &str| HeaderValue::from_str(text).map_err(|error| Failure::broken(error.to_string()));
    let headers = response.headers_mut();
    headers.insert(header::ETAG, value(&jwks.etag)?);
    headers.insert(header::CACHE_CONTROL, value(&format!("public, max-age={max_age}"))?);
    Ok(response)
}

/// Whether `If-None-Match` names what we would send (RFC 9110 section 13.1.2, by weak comparison).
fn is_current(request: &HeaderMap, etag: &str) -> bool {
    let known = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known.flat_map(|value| value.split(',')).map(str::trim).any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == etag)
}
