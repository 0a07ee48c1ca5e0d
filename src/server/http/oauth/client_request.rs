//! A request by a client: a form, with the client's credentials in the header or in the form.

use std::{net::IpAddr, sync::Arc};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
    http::{HeaderMap, header, request::Parts},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use prometheus_client::metrics::counter::Counter;

use super::form::{self, Form};
use crate::{
    clock::Timestamp,
    protocol::AuthMethod,
    server::{
        edge::{Charge, MemoryBudget, Peer},
        http::{
            App, body,
            error::Failure,
            note::{RequestNote, RequestPart},
        },
        model::Client,
        registry::{AuthenticationError, Credentials, Proof},
    },
};

/// The request of an authenticated client.
#[derive(Debug)]
pub(super) struct ClientRequest {
    pub(super) form: Form,
    pub(super) client: Arc<Client>,
    /// The wall clock time, read once per request, when the client is authenticated: it is used for the token and for all database writes.
    /// Ages and expiry are checked by [`Clock::steady`](crate::clock::Clock::steady) instead.
    pub(super) now: Timestamp,
}

impl ClientRequest {
    /// Reads a request and authenticates its client, which it notes.
    pub(super) async fn read(app: &App, request: Request, note: &RequestNote) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        if parts.uri.query().is_some() {
            // RFC 6749 section 2.3.1: URLs end up in logs, so they must not contain credentials.
            return Err(Failure::invalid_request("Parameters belong in the body, not in the URL."));
        }
        require_form(&parts, &body)?;
        let charge = charge(&parts, note.source())?;
        // Credentials in the header are checked before the body is read, so that a wrong secret costs no memory for a body.
        let early = match basic_credentials(&parts.headers) {
            Ok(None) => None,
            Ok(Some(basic)) => Some(authenticate(app, &basic, note).await.map(|(client, now)| (basic, client, now))),
            Err(failure) => Some(Err(failure)),
        };
        let early = match early.transpose() {
            Ok(early) => early,
            Err(failure) => {
                // With `Expect: 100-continue`, the client has not sent the body (RFC 9110 section 10.1.1).
                if !parts.headers.contains_key(header::EXPECT) {
                    body::discard(body, parts.version, &charge).await;
                }
                return Err(failure);
            }
        };
        let form = Form::parse(&body::read(body, &charge).await?)?;
        let authenticated = match early {
            Some((basic, client, now)) => require_one_method(&basic, &form).map(|()| (client, now)),
            None => authenticate_by_form(app, &form, note).await,
        };
        let (client, now) = authenticated.inspect_err(|_| note.misplaced_secret(form.misplaced_secret()))?;
        Ok(Self { form, client, now })
    }
}

/// Requires `Content-Type: application/x-www-form-urlencoded`, with any parameters (RFC 6749 appendix B).
fn require_form(parts: &Parts, body: &Body) -> Result<(), Failure> {
    if body.is_end_stream() && !parts.headers.contains_key(header::CONTENT_TYPE) {
        return Err(Failure::invalid_request("The body is empty. Send the parameters in it, as application/x-www-form-urlencoded."));
    }
    let mut values = parts.headers.get_all(header::CONTENT_TYPE).iter();
    let essence = values.next().and_then(|value| value.to_str().ok()).and_then(|value| value.split(';').next()).unwrap_or_default();
    if essence.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") && values.next().is_none() {
        Ok(())
    } else {
        Err(Failure::invalid_request("The Content-Type must be application/x-www-form-urlencoded."))
    }
}

/// Charges the memory of a request to its source address.
fn charge(parts: &Parts, source: IpAddr) -> Result<Charge, Failure> {
    let share = match parts.extensions.get::<Peer>() {
        Some(peer) => peer.share_of(source),
        // There is no connection (in a test), so there is no shared budget.
        None => MemoryBudget::new(usize::MAX, Counter::default()).share(source),
    };
    Ok(Charge::request(share, &parts.headers)?)
}

/// Authenticates a client, and notes it, or what a refused request sent as its id.
async fn authenticate(app: &App, credentials: &Credentials, note: &RequestNote) -> Result<(Arc<Client>, Timestamp), Failure> {
    let now = app.clock.now();
    // Boxed, so that a request that waits for its body does not hold the memory of this future.
    let authenticated = Box::pin(app.registry.authenticate(credentials, note.source(), now)).await;
    let named = match &authenticated {
        Ok(client) => Some(client.id.to_string()),
        Err(AuthenticationError::Fault(_)) => None,
        Err(AuthenticationError::Rejected(_) | AuthenticationError::Limited(_)) => Some(credentials.to_string()),
    };
    note.write(|note| note.client = named);
    let client = authenticated.map_err(|error| {
        note.misplaced_secret(credentials.holds_secret_as_id().then_some(RequestPart::ClientId));
        let failure = Failure::of_authentication(error, credentials);
        // In case the caller disconnects before the answer.
        note.write(|note| note.cause = Some(failure.cause().to_owned()));
        failure
    })?;
    Ok((client, now))
}

async fn authenticate_by_form(app: &App, form: &Form, note: &RequestNote) -> Result<(Arc<Client>, Timestamp), Failure> {
    authenticate(app, &form_credentials(form)?, note).await
}

const NO_CREDENTIALS: &str = "The request has no client credentials. Send id and secret as HTTP Basic, or as client_id and client_secret in the body, or a client_assertion.";

/// The credentials in the form, for a request without any in its header.
fn form_credentials(form: &Form) -> Result<Credentials, Failure> {
    let assertion = form.get("client_assertion");
    if assertion.is_some() && form.get("client_secret").is_some() {
        return Err(Failure::invalid_request("The client authenticates by a secret and by an assertion. Use one of them."));
    }
    match (assertion, form.get("client_assertion_type")) {
        (Some(assertion), Some(AuthMethod::ASSERTION_TYPE)) => return Ok(Credentials::by_assertion(form.get("client_id"), assertion)),
        (Some(_), _) => {
            return Err(Failure::no_credentials(
                "The client_assertion_type must be urn:ietf:params:oauth:client-assertion-type:jwt-bearer.",
            ));
        }
        (None, Some(_)) => return Err(Failure::no_credentials("The parameter client_assertion is missing.")),
        (None, None) => {}
    }
    let Some(id) = form.get("client_id") else {
        return Err(Failure::no_credentials(match form.get("client_secret") {
            Some(_) => "The parameter client_id is missing.",
            None => NO_CREDENTIALS,
        }));
    };
    let secret = |text: &str| Proof::Secret { text: text.into(), method: AuthMethod::ClientSecretPost };
    Ok(Credentials { client_id: id.to_owned(), proof: form.get("client_secret").map_or(Proof::None, secret) })
}

/// Refuses a form that authenticates as well: a request must use one method only (RFC 6749 section 2.3).
fn require_one_method(basic: &Credentials, form: &Form) -> Result<(), Failure> {
    if ["client_secret", "client_assertion", "client_assertion_type"].iter().any(|name| form.get(name).is_some()) {
        return Err(Failure::invalid_request("The client authenticates both in the header and in the body. Use one of them."));
    }
    if form.get("client_id").is_some_and(|id| id != basic.client_id) {
        return Err(Failure::invalid_request("The header and the body name different clients."));
    }
    Ok(())
}

/// Reads `Authorization: Basic`. Its two halves are form-encoded before they are joined (RFC 6749 section 2.3.1).
fn basic_credentials(headers: &HeaderMap) -> Result<Option<Credentials>, Failure> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Failure::invalid_request("The Authorization header occurs more than once."));
    }
    let refuse = |cause: &str| Failure::invalid_client(cause.to_owned());
    let value = value.to_str().map_err(|_| refuse("the Authorization header is not ASCII"))?;
    // RFC 9110 section 11.1: the scheme is case-insensitive.
    let (scheme, encoded) = value.split_once(' ').unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(refuse("the Authorization header is not Basic"));
    }
    let decoded = BASE64_STANDARD.decode(encoded.trim_matches(' ')).map_err(|_| refuse(base64_mistake(encoded.trim_matches(' '))))?;
    let colon = decoded.iter().position(|&byte| byte == b':').ok_or_else(|| refuse("the Authorization header has no colon"))?;
    let halves = form::decode(&decoded[..colon]).zip(form::decode(&decoded[colon + 1..]));
    let (client_id, secret) = halves.ok_or_else(|| refuse("the Authorization header is not form-encoded"))?;
    let proof = Proof::Secret { text: secret.into(), method: AuthMethod::ClientSecretBasic };
    Ok(Some(Credentials { client_id, proof }))
}

/// Describes for the log why the credentials of `Authorization: Basic` cannot be decoded.
fn base64_mistake(encoded: &str) -> &'static str {
    let has = |these: &[char]| encoded.contains(these);
    if has(&[' ', '\t']) {
        "the Authorization header's base64 contains white space: some tools wrap it after 76 characters (base64 -w0 does not)"
    } else if has(&[':']) {
        "the Authorization header contains the name and secret unencoded: Basic requires base64"
    } else if has(&['-', '_']) {
        "the Authorization header is base64url: Basic requires the standard alphabet (RFC 4648 section 4)"
    } else if !encoded.len().is_multiple_of(4) {
        "the Authorization header's base64 is truncated or lacks its padding"
    } else {
        "the Authorization header is not base64"
    }
}
