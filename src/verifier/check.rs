//! Checks a token at a given time: header, key, signature, claims, in that order. Does no I/O.

use strum::{Display, IntoStaticStr, VariantArray};

use super::{
    Claims, Error,
    claims::{UncheckedClaims, contains_scope},
    status_lists::StatusClaim,
};
use crate::{
    jwt::{self, Accepted, Unverified, VerificationKey, unverified_claims},
    protocol::{AccessTokenClaims, Algorithm, Issuer, ScopeToken},
};

/// `at+jwt`, in any case, with or without its `application/` (RFC 9068 section 2.1).
pub(super) const TYPES: &[Option<&str>] = &[Some(AccessTokenClaims::TYPE)];

/// The requirements on a token. Times in seconds.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    pub(super) issuer: Issuer,
    pub(super) audience: String,
    pub(super) accepted: Accepted,
    pub(super) scopes: Vec<ScopeToken>,
    pub(super) leeway: i64,
}

/// One check of a token. They are made in this order, and the first that fails is the reason for a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Display, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum Check {
    /// The token and its header do not exceed their maximum sizes.
    Size,
    /// The token has three parts, and its header is one JSON object (RFC 7515 section 7.1).
    Form,
    /// This API accepts the algorithm.
    Algorithm,
    /// The header requires no extension (RFC 7515 section 4.1.11).
    Extensions,
    /// The token is an access token (RFC 9068 section 2.1).
    Type,
    /// The issuer publishes the key that the header names.
    Key,
    /// The signature is valid under that key.
    Signature,
    /// The claims are one JSON object with members of the right types.
    Claims,
    /// The issuer is the expected one.
    Issuer,
    /// The audience is this API.
    Audience,
    /// All required claims are present (RFC 9068 section 2.2).
    Required,
    /// The token has not expired.
    Expiry,
    /// The token is valid already.
    Start,
    /// The token is not bound to a key of its sender (RFC 7800).
    Binding,
    /// The scope contains what this API requires of every token.
    Scope,
    /// The issuer has not revoked the token (draft-ietf-oauth-status-list). What that takes depends on
    /// [`Builder::revocation`](super::Builder::revocation).
    Status,
}

impl Check {
    /// Every check, in order.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// A stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The check that a token fails whose header is refused with `error`.
    const fn of_header(error: &jwt::Error) -> Self {
        match error {
            jwt::Error::TooLarge => Self::Size,
            jwt::Error::Malformed(_) => Self::Form,
            jwt::Error::AlgorithmNotAllowed(_) => Self::Algorithm,
            jwt::Error::Critical => Self::Extensions,
            jwt::Error::WrongType => Self::Type,
            jwt::Error::UnknownKey => Self::Key,
            jwt::Error::BadSignature => Self::Signature,
        }
    }
}

/// The issuer that a token names, before the token is checked. Use it only to choose the keys for the check.
pub(super) fn unverified_issuer(token: &str, max_token_len: usize) -> Result<String, Error> {
    unverified_claims::<UncheckedClaims>(token, max_token_len)?.iss.ok_or(Error::MissingClaim("iss"))
}

/// Checks `token` at `now`, in seconds since 1970-01-01T00:00:00Z. `find` returns the issuer's key with a `kid` for an algorithm. `status` looks
/// up whether the token was revoked, after all other checks. Both are called at most once. `passed` is called with each check that the token
/// passes.
pub(super) fn check<'k>(
    token: &str,
    find: impl FnOnce(&str, Algorithm) -> Result<&'k VerificationKey, Error>,
    status: impl FnOnce(Option<StatusClaim>) -> Result<(), Error>,
    expected: &Expected,
    now: i64,
    mut passed: impl FnMut(Check),
) -> Result<Claims, Error> {
    let unverified = Unverified::read(token, &expected.accepted);
    let failed = unverified.as_ref().err().map_or(Check::Key, Check::of_header);
    Check::ALL.iter().copied().take_while(|check| *check < failed).for_each(&mut passed);
    let unverified = unverified?;
    let key = find(unverified.kid()?, unverified.algorithm())?;
    passed(Check::Key);
    let verified = unverified.verify(key)?;
    passed(Check::Signature);
    let (claims, payload) = verified.read()?.into_parts();
    passed(Check::Claims);
    check_claims(claims, payload, status, expected, now, passed)
}

/// Checks the claims. [`Claims`] exist only as its result.
fn check_claims(
    claims: UncheckedClaims,
    payload: Vec<u8>,
    status: impl FnOnce(Option<StatusClaim>) -> Result<(), Error>,
    expected: &Expected,
    now: i64,
    mut passed: impl FnMut(Check),
) -> Result<Claims, Error> {
    let issuer = claims.iss.ok_or(Error::MissingClaim("iss"))?;
    if issuer != expected.issuer.as_str() {
        return Err(Error::WrongIssuer);
    }
    passed(Check::Issuer);
    if !claims.aud.ok_or(Error::MissingClaim("aud"))?.contains(&expected.audience) {
        return Err(Error::WrongAudience);
    }
    passed(Check::Audience);
    let subject = required("sub", claims.sub)?;
    let client_id = required("client_id", claims.client_id)?;
    let token_id = required("jti", claims.jti)?;
    let expires_at = claims.exp.ok_or(Error::MissingClaim("exp"))?;
    let issued_at = claims.iat.ok_or(Error::MissingClaim("iat"))?;
    passed(Check::Required);
    // RFC 7519 section 4.1.4: the token has expired at `exp` itself. The leeway allows for clocks that differ.
    let accepted_until = expires_at.saturating_add(expected.leeway);
    if now >= accepted_until {
        return Err(Error::Expired);
    }
    passed(Check::Expiry);
    let latest = now.saturating_add(expected.leeway);
    if issued_at > latest || claims.nbf.is_some_and(|nbf| nbf > latest) {
        return Err(Error::NotYetValid);
    }
    passed(Check::Start);
    if claims.has_cnf {
        return Err(Error::BindingRequired);
    }
    passed(Check::Binding);
    // RFC 9068 section 2.2.3: a token without a scope grants none.
    let scope = claims.scope.unwrap_or_default();
    if !expected.scopes.iter().all(|needed| contains_scope(&scope, needed.as_str())) {
        return Err(Error::InsufficientScope(expected.scopes.iter().map(ScopeToken::as_str).collect::<Vec<_>>().join(" ")));
    }
    passed(Check::Scope);
    status(claims.status)?;
    passed(Check::Status);
    Ok(Claims { issuer, subject, client_id, token_id, issued_at, expires_at, accepted_until, scope, payload })
}

/// A claim that must be present and not empty.
fn required(name: &'static str, value: Option<String>) -> Result<String, Error> {
    let value = value.ok_or(Error::MissingClaim(name))?;
    if value.is_empty() { Err(Error::BadClaim(name)) } else { Ok(value) }
}
