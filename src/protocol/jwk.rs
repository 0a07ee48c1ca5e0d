//! Public keys as JSON: RFC 7517, RFC 7518, RFC 7638 and RFC 8037.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::{Algorithm, Ed25519Name, Malformed};

/// A public key for signatures, of one of the supported types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// An RSA key (RFC 7518 section 6.3).
    Rsa(RsaPublicKey),
    /// A point of the curve P-256 (RFC 7518 section 6.2).
    Ec {
        /// The x coordinate.
        x: [u8; 32],
        /// The y coordinate.
        y: [u8; 32],
    },
    /// An Ed25519 key (RFC 8037 section 2).
    Okp {
        /// The key.
        x: [u8; 32],
    },
}

/// The modulus and the exponent of an RSA key, big-endian and without leading zeros. The modulus has 2,048 to 8,192 bits; the exponent is odd, at
/// least 3, and has at most 64 bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RsaPublicKey {
    n: Vec<u8>,
    e: Vec<u8>,
}

impl RsaPublicKey {
    /// The modulus.
    #[must_use]
    pub fn n(&self) -> &[u8] {
        &self.n
    }

    /// The exponent.
    #[must_use]
    pub fn e(&self) -> &[u8] {
        &self.e
    }
}

const fn refused(rule: &'static str) -> Malformed {
    Malformed { what: "public key", rule }
}

fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

impl PublicKey {
    /// An RSA key from its modulus and its exponent, big-endian. Leading zeros are ignored.
    ///
    /// # Errors
    ///
    /// If the sizes are out of range, or the exponent is even or 1.
    pub fn rsa(n: &[u8], e: &[u8]) -> Result<Self, Malformed> {
        let without_zeros = |bytes: &[u8]| bytes.iter().position(|byte| *byte != 0).map(|at| bytes[at..].to_vec()).unwrap_or_default();
        let (n, e) = (without_zeros(n), without_zeros(e));
        let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
        if !(2048..=8192).contains(&bits) {
            return Err(refused("its modulus does not have 2,048 to 8,192 bits"));
        }
        if e.last().is_none_or(|last| last % 2 == 0) || e == [1] || e.len() > 8 {
            return Err(refused("its exponent is not odd, at least 3 and at most 64 bits long"));
        }
        Ok(Self::Rsa(RsaPublicKey { n, e }))
    }

    /// The algorithms for which a key of this type can be used. The first is the usual one.
    #[must_use]
    pub const fn algorithms(&self) -> &'static [Algorithm] {
        match self {
            Self::Rsa(_) => &[Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512, Algorithm::Ps256],
            Self::Ec { .. } => &[Algorithm::Es256],
            Self::Okp { .. } => &[Algorithm::EdDsa],
        }
    }

    /// The bytes whose SHA-256 is the key's thumbprint: only the required members, in alphabetical order and without white space (RFC 7638
    /// section 3.2).
    #[must_use]
    pub fn thumbprint_input(&self) -> String {
        match self {
            Self::Rsa(RsaPublicKey { n, e }) => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, encode(e), encode(n)),
            Self::Ec { x, y } => format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, encode(x), encode(y)),
            Self::Okp { x } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encode(x)),
        }
    }
}

/// The members of a JWK from which a [`PublicKey`] is read, as they stand in it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct KeyMembers<'a> {
    pub(crate) kty: Option<&'a str>,
    pub(crate) crv: Option<&'a str>,
    pub(crate) n: Option<&'a str>,
    pub(crate) e: Option<&'a str>,
    pub(crate) x: Option<&'a str>,
    pub(crate) y: Option<&'a str>,
}

impl KeyMembers<'_> {
    pub(crate) fn read(self) -> Result<PublicKey, Malformed> {
        let bytes = |member: Option<&str>| {
            let value = member.ok_or_else(|| refused("a member of the key is missing"))?;
            BASE64_URL_SAFE_NO_PAD.decode(value).map_err(|_| refused("a member of the key is not base64url"))
        };
        match (self.kty, self.crv) {
            (Some("RSA"), _) => PublicKey::rsa(&bytes(self.n)?, &bytes(self.e)?),
            (Some("EC"), Some("P-256")) => {
                let (x, y) = (bytes(self.x)?, bytes(self.y)?);
                let (Ok(x), Ok(y)) = (x.try_into(), y.try_into()) else { return Err(refused("its coordinates do not have 32 bytes")) };
                Ok(PublicKey::Ec { x, y })
            }
            (Some("OKP"), Some("Ed25519")) => {
                let x = bytes(self.x)?.try_into().map_err(|_| refused("its x does not have 32 bytes"))?;
                Ok(PublicKey::Okp { x })
            }
            _ => Err(refused("its type is not supported")),
        }
    }
}

/// A key that checks signatures, as published.
///
/// It has no field for a private member, so none can be published by mistake. Every key carries `alg` (some
/// verifiers need it) and `use` (RFC 7517 section 4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Published", try_from = "Published")]
pub struct PublicJwk {
    kid: String,
    algorithm: Algorithm,
    key: PublicKey,
}

impl PublicJwk {
    /// A key with its id and its one algorithm.
    ///
    /// # Errors
    ///
    /// If the algorithm is not for this type of key.
    pub fn new(kid: String, algorithm: Algorithm, key: PublicKey) -> Result<Self, Malformed> {
        if !key.algorithms().contains(&algorithm) {
            return Err(refused("its alg is not for this type of key"));
        }
        Ok(Self { kid, algorithm, key })
    }

    /// The key's id: its RFC 7638 thumbprint.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key itself.
    #[must_use]
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }
}

/// A [`PublicJwk`] as JSON.
#[derive(Serialize, Deserialize)]
struct Published {
    kty: String,
    #[serde(rename = "use")]
    used_for: String,
    alg: String,
    kid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crv: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    y: Option<String>,
}

impl From<PublicJwk> for Published {
    fn from(jwk: PublicJwk) -> Self {
        Self::under(jwk, Ed25519Name::default())
    }
}

impl Published {
    fn under(jwk: PublicJwk, ed25519: Ed25519Name) -> Self {
        let (kty, crv, [n, e, x, y]) = match &jwk.key {
            PublicKey::Rsa(RsaPublicKey { n, e }) => ("RSA", None, [Some(encode(n)), Some(encode(e)), None, None]),
            PublicKey::Ec { x, y } => ("EC", Some("P-256"), [None, None, Some(encode(x)), Some(encode(y))]),
            PublicKey::Okp { x } => ("OKP", Some("Ed25519"), [None, None, Some(encode(x)), None]),
        };
        let alg = jwk.algorithm.published_as(ed25519).to_owned();
        Self { kty: kty.to_owned(), used_for: "sig".to_owned(), alg, kid: jwk.kid, crv: crv.map(str::to_owned), n, e, x, y }
    }
}

impl TryFrom<Published> for PublicJwk {
    type Error = Malformed;

    fn try_from(published: Published) -> Result<Self, Malformed> {
        let Published { kty, used_for, alg, kid, crv, n, e, x, y } = &published;
        if used_for != "sig" {
            return Err(refused("its use is not sig"));
        }
        let (crv, n, e, x, y) = (crv.as_deref(), n.as_deref(), e.as_deref(), x.as_deref(), y.as_deref());
        let key = KeyMembers { kty: Some(kty), crv, n, e, x, y }.read()?;
        Self::new(kid.clone(), alg.parse()?, key)
    }
}

/// A set of public keys (RFC 7517 section 5), in the order in which it is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JwkSet {
    /// The keys.
    pub keys: Vec<PublicJwk>,
}

impl JwkSet {
    /// The set as JSON, in which the keys for Ed25519 have this `alg`.
    pub fn under(self, ed25519: Ed25519Name) -> impl Serialize {
        #[derive(Serialize)]
        struct Set {
            keys: Vec<Published>,
        }
        Set { keys: self.keys.into_iter().map(|jwk| Published::under(jwk, ed25519)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rsa() -> PublicKey {
        PublicKey::rsa(&[0xff; 256], &[1, 0, 1]).unwrap()
    }

    #[test]
    fn a_key_of_each_type_is_published_in_one_form_and_read_again() {
        let n = encode(&[0xff; 256]);
        let (x, y) = (encode(&[1; 32]), encode(&[2; 32]));
        for (key, algorithm, json) in [
            (rsa(), Algorithm::Rs256, format!(r#"{{"kty":"RSA","use":"sig","alg":"RS256","kid":"1","n":"{n}","e":"AQAB"}}"#)),
            (
                PublicKey::Ec { x: [1; 32], y: [2; 32] },
                Algorithm::Es256,
                format!(r#"{{"kty":"EC","use":"sig","alg":"ES256","kid":"1","crv":"P-256","x":"{x}","y":"{y}"}}"#),
            ),
            (
                PublicKey::Okp { x: [1; 32] },
                Algorithm::EdDsa,
                format!(r#"{{"kty":"OKP","use":"sig","alg":"Ed25519","kid":"1","crv":"Ed25519","x":"{x}"}}"#),
            ),
        ] {
            let jwk = PublicJwk::new("1".to_owned(), algorithm, key).unwrap();
            assert_eq!(serde_json::to_string(&jwk).unwrap(), json);
            assert_eq!(serde_json::from_str::<PublicJwk>(&json).unwrap(), jwk);
        }
    }

    #[test]
    fn a_key_for_ed25519_is_published_under_either_name_and_is_the_same_key() {
        let jwk = PublicJwk::new("1".to_owned(), Algorithm::EdDsa, PublicKey::Okp { x: [1; 32] }).unwrap();
        let rsa = PublicJwk::new("2".to_owned(), Algorithm::Rs256, rsa()).unwrap();
        let set = JwkSet { keys: vec![jwk, rsa] };
        let rfc9864 = serde_json::to_string(&set).unwrap();
        assert_eq!(serde_json::to_string(&set.clone().under(Ed25519Name::Ed25519)).unwrap(), rfc9864);
        let rfc8037 = serde_json::to_string(&set.clone().under(Ed25519Name::EdDsa)).unwrap();
        assert_eq!(rfc8037, rfc9864.replace(r#""alg":"Ed25519""#, r#""alg":"EdDSA""#));
        assert!(rfc8037 != rfc9864 && serde_json::from_str::<JwkSet>(&rfc8037).unwrap() == set);
    }

    #[test]
    fn leading_zeros_of_an_rsa_key_are_ignored() {
        let padded = PublicKey::rsa(&[&[0, 0], [0xff; 256].as_slice()].concat(), &[0, 1, 0, 1]).unwrap();
        assert_eq!(padded, rsa());
    }

    #[test]
    fn a_key_with_an_algorithm_of_another_type_or_for_another_use_is_refused() {
        assert!(PublicJwk::new("1".to_owned(), Algorithm::Es256, rsa()).is_err());
        assert!(PublicJwk::new("1".to_owned(), Algorithm::Rs256, PublicKey::Okp { x: [1; 32] }).is_err());
        let good = serde_json::to_string(&PublicJwk::new("1".to_owned(), Algorithm::Rs256, rsa()).unwrap()).unwrap();
        for (from, to) in
            [("\"sig\"", "\"enc\""), ("RS256", "ES256"), ("\"RSA\"", "\"EC\""), ("\"e\":", "\"x\":"), ("AQAB", "AQA="), ("AQAB", "AQ")]
        {
            let bad = good.replace(from, to);
            assert!(bad != good && serde_json::from_str::<PublicJwk>(&bad).is_err(), "{from}: {to}");
        }
    }
}
