//! What a page of any origin may read: public documents, by a script that carries nobody's credentials (the Fetch standard, CORS
//! protocol). Every other route says nothing, and a browser keeps its answers from other origins' scripts.

use std::sync::Arc;

use axum::{
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::MethodRouter,
};

use super::App;

/// How long a browser may remember that it may ask, in seconds.
const PREFLIGHT_MAX_AGE: &str = "86400";

/// Opens a route to the scripts of every origin.
pub(super) fn open(route: MethodRouter<Arc<App>>) -> MethodRouter<Arc<App>> {
    route.options(preflight).layer(middleware::from_fn(allow_any_origin))
}

async fn allow_any_origin(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    // `*`, whatever the Origin: an answer that names it would vary with it, and with credentials it would open the door.
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("etag, x-request-id"));
    response
}

async fn preflight() -> Response {
    let headers = [
        (header::ALLOW, "GET, HEAD, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "cache-control, if-none-match, x-request-id"),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}
