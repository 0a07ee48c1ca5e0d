//! Conditional requests: RFC 9110 section 13.

use std::convert::Infallible;

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;

use crate::server::document::Document;

/// Answers with the document, or with 304 if the caller has it already (RFC 9110 section 15.4.5).
pub(super) fn answer(request: &HeaderMap, document: &Document, content_type: &'static str, cache_control: HeaderValue) -> Response {
    let mut response = if is_current(request, &document.etag) {
        // A body of unknown length, to avoid `Content-Length: 0`, which would apply to the document (section 8.6).
        (StatusCode::NOT_MODIFIED, Body::from_stream(stream::empty::<Result<Bytes, Infallible>>())).into_response()
    } else {
        // The bytes are shared, not copied.
        ([(header::CONTENT_TYPE, content_type)], document.body.clone()).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, document.etag.clone());
    headers.insert(header::CACHE_CONTROL, cache_control);
    response
}

/// Whether the caller has another document than this one.
pub(super) fn has_another(request: &HeaderMap, document: &Document) -> bool {
    request.contains_key(header::IF_NONE_MATCH) && !is_current(request, &document.etag)
}

/// Whether `If-None-Match` matches `etag` (section 13.1.2, weak comparison). A comma within a foreign tag splits it in two; neither half
/// matches.
fn is_current(request: &HeaderMap, etag: &HeaderValue) -> bool {
    let names_ours = |tag: &[u8]| opaque(tag) == opaque(etag.as_bytes());
    let mut known = request.get_all(header::IF_NONE_MATCH).iter().map(|value| value.as_bytes().trim_ascii());
    known.any(|value| value == b"*" || value.split(|byte| *byte == b',').any(|tag| names_ours(tag.trim_ascii())))
}

/// An ETag without the mark of a weak one.
fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}
