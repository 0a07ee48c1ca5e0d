//! Public keys as JSON: RFC 7517, RFC 7518 and RFC 7638.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::Malformed;

/// A signature algorithm (RFC 7518 section 3.1). A key has exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
}

impl Algorithm {
    /// The registered name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        match text {
            "RS256" => Ok(Self::Rs256),
            _ => Err(Malformed { what: "signature algorithm", rule: "it must be RS256" }),
        }
    }
}

/// The public half of an RSA signing key, as published.
///
/// It has no field for a private member, so none can be published by mistake. Every key carries `alg` (some
/// verifiers need it) and `use` (RFC 7517 section 4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicJwk {
    kty: String,
    #[serde(rename = "use")]
    public_key_use: String,
    alg: String,
    kid: String,
    n: String,
    e: String,
}

impl PublicJwk {
    /// An RSA signing key from its modulus and exponent in base64url (RFC 7518 section 6.3.1).
    #[must_use]
    pub fn rsa(kid: String, alg: Algorithm, n: String, e: String) -> Self {
        Self { kty: "RSA".to_owned(), public_key_use: "sig".to_owned(), alg: alg.as_str().to_owned(), kid, n, e }
    }

    /// The key's id: its RFC 7638 thumbprint.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The bytes whose SHA-256 is the thumbprint of an RSA key: only the required members, in alphabetical order and
    /// without white space (RFC 7638 section 3.2).
    #[must_use]
    pub fn rsa_thumbprint_input(n: &str, e: &str) -> String {
        format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#)
    }
}

/// A set of public keys (RFC 7517 section 5), in the order in which it is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JwkSet {
    /// The keys.
    pub keys: Vec<PublicJwk>,
}
