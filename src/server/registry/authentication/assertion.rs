//! Authentication by a JWT that the client signs with a key of its own (`private_key_jwt`): RFC 7523 section 2.2, with the audience as
//! draft-ietf-oauth-rfc7523bis has it.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use aws_lc_rs::digest::{Context, SHA256};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::de::{Error as _, MapAccess};

use super::{Rejection, decoy};
use crate::{
    clock::Timestamp,
    jwt::{self, Accepted, Loose, Members, NoMembers, Unverified, Verified, next},
    protocol::{ClientId, Issuer, KeyId},
    server::{client_key::ClientKey, model::Client},
};

/// Maximum size of an assertion in bytes. The longest signature, by an RSA key of 8,192 bits, has 1,366 in base64url.
const MAX_LEN: usize = 8 * 1024;
const MAX_HEADER_LEN: usize = 4 * 1024;
/// Maximum length of a `jti` in bytes.
const MAX_JTI_LEN: usize = 1024;
/// How far a client's clock may be ahead or behind.
const LEEWAY: Duration = Duration::from_secs(60);
/// How long before its `exp` an assertion may be used. So long is it remembered. Authlib signs for an hour by default.
const LONGEST: Duration = Duration::from_secs(3600);

static ACCEPTED: LazyLock<Accepted> = LazyLock::new(|| Accepted {
    algorithms: ClientKey::ALGORITHMS.to_vec(),
    // The last is the explicit type of draft-ietf-oauth-rfc7523bis; an access token or an ID token of another type is not an assertion.
    types: &[None, Some("JWT"), Some("client-authentication+jwt")],
    max_len: MAX_LEN,
    max_header_len: MAX_HEADER_LEN,
});

/// An assertion that is genuine, and that may have been used before.
pub(super) struct Genuine<'a> {
    pub(super) client: &'a Arc<Client>,
    pub(super) key: &'a KeyId,
    pub(super) once: Once,
}

/// An assertion, for the memory of those that were used.
pub(super) struct Once {
    /// It stands for one `jti` of one client.
    pub(super) digest: String,
    /// When it is not accepted any more.
    pub(super) expires_at: Timestamp,
}

#[derive(Default)]
struct Claims {
    iss: Option<String>,
    sub: Option<String>,
    aud: Option<Loose<NoMembers>>,
    exp: Option<Timestamp>,
    nbf: Option<Timestamp>,
    iat: Option<Timestamp>,
    jti: Option<String>,
}

impl Members for Claims {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        match name {
            "iss" => self.iss = Some(next(map)?),
            "sub" => self.sub = Some(next(map)?),
            "aud" => self.aud = Some(next(map)?),
            "exp" => self.exp = Some(next_time(map)?),
            "nbf" => self.nbf = Some(next_time(map)?),
            "iat" => self.iat = Some(next_time(map)?),
            "jti" => self.jti = Some(next(map)?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// A NumericDate (RFC 7519 section 2). Some clients send a fraction of a second, which is cut off.
fn next_time<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Timestamp, A::Error> {
    /// The year 9999.
    const LAST: f64 = 253_402_300_799.0;
    let seconds: f64 = map.next_value()?;
    if (0.0..=LAST).contains(&seconds) { Ok(Timestamp::from_seconds(seconds as i64)) } else { Err(A::Error::custom("a time out of range")) }
}

#[derive(Default)]
struct Subject(Option<String>);

impl Members for Subject {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        if name != "sub" {
            return Ok(false);
        }
        self.0 = Some(next(map)?);
        Ok(true)
    }
}

/// The client that an assertion names, before it is checked.
pub(super) fn subject(assertion: &str) -> Option<String> {
    jwt::unverified_claims::<Subject>(assertion, MAX_LEN).ok()?.0
}

fn refused(why: &'static str) -> Rejection {
    Rejection::Assertion(why)
}

/// Checks all but whether the assertion was used before. An unknown client or key costs the same check of a signature.
pub(super) fn check<'a>(
    client: Option<&'a Arc<Client>>,
    assertion: &str,
    issuer: &Issuer,
    now: Timestamp,
) -> Result<Genuine<'a>, Rejection> {
    let unverified = Unverified::read(assertion, &ACCEPTED).map_err(|error| refused(reason(error)))?;
    let signed = verify(client, &unverified, now);
    let client = client.ok_or(Rejection::UnknownClient)?;
    let (verified, key) = signed?;
    let (claims, _) = verified.read::<Claims>().map_err(|error| refused(reason(error)))?.into_parts();
    let once = claims.check(&client.id, issuer, now)?;
    Ok(Genuine { client, key, once })
}

/// Checks the signature by the key that the header names, or, if it names none, by the two newest ones for the algorithm: one may be replacing the
/// other. Each time, as many signatures are checked, and as long ones: if the client is unknown or lacks such a key, by keys that have no owner.
fn verify<'a, 't>(
    client: Option<&'a Arc<Client>>,
    assertion: &Unverified<'t>,
    now: Timestamp,
) -> Result<(Verified<'t>, &'a KeyId), Rejection> {
    let kid = assertion.kid().ok();
    let (algorithm, signature_len) = (assertion.algorithm(), assertion.signature_len());
    let fits = |key: &ClientKey| key.algorithm() == algorithm && key.signature_len() == signature_len;
    let named = |key: &ClientKey| fits(key) && kid.is_none_or(|kid| key.is_named(kid));
    let keys = client.into_iter().flat_map(|client| client.keys.iter().rev()).filter(|stored| named(&stored.key));
    let checks = if kid.is_some() { 1 } else { 2 };
    let (mut signer, mut checked, mut why) =
        (None, 0, "none of the client's keys has its kid, its algorithm and the length of its signature");
    for stored in keys.take(checks) {
        checked += 1;
        match assertion.verify(stored.key.verification()) {
            Ok(verified) => signer = Some((verified, stored)),
            Err(error) => why = reason(error),
        }
    }
    for _ in checked..checks {
        let _ = assertion.verify(decoy::key(algorithm, signature_len));
    }
    match signer {
        Some((verified, stored)) if stored.is_live(now) => Ok((verified, stored.key.id())),
        Some(_) => Err(refused("the key that signed it has expired")),
        None => Err(refused(why)),
    }
}

impl Claims {
    fn check(&self, client: &ClientId, issuer: &Issuer, now: Timestamp) -> Result<Once, Rejection> {
        if self.iss.as_deref() != Some(client.as_str()) {
            return Err(refused("its iss is not the client"));
        }
        if self.sub.as_deref() != Some(client.as_str()) {
            return Err(refused("its sub is not the client"));
        }
        // A token endpoint or a list as the audience lets one server use an assertion that was meant for another.
        if !matches!(&self.aud, Some(Loose::Text(aud)) if aud == issuer.as_str()) {
            return Err(refused("its aud is not the issuer alone, as a text"));
        }
        let exp = self.exp.ok_or_else(|| refused("it has no exp"))?;
        let expires_at = exp + LEEWAY;
        if now >= expires_at {
            return Err(refused("it has expired"));
        }
        if exp > now + LONGEST + LEEWAY {
            return Err(refused("its exp is more than an hour ahead"));
        }
        if [self.nbf, self.iat].into_iter().flatten().any(|begin| begin > now + LEEWAY) {
            return Err(refused("its nbf or its iat is in the future"));
        }
        match self.jti.as_deref() {
            None | Some("") => Err(refused("it has no jti")),
            Some(jti) if jti.len() > MAX_JTI_LEN => Err(refused("its jti is too long")),
            Some(jti) => Ok(Once { digest: digest(client, jti), expires_at }),
        }
    }
}

/// No client id contains the line break.
fn digest(client: &ClientId, jti: &str) -> String {
    let mut context = Context::new(&SHA256);
    [client.as_str(), "\n", jti].into_iter().for_each(|text| context.update(text.as_bytes()));
    BASE64_URL_SAFE_NO_PAD.encode(context.finish())
}

fn reason(error: jwt::Error) -> &'static str {
    match error {
        jwt::Error::TooLarge => "it is too long",
        jwt::Error::Malformed(why) => why,
        jwt::Error::AlgorithmNotAllowed(_) => "its algorithm is none of RS256, PS256, ES256 and Ed25519",
        jwt::Error::Critical => "its header requires an extension",
        jwt::Error::WrongType => "its typ is neither JWT nor client-authentication+jwt",
        jwt::Error::UnknownKey | jwt::Error::BadSignature => "its signature is wrong",
    }
}
