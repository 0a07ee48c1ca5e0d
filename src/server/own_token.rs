//! The one reader of this issuer's own access tokens, which come back to be introspected or revoked.

use std::borrow::Cow;

use serde::de::MapAccess;

use crate::{
    clock::Timestamp,
    jwt::{self, Accepted, KeySet, Members, Unverified, Verified, next},
    protocol::{AccessTokenClaims, Audience, ClientId, Issuer, ServerMetadata, Status},
    server::{
        keys::{ALGORITHMS, KeyRing, VerifyError},
        model::{Revocation, StatusIndex},
    },
};

/// Maximum size of a token. Those of this issuer have at most half of it.
const MAX_LEN: usize = 16 * 1024;
const MAX_HEADER_LEN: usize = 1024;

/// An access token that this issuer signed. The database says whether it is still valid.
#[derive(Debug)]
pub(crate) struct OwnToken {
    pub(crate) kid: String,
    pub(crate) audience: Audience,
    pub(crate) subject: String,
    pub(crate) client: ClientId,
    pub(crate) jti: String,
    pub(crate) issued_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    /// Its position in a status list. `None` if it was issued without one.
    pub(crate) position: Option<StatusIndex>,
    /// The claims as they were signed.
    pub(crate) payload: Vec<u8>,
}

/// The published keys of this issuer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OwnKeys<'k> {
    /// As a node has them in memory, at this time by the steady clock.
    Ring(&'k KeyRing, Timestamp),
    /// As they were just read from the database.
    Stored(&'k KeySet),
}

/// Until when a token counts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    /// Until its `exp` (RFC 7519 section 4.1.4), at this time by the wall clock, like `exp`. Without leeway: this issuer's clock is the one that it was
    /// issued by.
    Valid(Timestamp),
    /// Until no verifier accepts it any more, at this time by the wall clock: verifiers have a leeway, and clocks of their own.
    Acceptable(Timestamp),
}

/// Why a text is not an access token of this issuer that still counts.
#[derive(Debug)]
pub(crate) enum NotOwn {
    /// It does not have the form of an access token of this issuer.
    Form(&'static str),
    /// No published key has its `kid`. Only of stored keys.
    UnknownKey {
        kid: String,
    },
    /// No published key signed it.
    BadSignature,
    /// It lacks a claim that every access token of this issuer has, or one is malformed.
    Incomplete,
    OtherIssuer {
        token: String,
        issuer: Issuer,
    },
    /// It counted until a time after this one, its `exp`.
    Expired(Timestamp),
    /// Its status list is not one of this issuer. It expires at this time.
    ForeignList(Timestamp),
    /// It may be one: this node does not know.
    Unknowable(VerifyError),
}

impl From<jwt::Error> for NotOwn {
    fn from(error: jwt::Error) -> Self {
        Self::Form(match error {
            jwt::Error::TooLarge => "it is too long for a token of this issuer",
            jwt::Error::Malformed(why) => why,
            jwt::Error::AlgorithmNotAllowed(_) => "its algorithm is not one that this issuer signs with",
            jwt::Error::Critical => "its header requires an extension",
            jwt::Error::WrongType => "its typ is not at+jwt",
            jwt::Error::UnknownKey | jwt::Error::BadSignature => return Self::BadSignature,
        })
    }
}

impl OwnToken {
    /// Reads a token and checks its signature, its issuer and its expiry. Without `issuer`, it is the one that the token names: the key says whose it
    /// is.
    pub(crate) fn read(text: &str, keys: OwnKeys<'_>, issuer: Option<&Issuer>, limit: Limit) -> Result<Self, NotOwn> {
        let accepted = Accepted {
            algorithms: ALGORITHMS.to_vec(),
            types: &[Some(AccessTokenClaims::TYPE)],
            max_len: MAX_LEN,
            max_header_len: MAX_HEADER_LEN,
        };
        let unverified = Unverified::read(text, &accepted)?;
        let kid = unverified.kid()?.to_owned();
        let verified = keys.verify(unverified, &kid)?;
        let (claims, payload) = verified.read::<OwnClaims>()?.into_parts();
        let named = claims.iss.ok_or(NotOwn::Incomplete)?;
        let issuer = match issuer {
            Some(issuer) if issuer.as_str() == named => Cow::Borrowed(issuer),
            // A key may have been imported from another issuer, which still signs with it.
            Some(issuer) => return Err(NotOwn::OtherIssuer { token: named, issuer: issuer.clone() }),
            None => Cow::Owned(named.parse::<Issuer>().map_err(|_| NotOwn::Incomplete)?),
        };
        let expires_at = Timestamp::from_seconds(claims.exp.ok_or(NotOwn::Incomplete)?);
        if limit.has_passed(expires_at) {
            return Err(NotOwn::Expired(expires_at));
        }
        let position = match &claims.status {
            Some(status) => {
                let lists = format!("{}/", issuer.endpoint(ServerMetadata::STATUS_LISTS_ROUTE));
                Some(StatusIndex::below(&lists, status).ok_or(NotOwn::ForeignList(expires_at))?)
            }
            None => None,
        };
        Ok(Self {
            kid,
            audience: claims.aud.and_then(|aud| aud.parse().ok()).ok_or(NotOwn::Incomplete)?,
            subject: claims.sub.ok_or(NotOwn::Incomplete)?,
            client: claims.client_id.and_then(|id| id.parse().ok()).ok_or(NotOwn::Incomplete)?,
            jti: claims.jti.ok_or(NotOwn::Incomplete)?,
            issued_at: Timestamp::from_seconds(claims.iat.ok_or(NotOwn::Incomplete)?),
            expires_at,
            position,
            payload,
        })
    }

    /// Whether its subject is a user. No client id has the form of a user's id.
    pub(crate) fn is_for_user(&self) -> bool {
        self.subject != self.client.as_str()
    }
}

impl OwnKeys<'_> {
    /// Checks a signature. `kid` is the one that the token names.
    fn verify<'t>(self, token: Unverified<'t>, kid: &str) -> Result<Verified<'t>, NotOwn> {
        match self {
            Self::Ring(ring, now) => ring.verify(token, now).map_err(NotOwn::Unknowable)?.ok_or(NotOwn::BadSignature),
            Self::Stored(set) => {
                let key = set.find(kid, token.algorithm()).map_err(|_| NotOwn::UnknownKey { kid: kid.to_owned() })?;
                Ok(token.verify(key)?)
            }
        }
    }
}

impl Limit {
    fn has_passed(self, exp: Timestamp) -> bool {
        match self {
            Self::Valid(now) => now >= exp,
            Self::Acceptable(now) => now >= Revocation::end_of_token(exp),
        }
    }
}

/// The claims that are read here. All of them are signed by this issuer.
#[derive(Debug, Default)]
struct OwnClaims {
    iss: Option<String>,
    exp: Option<i64>,
    aud: Option<String>,
    sub: Option<String>,
    client_id: Option<String>,
    iat: Option<i64>,
    jti: Option<String>,
    status: Option<Status>,
}

impl Members for OwnClaims {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        match name {
            "iss" => self.iss = Some(next(map)?),
            "exp" => self.exp = Some(next(map)?),
            "aud" => self.aud = Some(next(map)?),
            "sub" => self.sub = Some(next(map)?),
            "client_id" => self.client_id = Some(next(map)?),
            "iat" => self.iat = Some(next(map)?),
            "jti" => self.jti = Some(next(map)?),
            "status" => self.status = Some(next(map)?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in3_rv6_a_token_is_valid_until_its_exp_and_can_be_revoked_until_no_verifier_accepts_it() {
        let at = Timestamp::from_seconds;
        let exp = at(1_795_500_000);
        for (seconds, valid, acceptable) in [(-1, true, true), (0, false, true), (419, false, true), (420, false, false)] {
            let now = at(1_795_500_000 + seconds);
            assert_eq!(!Limit::Valid(now).has_passed(exp), valid, "{seconds} s after exp");
            assert_eq!(!Limit::Acceptable(now).has_passed(exp), acceptable, "{seconds} s after exp");
        }
    }
}
