//! `POST /oauth/revoke`: RFC 7009.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::header,
    response::{IntoResponse, Response},
};

use super::client_request::ClientRequest;
use crate::server::http::{App, error::Failure, note::RequestNote};

/// Answers 200 with an empty body, also for an unknown token (section 2.2). It has the content type of the other answers, because some
/// libraries check that before they look at the body.
pub(crate) async fn revoke(State(app): State<Arc<App>>, request: Request) -> Result<Response, Failure> {
    let note = RequestNote::of(request.extensions());
    let request = ClientRequest::read(&app, request, &note).await?;
    note.misplaced_secret(request.form.misplaced_secret());
    let Some(token) = request.form.get("token") else {
        return Err(Failure::invalid_request("The parameter token is missing."));
    };
    Box::pin(app.issuer.revoke(&request.client, token, request.now)).await?;
    Ok([(header::CONTENT_TYPE, "application/json")].into_response())
}
