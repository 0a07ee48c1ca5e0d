//! What a checked token says, read once from the bytes that were signed.

use std::fmt;

use serde::{
    Deserialize,
    de::{DeserializeOwned, Error as _, MapAccess},
};

use super::{
    Error,
    members::{Members, Unwanted, next},
};

/// What a checked token says. Only a [`Verifier`](super::Verifier) makes one.
#[derive(Clone)]
pub struct Claims {
    pub(super) known: Known,
    pub(super) payload: Vec<u8>,
}

/// Claims of this API's own stay out of logs: they may be anybody's personal data.
impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.known.fmt(f)
    }
}

impl Claims {
    /// Who issued it.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.known.iss.as_deref().unwrap_or_default()
    }

    /// For whom it speaks: the client itself, or a user's UUID. Unique together with the issuer only.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.known.sub.as_deref().unwrap_or_default()
    }

    /// The app that asked for it.
    #[must_use]
    pub fn client_id(&self) -> &str {
        self.known.client_id.as_deref().unwrap_or_default()
    }

    /// Whether a user stands behind it, or the app speaks for itself: in Sealwright's tokens, where a client's own token has the
    /// client as its subject. Another issuer may see it otherwise.
    #[must_use]
    pub fn is_for_user(&self) -> bool {
        self.subject() != self.client_id()
    }

    /// Its unique id.
    #[must_use]
    pub fn token_id(&self) -> &str {
        self.known.jti.as_deref().unwrap_or_default()
    }

    /// When it was issued, in seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn issued_at(&self) -> i64 {
        self.known.iat.unwrap_or_default()
    }

    /// When it ends, in seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn expires_at(&self) -> i64 {
        self.known.exp.unwrap_or_default()
    }

    /// Its scope tokens: what stands between single spaces, and nothing else (RFC 6749 section 3.3).
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.known.scope.as_deref().unwrap_or_default().split(' ').filter(|token| !token.is_empty())
    }

    /// Whether it carries this scope token, to the letter.
    #[must_use]
    pub fn has_scope(&self, token: &str) -> bool {
        carries(self.known.scope.as_deref().unwrap_or_default(), token)
    }

    /// Requires a scope token.
    ///
    /// # Errors
    ///
    /// [`Error::InsufficientScope`] when it is not there.
    pub fn require_scope(&self, token: &str) -> Result<(), Error> {
        if self.has_scope(token) { Ok(()) } else { Err(Error::InsufficientScope(token.to_owned())) }
    }

    /// The claims as a type of your own, from the very bytes that were signed.
    ///
    /// # Errors
    ///
    /// [`Error::BadClaim`] when a claim that the type needs is missing or has another type.
    pub fn custom<C: DeserializeOwned>(&self) -> Result<C, Error> {
        serde_json::from_slice(&self.payload).map_err(|_| Error::BadClaim("of this API's own"))
    }
}

/// Whether `scope` holds this token between single spaces. The empty text is no token.
pub(super) fn carries(scope: &str, token: &str) -> bool {
    !token.is_empty() && scope.split(' ').any(|granted| granted == token)
}

/// The claims that are checked. Absent is not the same as wrong: a wrong type fails the reading.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub(super) iss: Option<String>,
    pub(super) aud: Option<Audiences>,
    pub(super) exp: Option<i64>,
    pub(super) nbf: Option<i64>,
    pub(super) iat: Option<i64>,
    pub(super) sub: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) jti: Option<String>,
    pub(super) scope: Option<String>,
    pub(super) has_cnf: bool,
}

/// One audience or several (RFC 7519 section 4.1.3).
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Audiences {
    One(String),
    Several(Vec<String>),
}

impl Audiences {
    pub(super) fn contains(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Several(several) => several.iter().any(|one| one == audience),
        }
    }
}

impl Members for Known {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        match name {
            "iss" => self.iss = Some(next(map)?),
            "aud" => self.aud = Some(next(map)?),
            "exp" => self.exp = Some(next_time(map)?),
            "nbf" => self.nbf = Some(next_time(map)?),
            "iat" => self.iat = Some(next_time(map)?),
            "sub" => self.sub = Some(next(map)?),
            "client_id" => self.client_id = Some(next(map)?),
            "jti" => self.jti = Some(next(map)?),
            "scope" => self.scope = Some(next(map)?),
            "cnf" => {
                self.has_cnf = true;
                map.next_value::<Unwanted>()?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// A NumericDate (RFC 7519 section 2) as our tokens have it: a whole number of seconds, not before 1970.
fn next_time<'de, A: MapAccess<'de>>(map: &mut A) -> Result<i64, A::Error> {
    let seconds: i64 = map.next_value()?;
    if seconds < 0 { Err(A::Error::custom("a time before 1970")) } else { Ok(seconds) }
}
