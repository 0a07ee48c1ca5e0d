use super::jwk::Entry;
use crate::protocol::{Algorithm, PublicKey};

/// A public key that checks signatures, read from a JWK of its own (RFC 7517 section 4).
pub(crate) struct SingleKey {
    pub(crate) kid: Option<String>,
    pub(crate) key: PublicKey,
    pub(crate) algorithm: Algorithm,
}

/// Why a JWK is not one.
pub(crate) enum NotPublic {
    /// It has a private member.
    Private,
    Unusable(&'static str),
}

impl SingleKey {
    pub(crate) fn read(json: &str) -> Result<Self, NotPublic> {
        let entry = Entry::read(json);
        if entry.leak.is_some() {
            return Err(NotPublic::Private);
        }
        let jwk = entry.jwk.map_err(NotPublic::Unusable)?;
        let (key, algorithm) = jwk.for_signatures().map_err(NotPublic::Unusable)?;
        let kid = jwk.kid.as_ref().map(|kid| kid.as_str().map(str::to_owned).ok_or(NotPublic::Unusable("its kid is not a text")));
        Ok(Self { kid: kid.transpose()?, key, algorithm })
    }
}
