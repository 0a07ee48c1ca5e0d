//! The check itself, pure: header, key, signature, claims, in that order, at a given time.

use std::fmt;

use aws_lc_rs::signature::ParsedPublicKey;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::de::MapAccess;

use super::{
    Algorithm, Claims, Error,
    claims::{Known, carries},
    members::{self, Members, Unwanted, next},
};
use crate::protocol::{AccessTokenClaims, Issuer, ScopeToken};

/// What a token must be. Sizes in bytes, times in seconds.
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

/// A single check, in the order in which they are made: the first that fails is why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Check {
    /// It, and its header, is no longer than it may be.
    Size,
    /// It has three parts, and its header is one JSON object (RFC 7515 section 7.1).
    Form,
    /// Its algorithm is one that this API takes.
    Algorithm,
    /// It asks for no extension that must be understood (RFC 7515 section 4.1.11).
    Extensions,
    /// It is an access token (RFC 9068 section 2.1).
    Type,
    /// The issuer publishes the key that it names.
    Key,
    /// That key signed it.
    Signature,
    /// Its claims are one JSON object, with members of the right types.
    Claims,
    /// It was issued by the issuer.
    Issuer,
    /// It is for this API.
    Audience,
    /// It has what every access token has (RFC 9068 section 2.2).
    Required,
    /// It has not expired.
    Expiry,
    /// Its time has come.
    Start,
    /// It is bound to no key that its sender would have to prove (RFC 7800).
    Binding,
    /// It carries the scope that this API requires of every token.
    Scope,
}

impl Check {
    /// Every check, in order.
    pub const ALL: [Self; 15] = [
        Self::Size,
        Self::Form,
        Self::Algorithm,
        Self::Extensions,
        Self::Type,
        Self::Key,
        Self::Signature,
        Self::Claims,
        Self::Issuer,
        Self::Audience,
        Self::Required,
        Self::Expiry,
        Self::Start,
        Self::Binding,
        Self::Scope,
    ];

    /// A word that never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Form => "form",
            Self::Algorithm => "algorithm",
            Self::Extensions => "extensions",
            Self::Type => "type",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Required => "required",
            Self::Expiry => "expiry",
            Self::Start => "start",
            Self::Binding => "binding",
            Self::Scope => "scope",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The members of a header that are looked at. Those that would have us fetch a key or trust one (`jku`, `jwk`, `x5u`, `x5c`)
/// are ignored: a key is known by its `kid`, or not at all.
#[derive(Default)]
struct Header {
    alg: Option<String>,
    kid: Option<String>,
    typ: Option<String>,
    asks_more: bool,
}

impl Members for Header {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        match name {
            "alg" => self.alg = Some(next(map)?),
            "kid" => self.kid = Some(next(map)?),
            "typ" => self.typ = Some(next(map)?),
            // RFC 7515 section 4.1.11, RFC 7797, RFC 7516 section 4.1.3: none is known here, whatever its value.
            "crit" | "b64" | "zip" => {
                self.asks_more = true;
                map.next_value::<Unwanted>()?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// A token in its three parts, each still in base64url.
struct Parts<'a> {
    /// What the signature signs: header, dot, payload.
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

fn read_claims(payload: &[u8]) -> Result<Known, Error> {
    members::read(payload).map_err(|_| Error::Malformed("its claims are not an object with unique members of the right types"))
}

/// The issuer that a token names, before anybody knows whether it is genuine: good for choosing whose keys are to judge it, and
/// for nothing else.
pub(super) fn unverified_issuer(token: &str, max_token_len: usize) -> Result<String, Error> {
    if token.len() > max_token_len {
        return Err(Error::TooLarge);
    }
    let parts = Parts::split(token)?;
    read_claims(&decode(parts.payload)?)?.iss.ok_or(Error::MissingClaim("iss"))
}

/// Checks `token` at `now`, in seconds since 1970-01-01T00:00:00Z. `find` gives the issuer's key of a `kid`, if there is one for
/// the algorithm, and is called at most once. Each check that the token passes is told to `passed`.
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
    // RFC 8725 section 3.1: what this API takes, and not what it does not, before any key is looked for.
    let algorithm = header.alg.as_deref().and_then(Algorithm::from_name);
    let algorithm = algorithm.filter(|algorithm| expected.algorithms.contains(algorithm)).ok_or(Error::AlgorithmNotAllowed)?;
    passed(Check::Algorithm);
    if header.asks_more {
        return Err(Error::Critical);
    }
    passed(Check::Extensions);
    if !header.typ.as_deref().is_some_and(is_access_token_type) {
        return Err(Error::WrongType);
    }
    passed(Check::Type);
    let key = find(&header.kid.ok_or(Error::Malformed("its header names no key"))?, algorithm)?;
    passed(Check::Key);
    if parts.signature.is_empty() {
        return Err(Error::Malformed("it has no signature"));
    }
    key.verify_sig(parts.signed.as_bytes(), &decode(parts.signature)?).map_err(|_| Error::BadSignature)?;
    passed(Check::Signature);

    let payload = decode(parts.payload)?;
    let known = read_claims(&payload)?;
    passed(Check::Claims);
    check_claims(&known, expected, now, passed)?;
    Ok(Claims { known, payload })
}

/// `at+jwt`, in any case, with or without its `application/` (RFC 9068 section 2.1, RFC 7515 section 4.1.9).
fn is_access_token_type(typ: &str) -> bool {
    let prefix = typ.get(..12).filter(|prefix| prefix.eq_ignore_ascii_case("application/"));
    typ[prefix.map_or(0, str::len)..].eq_ignore_ascii_case(AccessTokenClaims::TYPE)
}

fn check_claims(known: &Known, expected: &Expected, now: i64, mut passed: impl FnMut(Check)) -> Result<(), Error> {
    let issuer = known.iss.as_deref().ok_or(Error::MissingClaim("iss"))?;
    if issuer != expected.issuer.as_str() {
        return Err(Error::WrongIssuer);
    }
    passed(Check::Issuer);
    let audience = known.aud.as_ref().ok_or(Error::MissingClaim("aud"))?;
    if !audience.contains(&expected.audience) {
        return Err(Error::WrongAudience);
    }
    passed(Check::Audience);
    for (name, value) in [("sub", &known.sub), ("client_id", &known.client_id), ("jti", &known.jti)] {
        if value.as_deref().ok_or(Error::MissingClaim(name))?.is_empty() {
            return Err(Error::BadClaim(name));
        }
    }
    let exp = known.exp.ok_or(Error::MissingClaim("exp"))?;
    let iat = known.iat.ok_or(Error::MissingClaim("iat"))?;
    passed(Check::Required);
    // RFC 7519 section 4.1.4: at `exp` it is over; the leeway makes up for clocks that differ.
    if now >= exp.saturating_add(expected.leeway) {
        return Err(Error::Expired);
    }
    passed(Check::Expiry);
    let latest = now.saturating_add(expected.leeway);
    if iat > latest || known.nbf.is_some_and(|nbf| nbf > latest) {
        return Err(Error::NotYetValid);
    }
    passed(Check::Start);
    if known.has_cnf {
        return Err(Error::BindingRequired);
    }
    passed(Check::Binding);
    let scope = known.scope.as_deref().unwrap_or_default();
    if !expected.scopes.iter().all(|needed| carries(scope, needed.as_str())) {
        return Err(Error::InsufficientScope(expected.scopes.iter().map(ScopeToken::as_str).collect::<Vec<_>>().join(" ")));
    }
    passed(Check::Scope);
    Ok(())
}
