//! A set of sealing keys as a text: a JWK set (RFC 7517).

use josekit::jwk::{Jwk, JwkSet};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::entropy;

/// Sealing keys in the order of their file: a new key is added at the end.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::server::keys) struct KeySet(Vec<Jwk>);

impl KeySet {
    /// Parses a JWK set, or says what is wrong. josekit's messages may repeat what they could not parse, so they are not passed on.
    pub(in crate::server::keys) fn parse(text: &SecretString) -> Result<Self, &'static str> {
        let set = JwkSet::from_bytes(text.expose_secret()).map_err(|_| "it is not a JWK set")?;
        let keys: Vec<Jwk> = set.keys().into_iter().cloned().collect();
        if keys.is_empty() {
            return Err("it contains no key");
        }
        for (at, key) in keys.iter().enumerate() {
            if key.key_type() != "oct" || key.key_id().is_none_or(str::is_empty) || key.key_value().is_none_or(|value| value.len() != 32) {
                return Err("each of its keys must have kty oct, a kid, and 256 bits in k");
            }
            if keys[..at].iter().any(|earlier| earlier.key_id() == key.key_id()) {
                return Err("two of its keys have the same kid");
            }
        }
        Ok(Self(keys))
    }

    /// A set of one new key.
    pub(in crate::server::keys) fn generate() -> Self {
        let mut key = Jwk::new("oct");
        key.set_key_use("enc");
        key.set_key_id(entropy::unique_id());
        key.set_key_value(Zeroizing::new(entropy::bytes::<32>()).as_ref());
        Self(vec![key])
    }

    /// The keys of this set, then those of `other` that it lacks.
    pub(in crate::server::keys) fn and(&self, other: &Self) -> Self {
        let new = other.0.iter().filter(|key| key.key_id().is_none_or(|kid| self.find(kid).is_none()));
        Self(self.0.iter().chain(new).cloned().collect())
    }

    /// The keys for whose kid `keep` holds.
    pub(in crate::server::keys) fn filtered(&self, keep: impl Fn(&str) -> bool) -> Self {
        Self(self.0.iter().filter(|key| key.key_id().is_some_and(&keep)).cloned().collect())
    }

    pub(in crate::server::keys) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(in crate::server::keys) fn keys(&self) -> &[Jwk] {
        &self.0
    }

    pub(in crate::server::keys) fn kids(&self) -> Vec<String> {
        self.0.iter().filter_map(|key| key.key_id().map(str::to_owned)).collect()
    }

    pub(in crate::server::keys) fn find(&self, kid: &str) -> Option<&Jwk> {
        self.0.iter().find(|key| key.key_id() == Some(kid))
    }

    /// The inverse of [`Self::parse`].
    pub(in crate::server::keys) fn to_text(&self) -> Zeroizing<String> {
        let keys: Vec<_> = self.0.iter().map(|key| Zeroizing::new(key.to_string())).collect();
        let mut text = Zeroizing::new(String::from("{\"keys\":["));
        for (at, key) in keys.iter().enumerate() {
            text.push_str(if at == 0 { "" } else { ",\n" });
            text.push_str(key);
        }
        text.push_str("]}\n");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_the_same_after_it_was_written_and_read() {
        let (old, new) = (KeySet::generate(), KeySet::generate());
        let both = old.and(&new).and(&old);
        assert_eq!(both.kids(), [old.kids(), new.kids()].concat());
        let read = KeySet::parse(&both.to_text().to_string().into()).unwrap();
        assert!(read == both, "the order is kept");
        assert!(read.filtered(|kid| kid == new.kids()[0]) == new);
    }

    #[test]
    fn an_invalid_set_is_refused_without_repeating_it() {
        let twice = KeySet::generate().to_text();
        let twice = format!("{{\"keys\":[{0},{0}]}}", &twice[9..twice.len() - 3]);
        for text in [
            "",
            "{}",
            r#"{"keys":[]}"#,
            r#"{"keys":[{"kty":"oct","kid":"a","k":"c2hvcnQ"}]}"#,
            r#"{"keys":[{"kty":"RSA","kid":"a"}]}"#,
            &twice,
        ] {
            let why = KeySet::parse(&(*text).into()).err().unwrap_or_default();
            assert!(!why.is_empty() && !why.contains("c2hvcnQ"), "{text}: {why}");
        }
    }
}
