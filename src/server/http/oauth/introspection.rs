//! `POST /oauth/introspect`: RFC 7662.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::{Request, State},
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::client_request::ClientRequest;
use crate::server::{
    http::{App, error::Failure, note::RequestNote},
    issuer::{ActiveToken, Introspection},
};

/// Section 2.2.
#[derive(Serialize)]
struct IntrospectionResponse {
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    /// No name of them is one of the above: no claim may have one.
    #[serde(flatten)]
    claims: BTreeMap<String, Box<RawValue>>,
}

/// Answers 200 to every authenticated client: a token that is invalid, or that it does not introspect, is not active (section 2.2). The log
/// has the cause.
pub(crate) async fn introspect(State(app): State<Arc<App>>, request: Request) -> Result<Response, Failure> {
    let note = RequestNote::of(request.extensions());
    let request = ClientRequest::read(&app, request, &note).await?;
    note.misplaced_secret(request.form.misplaced_secret());
    let Some(token) = request.form.get("token") else {
        return Err(Failure::invalid_request("The parameter token is missing."));
    };
    let response = match Box::pin(app.issuer.introspect(&request.client, token, request.now)).await? {
        Introspection::Active(ActiveToken { claims, user }) => {
            let (sub, username) = user.map(|user| (user.sub, user.username)).unzip();
            note.write(|note| note.user = sub);
            IntrospectionResponse { active: true, token_type: Some("Bearer"), username, claims }
        }
        Introspection::Inactive(cause) => {
            note.write(|note| note.cause = Some(format!("inactive: {cause}")));
            IntrospectionResponse { active: false, token_type: None, username: None, claims: BTreeMap::new() }
        }
    };
    let body = serde_json::to_vec(&response).map_err(|error| Failure::broken(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}
