//! A pre-rendered response body and its ETag.

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::HeaderValue;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;

/// A response body and its ETag. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) body: Bytes,
    /// Quoted, strong: the SHA-256 of the body (RFC 9110 section 8.8.3).
    pub(crate) etag: HeaderValue,
}

impl Document {
    pub(crate) fn new(body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let hash = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, &body));
        let etag = HeaderValue::try_from(format!("\"{hash}\"")).expect("base64 in quotes is a valid header value");
        Self { body, etag }
    }
}
