//! A pre-rendered response body and its ETag.

use aws_lc_rs::digest::{Digest, SHA256, digest};
use axum::http::HeaderValue;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;

/// A response body and its ETag. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) body: Bytes,
    /// Quoted; strong unless it is of the content (RFC 9110 section 8.8.3).
    pub(crate) etag: HeaderValue,
}

impl Document {
    /// A document whose ETag is the SHA-256 of its body.
    pub(crate) fn new(body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self { etag: etag("", &digest(&SHA256, &body)), body }
    }

    /// A document that may be written in several ways, such as with signatures of different times. Its ETag is the SHA-256 of its content, and weak
    /// (RFC 9110 section 8.8.1).
    pub(crate) fn of_content(content: &[u8], body: impl Into<Bytes>) -> Self {
        Self { etag: etag("W/", &digest(&SHA256, content)), body: body.into() }
    }
}

fn etag(prefix: &str, hash: &Digest) -> HeaderValue {
    let hash = BASE64_URL_SAFE_NO_PAD.encode(hash);
    HeaderValue::try_from(format!("{prefix}\"{hash}\"")).expect("base64 in quotes is a valid header value")
}
