//! `POST /oauth/token`: RFC 6749 section 3.2.

use axum::{
    extract::{Request, State},
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{App, client_request::ClientRequest, error::Failure, form::Form, front::Note};
use crate::{
    protocol::{ErrorCode, GrantType, Scope},
    server::issuer::{ClientCredentials, Grant, Refusal, TargetRequest},
};

/// RFC 6749 section 5.1. `scope` is always there, also when it is what was asked for: some libraries read an absent one as none.
#[derive(Serialize)]
struct TokenResponse {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    scope: Scope,
}

pub(super) async fn token(State(app): State<App>, request: Request) -> Result<Response, Failure> {
    let ClientRequest { form, credentials } = ClientRequest::read(request).await?;
    let now = app.clock.now();
    let authenticated = app.registry.authenticate(&credentials, now).await;
    let client = authenticated.map_err(|error| Failure::of_authentication(error, &credentials))?;
    let mut note = Note { client: Some(client.id.to_string()), ..Note::default() };

    let grant = read_grant(&form).map_err(|refusal| Failure::from(refusal).noted(note.clone()))?;
    note.grant = Some(grant.grant_type());
    let issued = app.issuer.issue(&client, grant, now).await.map_err(|error| Failure::from(error).noted(note.clone()))?;

    let answer =
        TokenResponse { access_token: issued.access_token, token_type: "Bearer", expires_in: issued.expires_in, scope: issued.scope };
    let body = serde_json::to_vec(&answer).map_err(|error| Failure::broken(error.to_string()))?;
    let mut response = ([(header::CONTENT_TYPE, "application/json")], body).into_response();
    response.extensions_mut().insert(note);
    Ok(response)
}

/// The grant that a form asks for.
fn read_grant(form: &Form) -> Result<Grant, Refusal> {
    let Some(grant_type) = form.get("grant_type") else {
        return Err(Refusal::new(ErrorCode::InvalidRequest, "The parameter grant_type is missing."));
    };
    let target = || TargetRequest { resource: form.get("resource").map(str::parse), scope: form.get("scope").map(str::parse) };
    match grant_type.parse() {
        Ok(GrantType::ClientCredentials) => Ok(Grant::ClientCredentials(ClientCredentials { target: target() })),
        Ok(GrantType::Password | GrantType::RefreshToken) | Err(_) => Err(Refusal::new(
            ErrorCode::UnsupportedGrantType,
            "This server does not serve this grant type; its metadata lists those that it does.",
        )),
    }
}
