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
    /// All that are supported.
    pub const ALL: &'static [Self] = &[Self::Rs256, Self::Rs384, Self::Rs512, Self::Ps256, Self::Es256, Self::EdDsa];

    /// Those by which the server signs tokens and clients sign assertions.
    pub(crate) const SIGNED_WITH: [Self; 4] = [Self::Rs256, Self::Ps256, Self::Es256, Self::EdDsa];

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

    /// The name in tokens and published keys.
    #[must_use]
    pub const fn published_as(self, ed25519: Ed25519Name) -> &'static str {
        match self {
            Self::EdDsa => ed25519.as_str(),
            other => other.as_str(),
        }
    }
}

/// The `alg` of Ed25519 in tokens and published keys. Both names mean the same signature.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ed25519Name {
    /// `Ed25519` (RFC 9864 section 2.2), which names the curve.
    #[default]
    Ed25519,
    /// `EdDSA` (RFC 8037 section 3.1), which RFC 9864 deprecates. Older libraries know no other.
    EdDsa,
}

impl Ed25519Name {
    /// The registered name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "Ed25519",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl FromStr for Ed25519Name {
    type Err = Malformed;

    fn from_str(name: &str) -> Result<Self, Malformed> {
        let named = [Self::Ed25519, Self::EdDsa].into_iter().find(|known| known.as_str() == name);
        named.ok_or(Malformed { what: "name of Ed25519", rule: "it must be Ed25519 or EdDSA" })
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
        use Algorithm::{EdDsa, Es256};
        for algorithm in Algorithm::ALL.iter().copied() {
            assert_eq!(algorithm.as_str().parse(), Ok(algorithm));
        }
        assert_eq!("EdDSA".parse(), Ok(EdDsa));
        for (name, text) in [(Ed25519Name::Ed25519, "Ed25519"), (Ed25519Name::EdDsa, "EdDSA")] {
            assert_eq!((text.parse(), EdDsa.published_as(name)), (Ok(name), text));
            assert_eq!((EdDsa.published_as(name).parse(), Es256.published_as(name)), (Ok(EdDsa), "ES256"));
        }
        for unknown in ["none", "rs256", "RS256 ", "HS256", "ES384", "Ed448", ""] {
            assert!(unknown.parse::<Algorithm>().is_err() && unknown.parse::<Ed25519Name>().is_err(), "{unknown:?}");
        }
    }
}
