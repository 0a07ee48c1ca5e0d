//! `POST /oauth/token`: RFC 6749 section 3.2.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{client_request::ClientRequest, form::Form};
use crate::{
    protocol::{ErrorCode, GrantType, Scope},
    server::{
        http::{App, error::Failure, note::RequestNote},
        issuer::{self, ClientCredentialsGrant, Grant, IssuedToken, PasswordGrant, RefreshGrant, Refusal, TargetRequest},
    },
};

/// RFC 6749 section 5.1. `scope` is always present, because some libraries treat a missing one as empty.
#[derive(Serialize)]
struct TokenResponse {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    scope: Scope,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
}

pub(crate) async fn token(State(app): State<Arc<App>>, request: Request) -> Result<Response, Failure> {
    let note = RequestNote::of(request.extensions());
    let request = ClientRequest::read(&app, request, &note).await?;
    let issued = issue(&app, &request, &note).await.inspect_err(|_| note.misplaced_secret(request.form.misplaced_secret()))?;
    if let Some(user) = issued.user {
        note.write(|note| note.user = Some(user.to_string()));
    }
    let response = TokenResponse {
        access_token: issued.access_token,
        token_type: "Bearer",
        expires_in: issued.expires_in,
        scope: issued.scope,
        refresh_token: issued.refresh_token,
    };
    let body = serde_json::to_vec(&response).map_err(|error| Failure::broken(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

async fn issue(app: &App, request: &ClientRequest, note: &RequestNote) -> Result<IssuedToken, issuer::Error> {
    let grant_type = read_grant_type(app, &request.form)?;
    note.write(|note| note.grant = Some(grant_type));
    app.issuer.require_grant(&request.client, grant_type)?;
    let grant = read_grant(grant_type, &request.form, note.source())?;
    if let Grant::Password(password) = &grant {
        let user_address = Some(password.source).filter(|address| *address != note.source());
        note.write(|note| note.user_address = user_address);
    }
    // Boxed, so that a request that waits for its body does not hold the memory of this future.
    Box::pin(app.issuer.issue(&request.client, grant, request.now)).await
}

fn read_grant_type(app: &App, form: &Form) -> Result<GrantType, Refusal> {
    let text = required(form, "grant_type", "The parameter grant_type is missing.")?;
    text.parse().ok().filter(|grant| app.issuer.serves(*grant)).ok_or_else(|| {
        let description = "This server does not support this grant type. Its metadata lists the supported ones.";
        Refusal::new(ErrorCode::UnsupportedGrantType, description)
    })
}

fn required<'a>(form: &'a Form, name: &str, description: &'static str) -> Result<&'a str, Refusal> {
    form.get(name).ok_or_else(|| Refusal::new(ErrorCode::InvalidRequest, description))
}

/// Reads the grant from a form; `source` is where the request came from. `audience` is accepted as a synonym of `resource` (RFC 8707
/// section 2), because clients of other servers send it.
fn read_grant(grant_type: GrantType, form: &Form, source: IpAddr) -> Result<Grant, issuer::Error> {
    let resource = match (form.get("resource"), form.get("audience")) {
        (Some(resource), Some(audience)) if resource != audience => {
            let description = "The parameters resource and audience name different resources. A token is for one resource.";
            return Err(Refusal::new(ErrorCode::InvalidTarget, description).into());
        }
        (resource, audience) => resource.or(audience),
    };
    let target = TargetRequest::parse(resource, form.get("scope"))?;
    Ok(match grant_type {
        GrantType::ClientCredentials => Grant::ClientCredentials(ClientCredentialsGrant { target }),
        GrantType::Password => Grant::Password(PasswordGrant {
            username: required(form, "username", "The parameter username is missing.")?.to_owned(),
            password: required(form, "password", "The parameter password is missing.")?.into(),
            source: user_address(form)?.unwrap_or(source),
            target,
        }),
        GrantType::RefreshToken => Grant::Refresh(RefreshGrant {
            refresh_token: required(form, "refresh_token", "The parameter refresh_token is missing.")?.into(),
            target,
        }),
    })
}

/// The address of the user, as sent by the client. It is trusted: only an authenticated client can send it, it is used only for limits and
/// the log, and a client that sends a wrong one weakens only the protection of its own users.
fn user_address(form: &Form) -> Result<Option<IpAddr>, Refusal> {
    let malformed = |_| Refusal::new(ErrorCode::InvalidRequest, "The user_address is malformed: it must be an IP address without a port.");
    form.get("user_address").map(|text| text.parse().map(|address: IpAddr| address.to_canonical()).map_err(malformed)).transpose()
}
