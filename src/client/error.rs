//! Why there is no token, and which party has to do what.

use std::{sync::Arc, time::Duration};

/// Why there is no token, or no answer of an API. The text says what to do, and never holds a secret or a token.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The app's own secret cannot be read.
    #[error("the secret cannot be read ({0}): put it there, readable for this app")]
    Secret(String),
    /// No whole answer came from the issuer.
    #[error("the issuer is out of reach ({why}): the network on the way to it, or the issuer itself, has to come back")]
    Unreachable {
        /// What went wrong on the way.
        why: String,
        /// When the next attempt is made.
        retry_after: Duration,
    },
    /// The issuer answered that it cannot serve now (5xx).
    #[error("the issuer cannot serve now ({why}): its operator finds the cause in its log; nothing is wrong with this app")]
    Unavailable {
        /// Which status it answered, and where.
        why: String,
        /// When the next attempt is made.
        retry_after: Duration,
    },
    /// Too many attempts failed, of this client or for this user (429). Who did nothing wrong waits as well: somebody else guesses.
    #[error("too many attempts failed before this one: wait, and find out who keeps failing")]
    Limited {
        /// When the next attempt is made.
        retry_after: Duration,
    },
    /// What answers there is no issuer, or leads elsewhere.
    #[error("what answers at the issuer's address is no issuer ({0}): check `issuer`, and what stands between it and this app")]
    NotAnIssuer(String),
    /// What answers there is another issuer (RFC 8414 section 3.3).
    #[error(
        "at this address the issuer calls itself {told:?}: give `issuer` by that very text if it is the right one; if not, it speaks for another"
    )]
    OtherIssuer {
        /// What it calls itself.
        told: String,
    },
    /// The issuer does not know this client by this secret (`invalid_client`).
    #[error(
        "the issuer does not take this client by this secret: its operator can say whether `client_id` exists and is enabled, and add a secret"
    )]
    WrongSecret,
    /// The user's name or password is wrong (`invalid_grant` for a password).
    #[error("user name or password is wrong, or the user may not sign in: ask the user again")]
    WrongPassword,
    /// The login has ended (`invalid_grant` for a refresh token).
    #[error("the login has ended: the user has to sign in again")]
    LoginEnded,
    /// The issuer refuses what was asked for, such as a scope or a grant.
    #[error("the issuer refuses ({code}: {description}): ask for what this client was given, or have its operator give it")]
    Refused {
        /// The error code of RFC 6749 section 5.2.
        code: String,
        /// What the issuer says of it; at most 255 characters.
        description: String,
    },
    /// There is no tokio runtime to fetch a token in.
    #[error("a token has to be fetched, and there is no tokio runtime to do it in: call this within one")]
    NoRuntime,
    /// The API could not be asked, or its answer not be read.
    #[error("the API could not be asked, or its answer not be read: {}", crate::outbound::all_words(.0.as_ref()))]
    Api(Arc<reqwest::Error>),
}

/// Who has to do something about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Party {
    /// Whoever runs or writes this app: its settings are wrong, or it lets somebody guess.
    App,
    /// Whoever runs the issuer.
    Issuer,
    /// Nobody, or whoever runs the network: it is being tried again.
    Network,
    /// The user, who has to type something.
    User,
    /// Whoever runs the API that was asked.
    Api,
}

impl Error {
    /// Who has to do something about it.
    #[must_use]
    pub fn party(&self) -> Party {
        match self {
            Self::Secret(_) | Self::NotAnIssuer(_) | Self::OtherIssuer { .. } | Self::Limited { .. } => Party::App,
            Self::WrongSecret | Self::Refused { .. } | Self::Unavailable { .. } => Party::Issuer,
            Self::Unreachable { .. } => Party::Network,
            Self::WrongPassword | Self::LoginEnded => Party::User,
            Self::NoRuntime => Party::App,
            // What was never sent.
            Self::Api(error) if error.is_builder() => Party::App,
            Self::Api(_) => Party::Api,
        }
    }

    /// When the issuer is asked again; until then the same error comes at once, from this source of tokens. None: when it is asked does not hang on time alone.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unreachable { retry_after, .. } | Self::Unavailable { retry_after, .. } | Self::Limited { retry_after } => {
                Some(*retry_after)
            }
            _ => None,
        }
    }

    /// The same, of an attempt that was made a while ago.
    pub(super) fn again_after(self, wait: Duration) -> Self {
        match self {
            Self::Unreachable { why, .. } => Self::Unreachable { why, retry_after: wait },
            Self::Unavailable { why, .. } => Self::Unavailable { why, retry_after: wait },
            Self::Limited { .. } => Self::Limited { retry_after: wait },
            other => other,
        }
    }
}

impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Self {
        Self::Api(Arc::new(error))
    }
}

/// Why a client is not built: it could not get a token, or could give it to the wrong party.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No issuer was given.
    #[error("no issuer was given: name it by `.issuer(\"https://auth.example\")`, by the `issuer` of its metadata")]
    NoIssuer,
    /// The issuer is no issuer identifier.
    #[error("{0}; give the `issuer` of the server's metadata, byte by byte")]
    Issuer(#[source] crate::protocol::Malformed),
    /// A client id that no issuer gives.
    #[error("the client id is empty, longer than 255 characters, or holds control characters: give the one that the issuer knows")]
    ClientId,
    /// A scope that cannot be asked for.
    #[error("{0}; give each scope token by itself")]
    Scope(#[source] crate::protocol::Malformed),
    /// A resource that no API is called by.
    #[error("{0}; give the API's audience, as the issuer knows it")]
    Resource(#[source] crate::protocol::Malformed),
    /// No origin: the token would be attached to nothing.
    #[error("no origin was given: name the API by `.attach_to([\"https://orders.example\"])`; no other will ever see the token")]
    NoOrigin,
    /// What should have been an origin; not shown if it holds a user's name.
    #[error(
        "{0:?} is no origin that may see a token: give https, host and port alone, such as https://orders.example (http for this machine)"
    )]
    Origin(String),
    /// A time for fetching a token that gives up at once, or never.
    #[error("{0} ms is no time for fetching a token: take 1 to 60 s, by `.fetch_timeout(..)`")]
    FetchTimeout(u128),
    /// The HTTP client cannot be made.
    #[error("no HTTP client can be made ({0}): see to the machine's trust roots and to what `.http(..)` asks for")]
    Http(String),
}
