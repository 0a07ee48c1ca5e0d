//! The authorization endpoint: RFC 6749 section 3.1. It exists because clients refuse metadata without one; it grants nothing.

use axum::{
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{protocol::ErrorCode, server::http::note::RequestNote};

/// What the page and the log say, and what `openapi.yaml` lists among the errors.
const DESCRIPTION: &str = "This server has no sign-in page and issues no authorization codes.";

/// `GET /oauth/authorize`: refuses every request with `unsupported_response_type`. It reads no parameter and never redirects: no client has a
/// registered `redirect_uri`, so section 4.1.2.1 requires that the person is informed here.
pub(crate) async fn refuse(request: Request) -> Response {
    RequestNote::of(request.extensions()).write(|note| note.cause = Some(DESCRIPTION.to_owned()));
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>No sign-in page</title>\n<h1>No sign-in page</h1>\n<p>{DESCRIPTION}</p>\n\
         <p>The app that sent you here has to get its token by a grant type that the server's metadata lists.</p>\n<p><code>{}</code></p>\n",
        ErrorCode::UnsupportedResponseType.as_str()
    );
    (StatusCode::BAD_REQUEST, headers, page).into_response()
}
