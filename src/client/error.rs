//! Errors of the client, and the party that can fix each.

use std::{fmt, sync::Arc, time::Duration};

/// Why there is no token, or no answer from the API. The message says what to do, and never contains a secret or a token.
///
/// `Debug` prints the same sentence as `Display`, so that a `main` that returns it prints a readable message.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The app's secret cannot be read.
    #[error("the secret cannot be read ({0}): make it available and readable to this app")]
    Secret(String),
    /// The app's private key cannot be read or used.
    #[error("the private key cannot be used ({0}): make it available and readable to this app, as PEM without a passphrase")]
    PrivateKey(String),
    /// No complete answer arrived from the issuer.
    #[error("the issuer cannot be reached ({reason}): check that it runs, and the network between it and this app")]
    Unreachable {
        /// What went wrong.
        reason: String,
        /// The time until the next attempt.
        retry_after: Duration,
    },
    /// The issuer reported a fault of its own (5xx).
    #[error("the issuer cannot answer now ({reason}): its log shows its operator the cause; this app is not at fault")]
    Unavailable {
        /// The status of the answer, and the URL.
        reason: String,
        /// The time until the next attempt.
        retry_after: Duration,
    },
    /// Too many earlier attempts of this client or for this user failed (429). The limit also applies to callers without fault, while
    /// someone else guesses.
    #[error("too many earlier attempts failed: wait, and find out which app or user keeps failing")]
    Limited {
        /// The time until the next attempt.
        retry_after: Duration,
    },
    /// The server at the issuer's URL does not answer as an issuer.
    #[error("the server at the issuer's URL does not answer as an issuer ({0}): check `issuer`, and any proxy between it and this app")]
    NotAnIssuer(String),
    /// The metadata at the issuer's URL names another issuer (RFC 8414 section 3.3).
    #[error(
        "the metadata at the issuer's URL names the issuer {claimed:?}: if that is the right one, set `issuer` to exactly this text; if not, do not trust it"
    )]
    OtherIssuer {
        /// The `issuer` of the metadata.
        claimed: String,
    },
    /// The issuer does not accept this client with this secret (`invalid_client`).
    #[error(
        "the issuer does not accept this client with this secret: ask its operator whether `client_id` exists and is enabled, or for a new secret"
    )]
    WrongSecret,
    /// The issuer does not accept this client with this key (`invalid_client`).
    #[error(
        "the issuer does not accept this client with this key: ask its operator whether `client_id` exists and is enabled, and whether it has the \
         public half of this key; and check the clock of this machine"
    )]
    WrongKey,
    /// The user name or the password is wrong (`invalid_grant` for a password).
    #[error("the user name or the password is wrong, or the user may not sign in: ask the user again")]
    WrongPassword,
    /// The login has ended (`invalid_grant` for a refresh token).
    #[error("the login has ended: the user has to sign in again")]
    LoginEnded,
    /// The issuer refuses the request, for example its scope or its grant type.
    #[error("the issuer refuses the request ({code}: {description}): request what this client may have, or have its operator allow it")]
    Refused {
        /// The error code of RFC 6749 section 5.2.
        code: String,
        /// The issuer's description, at most 255 characters.
        description: String,
    },
    /// There is no tokio runtime to fetch a token in.
    #[error("a token must be fetched, and there is no tokio runtime: call this within one")]
    NoRuntime,
    /// The request to the API failed, or its answer could not be read.
    #[error("the request to the API failed: {}", crate::outbound::error_chain(.0.as_ref()))]
    Api(Arc<reqwest::Error>),
}

/// The party that can fix an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Party {
    /// The operator or author of this app: its settings are wrong, or it lets an attacker guess.
    App,
    /// The operator of the issuer.
    Issuer,
    /// The operator of the network, if anyone: the request is retried automatically.
    Network,
    /// The user, who has to enter something.
    User,
    /// The operator of the API.
    Api,
}

impl Error {
    /// The party that can fix it.
    #[must_use]
    pub fn party(&self) -> Party {
        match self {
            Self::Secret(_) | Self::PrivateKey(_) | Self::NotAnIssuer(_) | Self::OtherIssuer { .. } | Self::Limited { .. } => Party::App,
            Self::WrongSecret | Self::WrongKey | Self::Refused { .. } | Self::Unavailable { .. } => Party::Issuer,
            Self::Unreachable { .. } => Party::Network,
            Self::WrongPassword | Self::LoginEnded => Party::User,
            Self::NoRuntime => Party::App,
            // The request was never sent.
            Self::Api(error) if error.is_builder() => Party::App,
            Self::Api(_) => Party::Api,
        }
    }

    /// The time until the issuer is asked again. Until then this token source returns the same error at once. `None` if the next attempt does
    /// not depend on time alone.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unreachable { retry_after, .. } | Self::Unavailable { retry_after, .. } | Self::Limited { retry_after } => {
                Some(*retry_after)
            }
            _ => None,
        }
    }

    /// The same error with the time that is left until the next attempt.
    pub(super) fn with_retry_after(self, wait: Duration) -> Self {
        match self {
            Self::Unreachable { reason, .. } => Self::Unreachable { reason, retry_after: wait },
            Self::Unavailable { reason, .. } => Self::Unavailable { reason, retry_after: wait },
            Self::Limited { .. } => Self::Limited { retry_after: wait },
            other => other,
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Self {
        Self::Api(Arc::new(error))
    }
}

/// Why a client cannot be built: it could not get a token, or could send it to the wrong party.
///
/// `Debug` prints the same sentence as `Display`.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No issuer was given.
    #[error("no issuer was given: add `.issuer(\"https://auth.example\")`, with the `issuer` of its metadata")]
    NoIssuer,
    /// The issuer is not a valid issuer identifier.
    #[error("{0}; use exactly the `issuer` of the server's metadata")]
    Issuer(#[source] crate::protocol::Malformed),
    /// The client id has a form that no issuer assigns.
    #[error("the client id is empty, longer than 255 characters, or contains control characters: use the one that the issuer assigned")]
    ClientId,
    /// A scope token is invalid.
    #[error("{0}; pass each scope token as an element of its own")]
    Scope(#[source] crate::protocol::Malformed),
    /// The resource is not a valid audience.
    #[error("{0}; use the API's audience as registered at the issuer")]
    Resource(#[source] crate::protocol::Malformed),
    /// No origin was given, so the token would never be attached.
    #[error("no origin was given: add `.attach_to([\"https://orders.example\"])`; the token is sent to no other origin")]
    NoOrigin,
    /// A text is not an origin to which a token may be sent. It is not shown if it contains a user name.
    #[error(
        "{0:?} is not an origin to which a token may be sent: use only https, host and port, such as https://orders.example (http for this machine)"
    )]
    Origin(String),
    /// The time limit for fetching a token is out of range.
    #[error("{0} ms is not a valid time limit for fetching a token: set 1 to 60 s with `.fetch_timeout(..)`")]
    FetchTimeout(u128),
    /// The HTTP client cannot be built.
    #[error("the HTTP client cannot be built ({0}): check the system's trust roots and the settings in `.http(..)`")]
    Http(String),
}

impl fmt::Debug for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_main_that_returns_an_error_prints_a_sentence() {
        assert!(format!("{:?}", Error::WrongSecret).starts_with("the issuer does not accept this client with this secret: "));
        assert!(format!("{:?}", BuildError::NoOrigin).starts_with("no origin was given: "));
        assert!(format!("{:?}", crate::protocol::Malformed { what: "scope", rule: "it must be short" }).starts_with("invalid scope: "));
    }
}
