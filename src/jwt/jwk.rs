//! Reads a JWK set (RFC 7517 section 5) key by key, so that an invalid key does not make the others unusable.

use serde::{Deserialize, de::MapAccess};
use serde_json::{Value, value::RawValue};

use super::{
    leak::Leak,
    members::{self, Members, Unwanted, next},
};
use crate::protocol::{Algorithm, KeyMembers, PublicKey};

/// An entry of a set: a key, or why it cannot be read.
pub(super) struct Entry {
    /// Its `kid` for messages, cut to 100 characters.
    pub(super) kid: String,
    pub(super) jwk: Result<Jwk, &'static str>,
    /// Set if the entry has a private member, even if the key cannot be read.
    pub(super) leak: Option<Leak>,
}

/// The members of a key that are read. A duplicate member is an error (RFC 7517 section 4), at any depth; other members may have any value.
#[derive(Default)]
pub(super) struct Jwk {
    pub(super) kty: Option<Text>,
    pub(super) kid: Option<Text>,
    pub(super) alg: Option<Text>,
    pub(super) used_for: Option<Text>,
    pub(super) key_ops: Option<Operations>,
    pub(super) crv: Option<Text>,
    pub(super) n: Option<Text>,
    pub(super) e: Option<Text>,
    pub(super) x: Option<Text>,
    pub(super) y: Option<Text>,
}

/// A text, or another value in its place, which must still be valid JSON.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Text {
    Is(String),
    Other(Unwanted),
}

/// A list of texts, or another value in its place.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Operations {
    List(Vec<Text>),
    Other(Unwanted),
}

impl Text {
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Is(text) => Some(text),
            Self::Other(_) => None,
        }
    }
}

impl Operations {
    pub(super) fn contain(&self, operation: &str) -> bool {
        match self {
            Self::List(list) => list.iter().any(|text| text.as_str() == Some(operation)),
            Self::Other(_) => false,
        }
    }
}

impl Jwk {
    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_ref()?.as_str()
    }

    /// The public key, for any purpose.
    pub(super) fn public_key(&self) -> Result<PublicKey, &'static str> {
        let [kty, crv, n, e, x, y] =
            [&self.kty, &self.crv, &self.n, &self.e, &self.x, &self.y].map(|member| member.as_ref().and_then(Text::as_str));
        KeyMembers { kty, crv, n, e, x, y }.read().map_err(|refused| refused.rule)
    }

    /// The public key and its one algorithm, if it may check signatures.
    pub(super) fn for_signatures(&self) -> Result<(PublicKey, Algorithm), &'static str> {
        if self.used_for.as_ref().is_some_and(|used_for| used_for.as_str() != Some("sig")) {
            return Err("its use is not sig");
        }
        if self.key_ops.as_ref().is_some_and(|operations| !operations.contain("verify")) {
            return Err("its key_ops do not include verify");
        }
        let key = self.public_key()?;
        let algorithm = self.algorithm(&key)?;
        Ok((key, algorithm))
    }

    /// The one algorithm of `key`, which is this key: the usual one of its type, unless `alg` names another.
    fn algorithm(&self, key: &PublicKey) -> Result<Algorithm, &'static str> {
        let allowed = key.algorithms();
        let named = match &self.alg {
            None => allowed.first().copied(),
            Some(name) => name.as_str().and_then(|name| name.parse().ok()).filter(|named| allowed.contains(named)),
        };
        named.ok_or("its alg is unknown, or not for this type of key")
    }
}

impl Members for Jwk {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        let text = match name {
            "kty" => &mut self.kty,
            "kid" => &mut self.kid,
            "alg" => &mut self.alg,
            "use" => &mut self.used_for,
            "crv" => &mut self.crv,
            "n" => &mut self.n,
            "e" => &mut self.e,
            "x" => &mut self.x,
            "y" => &mut self.y,
            "key_ops" => {
                self.key_ops = Some(next(map)?);
                return Ok(true);
            }
            _ => return Ok(false),
        };
        *text = Some(next(map)?);
        Ok(true)
    }
}

#[derive(Default)]
struct Set {
    keys: Option<Vec<Box<RawValue>>>,
}

impl Members for Set {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        if name != "keys" {
            return Ok(false);
        }
        self.keys = Some(next(map)?);
        Ok(true)
    }
}

/// Reads the entries of a set. A duplicate member outside a key is an error, because two readers could use different values.
pub(super) fn read_set(document: &[u8]) -> Result<Vec<Entry>, &'static str> {
    let set: Set = members::read(document).map_err(|error| match error {
        error if members::is_duplicate(&error) => "it has a duplicate member",
        error if error.is_data() => "it is not an object with an array of keys",
        _ => "it is not JSON",
    })?;
    let keys = set.keys.ok_or("it has no array of keys")?;
    Ok(keys.iter().map(|key| Entry::read(key.get())).collect())
}

impl Entry {
    pub(super) fn read(json: &str) -> Self {
        let jwk = members::read::<Jwk>(json.as_bytes());
        let kid = match &jwk {
            Ok(jwk) => jwk.kid().map(str::to_owned),
            // Only for naming the refused key.
            Err(_) => serde_json::from_str::<Value>(json).ok().and_then(|jwk| jwk.get("kid")?.as_str().map(str::to_owned)),
        };
        let jwk = jwk.map_err(|error| match members::is_duplicate(&error) {
            true => "it has a duplicate member",
            false => "it cannot be read as a JSON object with unique members",
        });
        Self { kid: kid.unwrap_or_default().chars().take(100).collect(), jwk, leak: Leak::find(json) }
    }
}
