//! The answer to a refused request, for any HTTP stack.

use std::sync::Arc;

use http::{HeaderValue, Response, StatusCode, header};

use super::Error;

/// A refused request, with what its answer needs.
#[derive(Debug, Clone)]
pub struct Refused {
    /// The reason.
    pub error: Error,
    /// The URL of this API's metadata (RFC 9728), for the challenge.
    pub(super) resource_metadata: Option<Arc<str>>,
    /// Whether the layer sends gRPC answers. Set where the layer is made, never by a request header: nginx's `auth_request`, which
    /// decides by the HTTP status, would read the 200 of a gRPC refusal as permission.
    pub(super) grpc: bool,
}

impl Refused {
    /// The refusal with this URL of the API's metadata, which must need no quoting.
    pub(crate) const fn new(error: Error, resource_metadata: Option<Arc<str>>, grpc: bool) -> Self {
        Self { error, resource_metadata, grpc }
    }

    /// The answer, with an empty body. This value is among its extensions.
    #[must_use]
    pub fn into_http<B: Default>(self) -> Response<B> {
        let mut response = Response::new(B::default());
        let status = StatusCode::from_u16(self.error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        // The same request may be admitted a moment later, for example with another token.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = self.challenge() {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(wait) = self.error.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs()));
        }
        if self.grpc {
            // Trailers-Only of the gRPC specification: HTTP status 200, and the outcome in grpc-status.
            let code = match status.as_u16() {
                400 => "3",
                401 => "16",
                403 => "7",
                503 => "14",
                _ => "13",
            };
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert("grpc-status", HeaderValue::from_static(code));
        } else {
            *response.status_mut() = status;
        }
        response.extensions_mut().insert(self);
        response
    }

    fn challenge(&self) -> Option<HeaderValue> {
        let challenge = self.error.challenge()?;
        let challenge = match &self.resource_metadata {
            None => challenge,
            // RFC 9728 section 5.1.
            Some(url) if challenge == "Bearer" => format!("Bearer resource_metadata=\"{url}\""),
            Some(url) => format!("{challenge}, resource_metadata=\"{url}\""),
        };
        HeaderValue::try_from(challenge).ok()
    }
}
