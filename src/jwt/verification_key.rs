//! A public key that is ready to check signatures of its one algorithm.

use std::fmt;

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rsa::PublicKeyComponents,
    signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
        RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    },
};

use crate::protocol::{Algorithm, PublicKey};

const INVALID: &str = "it is not a valid key of its type";

pub(crate) struct VerificationKey {
    algorithm: Algorithm,
    encoded: Vec<u8>,
    key: ParsedPublicKey,
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.algorithm.fmt(f)
    }
}

/// A key in the form that the library reads.
pub(super) struct Encoded(Vec<u8>);

impl Encoded {
    pub(super) fn of(key: &PublicKey) -> Result<Self, &'static str> {
        Ok(Self(match key {
            PublicKey::Rsa(key) => {
                let der: Result<PublicKeyX509Der<'_>, _> = PublicKeyComponents { n: key.n(), e: key.e() }.as_der();
                der.map_err(|_| INVALID)?.as_ref().to_vec()
            }
            // Uncompressed point: SEC 1 section 2.3.3.
            PublicKey::Ec { x, y } => [&[4], x.as_slice(), y.as_slice()].concat(),
            // The raw key (RFC 8037 section 2). The library would also accept other forms.
            PublicKey::Okp { x } => x.to_vec(),
        }))
    }
}

impl VerificationKey {
    /// `algorithm` must be one of those for the key's type.
    pub(crate) fn of(key: &PublicKey, algorithm: Algorithm) -> Result<Self, &'static str> {
        Self::new(Encoded::of(key)?, algorithm)
    }

    fn new(Encoded(encoded): Encoded, algorithm: Algorithm) -> Result<Self, &'static str> {
        let key = match algorithm {
            Algorithm::Rs256 => ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &encoded),
            Algorithm::Rs384 => ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA384, &encoded),
            Algorithm::Rs512 => ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA512, &encoded),
            Algorithm::Ps256 => ParsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, &encoded),
            Algorithm::Es256 => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &encoded),
            Algorithm::EdDsa => ParsedPublicKey::new(&ED25519, &encoded),
        };
        Ok(Self { algorithm, key: key.map_err(|_| INVALID)?, encoded })
    }

    pub(crate) const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether both are the same key for the same algorithm.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.encoded == other.encoded
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(message, signature).is_ok()
    }
}
