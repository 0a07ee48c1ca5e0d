//! A signing key that is ready to sign.

use std::{io, sync::Arc};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use josekit::{
    JoseError,
    jws::{self, JwsAlgorithm, JwsHeader, JwsSigner, RS256},
};
use rsa::{pkcs8::EncodePrivateKey, traits::PublicKeyParts};
use zeroize::Zeroizing;

use super::Error;
use crate::{
    entropy::SystemRng,
    jwt::thumbprint,
    protocol::{AccessTokenClaims, Algorithm, Malformed, PublicJwk, PublicKey},
    server::model::TokenClaims,
};

/// A key pair whose private half is in the memory of this process. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct SoftwareSigner(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    key: RsaKeyPair,
    kid: String,
}

/// A newly generated key pair.
pub(super) struct NewKey {
    pub(super) public_jwk: PublicJwk,
    /// PKCS#8, DER (RFC 5208).
    pub(super) pkcs8: Zeroizing<Vec<u8>>,
}

/// Generates an RSA key pair for RS256 with e = 65537. Takes a tenth of a second to several seconds: do not call it on the runtime's
/// threads.
pub(super) fn generate(bits: usize) -> Result<NewKey, Error> {
    let failed = |error: String| Error::Generation(error);
    let key = rsa::PrivateKey::new(&mut SystemRng, bits).map_err(|e| failed(e.to_string()))?;
    let document = key.to_pkcs8_der().map_err(|e| failed(e.to_string()))?;
    let n = key.n().to_be_bytes_trimmed_vartime();
    let e = key.e().to_be_bytes_trimmed_vartime();
    let public_jwk = public_jwk(&n, &e).map_err(|e| failed(e.to_string()))?;
    Ok(NewKey { public_jwk, pkcs8: Zeroizing::new(document.as_bytes().to_vec()) })
}

/// The JWK of an RSA public key for RS256, with its thumbprint as kid.
fn public_jwk(n: &[u8], e: &[u8]) -> Result<PublicJwk, Malformed> {
    let key = PublicKey::rsa(n, e)?;
    PublicJwk::new(thumbprint(&key), Algorithm::Rs256, key)
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

    /// Signs a token. Takes a quarter of a millisecond to one: call it on the signing threads.
    pub(super) fn sign_token(&self, claims: &TokenClaims) -> Result<String, JoseError> {
        let signer: &dyn JwsSigner = match self {
            Self::Software(signer) => signer,
        };
        let claims = serde_json::to_vec(claims).map_err(|error| JoseError::InvalidJson(error.into()))?;
        let mut header = JwsHeader::new();
        header.set_token_type(AccessTokenClaims::TYPE);
        jws::serialize_compact(&claims, &header, signer)
    }
}

impl SoftwareSigner {
    fn from_pkcs8(pkcs8: &[u8], public_jwk: &PublicJwk) -> Result<Self, Error> {
        let key = RsaKeyPair::from_pkcs8(pkcs8).map_err(|e| Error::Unopened(format!("it does not contain an RSA key: {e}")))?;
        let public = key.public_key();
        let found =
            self::public_jwk(public.modulus().big_endian_without_leading_zero(), public.exponent().big_endian_without_leading_zero());
        if found.as_ref() != Ok(public_jwk) {
            return Err(Error::Unopened("the private key does not belong to the public key beside it".to_owned()));
        }
        Ok(Self(Arc::new(Inner { key, kid: public_jwk.kid().to_owned() })))
    }
}

impl JwsSigner for SoftwareSigner {
    fn algorithm(&self) -> &dyn JwsAlgorithm {
        &RS256
    }

    fn key_id(&self) -> Option<&str> {
        Some(&self.0.kid)
    }

    fn signature_len(&self) -> usize {
        self.0.key.public_modulus_len()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, JoseError> {
        let mut signature = vec![0; self.0.key.public_modulus_len()];
        self.0
            .key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| JoseError::InvalidSignature(io::Error::other("RSA signing failed").into()))?;
        Ok(signature)
    }

    fn box_clone(&self) -> Box<dyn JwsSigner> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use rsa::{PrivateKey, pkcs8::DecodePrivateKey, traits::PrivateKeyParts};

    use super::*;

    #[test]
    fn at6_a_generated_key_has_two_distant_primes_the_usual_exponent_and_one_algorithm() {
        for bits in [2048, 3072] {
            let new = generate(bits).unwrap();
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
    fn a_private_key_beside_another_public_key_is_refused() {
        let (one, other) = (generate(2048).unwrap(), generate(2048).unwrap());
        assert!(SoftwareSigner::from_pkcs8(&one.pkcs8, &other.public_jwk).is_err());
        assert!(SoftwareSigner::from_pkcs8(b"junk", &one.public_jwk).is_err());
    }
}
