//! Every reason to refuse a token.

use std::time::Duration;

/// Why a token is refused: the first reason that is met, and never the token itself.
///
/// ```
/// use sealwright::verifier::Error;
///
/// assert_eq!((Error::Expired.code(), Error::Expired.status()), ("expired", 401));
/// let challenge = r#"Bearer error="invalid_token", error_description="the token has expired""#;
/// assert_eq!(Error::Expired.challenge().as_deref(), Some(challenge));
/// ```
///
/// What the caller should do: with a 401, get a new token, once; with a 403, ask for the scope; with a 503, keep the token and
/// come back later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Longer than a token or its header may be. The caller sends something else than an access token.
    #[error("the token is longer than a token may be")]
    TooLarge,
    /// Not a signed JWT in compact form (RFC 7515 section 7.1) with a JSON object in each part, or with a claim of the wrong type,
    /// or with a member twice.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// Signed by an algorithm that this API does not take, or by none.
    #[error("the token's algorithm is not one that this API takes")]
    AlgorithmNotAllowed,
    /// It asks for an extension that must be understood (RFC 7515 section 4.1.11), and none is.
    #[error("the token's header asks for an extension that this API does not know")]
    Critical,
    /// Another kind of JWT, such as an ID token: not `at+jwt` (RFC 9068 section 2.1).
    #[error("the token is not an access token")]
    WrongType,
    /// Signed by a key that the issuer does not publish.
    #[error("the token was signed by a key that its issuer does not publish")]
    UnknownKey,
    /// Signed by somebody else, or changed since.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// A claim that every access token has (RFC 9068 section 2.2) is not there.
    #[error("the token has no claim {0}")]
    MissingClaim(&'static str),
    /// A claim that every access token has is empty, or one that this API asked for itself is not what it needs.
    #[error("the token's claim {0} is not what it should be")]
    BadClaim(&'static str),
    /// Issued by another issuer.
    #[error("the token was issued by another issuer")]
    WrongIssuer,
    /// For another API.
    #[error("the token is for another API")]
    WrongAudience,
    /// Its time is over. The client gets a new one.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come: a clock is wrong.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Bound to a key that its sender must prove to have (RFC 7800), which this API does not check.
    #[error("the token is bound to a key, which this API does not check")]
    BindingRequired,
    /// Genuine, and not enough for what was asked: it lacks one of these scope tokens, with a space between two of them.
    #[error("the token does not carry the scope that is needed")]
    InsufficientScope(String),
    /// Genuine, and for another kind of caller: an app where a user is needed, or a user where an app is. Its scope is not what is missing.
    #[error("the token speaks for an app where a user is needed, or for a user where an app is")]
    WrongCaller,
    /// Nobody can say whether the token is good: the issuer's keys could not be fetched, or are too old to be trusted. Not the
    /// caller's fault, so never a 401: it would throw a good token away.
    #[error("the issuer's keys are not available")]
    KeysUnavailable {
        /// After how long they are asked for again; at least a second.
        retry_after: Duration,
    },
    /// The request has no token, where one is needed.
    #[error("the request carries no token")]
    NoToken,
    /// The request carries a token in a way that can be read in two ways, or in none.
    #[error("{0}")]
    BadRequest(&'static str),
    /// A handler asks for the token on a route that [`Verifier::layer`](super::Verifier::layer) does not cover: the API's own fault.
    #[error("a handler asks for a token that no layer has checked")]
    NotLayered,
}

impl Error {
    /// Every [`code`](Self::code), for who sets up a counter for each.
    pub const CODES: [&str; 20] = [
        "too_large",
        "malformed",
        "algorithm_not_allowed",
        "critical",
        "wrong_type",
        "unknown_key",
        "bad_signature",
        "missing_claim",
        "bad_claim",
        "wrong_issuer",
        "wrong_audience",
        "expired",
        "not_yet_valid",
        "binding_required",
        "insufficient_scope",
        "wrong_caller",
        "keys_unavailable",
        "no_token",
        "bad_request",
        "not_layered",
    ];

    /// A word that never changes, for metrics and logs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Malformed(_) => "malformed",
            Self::AlgorithmNotAllowed => "algorithm_not_allowed",
            Self::Critical => "critical",
            Self::WrongType => "wrong_type",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::MissingClaim(_) => "missing_claim",
            Self::BadClaim(_) => "bad_claim",
            Self::WrongIssuer => "wrong_issuer",
            Self::WrongAudience => "wrong_audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::BindingRequired => "binding_required",
            Self::InsufficientScope(_) => "insufficient_scope",
            Self::WrongCaller => "wrong_caller",
            Self::KeysUnavailable { .. } => "keys_unavailable",
            Self::NoToken => "no_token",
            Self::BadRequest(_) => "bad_request",
            Self::NotLayered => "not_layered",
        }
    }

    /// The status of the HTTP answer: 401, 400 when it cannot be read, 403 when it is good and not enough (RFC 6750 section 3.1), 503
    /// when the keys are, 500 when no layer was there to check.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::InsufficientScope(_) | Self::WrongCaller => 403,
            Self::KeysUnavailable { .. } => 503,
            Self::BadRequest(_) => 400,
            Self::NotLayered => 500,
            _ => 401,
        }
    }

    /// For `Retry-After` (RFC 9110 section 10.2.3) with a 503; none with any other status.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::KeysUnavailable { retry_after } => Some(*retry_after),
            _ => None,
        }
    }
}

/// Why a verifier is not built: it could not check anything right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The issuer is no issuer identifier.
    #[error("{0}; give the `issuer` of the server's metadata, byte by byte")]
    Issuer(#[source] crate::protocol::Malformed),
    /// No audience: every token of the issuer would be taken, also one for another API.
    #[error("no audience was given: name this API as the issuer does, by `.audience(\"https://orders.example\")`")]
    NoAudience,
    /// An algorithm whose keys are shared between those who sign and those who check.
    #[error("{0} is not an algorithm by which this API can check tokens: take RS256, RS384, RS512, PS256, ES256 or EdDSA")]
    Algorithm(String),
    /// A scope that no token can carry.
    #[error("{0}; require one scope token at a time")]
    Scope(#[source] crate::protocol::Malformed),
    /// No algorithm at all.
    #[error("no algorithm was given: leave `.algorithms(..)` out for RS256")]
    NoAlgorithm,
    /// A leeway that would keep expired tokens alive.
    #[error("a leeway of {0} s is too long: at most 300 s make up for clocks that differ")]
    Leeway(u64),
    /// An address of the keys at which anybody could answer.
    #[error("{0:?} is no address for the issuer's keys: it is an https URL (http for loopback addresses, when the issuer's is as well)")]
    JwksUri(String),
    /// A file of keys that cannot be read.
    #[error("the keys cannot be read from {path}: {why}")]
    KeysFile {
        /// The file's path.
        path: String,
        /// What the operating system said.
        why: String,
    },
    /// A time for fetching keys that gives up at once, or never.
    #[error("{0} ms is no time for fetching keys: take 1 to 60 s, by `.fetch_timeout(..)`")]
    FetchTimeout(u128),
    /// No verifier at all to choose from.
    #[error("no verifier was given: pass at least one to `any_of`")]
    NoIssuer,
    /// Two verifiers for one issuer: nobody could say which of them judges its tokens.
    #[error("two verifiers are for the issuer {0}: give one, with what both need")]
    IssuerTwice(String),
    /// A document that is no JWK set.
    #[error("the keys are no JWK set (RFC 7517 section 5): {0}")]
    NotAKeySet(&'static str),
    /// A JWK set of which no key can check tokens.
    #[error("none of the keys can be used: {0}")]
    NoUsableKey(String),
}
