//! The issuer's own URL in a browser: it leads to the page that describes the API. Programs get 404, as at any other path without a route.

use axum::{
    http::{HeaderMap, HeaderValue, Method, Uri, header},
    response::{IntoResponse, Redirect, Response},
};

use super::App;

/// A redirect to the page, if a browser opens the issuer's URL and the page is served.
pub(super) fn redirect(app: &App, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Response> {
    let path = app.issuer.issuer.path();
    let is_root = uri.path().strip_prefix(path).is_some_and(|rest| matches!(rest, "" | "/"));
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    if app.api_docs.is_none() || !is_root || !is_read || !accepts_html(headers) {
        return None;
    }
    // Temporary: the answer depends on `Accept`, and the page can be turned off.
    let redirect = Redirect::temporary(&format!("{path}/docs"));
    Some(([(header::VARY, HeaderValue::from_static("accept"))], redirect).into_response())
}

/// Whether `Accept` names HTML, as browsers do when they open a page. `*/*` does not.
fn accepts_html(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    accepted.any(|range| range.split(';').next().is_some_and(|range| range.trim().eq_ignore_ascii_case("text/html")))
}
