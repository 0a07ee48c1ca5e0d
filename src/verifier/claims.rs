//! The claims of a token, read once from the signed bytes.

use std::{borrow::Cow, collections::HashMap, fmt};

use serde::{
    Deserialize,
    de::{DeserializeOwned, Error as _, MapAccess},
};

use serde_json::value::RawValue;

use super::{Error, status_lists::StatusClaim};
use crate::jwt::{Members, Unwanted, next};

/// The claims of a checked token. Only a [`Verifier`](super::Verifier) creates them.
#[derive(Clone)]
pub struct Claims {
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) client_id: String,
    pub(super) token_id: String,
    pub(super) issued_at: i64,
    pub(super) expires_at: i64,
    pub(super) accepted_until: i64,
    /// Empty if the token has no scope.
    pub(super) scope: String,
    /// The payload as it was signed, for [`custom`](Self::custom).
    pub(super) payload: Vec<u8>,
}

/// Leaves out the API's own claims, which may be personal data.
impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { issuer, subject, client_id, token_id, issued_at, expires_at, accepted_until: _, scope, payload: _ } = self;
        f.debug_struct("Claims")
            .field("issuer", issuer)
            .field("subject", subject)
            .field("client_id", client_id)
            .field("token_id", token_id)
            .field("issued_at", issued_at)
            .field("expires_at", expires_at)
            .field("scope", scope)
            .finish_non_exhaustive()
    }
}

impl Claims {
    /// The issuer of the token.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The subject: the client id of an app, or the UUID of a user. Unique only together with the issuer.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The app that requested the token.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Whether the token was issued for a user rather than for the app itself. This holds for Sealwright's tokens, where the subject of a
    /// client's own token is the client. Other issuers may differ.
    #[must_use]
    pub fn is_for_user(&self) -> bool {
        self.subject != self.client_id
    }

    /// The unique id of the token.
    #[must_use]
    pub fn token_id(&self) -> &str {
        &self.token_id
    }

    /// When the token was issued, in seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn issued_at(&self) -> i64 {
        self.issued_at
    }

    /// When the token expires, in seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn expires_at(&self) -> i64 {
        self.expires_at
    }

    /// From when on the verifier would refuse the token, in seconds since 1970-01-01T00:00:00Z: its expiry, and the leeway. What goes on for
    /// longer than a request, such as a WebSocket, should end then.
    #[must_use]
    pub const fn accepted_until(&self) -> i64 {
        self.accepted_until
    }

    /// The scope tokens: the texts between single spaces (RFC 6749 section 3.3).
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.scope.split(' ').filter(|token| !token.is_empty())
    }

    /// Whether the scope contains exactly this scope token.
    #[must_use]
    pub fn has_scope(&self, token: &str) -> bool {
        contains_scope(&self.scope, token)
    }

    /// Requires a scope token.
    ///
    /// # Errors
    ///
    /// [`Error::InsufficientScope`] if the scope does not contain it.
    pub fn require_scope(&self, token: &str) -> Result<(), Error> {
        if self.has_scope(token) { Ok(()) } else { Err(Error::InsufficientScope(token.to_owned())) }
    }

    /// One claim, read as `T`: what the issuer says of the caller beyond the scope, such as a user's roles. `None` if the token does not have
    /// it.
    ///
    /// ```
    /// # use sealwright::verifier::{Claims, Error};
    /// fn is_support(claims: &Claims) -> Result<bool, Error> {
    ///     let roles: Option<Vec<String>> = claims.get("roles")?;
    ///     Ok(roles.unwrap_or_default().iter().any(|role| role == "support"))
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::BadClaim`] if the claim has another type.
    pub fn get<T: DeserializeOwned>(&self, name: &'static str) -> Result<Option<T>, Error> {
        let bad = |_| Error::BadClaim(name);
        let all: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(&self.payload).map_err(bad)?;
        all.get(name).map(|value| serde_json::from_str(value.get())).transpose().map_err(bad)
    }

    /// The claims as your own type, from the signed bytes.
    ///
    /// # Errors
    ///
    /// [`Error::BadClaim`] if a claim that the type needs is missing or has another type.
    pub fn custom<C: DeserializeOwned>(&self) -> Result<C, Error> {
        serde_json::from_slice(&self.payload).map_err(|_| Error::BadClaim("of this API's own"))
    }
}

/// Whether `scope` contains this token between single spaces. The empty text is not a token.
pub(super) fn contains_scope(scope: &str, token: &str) -> bool {
    !token.is_empty() && scope.split(' ').any(|granted| granted == token)
}

/// The claims as they were read, before any check. A claim may be absent, but a claim of the wrong type fails the reading.
#[derive(Debug, Default)]
pub(super) struct UncheckedClaims {
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
    pub(super) status: Option<StatusClaim>,
}

/// One audience or several (RFC 7519 section 4.1.3).
#[derive(Debug, Deserialize)]
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

impl Members for UncheckedClaims {
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
            "status" => self.status = Some(StatusClaim(next(map)?)),
            "cnf" => {
                self.has_cnf = true;
                map.next_value::<Unwanted>()?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// A NumericDate (RFC 7519 section 2), restricted to whole seconds from 1970 on.
fn next_time<'de, A: MapAccess<'de>>(map: &mut A) -> Result<i64, A::Error> {
    let seconds: i64 = map.next_value()?;
    if seconds < 0 { Err(A::Error::custom("a time before 1970")) } else { Ok(seconds) }
}
