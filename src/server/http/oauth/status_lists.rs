//! The status lists: draft-ietf-oauth-status-list sections 8 and 9.

use std::sync::Arc;

use axum::{
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};

use crate::{
    protocol::StatusListClaims,
    server::http::{
        App, conditional,
        error::{Failure, nothing_here},
    },
};

/// A cache in front of this server adds its age to the time until a verifier learns of a revocation.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("public, max-age=1");
/// Maximum number of URIs of the list of lists.
const MOST_URIS: usize = 10_000;

/// `GET /oauth/status-lists/{id}`: section 8.1. It has one form, whatever `Accept` says (RFC 9110 section 12.5.1), and no history: the parameter
/// `time` (section 8.4) is ignored, as by every server that does not support it.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
    request: HeaderMap,
) -> Result<Response, Failure> {
    let Some(id) = id.ok().and_then(|Path(id)| id.parse().ok()) else { return Err(nothing_here()) };
    let mut found = app.publisher.find(&id).await?;
    if found.as_ref().is_some_and(|list| conditional::has_another(&request, &list.document)) {
        app.publisher.renew(&id).await;
        found = app.publisher.find(&id).await?;
    }
    let Some(list) = found else { return Err(nothing_here()) };
    let Some(age) = list.outdated_for else {
        return Ok(conditional::answer(&request, &list.document, StatusListClaims::MEDIA_TYPE, CACHE_CONTROL));
    };
    // A 304 says that nothing has changed since. A node that cannot know, or cannot sign what has changed, does not say it.
    let mut response = conditional::answer(&HeaderMap::new(), &list.document, StatusListClaims::MEDIA_TYPE, CACHE_CONTROL);
    // As a cache that has held the list since then (RFC 9111 section 5.1): a verifier that holds none yet does not take it for fresh.
    response.headers_mut().insert(header::AGE, HeaderValue::from(age.as_secs()));
    Ok(response)
}

/// `GET /oauth/status-lists`: section 9.3.
pub(crate) async fn all(State(app): State<Arc<App>>, request: HeaderMap) -> Response {
    conditional::answer(&request, &app.publisher.aggregation(MOST_URIS), "application/json", CACHE_CONTROL)
}
