use aws_lc_rs::{
    error::{KeyRejected, Unspecified},
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding,
        RsaKeyPair,
    },
};

use crate::protocol::{Algorithm, PublicKey};

/// A private key for one algorithm.
///
/// A fault in an RSA signature by the Chinese remainder theorem could reveal the primes. aws-lc checks for it: after the private operation,
/// `rsa_default_private_transform` (crypto/fipsmodule/rsa/rsa_impl.c) raises the result to the public exponent and fails if that is not the
/// input. Both paddings, PKCS #1 v1.5 and PSS, sign by this function.
#[derive(Debug)]
pub(crate) enum KeyPair {
    Rs256(RsaKeyPair),
    Ps256(RsaKeyPair),
    Es256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl KeyPair {
    /// Reads a private key from PKCS#8 (DER). The error says why that failed, without the key.
    pub(crate) fn from_pkcs8(algorithm: Algorithm, pkcs8: &[u8]) -> Result<Self, String> {
        let unusable = |error: KeyRejected| format!("it does not contain a key for {algorithm}: {error}");
        match algorithm {
            Algorithm::Rs256 => RsaKeyPair::from_pkcs8(pkcs8).map(Self::Rs256).map_err(unusable),
            Algorithm::Ps256 => RsaKeyPair::from_pkcs8(pkcs8).map(Self::Ps256).map_err(unusable),
            Algorithm::Es256 => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map(Self::Es256).map_err(unusable),
            Algorithm::EdDsa => Ed25519KeyPair::from_pkcs8(pkcs8).map(Self::Ed25519).map_err(unusable),
            other => Err(format!("nothing is signed with {other} here")),
        }
    }

    /// Its algorithm.
    pub(crate) const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rs256(_) => Algorithm::Rs256,
            Self::Ps256(_) => Algorithm::Ps256,
            Self::Es256(_) => Algorithm::Es256,
            Self::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// Its public half; `None` if that is not acceptable.
    pub(crate) fn public_key(&self) -> Option<PublicKey> {
        match self {
            Self::Rs256(pair) | Self::Ps256(pair) => {
                let public = pair.public_key();
                let (n, e) = (public.modulus(), public.exponent());
                PublicKey::rsa(n.big_endian_without_leading_zero(), e.big_endian_without_leading_zero()).ok()
            }
            Self::Es256(pair) => {
                // An uncompressed point: 4, x, y (SEC 1 section 2.3.3).
                let point = pair.public_key().as_ref().strip_prefix(&[4])?;
                let (x, y) = point.split_at_checked(32)?;
                Some(PublicKey::Ec { x: x.try_into().ok()?, y: y.try_into().ok()? })
            }
            Self::Ed25519(pair) => Some(PublicKey::Okp { x: pair.public_key().as_ref().try_into().ok()? }),
        }
    }

    /// Signs in the form of a JWS: an ECDSA signature is r and s, and not DER (RFC 7518 section 3.4).
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let rsa = |pair: &RsaKeyPair, padding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(padding, &SystemRandom::new(), message, &mut signature).map(|()| signature)
        };
        match self {
            Self::Rs256(pair) => rsa(pair, &RSA_PKCS1_SHA256),
            Self::Ps256(pair) => rsa(pair, &RSA_PSS_SHA256),
            Self::Es256(pair) => pair.sign(&SystemRandom::new(), message).map(|signature| signature.as_ref().to_vec()),
            Self::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}
