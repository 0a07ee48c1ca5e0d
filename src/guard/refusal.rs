//! Refused requests, and their answers.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use serde_json::json;

use super::{
    gateway::Undescribed,
    rules::Ambiguous,
    token_headers::{SentByCaller, Unsettable},
};
use crate::{
    proxy::ForwardError,
    server::{caller_text, edge::Exhausted, process::NoAnswer, telemetry::Noise},
    verifier::{self, Claims, Refused},
};

/// Why a request was not admitted, or got no answer from the API.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The verifier refuses the token, or there is none. `no_rule`: another token would not help.
    Token {
        error: verifier::Error,
        no_rule: bool,
    },
    /// The token is valid, and a rule needs more.
    Insufficient(verifier::Error, Box<Claims>),
    /// The token is valid, and no rule is for the request.
    NoRule(Box<Claims>),
    Ambiguous(Ambiguous),
    /// The check does not say what it is about.
    Undescribed(Undescribed),
    SentByCaller(SentByCaller),
    Unsettable(Unsettable),
    /// The memory for unauthenticated requests is used up.
    Exhausted,
    Forward(ForwardError),
    NoAnswer(NoAnswer),
}

/// `Retry-After` for transient failures, in seconds.
const RETRY_AFTER: u64 = 1;

impl Refusal {
    /// Every [`code`](Self::code) that is neither one of the verifier nor one of the API.
    pub(super) const CODES: [&'static str; 8] = [
        "no_rule",
        "ambiguous",
        "gateway_misconfigured",
        "reserved_header",
        "token_too_large",
        "memory_exhausted",
        "took_too_long",
        "panicked",
    ];

    /// Its name in metrics and logs.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Token { error, .. } | Self::Insufficient(error, _) => error.code(),
            Self::NoRule(_) => "no_rule",
            // What is not HTTP comes from the caller, not from the configuration.
            Self::Ambiguous(_) | Self::Undescribed(Undescribed::Invalid) => "ambiguous",
            Self::Undescribed(_) => "gateway_misconfigured",
            Self::SentByCaller(_) => "reserved_header",
            Self::Unsettable(_) => "token_too_large",
            Self::Exhausted => "memory_exhausted",
            Self::Forward(error) => upstream_code(error),
            Self::NoAnswer(NoAnswer::TookTooLong) => "took_too_long",
            Self::NoAnswer(NoAnswer::Panicked(_)) => "panicked",
        }
    }

    /// Its status, whatever a gateway makes of it.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Token { error, .. } | Self::Insufficient(error, _) => of_verifier(error),
            Self::NoRule(_) => StatusCode::FORBIDDEN,
            Self::Ambiguous(_) | Self::SentByCaller(_) | Self::Undescribed(Undescribed::Invalid) => StatusCode::BAD_REQUEST,
            Self::Exhausted | Self::NoAnswer(NoAnswer::TookTooLong) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Forward(error) => error.status(),
            Self::Undescribed(_) | Self::Unsettable(_) | Self::NoAnswer(NoAnswer::Panicked(_)) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The claims of its token, if that was valid.
    pub(super) fn claims(&self) -> Option<&Claims> {
        match self {
            Self::Insufficient(_, claims) | Self::NoRule(claims) => Some(claims.as_ref()),
            _ => None,
        }
    }

    /// The kind of its log line: callers can cause it at will.
    pub(super) fn noise(&self) -> Noise {
        if self.status().is_server_error() { Noise::Failed } else { Noise::Refused }
    }

    /// The cause, for the log.
    pub(super) fn cause(&self) -> String {
        match self {
            // With the scope that is missing, or why the issuer's keys are.
            Self::Token { error, no_rule: false } | Self::Insufficient(error, _) => format!("{error:?}"),
            Self::Token { error, no_rule: true } => format!("{error:?}; and no rule is for this request"),
            Self::NoRule(_) => "no rule is for this request".to_owned(),
            // With the rule, which the caller does not learn.
            Self::Ambiguous(why) => format!("{} ({})", why.cause(), why.code()),
            Self::Undescribed(why) => why.to_string(),
            Self::SentByCaller(why) => why.to_string(),
            Self::Unsettable(why) => why.to_string(),
            Self::Exhausted => "the memory for unauthenticated requests is used up".to_owned(),
            // The text of a library, or of a panic, may repeat its input.
            Self::Forward(error) => caller_text::words(&error.to_string()),
            Self::NoAnswer(NoAnswer::TookTooLong) => "the request took too long".to_owned(),
            Self::NoAnswer(NoAnswer::Panicked(text)) => format!("panic: {}", caller_text::words(text)),
        }
    }

    /// The answer. What is the guard's fault, or the API's, shows `request_id` and not its cause.
    pub(super) fn into_answer(self, request_id: &str, resource_metadata: Option<&Arc<str>>) -> Response {
        let status = self.status();
        let body = json!({ "error": self.error(), "error_description": self.description(request_id) }).to_string();
        let mut answer = match self {
            Self::Token { error, .. } | Self::Insufficient(error, _) => {
                Refused::new(error, resource_metadata.map(Arc::clone), false).into_http()
            }
            _ => Response::new(Body::empty()),
        };
        *answer.status_mut() = status;
        *answer.body_mut() = Body::from(body);
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // The same request may be admitted a moment later, for example with another token.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE && !headers.contains_key(header::RETRY_AFTER) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
        }
        answer
    }

    /// The code in the body: that of RFC 6750 section 3.1 where it has one.
    fn error(&self) -> &'static str {
        match (self, self.status()) {
            (Self::Token { error: verifier::Error::NoToken, .. }, _) => "no_token",
            (Self::NoRule(_), _) => "access_denied",
            (_, StatusCode::UNAUTHORIZED) => "invalid_token",
            (_, StatusCode::FORBIDDEN) => "insufficient_scope",
            (_, StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT) => "temporarily_unavailable",
            (_, status) if status.is_server_error() => "server_error",
            _ => "invalid_request",
        }
    }

    fn description(&self, request_id: &str) -> String {
        let fault = |what: &str| format!("{what} The operator can find this request by its id, {request_id}.");
        match (self, self.status()) {
            (Self::Forward(_), StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT) => fault("The API did not answer."),
            (_, StatusCode::SERVICE_UNAVAILABLE) => fault("The request cannot be checked or forwarded now. Try again."),
            (_, status) if status.is_server_error() => fault("The guard of this API failed."),
            (Self::Token { error, .. } | Self::Insufficient(error, _), _) => sentence(&error.to_string()),
            (Self::Ambiguous(why), _) => sentence(&why.to_string()),
            (Self::Forward(why), _) => sentence(&why.to_string()),
            (Self::NoRule(_), _) => "No rule of this API allows this request.".to_owned(),
            (Self::SentByCaller(_), _) => "The request has a header that only the guard of this API sets.".to_owned(),
            _ => "The request is not valid HTTP.".to_owned(),
        }
    }
}

/// Every name of a failure of the API.
pub(super) const UPSTREAM_CODES: [&str; 6] =
    ["upstream_unreachable", "upstream_timed_out", "upstream_bad_answer", "upstream_bad_request", "caller_stalled", "upstream_full"];

const fn upstream_code(error: &ForwardError) -> &'static str {
    match error {
        ForwardError::Unreachable(_) => UPSTREAM_CODES[0],
        ForwardError::TimedOut => UPSTREAM_CODES[1],
        ForwardError::BadAnswer(_) => UPSTREAM_CODES[2],
        ForwardError::BadRequest(_) => UPSTREAM_CODES[3],
        ForwardError::Stalled => UPSTREAM_CODES[4],
        ForwardError::Full => UPSTREAM_CODES[5],
    }
}

fn of_verifier(error: &verifier::Error) -> StatusCode {
    StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// A text of an error as a sentence.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

impl From<verifier::Error> for Refusal {
    fn from(error: verifier::Error) -> Self {
        Self::Token { error, no_rule: false }
    }
}

impl From<Ambiguous> for Refusal {
    fn from(why: Ambiguous) -> Self {
        Self::Ambiguous(why)
    }
}

impl From<Undescribed> for Refusal {
    fn from(why: Undescribed) -> Self {
        Self::Undescribed(why)
    }
}

impl From<SentByCaller> for Refusal {
    fn from(why: SentByCaller) -> Self {
        Self::SentByCaller(why)
    }
}

impl From<Unsettable> for Refusal {
    fn from(why: Unsettable) -> Self {
        Self::Unsettable(why)
    }
}

impl From<Exhausted> for Refusal {
    fn from(_: Exhausted) -> Self {
        Self::Exhausted
    }
}

impl From<ForwardError> for Refusal {
    fn from(error: ForwardError) -> Self {
        Self::Forward(error)
    }
}

impl From<NoAnswer> for Refusal {
    fn from(why: NoAnswer) -> Self {
        Self::NoAnswer(why)
    }
}
