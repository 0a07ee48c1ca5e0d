//! The reasons to refuse a token.

use std::{fmt, time::Duration};

use strum::{IntoStaticStr, VariantNames};

use super::Revocation;
use crate::{
    jwt::{self, NotAKeySet},
    protocol::Algorithm,
};

/// Why a token is refused: the first check that failed. It never contains the token itself.
///
/// ```
/// use sealwright::verifier::Error;
///
/// assert_eq!((Error::Expired.code(), Error::Expired.status()), ("expired", 401));
/// let challenge = r#"Bearer error="invalid_token", error_description="the token has expired""#;
/// assert_eq!(Error::Expired.challenge().as_deref(), Some(challenge));
/// ```
///
/// What the caller should do: after a 401, get a new token, once; after a 403, request the scope; after a 503, keep the token and
/// try again later.
///
/// `Debug` prints the same sentence as `Display`, and the missing scope or the cause if there is one, so that a `main` that returns it prints a
/// readable message.
#[derive(Clone, PartialEq, Eq, thiserror::Error, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum Error {
    /// The token or its header exceeds the maximum size. The caller probably sends something other than an access token.
    #[error("the token is longer than this API allows")]
    TooLarge,
    /// The token is not a signed JWT in compact form (RFC 7515 section 7.1) with a JSON object in each part, or has a claim of the wrong type
    /// or a duplicate member.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// The token names an algorithm that this API does not accept, or none. It contains the algorithm if it is one of those that
    /// [`Builder::algorithms`](super::Builder::algorithms) can allow: the issuer may sign with it.
    #[error("{}", algorithm_not_allowed(*.0))]
    AlgorithmNotAllowed(Option<Algorithm>),
    /// The header requires an extension (RFC 7515 section 4.1.11). None is supported.
    #[error("the token's header requires an extension that this API does not support")]
    Critical,
    /// The token is another kind of JWT, such as an ID token: its type is not `at+jwt` (RFC 9068 section 2.1).
    #[error("the token is not an access token")]
    WrongType,
    /// The token is signed by a key that the issuer does not publish.
    #[error("the token was signed by a key that its issuer does not publish")]
    UnknownKey,
    /// The token was signed with another key, or changed after signing.
    #[error("the token's signature is invalid")]
    BadSignature,
    /// A required claim is missing (RFC 9068 section 2.2).
    #[error("the token has no claim {0}")]
    MissingClaim(&'static str),
    /// A required claim is empty, or a claim of the API's own does not have the type that it needs.
    #[error("the token's claim {0} is invalid")]
    BadClaim(&'static str),
    /// The token comes from another issuer.
    #[error("the token was issued by another issuer")]
    WrongIssuer,
    /// The token is for another API.
    #[error("the token is for another API")]
    WrongAudience,
    /// The token has expired. The client should get a new one.
    #[error("the token has expired")]
    Expired,
    /// The token is valid only later: a clock is wrong.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The token is bound to a key that its sender must prove to have (RFC 7800), which this API does not check.
    #[error("the token is bound to a key, which this API does not check")]
    BindingRequired,
    /// The token is valid, but lacks one of these scope tokens (separated by spaces).
    #[error("the token does not have the required scope")]
    InsufficientScope(String),
    /// The token is valid, but for another kind of caller: for an app where a user is required, or for a user where an app is. Another scope
    /// would not help.
    #[error("the token is for an app where a user is required, or for a user where an app is required")]
    WrongCaller,
    /// The token is valid, but for another user than the one that the request is about. The verifier does not know whose data a request is about, so
    /// it never returns this: `sealwright guard` does, and so may a handler.
    #[error("the token is for another user than the owner of what is requested")]
    NotOwner,
    /// It is unknown whether the token is valid: the issuer's keys could not be fetched, or are too old to be trusted. The caller is not at
    /// fault, so this is never a 401, which would make it discard a valid token.
    #[error("the issuer's keys are not available")]
    KeysUnavailable {
        /// The time until the keys are fetched again; at least a second.
        retry_after: Duration,
        /// Why the last attempt to fetch them failed: for the log, not for the caller. Also the [`source`](std::error::Error::source).
        #[source]
        cause: Option<KeyFetchError>,
    },
    /// The issuer has revoked the token: the client, the user or an operator asked for it, or lost the permission. The client should get a new one.
    #[error("the token was revoked")]
    Revoked,
    /// It cannot be looked up whether the token was revoked, and the token is at fault: its claim `status` is malformed, its status list does not
    /// lie below its issuer, is gone, or does not have its position. A list is gone when the issuer has answered for a minute that there is none, until it
    /// can be fetched again. Also, with
    /// [`Revocation::Strict`](super::Revocation::Strict), a token that names no status list. By default, a claim that is not about a status list of
    /// the issuer does not refuse the token: see [`Builder::revocation`](super::Builder::revocation).
    #[error("it cannot be looked up whether the token was revoked: {0}")]
    BadStatus(&'static str),
    /// It is unknown whether the token was revoked: its status list could not be fetched, is too old to be trusted, or, where no fresh one is held, has been
    /// missing for less than a minute. The caller is not at fault.
    #[error("the issuer's list of revoked tokens is not available")]
    StatusUnavailable {
        /// The time until the list is fetched again; at least a second.
        retry_after: Duration,
        /// Why it is not available, such as the error of the last attempt to fetch it: for the log, not for the caller. Also the
        /// [`source`](std::error::Error::source).
        #[source]
        cause: Option<StatusFetchError>,
    },
    /// The request has no token.
    #[error("the request has no token")]
    NoToken,
    /// The `Authorization` header is ambiguous or malformed.
    #[error("{0}")]
    BadRequest(&'static str),
    /// A handler takes a [`Token`](super::Token) on a route that [`Verifier::layer`](super::Verifier::layer) does not cover. This is a mistake in
    /// the API itself.
    #[error(
        "a handler takes a `Token` on a route without the layer: add the route to the router before `.layer(verifier.layer())`, because a layer covers only the routes that were added before it"
    )]
    NotLayered,
}

impl Error {
    /// Every [`code`](Self::code), for a counter per code.
    pub const CODES: &'static [&'static str] = Self::VARIANTS;

    /// A stable name, for metrics and logs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.into()
    }

    /// The status of the HTTP answer: 401 for an invalid token, 400 for a malformed header, 403 for a valid token that is not sufficient (RFC 6750
    /// section 3.1), 503 if the keys or the status list are unavailable, 500 for a route without the layer.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::InsufficientScope(_) | Self::WrongCaller | Self::NotOwner => 403,
            Self::KeysUnavailable { .. } | Self::StatusUnavailable { .. } => 503,
            Self::BadRequest(_) => 400,
            Self::NotLayered => 500,
            _ => 401,
        }
    }

    /// The value of `Retry-After` (RFC 9110 section 10.2.3) for a 503; `None` for any other status.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::KeysUnavailable { retry_after, .. } | Self::StatusUnavailable { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }
}

/// The text for the caller and for the operator of the API. A name that is not of a supported algorithm is not repeated: a caller chose that text.
fn algorithm_not_allowed(named: Option<Algorithm>) -> String {
    match named {
        Some(named) => format!(
            "this API does not accept tokens signed with {named}; if its issuer signs with that, add it to the verifier's `.algorithms(..)`"
        ),
        None => "this API does not accept the token's algorithm".to_owned(),
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeysUnavailable { cause: Some(cause), .. } => write!(f, "{self}: {cause}"),
            Self::StatusUnavailable { cause: Some(cause), .. } => write!(f, "{self}: {cause}"),
            // An API may require any text as a scope.
            Self::InsufficientScope(scope) => write!(f, "{self}: {}", scope.escape_debug()),
            _ => fmt::Display::fmt(self, f),
        }
    }
}

impl From<jwt::Error> for Error {
    fn from(error: jwt::Error) -> Self {
        match error {
            jwt::Error::TooLarge => Self::TooLarge,
            jwt::Error::Malformed(why) => Self::Malformed(why),
            jwt::Error::AlgorithmNotAllowed(named) => Self::AlgorithmNotAllowed(named),
            jwt::Error::Critical => Self::Critical,
            jwt::Error::WrongType => Self::WrongType,
            jwt::Error::UnknownKey => Self::UnknownKey,
            jwt::Error::BadSignature => Self::BadSignature,
        }
    }
}

/// Why the last attempt to fetch an issuer's keys failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyFetchError(pub(super) String);

/// Why a status list is not available.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StatusFetchError(pub(super) String);

/// Why a verifier cannot be built: it could not check tokens correctly.
///
/// `Debug` prints the same sentence as `Display`.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The issuer is not a valid issuer identifier.
    #[error("{0}; use exactly the `issuer` of the server's metadata")]
    Issuer(#[source] crate::protocol::Malformed),
    /// No audience was given: tokens for other APIs would be accepted.
    #[error("no audience was given: add `.audience(\"https://orders.example\")`, with the name of this API at the issuer")]
    NoAudience,
    /// The algorithm is unknown, or uses keys that are shared between signer and verifier.
    #[error("{0} is not a supported algorithm: use RS256, RS384, RS512, PS256, ES256 or Ed25519")]
    Algorithm(String),
    /// A required scope token is invalid.
    #[error("{0}; require one scope token per call")]
    Scope(#[source] crate::protocol::Malformed),
    /// The list of algorithms is empty.
    #[error("no algorithm was given: leave `.algorithms(..)` out for RS256")]
    NoAlgorithm,
    /// The leeway would accept tokens long after they expire.
    #[error("a leeway of {0} s is too long: the maximum is 300 s")]
    Leeway(u64),
    /// The URL of the keys is not secure.
    #[error("{0:?} is not a URL for the issuer's keys: use https (http is allowed for loopback addresses, if the issuer's URL is one too)")]
    JwksUri(String),
    /// The file of keys cannot be read.
    #[error("the keys cannot be read from {path}: {reason}")]
    KeysFile {
        /// The file's path.
        path: String,
        /// The error of the operating system.
        reason: String,
    },
    /// The time limit for fetching keys is out of range.
    #[error("{0} ms is not a valid time limit for fetching keys: set 1 to 60 s with `.fetch_timeout(..)`")]
    FetchTimeout(u128),
    /// The name of the verifier could not be sent, or could be mistaken for something else.
    #[error("{0}; use the name of this API, such as orders-api")]
    Name(#[source] crate::protocol::Malformed),
    /// Status lists cannot be looked up with keys that were given.
    #[error(
        "revocation cannot be {0} with keys that were given, because nothing is fetched from the issuer: leave `.keys(..)` and `.keys_file(..)` out, or set `.revocation(Revocation::Off)`"
    )]
    RevocationWithGivenKeys(Revocation),
    /// The time for which status lists are used was set, and the mode does not use it.
    #[error(
        "with revocation {0}, no status list is used beyond its time: leave `.revocation_max_stale(..)` out; it is for `Revocation::Lenient`, with keys that are fetched"
    )]
    RevocationMaxStale(Revocation),
    /// `any_of` got no verifier.
    #[error("no verifier was given: pass at least one to `any_of`")]
    NoIssuer,
    /// Two verifiers are for the same issuer, so it is ambiguous which one checks its tokens.
    #[error("two verifiers are for the issuer {0}: combine their settings in one")]
    DuplicateIssuer(String),
    /// The document is not a JWK set.
    #[error("the keys are not a JWK set (RFC 7517 section 5): {0}")]
    NotAKeySet(&'static str),
    /// The JWK set contains no usable key.
    #[error("none of the keys can be used: {0}")]
    NoUsableKey(String),
}

impl From<NotAKeySet> for BuildError {
    fn from(NotAKeySet(why): NotAKeySet) -> Self {
        Self::NotAKeySet(why)
    }
}

impl fmt::Debug for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
