//! A signing key that is ready to sign.

use std::{io, sync::Arc};

use josekit::{
    JoseError,
    jws::{self, ES256, EdDSA, JwsAlgorithm, JwsHeader, JwsSigner, PS256, RS256},
};
use serde::Serialize;
use zeroize::Zeroizing;

use super::Error;
use crate::{
    protocol::{AccessTokenClaims, Algorithm, Ed25519Name, PublicJwk},
    server::model::TokenClaims,
    signing::{KeyPair, generate_pkcs8, thumbprint},
};

/// A key pair whose private half is in the memory of this process. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct SoftwareSigner {
    inner: Arc<Inner>,
    /// The `alg` of its tokens, if it is for Ed25519.
    ed25519: Ed25519Name,
}

#[derive(Debug)]
struct Inner {
    pair: KeyPair,
    kid: String,
}

/// A key pair that is not in the database yet.
pub(super) struct NewKey {
    pub(super) public_jwk: PublicJwk,
    /// PKCS#8, DER (RFC 5208).
    pub(super) pkcs8: Zeroizing<Vec<u8>>,
}

/// Generates a key pair. An RSA key has `rsa_bits` bits and takes a tenth of a second to several seconds: do not call it on the runtime's
/// threads.
pub(super) fn generate(algorithm: Algorithm, rsa_bits: usize) -> Result<NewKey, Error> {
    read(algorithm, generate_pkcs8(algorithm, rsa_bits).map_err(Error::Generation)?)
}

/// Reads a key pair from PKCS#8 (DER).
pub(super) fn read(algorithm: Algorithm, pkcs8: Zeroizing<Vec<u8>>) -> Result<NewKey, Error> {
    let public_jwk = public_jwk(algorithm, &KeyPair::from_pkcs8(algorithm, &pkcs8).map_err(Error::Unopened)?);
    Ok(NewKey { public_jwk: public_jwk.ok_or_else(|| Error::Generation("its public key is out of range".to_owned()))?, pkcs8 })
}

/// The JWK of the public half, with its thumbprint as kid.
fn public_jwk(algorithm: Algorithm, pair: &KeyPair) -> Option<PublicJwk> {
    let key = pair.public_key()?;
    PublicJwk::new(thumbprint(&key), algorithm, key).ok()
}

/// EdDSA with Ed25519 under its own name (RFC 9864). josekit knows only `EdDSA`, which does not name the curve.
#[derive(Debug)]
struct Ed25519;

impl JwsAlgorithm for Ed25519 {
    fn name(&self) -> &'static str {
        Algorithm::EdDsa.as_str()
    }

    fn box_clone(&self) -> Box<dyn JwsAlgorithm> {
        Box::new(Self)
    }
}

/// A signing key, wherever its private half is.
#[derive(Debug, Clone)]
pub(super) enum SigningKey {
    Software(SoftwareSigner),
}

impl SigningKey {
    /// Reads a private key. Fails if `public_jwk` is not its public half.
    pub(super) fn from_pkcs8(pkcs8: &[u8], public_jwk: &PublicJwk) -> Result<Self, Error> {
        SoftwareSigner::from_pkcs8(pkcs8, public_jwk).map(Self::Software)
    }

    pub(super) fn kid(&self) -> &str {
        match self {
            Self::Software(signer) => &signer.inner.kid,
        }
    }

    /// Whether a signature takes so long that other requests must go first: one by RSA takes a quarter of a millisecond with 2048 bits, and about six
    /// times that with 4096; the others take tens of microseconds.
    pub(super) fn is_slow(&self) -> bool {
        match self {
            Self::Software(signer) => matches!(signer.inner.pair, KeyPair::Rs256(_) | KeyPair::Ps256(_)),
        }
    }

    /// Signs a token, whose `alg` is `ed25519` if the key is for Ed25519.
    pub(super) fn sign_token(self, claims: &TokenClaims, ed25519: Ed25519Name) -> Result<String, JoseError> {
        self.sign(AccessTokenClaims::TYPE, claims, ed25519)
    }

    /// The same for other claims, under the `typ` by which a verifier distinguishes them from a token (RFC 8725 section 3.11).
    pub(super) fn sign(self, typ: &str, claims: &impl Serialize, ed25519: Ed25519Name) -> Result<String, JoseError> {
        let signer: &dyn JwsSigner = match self {
            Self::Software(signer) => &SoftwareSigner { ed25519, ..signer },
        };
        let claims = serde_json::to_vec(claims).map_err(|error| JoseError::InvalidJson(error.into()))?;
        let mut header = JwsHeader::new();
        header.set_token_type(typ);
        jws::serialize_compact(&claims, &header, signer)
    }
}

impl SoftwareSigner {
    fn from_pkcs8(pkcs8: &[u8], public_jwk: &PublicJwk) -> Result<Self, Error> {
        let pair = KeyPair::from_pkcs8(public_jwk.algorithm(), pkcs8).map_err(Error::Unopened)?;
        if self::public_jwk(public_jwk.algorithm(), &pair).as_ref() != Some(public_jwk) {
            return Err(Error::Unopened("the private key does not belong to the public key beside it".to_owned()));
        }
        Ok(Self { inner: Arc::new(Inner { pair, kid: public_jwk.kid().to_owned() }), ed25519: Ed25519Name::default() })
    }
}

impl JwsSigner for SoftwareSigner {
    fn algorithm(&self) -> &dyn JwsAlgorithm {
        match &self.inner.pair {
            KeyPair::Rs256(_) => &RS256,
            KeyPair::Ps256(_) => &PS256,
            KeyPair::Es256(_) => &ES256,
            KeyPair::Ed25519(_) => match self.ed25519 {
                Ed25519Name::Ed25519 => &Ed25519,
                Ed25519Name::EdDsa => &EdDSA,
            },
        }
    }

    fn key_id(&self) -> Option<&str> {
        Some(&self.inner.kid)
    }

    fn signature_len(&self) -> usize {
        match &self.inner.pair {
            KeyPair::Rs256(pair) | KeyPair::Ps256(pair) => pair.public_modulus_len(),
            KeyPair::Es256(_) | KeyPair::Ed25519(_) => 64,
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, JoseError> {
        self.inner.pair.sign(message).map_err(|_| JoseError::InvalidSignature(io::Error::other("signing failed").into()))
    }

    fn box_clone(&self) -> Box<dyn JwsSigner> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use josekit::{Value, jwk::Jwk, jws::JwsVerifier};
    use rsa::{
        PrivateKey,
        pkcs8::DecodePrivateKey,
        traits::{PrivateKeyParts, PublicKeyParts},
    };

    use super::*;
    use crate::server::keys::ALGORITHMS;

    #[test]
    fn at6_a_generated_key_has_two_distant_primes_the_usual_exponent_and_one_algorithm() {
        for bits in [2048, 3072] {
            let new = generate(Algorithm::Rs256, bits).unwrap();
            let key = PrivateKey::from_pkcs8_der(&new.pkcs8).unwrap();
            assert_eq!(key.n().bit_width(), u32::try_from(bits).unwrap());
            assert_eq!(key.e().to_be_bytes_trimmed_vartime().as_ref(), [1, 0, 1]);
            let [p, q] = key.primes() else { panic!("two primes") };
            let (larger, smaller) = if p > q { (p, q) } else { (q, p) };
            // Fermat's method finds primes that are close together; FIPS 186-5 appendix A.1.3 requires this distance.
            let distance = larger.as_ref().wrapping_sub(smaller.as_ref());
            assert!(distance.bit_width() as usize > bits / 2 - 100, "{} bits between the primes", distance.bit_width());

            let jwk = serde_json::to_value(&new.public_jwk).unwrap();
            assert_eq!((jwk["alg"].as_str(), jwk["use"].as_str()), (Some("RS256"), Some("sig")));
            let signer = SoftwareSigner::from_pkcs8(&new.pkcs8, &new.public_jwk).unwrap();
            assert_eq!(signer.signature_len(), bits / 8);
        }
    }

    #[test]
    fn ky4_a_private_key_beside_another_public_key_is_refused() {
        for algorithm in ALGORITHMS {
            let (one, other) = (generate(algorithm, 2048).unwrap(), generate(algorithm, 2048).unwrap());
            assert!(SoftwareSigner::from_pkcs8(&one.pkcs8, &one.public_jwk).is_ok(), "{algorithm}");
            assert!(SoftwareSigner::from_pkcs8(&one.pkcs8, &other.public_jwk).is_err(), "{algorithm}");
            assert!(SoftwareSigner::from_pkcs8(b"junk", &one.public_jwk).is_err(), "{algorithm}");
        }
    }

    #[test]
    fn ky4_openssl_verifies_the_signature_of_each_algorithm() {
        for algorithm in ALGORITHMS {
            let new = generate(algorithm, 2048).unwrap();
            let signer = SoftwareSigner::from_pkcs8(&new.pkcs8, &new.public_jwk).unwrap();
            assert_eq!(signer.algorithm().name(), algorithm.as_str());
            let signature = signer.sign(b"message").unwrap();
            assert_eq!(signature.len(), signer.signature_len(), "{algorithm}");

            let mut jwk = Jwk::from_bytes(serde_json::to_vec(&new.public_jwk).unwrap()).unwrap();
            if algorithm == Algorithm::EdDsa {
                // josekit knows only the older name.
                jwk.set_parameter("alg", Some(Value::from("EdDSA"))).unwrap();
            }
            let verifier: Box<dyn JwsVerifier> = match algorithm {
                Algorithm::Rs256 => RS256.verifier_from_jwk(&jwk).unwrap().box_clone(),
                Algorithm::Ps256 => PS256.verifier_from_jwk(&jwk).unwrap().box_clone(),
                Algorithm::Es256 => ES256.verifier_from_jwk(&jwk).unwrap().box_clone(),
                _ => EdDSA.verifier_from_jwk(&jwk).unwrap().box_clone(),
            };
            assert!(verifier.verify(b"message", &signature).is_ok(), "{algorithm}");
            assert!(verifier.verify(b"another", &signature).is_err(), "{algorithm}");
        }
    }
}
