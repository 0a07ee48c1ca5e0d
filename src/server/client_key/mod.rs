//! The public keys by which clients authenticate (RFC 7523 section 2.2): how they are read and generated, and what is stored of them.

mod generated;
mod pem;
mod reading;

use std::{fmt, str::FromStr, sync::Arc};

pub use generated::GeneratedKey;
pub use reading::NotAClientKey;

use crate::{
    jwt::VerificationKey,
    protocol::{Algorithm, KeyId, Malformed, PublicJwk, PublicKey},
    signing::thumbprint,
};

/// A public key by which a client authenticates, with its one algorithm. Clones share it.
#[derive(Clone)]
pub struct ClientKey {
    id: KeyId,
    thumbprint: Arc<str>,
    jwk: Arc<PublicJwk>,
    verification: Arc<VerificationKey>,
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientKey({} for {})", self.id, self.jwk.algorithm())
    }
}

impl ClientKey {
    /// The algorithms of assertions.
    pub(crate) const ALGORITHMS: [Algorithm; 4] = Algorithm::SIGNED_WITH;

    /// The lengths of RSA keys and of their signatures, in bytes: 2,048, 3,072 and 4,096 bits. Few, so that a check of a signature takes as long
    /// whether or not the client exists.
    pub(crate) const RSA_LENGTHS: [usize; 3] = [256, 384, 512];

    /// Without an id, the key gets its thumbprint as one.
    fn new(id: Option<KeyId>, algorithm: Algorithm, key: PublicKey) -> Result<Self, Malformed> {
        let malformed = |rule| Malformed { what: "key of a client", rule };
        if !Self::ALGORITHMS.contains(&algorithm) {
            return Err(malformed("its algorithm must be RS256, PS256, ES256 or Ed25519"));
        }
        if let PublicKey::Rsa(rsa) = &key
            && !(Self::RSA_LENGTHS.contains(&rsa.n().len()) && rsa.n().first().is_some_and(|first| *first >= 0x80))
        {
            return Err(malformed("an RSA key must have 2,048, 3,072 or 4,096 bits"));
        }
        let thumbprint = thumbprint(&key);
        let id = id.map_or_else(|| thumbprint.parse(), Ok)?;
        let verification = VerificationKey::of(&key, algorithm).map_err(malformed)?;
        let jwk = PublicJwk::new(id.to_string(), algorithm, key)?;
        Ok(Self { id, thumbprint: thumbprint.into(), jwk: jwk.into(), verification: verification.into() })
    }

    /// Its `kid` at the client.
    #[must_use]
    pub const fn id(&self) -> &KeyId {
        &self.id
    }

    /// Its algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.jwk.algorithm()
    }

    pub(crate) fn verification(&self) -> &VerificationKey {
        &self.verification
    }

    /// The length of its signatures in bytes.
    pub(crate) fn signature_len(&self) -> usize {
        match self.jwk.key() {
            PublicKey::Rsa(key) => key.n().len(),
            PublicKey::Ec { .. } | PublicKey::Okp { .. } => 64,
        }
    }

    /// The thumbprint of the key (RFC 7638).
    pub(crate) fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Whether a `kid` names it: by its id, or by its thumbprint, which an app knows that has the private key alone.
    pub(crate) fn is_named(&self, kid: &str) -> bool {
        kid == self.id.as_str() || kid == &*self.thumbprint
    }

    /// Its JWK, which [`FromStr`] reads.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::json!(*self.jwk).to_string()
    }
}

impl FromStr for ClientKey {
    type Err = Malformed;

    fn from_str(json: &str) -> Result<Self, Malformed> {
        let unreadable = |_| Malformed { what: "key of a client", rule: "it must be a public JWK" };
        let jwk: PublicJwk = serde_json::from_str(json).map_err(unreadable)?;
        Self::new(Some(jwk.kid().parse()?), jwk.algorithm(), jwk.key().clone())
    }
}
