use std::{fmt, str::FromStr};

use super::Malformed;

/// A signature algorithm (RFC 7518 section 3.1, RFC 8037). All are asymmetric, so a party that checks cannot sign. A key has exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// EdDSA with Ed25519. It is written `Ed25519` (RFC 9864), and read under its older name `EdDSA` too.
    EdDsa,
}

impl Algorithm {
    /// The registered name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "Ed25519",
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

    /// Names are compared byte by byte: `rs256` and `none` are unknown.
    fn from_str(name: &str) -> Result<Self, Malformed> {
        match name {
            "RS256" => Ok(Self::Rs256),
            "RS384" => Ok(Self::Rs384),
            "RS512" => Ok(Self::Rs512),
            "PS256" => Ok(Self::Ps256),
            "ES256" => Ok(Self::Es256),
            "EdDSA" | "Ed25519" => Ok(Self::EdDsa),
            _ => Err(Malformed { what: "signature algorithm", rule: "it must be RS256, RS384, RS512, PS256, ES256, EdDSA or Ed25519" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_algorithm_is_read_by_the_name_that_it_is_written_with() {
        use Algorithm::{EdDsa, Es256, Ps256, Rs256, Rs384, Rs512};
        for algorithm in [Rs256, Rs384, Rs512, Ps256, Es256, EdDsa] {
            assert_eq!(algorithm.as_str().parse(), Ok(algorithm));
        }
        assert_eq!("EdDSA".parse(), Ok(EdDsa));
        for unknown in ["none", "rs256", "RS256 ", "HS256", "ES384", "Ed448", ""] {
            assert!(unknown.parse::<Algorithm>().is_err(), "{unknown:?}");
        }
    }
}
