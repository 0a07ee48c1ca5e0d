//! The one place where an error becomes a response.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::front::Note;
use crate::{
    protocol::ErrorCode,
    server::{
        issuer::{self, Fault, Refusal},
        registry::{self, AuthenticationError, Credentials},
    },
};

/// A request that gets no other answer than why not.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    status: StatusCode,
    code: ErrorCode,
    /// Our own fixed words; `None` where the caller learns no more than whom to ask.
    description: Option<&'static str>,
    note: Note,
}

/// Seconds after which who met a passing trouble may come again.
const RETRY_AFTER: &str = "1";

impl Failure {
    fn new(status: StatusCode, code: ErrorCode, description: &'static str) -> Self {
        Self { status, code, description: Some(description), note: Note { cause: Some(description.to_owned()), ..Note::default() } }
    }

    /// A request that breaks RFC 6749 section 3.2 or 5.2.
    pub(super) fn invalid_request(description: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::InvalidRequest, description)
    }

    pub(super) fn too_large(description: &'static str) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::InvalidRequest, description)
    }

    pub(super) fn too_slow(description: &'static str) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::InvalidRequest, description)
    }

    /// Client authentication that failed. One answer for every cause: who guesses must not learn how close it came.
    pub(super) fn invalid_client(client: Option<String>, cause: String) -> Self {
        let mut failure = Self::new(StatusCode::UNAUTHORIZED, ErrorCode::InvalidClient, "The client could not be authenticated.");
        failure.note = Note { client, cause: Some(cause), grant: None };
        failure
    }

    /// Our fault, and it may pass.
    pub(super) fn unavailable(cause: String) -> Self {
        Self::of(Fault { transient: true, cause })
    }

    /// Our fault.
    pub(super) fn broken(cause: String) -> Self {
        Self::of(Fault { transient: false, cause })
    }

    fn of(fault: Fault) -> Self {
        let (status, code) = match fault.transient {
            true => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::TemporarilyUnavailable),
            false => (StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::ServerError),
        };
        Self { status, code, description: None, note: Note { cause: Some(fault.cause), ..Note::default() } }
    }

    /// Authentication of `credentials` that did not succeed.
    pub(super) fn of_authentication(error: AuthenticationError, credentials: &Credentials) -> Self {
        match error {
            AuthenticationError::Rejected(cause) => Self::invalid_client(Some(credentials.to_string()), cause.to_string()),
            AuthenticationError::Fault(error) => {
                let transient = match &error {
                    registry::Error::Stale(_) => true,
                    registry::Error::Store(error) => error.is_transient(),
                };
                Self::of(Fault { transient, cause: error.to_string() })
            }
        }
    }

    /// The same, with what is known by now for the log.
    pub(super) fn noted(mut self, note: Note) -> Self {
        self.note = Note { cause: self.note.cause, ..note };
        self
    }

    /// The answer that goes out. A fault of ours shows `request_id` and nothing of its cause.
    pub(super) fn render(self, request_id: &str) -> Response {
        let description = match self.description {
            Some(description) => description.to_owned(),
            None if self.code == ErrorCode::TemporarilyUnavailable => {
                format!("The server cannot answer now; try again. Its operator finds this request by its id, {request_id}.")
            }
            None => format!("The server failed. Its operator finds this request by its id, {request_id}."),
        };
        let body = json!({ "error": self.code.as_str(), "error_description": description });
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self.status {
            // RFC 6749 section 5.2, RFC 7617 section 2.
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"sealwright\""));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
            }
            _ => {}
        }
        response.extensions_mut().insert(self.note);
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
            issuer::Error::Fault(fault) => Self::of(fault),
        }
    }
}

impl IntoResponse for Failure {
    /// Travels to `front`, which knows the request's id and renders it.
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self);
        response
    }
}

pub(super) async fn not_found() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, ErrorCode::InvalidRequest, "There is nothing at this path.")
}

pub(super) async fn method_not_allowed() -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::InvalidRequest, "This path does not serve this method.")
}
