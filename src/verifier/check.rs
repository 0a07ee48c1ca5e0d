//! Checks a token at a given time: header, key, signature, claims, in that order. Does no I/O.

use aws_lc_rs::signature::ParsedPublicKey;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::de::MapAccess;
use strum::{Display, IntoStaticStr, VariantArray};

use super::{
    Algorithm, Claims, Error,
    claims::{UncheckedClaims, contains_scope},
    members::{self, Members, Unwanted, next},
};
use crate::protocol::{AccessTokenClaims, Issuer, ScopeToken};

/// The requirements on a token. Sizes in bytes, times in seconds.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    pub(super) issuer: Issuer,
    pub(super) audience: String,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) scopes: Vec<ScopeToken>,
    pub(super) leeway: i64,
    pub(super) max_token_len: usize,
    pub(super) max_header_len: usize,
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
}

impl Check {
    /// Every check, in order.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// A stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The header members that are read. Members that point to a key or contain one (`jku`, `jwk`, `x5u`, `x5c`)
/// are ignored: a key is identified only by its `kid`.
#[derive(Default)]
struct Header {
    alg: Option<String>,
    kid: Option<String>,
    typ: Option<String>,
    requires_extension: bool,
}

impl Members for Header {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        match name {
            "alg" => self.alg = Some(next(map)?),
            "kid" => self.kid = Some(next(map)?),
            "typ" => self.typ = Some(next(map)?),
            // RFC 7515 section 4.1.11, RFC 7797, RFC 7516 section 4.1.3: no extension is supported, whatever the value.
            "crit" | "b64" | "zip" => {
                self.requires_extension = true;
                map.next_value::<Unwanted>()?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// The three parts of a token, each still in base64url.
struct Parts<'a> {
    /// The signed text: header, dot, payload.
    signed: &'a str,
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Parts<'a> {
    fn split(token: &'a str) -> Result<Self, Error> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Error::Malformed("it does not have three parts"))?;
        let (header, payload) = signed.split_once('.').ok_or(Error::Malformed("it does not have three parts"))?;
        if payload.contains('.') {
            return Err(Error::Malformed("it has more than three parts"));
        }
        Ok(Self { signed, header, payload, signature })
    }
}

fn decode(part: &str) -> Result<Vec<u8>, Error> {
    BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| Error::Malformed("a part is not base64url"))
}

fn read_claims(payload: &[u8]) -> Result<UncheckedClaims, Error> {
    members::read(payload).map_err(|_| Error::Malformed("its claims are not an object with unique members of the right types"))
}

/// The issuer that a token names, before the token is checked. Use it only to choose the keys for the check.
pub(super) fn unverified_issuer(token: &str, max_token_len: usize) -> Result<String, Error> {
    if token.len() > max_token_len {
        return Err(Error::TooLarge);
    }
    let parts = Parts::split(token)?;
    read_claims(&decode(parts.payload)?)?.iss.ok_or(Error::MissingClaim("iss"))
}

/// Checks `token` at `now`, in seconds since 1970-01-01T00:00:00Z. `find` returns the issuer's key with a `kid` for an algorithm, and is called at
/// most once. `passed` is called with each check that the token passes.
pub(super) fn check<'k>(
    token: &str,
    find: impl FnOnce(&str, Algorithm) -> Result<&'k ParsedPublicKey, Error>,
    expected: &Expected,
    now: i64,
    mut passed: impl FnMut(Check),
) -> Result<Claims, Error> {
    if token.len() > expected.max_token_len {
        return Err(Error::TooLarge);
    }
    if token.find('.').unwrap_or(token.len()) > expected.max_header_len {
        return Err(Error::TooLarge);
    }
    passed(Check::Size);

    let parts = Parts::split(token)?;
    let header: Header =
        members::read(&decode(parts.header)?).map_err(|_| Error::Malformed("its header is not an object with unique members"))?;
    passed(Check::Form);
    // RFC 8725 section 3.1: the algorithm is checked against a list, before a key is looked up.
    let algorithm = header.alg.as_deref().and_then(Algorithm::from_name);
    let algorithm = algorithm.filter(|algorithm| expected.algorithms.contains(algorithm)).ok_or(Error::AlgorithmNotAllowed)?;
    passed(Check::Algorithm);
    if header.requires_extension {
        return Err(Error::Critical);
    }
    passed(Check::Extensions);
    if !header.typ.as_deref().is_some_and(is_access_token_type) {
        return Err(Error::WrongType);
    }
    passed(Check::Type);
    let key = find(&header.kid.ok_or(Error::Malformed("its header has no kid"))?, algorithm)?;
    passed(Check::Key);
    if parts.signature.is_empty() {
        return Err(Error::Malformed("it has no signature"));
    }
    key.verify_sig(parts.signed.as_bytes(), &decode(parts.signature)?).map_err(|_| Error::BadSignature)?;
    passed(Check::Signature);

    let payload = decode(parts.payload)?;
    let claims = read_claims(&payload)?;
    passed(Check::Claims);
    check_claims(claims, payload, expected, now, passed)
}

/// `at+jwt`, in any case, with or without its `application/` (RFC 9068 section 2.1, RFC 7515 section 4.1.9).
fn is_access_token_type(typ: &str) -> bool {
    let prefix = typ.get(..12).filter(|prefix| prefix.eq_ignore_ascii_case("application/"));
    typ[prefix.map_or(0, str::len)..].eq_ignore_ascii_case(AccessTokenClaims::TYPE)
}

/// Checks the claims. [`Claims`] exist only as its result.
fn check_claims(
    claims: UncheckedClaims,
    payload: Vec<u8>,
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
    if now >= expires_at.saturating_add(expected.leeway) {
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
    Ok(Claims { issuer, subject, client_id, token_id, issued_at, expires_at, scope, payload })
}

/// A claim that must be present and not empty.
fn required(name: &'static str, value: Option<String>) -> Result<String, Error> {
    let value = value.ok_or(Error::MissingClaim(name))?;
    if value.is_empty() { Err(Error::BadClaim(name)) } else { Ok(value) }
}
