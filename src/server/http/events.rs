//! What came of a request, and which security event that is.

use crate::server::telemetry::Noise;

/// The endpoints whose requests are security events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Token,
    Revocation,
    Introspection,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// There is no such path or method.
    NotFound,
    Refused,
    /// Refused because too many attempts had failed.
    Limited,
    /// The caller disconnected before there was an answer.
    Abandoned,
    /// A fault of this server.
    Failed,
}

impl Endpoint {
    pub(super) const ALL: [Self; 3] = [Self::Token, Self::Revocation, Self::Introspection];

    /// The name of the event that a request to this endpoint is.
    pub(super) const fn event(self, outcome: Outcome) -> &'static str {
        match (outcome, self) {
            (Outcome::Done, Self::Token) => "token.issued",
            (Outcome::Done, Self::Revocation) => "token.revoked",
            (Outcome::Done, Self::Introspection) => "token.introspected",
            (Outcome::NotFound | Outcome::Refused, Self::Token) => "token.refused",
            (Outcome::NotFound | Outcome::Refused, Self::Revocation) => "revocation.refused",
            (Outcome::NotFound | Outcome::Refused, Self::Introspection) => "introspection.refused",
            (Outcome::Limited, _) => "attempt.limited",
            (Outcome::Abandoned, _) => "request.abandoned",
            (Outcome::Failed, _) => "request.failed",
        }
    }
}

impl Outcome {
    /// The outcome of a request that a handler answered without a failure. Its status says how: not being ready is an answer too.
    pub(super) const fn of_answer(status: u16) -> Self {
        match status {
            ..400 => Self::Done,
            400..500 => Self::Refused,
            _ => Self::Failed,
        }
    }

    /// Its name in the log.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "ok",
            Self::NotFound | Self::Refused | Self::Limited => "refused",
            Self::Abandoned => "abandoned",
            Self::Failed => "failed",
        }
    }

    /// The kind of its log line if unauthenticated callers can cause it at will.
    pub(super) const fn noise(self, endpoint: Option<Endpoint>) -> Option<Noise> {
        match (self, endpoint) {
            (Self::Done, Some(_)) => None,
            (Self::Done, None) => Some(Noise::Served),
            (Self::NotFound, _) => Some(Noise::NotFound),
            (Self::Refused, _) => Some(Noise::Refused),
            (Self::Limited, _) => Some(Noise::Limited),
            (Self::Abandoned, _) => Some(Noise::Abandoned),
            (Self::Failed, _) => Some(Noise::Failed),
        }
    }
}
