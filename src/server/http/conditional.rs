//! Requests for what the caller may have already: RFC 9110 section 13.

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::server::document::Document;

/// The document; or, for who has it already, no more than that it may be kept (RFC 9110 section 15.4.5).
pub(super) fn answer(request: &HeaderMap, document: &Document, content_type: &'static str, cache_control: HeaderValue) -> Response {
    let mut response = if is_current(request, &document.etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        // The bytes are shared, not copied.
        ([(header::CONTENT_TYPE, content_type)], document.body.clone()).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, document.etag.clone());
    headers.insert(header::CACHE_CONTROL, cache_control);
    response
}

/// Whether `If-None-Match` names what we would send (section 13.1.2, by weak comparison).
fn is_current(request: &HeaderMap, etag: &HeaderValue) -> bool {
    let known = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known.flat_map(|value| value.split(',')).map(str::trim).any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == etag)
}
