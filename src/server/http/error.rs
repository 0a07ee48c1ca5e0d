//! Renders errors as responses.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{App, ROUTES, events::Outcome, paths_of};
use crate::{
    protocol::ErrorCode,
    server::{
        issuer::{self, Fault, Refusal},
        registry::{AuthenticationError, Credentials},
        revocation::NotPublished,
    },
};

/// An error response.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    status: StatusCode,
    code: ErrorCode,
    /// A fixed text. `None` for a fault of this server, whose text contains the request id instead.
    description: Option<&'static str>,
    /// `Retry-After`, in seconds.
    retry_after: Option<u64>,
    outcome: Outcome,
    /// For the log only.
    cause: String,
}

/// `Retry-After` for transient failures, in seconds.
const RETRY_AFTER: u64 = 1;

impl Failure {
    fn new(status: StatusCode, code: ErrorCode, description: &'static str) -> Self {
        let (description, cause) = (Some(description), description.to_owned());
        Self { status, code, description, retry_after: None, outcome: Outcome::Refused, cause }
    }

    pub(super) fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// What the metrics call it.
    pub(super) fn result(&self) -> &'static str {
        match self.outcome {
            Outcome::Limited => "limited",
            _ => self.code.as_str(),
        }
    }

    /// The cause, which is never sent.
    pub(super) fn cause(&self) -> &str {
        &self.cause
    }

    /// Takes the cause, which is never sent.
    pub(super) fn take_cause(&mut self) -> String {
        std::mem::take(&mut self.cause)
    }

    /// An invalid request (RFC 6749 sections 3.2 and 5.2).
    pub(super) fn invalid_request(description: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::InvalidRequest, description)
    }

    pub(super) fn too_large(description: &'static str) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::InvalidRequest, description)
    }

    pub(super) fn too_slow(description: &'static str) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::InvalidRequest, description)
    }

    /// Failed client authentication. One answer for every cause, so that a guesser learns nothing from it.
    pub(super) fn invalid_client(cause: String) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, ErrorCode::InvalidClient, "The client could not be authenticated.").with_cause(cause)
    }

    /// A transient fault of this server.
    pub(super) fn unavailable(cause: String) -> Self {
        Self::of(Fault { transient: true, cause })
    }

    /// A fault of this server.
    pub(super) fn broken(cause: String) -> Self {
        Self::of(Fault { transient: false, cause })
    }

    fn of(fault: Fault) -> Self {
        let (status, code, retry_after) = match fault.transient {
            true => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::TemporarilyUnavailable, Some(RETRY_AFTER)),
            false => (StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::ServerError, None),
        };
        Self { status, code, description: None, retry_after, outcome: Outcome::Failed, cause: fault.cause }
    }

    /// The failure of an authentication.
    pub(super) fn of_authentication(error: AuthenticationError, credentials: &Credentials) -> Self {
        match error {
            AuthenticationError::Rejected(cause) => {
                let mistake = credentials.mistake().map(|mistake| format!(": {mistake}")).unwrap_or_default();
                Self::invalid_client(format!("{cause}{mistake}"))
            }
            AuthenticationError::Limited(limited) => Self::limited(limited.0),
            AuthenticationError::Fault(error) => Self::of(error.into()),
        }
    }

    /// Too many failed attempts (RFC 6585 section 4). OAuth has no error code for it.
    fn limited(wait: Duration) -> Self {
        let description = "Too many failed attempts. Wait as long as Retry-After says.";
        let mut failure = Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TemporarilyUnavailable, description);
        failure.retry_after = Some(wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX));
        failure.outcome = Outcome::Limited;
        failure
    }

    /// Adds a cause, for the log only.
    fn with_cause(self, cause: String) -> Self {
        Self { cause, ..self }
    }

    /// Renders the response. A fault of this server shows `request_id` and not its cause.
    pub(super) fn render(self, request_id: &str) -> Response {
        let description = match self.description {
            Some(description) => description.to_owned(),
            None if self.code == ErrorCode::TemporarilyUnavailable => {
                format!("The server cannot answer now. Try again. The operator can find this request by its id, {request_id}.")
            }
            None => format!("The server failed. The operator can find this request by its id, {request_id}."),
        };
        let body = json!({ "error": self.code.as_str(), "error_description": description });
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 6749 section 5.2, RFC 7617 section 2.
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"sealwright\""));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::new(StatusCode::BAD_REQUEST, refusal.code, refusal.description)
    }
}

impl From<issuer::Error> for Failure {
    fn from(error: issuer::Error) -> Self {
        match error {
            issuer::Error::Refused(refusal) => refusal.into(),
            issuer::Error::Rejected { refusal, cause } => Self::from(refusal).with_cause(cause.to_owned()),
            issuer::Error::Explained { refusal, cause } => Self::from(refusal).with_cause(cause),
            issuer::Error::Limited(wait) => Self::limited(wait),
            issuer::Error::Fault(fault) => Self::of(fault),
        }
    }
}

impl From<NotPublished> for Failure {
    fn from(error: NotPublished) -> Self {
        Self::of(Fault { transient: error.is_transient(), cause: error.to_string() })
    }
}

impl IntoResponse for Failure {
    /// Passes the failure to `front`, which knows the request id and renders it.
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self);
        response
    }
}

pub(super) fn nothing_here() -> Failure {
    absent(StatusCode::NOT_FOUND, "There is nothing at this path.")
}

fn absent(status: StatusCode, description: &'static str) -> Failure {
    Failure { outcome: Outcome::NotFound, ..Failure::new(status, ErrorCode::InvalidRequest, description) }
}

pub(super) async fn not_found(State(app): State<Arc<App>>, uri: Uri) -> Failure {
    let path = app.issuer.issuer.path();
    if has_extra_slash(uri.path(), path) {
        return absent(StatusCode::NOT_FOUND, "There is nothing at this path. Remove the extra slash.");
    }
    let failure = nothing_here();
    if !path.is_empty() && ROUTES.iter().any(|route| route.path == uri.path()) {
        return failure.with_cause(format!("the issuer's path {path} is missing before this path; does a proxy remove it?"));
    }
    failure
}

/// Whether a path is that of a route, with slashes that are too many: the caller has the issuer with a slash at its end, or adds one to a route.
/// A redirect is no answer to that: who fetches keys should follow none, and a POST would often be repeated as a GET.
fn has_extra_slash(path: &str, issuer_path: &str) -> bool {
    let segments: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let without = format!("/{}", segments.join("/"));
    without != path && ROUTES.iter().flat_map(|route| paths_of(route, issuer_path)).any(|route| route == without)
}

pub(super) async fn use_get() -> Failure {
    absent(StatusCode::METHOD_NOT_ALLOWED, "This path does not support this method. Use GET.")
}

pub(super) async fn use_post() -> Failure {
    absent(StatusCode::METHOD_NOT_ALLOWED, "This path does not support this method. Use POST.")
}
