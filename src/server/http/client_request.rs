//! A request by a client: a form, and the client's credentials in the header or in the form.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, header, request::Parts},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use http_body_util::BodyExt;

use super::{
    App,
    error::Failure,
    form::{self, Form},
    note::{Note, Place, Source},
};
use crate::{
    clock::Timestamp,
    protocol::AuthMethod,
    server::{model::Client, registry::Credentials, secret::Redacted},
};

/// Bytes of a body at most.
const BODY_LIMIT: usize = 64 * 1024;
/// Bytes that are read, and dropped, of a body that is too large.
const DISCARD_LIMIT: usize = 4 * 1024 * 1024;
/// Time for the body to arrive.
const BODY_TIME_LIMIT: Duration = Duration::from_secs(10);

/// What an authenticated client sent.
#[derive(Debug)]
pub(super) struct ClientRequest {
    pub(super) form: Form,
    pub(super) client: Arc<Client>,
    /// When it was authenticated: the one reading of the clock that decides about this request.
    pub(super) now: Timestamp,
}

impl ClientRequest {
    pub(super) async fn read(app: &App, request: Request) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        if parts.uri.query().is_some() {
            // RFC 6749 section 2.3.1: a URL ends up in logs, so credentials must not be there.
            return Err(Failure::invalid_request("Parameters belong into the body, not into the URL."));
        }
        require_form(&parts)?;
        let form = Form::parse(&read_body(body).await?)?;
        let credentials = credentials(&parts.headers, &form).map_err(|failure| failure.misplaced_secret(form.misplaced_secret()))?;
        let now = app.clock.now();
        let source = Source::of(&parts.extensions);
        let authenticated = app.registry.authenticate(&credentials, source, now).await;
        let client = authenticated.map_err(|error| {
            let in_header = credentials.holds_secret_as_id().then_some(Place::ClientId);
            Failure::of_authentication(error, &credentials).misplaced_secret(in_header.or_else(|| form.misplaced_secret()))
        })?;
        Ok(Self { form, client, now })
    }

    /// What the log is told of it, whatever becomes of it.
    pub(super) fn note(&self) -> Note {
        Note { client: Some(self.client.id.to_string()), ..Note::default() }
    }
}

/// Requires `Content-Type: application/x-www-form-urlencoded`, whatever its parameters (RFC 6749 appendix B).
fn require_form(parts: &Parts) -> Result<(), Failure> {
    let mut values = parts.headers.get_all(header::CONTENT_TYPE).iter();
    let essence = values.next().and_then(|value| value.to_str().ok()).and_then(|value| value.split(';').next()).unwrap_or_default();
    if essence.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") && values.next().is_none() {
        Ok(())
    } else {
        Err(Failure::invalid_request("The Content-Type must be application/x-www-form-urlencoded."))
    }
}

async fn read_body(body: Body) -> Result<Vec<u8>, Failure> {
    match tokio::time::timeout(BODY_TIME_LIMIT, collect(body)).await {
        Ok(body) => body,
        Err(_) => Err(Failure::too_slow("The body took longer than 10 s to arrive.")),
    }
}

/// Collects a body. Of one that is too large the rest is read and dropped, up to a limit: who closes a connection while the
/// other side still sends makes it lose the answer.
async fn collect(mut body: Body) -> Result<Vec<u8>, Failure> {
    let mut collected = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Failure::invalid_request("The body did not arrive whole."))?;
        let Some(data) = frame.data_ref() else { continue };
        length += data.len();
        if length <= BODY_LIMIT {
            collected.extend_from_slice(data);
        } else if length > DISCARD_LIMIT {
            break;
        }
    }
    if length <= BODY_LIMIT { Ok(collected) } else { Err(Failure::too_large("The body is larger than 64 KiB.")) }
}

/// The credentials of a request: by one method, never by two (RFC 6749 section 2.3).
fn credentials(headers: &HeaderMap, form: &Form) -> Result<Credentials, Failure> {
    let (id, secret) = (form.get("client_id"), form.get("client_secret"));
    let Some(basic) = basic_credentials(headers)? else {
        let Some(id) = id else {
            return Err(Failure::invalid_client(None, "no client was named".to_owned()));
        };
        let secret = secret.map(|secret| Redacted::new(secret.to_owned()));
        return Ok(Credentials { client_id: id.to_owned(), secret, method: AuthMethod::ClientSecretPost });
    };
    if secret.is_some() {
        return Err(Failure::invalid_request("The client authenticates in the header and in the body; do one."));
    }
    if id.is_some_and(|id| id != basic.client_id) {
        return Err(Failure::invalid_request("The header and the body name different clients."));
    }
    Ok(basic)
}

/// `Authorization: Basic`, whose two halves are form-encoded before they are joined (RFC 6749 section 2.3.1).
fn basic_credentials(headers: &HeaderMap) -> Result<Option<Credentials>, Failure> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Failure::invalid_request("The Authorization header is there twice."));
    }
    let refuse = |cause: &str| Failure::invalid_client(None, cause.to_owned());
    let value = value.to_str().map_err(|_| refuse("the Authorization header is not ASCII"))?;
    // RFC 9110 section 11.1: the scheme's case does not count.
    let (scheme, encoded) = value.split_once(' ').unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(refuse("the Authorization header is not Basic"));
    }
    let decoded = BASE64_STANDARD.decode(encoded.trim_matches(' ')).map_err(|_| refuse(base64_mistake(encoded.trim_matches(' '))))?;
    let colon = decoded.iter().position(|&byte| byte == b':').ok_or_else(|| refuse("the Authorization header has no colon"))?;
    let halves = form::decode(&decoded[..colon]).zip(form::decode(&decoded[colon + 1..]));
    let (client_id, secret) = halves.ok_or_else(|| refuse("the Authorization header is not form-encoded"))?;
    Ok(Some(Credentials { client_id, secret: Some(Redacted::new(secret)), method: AuthMethod::ClientSecretBasic }))
}

/// Why the credentials of `Authorization: Basic` cannot be decoded, for the log.
fn base64_mistake(encoded: &str) -> &'static str {
    let has = |these: &[char]| encoded.contains(these);
    if has(&[' ', '\t']) {
        "the Authorization header's base64 is broken by white space: some tools wrap it after 76 characters (base64 -w0 does not)"
    } else if has(&[':']) {
        "the Authorization header holds name and secret as they are: Basic wants them in base64"
    } else if has(&['-', '_']) {
        "the Authorization header is base64url: Basic wants the standard alphabet (RFC 4648 section 4)"
    } else if !encoded.len().is_multiple_of(4) {
        "the Authorization header's base64 is cut short or lacks its padding"
    } else {
        "the Authorization header is not base64"
    }
}
