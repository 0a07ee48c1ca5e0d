//! Renders errors as responses.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{
    App, ROUTES,
    note::{Note, RequestPart},
};
use crate::{
    protocol::ErrorCode,
    server::{
        issuer::{self, Fault, Refusal},
        registry::{AuthenticationError, Credentials},
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
    note: Box<Note>,
}

/// `Retry-After` for transient failures, in seconds.
const RETRY_AFTER: u64 = 1;

impl Failure {
    fn new(status: StatusCode, code: ErrorCode, description: &'static str) -> Self {
        Self {
            status,
            code,
            description: Some(description),
            retry_after: None,
            note: Box::new(Note { cause: Some(description.to_owned()), ..Note::default() }),
        }
    }

    pub(super) fn code(&self) -> &'static str {
        self.code.as_str()
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
    pub(super) fn invalid_client(client: Option<String>, cause: String) -> Self {
        let mut failure = Self::new(StatusCode::UNAUTHORIZED, ErrorCode::InvalidClient, "The client could not be authenticated.");
        failure.note = Box::new(Note { client, cause: Some(cause), ..Note::default() });
        failure
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
        Self { status, code, description: None, retry_after, note: Box::new(Note { cause: Some(fault.cause), ..Note::default() }) }
    }

    /// The failure of an authentication.
    pub(super) fn of_authentication(error: AuthenticationError, credentials: &Credentials) -> Self {
        match error {
            AuthenticationError::Rejected(cause) => {
                let mistake = credentials.mistake().map(|mistake| format!(": {mistake}")).unwrap_or_default();
                Self::invalid_client(Some(credentials.to_string()), format!("{cause}{mistake}"))
            }
            AuthenticationError::Limited(limited) => {
                let mut failure = Self::limited(limited.0);
                failure.note.client = Some(credentials.to_string());
                failure
            }
            AuthenticationError::Fault(error) => Self::of(error.into()),
        }
    }

    /// Too many failed attempts (RFC 6585 section 4). OAuth has no error code for it.
    fn limited(wait: Duration) -> Self {
        let description = "Too many failed attempts. Wait as long as Retry-After says.";
        let mut failure = Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TemporarilyUnavailable, description);
        failure.retry_after = Some(wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX));
        failure
    }

    /// Adds what is known so far for the log.
    pub(super) fn with_note(mut self, note: Note) -> Self {
        let misplaced_secret = self.note.misplaced_secret.or(note.misplaced_secret);
        self.note = Box::new(Note { cause: self.note.cause, misplaced_secret, ..note });
        self
    }

    /// Adds the part of the request that contained a secret by mistake.
    pub(super) fn misplaced_secret(mut self, place: Option<RequestPart>) -> Self {
        self.note.misplaced_secret = self.note.misplaced_secret.or(place);
        self
    }

    /// Adds a cause, for the log only.
    pub(super) fn with_cause(mut self, cause: String) -> Self {
        self.note.cause = Some(cause);
        self
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
        response.extensions_mut().insert(*self.note);
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
    Failure::new(StatusCode::NOT_FOUND, ErrorCode::InvalidRequest, "There is nothing at this path.")
}

pub(super) async fn not_found(State(app): State<Arc<App>>, uri: Uri) -> Failure {
    let failure = nothing_here();
    let path = app.issuer.issuer.path();
    if !path.is_empty() && ROUTES.iter().any(|route| route.path == uri.path()) {
        return failure.with_cause(format!("the issuer's path {path} is missing before this path; does a proxy remove it?"));
    }
    failure
}

pub(super) async fn method_not_allowed() -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::InvalidRequest, "This path does not support this method.")
}
