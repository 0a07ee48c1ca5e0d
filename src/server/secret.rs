//! Client secrets: their form, and the stored part of them.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::{entropy, protocol::Malformed};

/// The public id of a client secret: 64 random bits as 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretId(String);

impl SecretId {
    const LEN: usize = 16;

    fn generate() -> Self {
        Self(format!("{:016x}", u64::from_be_bytes(entropy::bytes())))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let valid = text.len() == Self::LEN && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        valid.then(|| Self(text.to_owned())).ok_or(Malformed { what: "secret id", rule: "it must be 16 hexadecimal digits" })
    }
}

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A client secret.
///
/// ```text
/// sw_ <16 hex digits: its id> <43 characters of base64url: 256 random bits> <6 characters of base64url: CRC-32 of all before>
/// ```
///
/// With the prefix and the checksum, leak scanners can find it and dismiss look-alikes. No character needs encoding in a URL.
#[derive(Debug)]
pub(crate) struct ClientSecret {
    id: SecretId,
    text: SecretString,
}

impl ClientSecret {
    /// Leak scanners recognize secrets by this prefix; it is also in `protocol/secret_forms`.
    pub(crate) const PREFIX: &str = "sw_";
    const KEY_LEN: usize = 43;
    const CHECKSUM_LEN: usize = 6;
    const LEN: usize = Self::PREFIX.len() + SecretId::LEN + Self::KEY_LEN + Self::CHECKSUM_LEN;

    pub(crate) fn generate() -> Self {
        let id = SecretId::generate();
        let mut key = entropy::bytes::<32>();
        // Allocated at full length: a growing string would leave copies in memory.
        let mut text = String::with_capacity(Self::LEN);
        text.push_str(Self::PREFIX);
        text.push_str(id.as_str());
        BASE64_URL_SAFE_NO_PAD.encode_string(key, &mut text);
        key.zeroize();
        text.push_str(&Self::checksum(&text));
        Self { id, text: text.into() }
    }

    fn checksum(text: &str) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(crc32fast::hash(text.as_bytes()).to_be_bytes())
    }

    /// The id in `text`, if it has the form of a client secret.
    pub(crate) fn id_within(text: &str) -> Option<SecretId> {
        if text.len() != Self::LEN || !text.is_ascii() {
            return None;
        }
        let (body, checksum) = text.split_at(Self::LEN - Self::CHECKSUM_LEN);
        let id = body.strip_prefix(Self::PREFIX)?.get(..SecretId::LEN)?.parse().ok()?;
        (Self::checksum(body) == checksum).then_some(id)
    }

    pub(crate) const fn id(&self) -> &SecretId {
        &self.id
    }

    /// The whole secret. It is shown once, at its creation.
    pub(crate) fn expose(&self) -> &str {
        self.text.expose_secret()
    }

    pub(crate) fn digest(&self) -> SecretDigest {
        SecretDigest::of(self.expose())
    }
}

/// The SHA-256 of a secret. A secret of 256 random bits cannot be guessed, so it needs no slow hash and no salt.
///
/// It has no `PartialEq`: digests are compared in constant time or not at all.
#[derive(Clone)]
pub(crate) struct SecretDigest([u8; 32]);

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest")
    }
}

impl SecretDigest {
    /// The digest of no secret, used for unknown clients.
    pub(crate) const NONE: Self = Self([0; 32]);

    pub(crate) fn of(text: &str) -> Self {
        let mut out = [0; 32];
        out.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        Self(out)
    }

    pub(crate) fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    pub(crate) fn to_text(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.0)
    }
}

impl FromStr for SecretDigest {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or(Malformed { what: "secret digest", rule: "it must be 32 bytes in base64url" })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ca9_ten_thousand_secrets_carry_256_random_bits_each_and_never_repeat() {
        let mut seen = HashSet::new();
        for _ in 0..10_000 {
            let secret = ClientSecret::generate();
            let key = &secret.expose()[ClientSecret::PREFIX.len() + SecretId::LEN..][..ClientSecret::KEY_LEN];
            let key: [u8; 32] = BASE64_URL_SAFE_NO_PAD.decode(key).unwrap().try_into().unwrap();
            assert!(seen.insert(key));
            assert_eq!(ClientSecret::id_within(secret.expose()).as_ref(), Some(secret.id()));
        }
        // Random bits: half of all bits are set, within six standard deviations (800 of 2,560,000).
        let ones: u32 = seen.iter().flatten().map(|byte| byte.count_ones()).sum();
        assert!(ones.abs_diff(1_280_000) < 6 * 800, "{ones} of 2,560,000 bits are set");
    }

    #[test]
    fn a_secret_with_one_character_changed_is_not_looked_up() {
        let secret = ClientSecret::generate();
        for at in 0..ClientSecret::LEN {
            let mut text = secret.expose().as_bytes().to_vec();
            text[at] = if text[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(text).unwrap();
            assert_eq!(ClientSecret::id_within(&changed), None, "at {at}");
        }
        for text in ["", "sw_", "ü", &"x".repeat(ClientSecret::LEN), &"ü".repeat(ClientSecret::LEN / 2)] {
            assert_eq!(ClientSecret::id_within(text), None, "{text}");
        }
    }

    #[test]
    fn ca11_secrets_are_compared_in_constant_time_as_digests_of_one_length() {
        let (one, other) = (ClientSecret::generate(), ClientSecret::generate());
        assert!(one.digest().matches(&SecretDigest::of(one.expose())));
        assert!(!one.digest().matches(&other.digest()));
        assert!(!SecretDigest::of("").matches(&SecretDigest::NONE));
        // The only comparison uses `subtle`: the type offers no other.
        let source = include_str!("secret.rs").split("mod tests").next().unwrap();
        let (before, of_digest) = source.split_once("pub(crate) struct SecretDigest").unwrap();
        let derive = before.rsplit_once("#[derive(").unwrap().1;
        assert!(!derive.contains("Eq") && !of_digest.contains("impl PartialEq"), "{derive}");
        assert!(of_digest.contains(".ct_eq("));
    }

    #[test]
    fn debug_output_shows_neither_secrets_nor_digests() {
        let secret = ClientSecret::generate();
        let key = &secret.expose()[ClientSecret::PREFIX.len() + SecretId::LEN..];
        assert!(!format!("{secret:?}").contains(key));
        assert_eq!(format!("{:?}", secret.digest()), "SecretDigest");
    }
}
