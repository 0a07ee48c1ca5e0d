//! The check itself, pure: header, key, signature, claims, in that order, at a given time.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::de::MapAccess;

use super::{
    Algorithm, Claims, Error,
    claims::{Known, carries},
    members::{self, Members, Unwanted, next},
    signature::KeySet,
};
use crate::protocol::{AccessTokenClaims, ScopeToken};

/// What a token must be. Sizes in bytes, times in seconds.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) scopes: Vec<ScopeToken>,
    pub(super) leeway: i64,
    pub(super) max_token_len: usize,
    pub(super) max_header_len: usize,
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

/// Checks `token` at `now`, in seconds since 1970-01-01T00:00:00Z.
pub(super) fn check(token: &str, keys: &KeySet, expected: &Expected, now: i64) -> Result<Claims, Error> {
    if token.len() > expected.max_token_len {
        return Err(Error::TooLarge);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(Error::Malformed("it does not have three parts"))?;
    let (header, payload) = signed.split_once('.').ok_or(Error::Malformed("it does not have three parts"))?;
    if payload.contains('.') {
        return Err(Error::Malformed("it has more than three parts"));
    }
    if header.len() > expected.max_header_len {
        return Err(Error::TooLarge);
    }
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| Error::Malformed("a part is not base64url"));

    let header: Header =
        members::read(&decode(header)?).map_err(|_| Error::Malformed("its header is not an object with unique members"))?;
    // RFC 8725 section 3.1: what this API takes, and not what it does not, before any key is looked for.
    let algorithm = header.alg.as_deref().and_then(Algorithm::from_name);
    let algorithm = algorithm.filter(|algorithm| expected.algorithms.contains(algorithm)).ok_or(Error::AlgorithmNotAllowed)?;
    if signature.is_empty() {
        return Err(Error::Malformed("it has no signature"));
    }
    if header.asks_more {
        return Err(Error::Critical);
    }
    if !header.typ.as_deref().is_some_and(is_access_token_type) {
        return Err(Error::WrongType);
    }
    let key = header.kid.as_deref().and_then(|kid| keys.find(kid, algorithm)).ok_or(Error::UnknownKey)?;
    key.verify_sig(signed.as_bytes(), &decode(signature)?).map_err(|_| Error::BadSignature)?;

    let payload = decode(payload)?;
    let known: Known =
        members::read(&payload).map_err(|_| Error::Malformed("its claims are not an object with unique members of the right types"))?;
    check_claims(&known, expected, now)?;
    Ok(Claims { known, payload })
}

/// `at+jwt`, in any case, with or without its `application/` (RFC 9068 section 2.1, RFC 7515 section 4.1.9).
fn is_access_token_type(typ: &str) -> bool {
    let prefix = typ.get(..12).filter(|prefix| prefix.eq_ignore_ascii_case("application/"));
    typ[prefix.map_or(0, str::len)..].eq_ignore_ascii_case(AccessTokenClaims::TYPE)
}

fn check_claims(known: &Known, expected: &Expected, now: i64) -> Result<(), Error> {
    let issuer = known.iss.as_deref().ok_or(Error::MissingClaim("iss"))?;
    if issuer != expected.issuer {
        return Err(Error::WrongIssuer);
    }
    let audience = known.aud.as_ref().ok_or(Error::MissingClaim("aud"))?;
    if !audience.contains(&expected.audience) {
        return Err(Error::WrongAudience);
    }
    for (name, value) in [("sub", &known.sub), ("client_id", &known.client_id), ("jti", &known.jti)] {
        if value.as_deref().ok_or(Error::MissingClaim(name))?.is_empty() {
            return Err(Error::BadClaim(name));
        }
    }
    let exp = known.exp.ok_or(Error::MissingClaim("exp"))?;
    let iat = known.iat.ok_or(Error::MissingClaim("iat"))?;
    // RFC 7519 section 4.1.4: at `exp` it is over; the leeway makes up for clocks that differ.
    if now >= exp.saturating_add(expected.leeway) {
        return Err(Error::Expired);
    }
    let latest = now.saturating_add(expected.leeway);
    if iat > latest || known.nbf.is_some_and(|nbf| nbf > latest) {
        return Err(Error::NotYetValid);
    }
    if known.has_cnf {
        return Err(Error::BindingRequired);
    }
    let scope = known.scope.as_deref().unwrap_or_default();
    if expected.scopes.iter().all(|needed| carries(scope, needed.as_str())) { Ok(()) } else { Err(Error::InsufficientScope) }
}
