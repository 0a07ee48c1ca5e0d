//! Reads a JSON object member by member, and takes none twice (RFC 7519 section 4): two readers of one token must never see
//! two different claims.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize,
    de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor},
};

/// What wants members of an object.
pub(super) trait Members: Default {
    /// Reads the value of the member `name`. False, and nothing is read: the member is not wanted.
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error>;
}

pub(super) fn next<'de, A: MapAccess<'de>, T: Deserialize<'de>>(map: &mut A) -> Result<T, A::Error> {
    map.next_value()
}

/// Reads `json`, which is one object and nothing behind it.
pub(super) fn read<M: Members>(json: &[u8]) -> Result<M, serde_json::Error> {
    serde_json::from_slice::<Object<M>>(json).map(|object| object.0)
}

struct Object<M>(M);

/// Names compare as what they mean: `\u0061ud` is `aud`.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de, M: Members> Deserialize<'de> for Object<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<M>(PhantomData<M>);

impl<'de, M: Members> Visitor<'de> for ObjectVisitor<M> {
    type Value = Object<M>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<M>, A::Error> {
        let mut members = M::default();
        let mut seen: Vec<Cow<'de, str>> = Vec::with_capacity(16);
        while let Some(Name(name)) = map.next_key()? {
            if seen.contains(&name) {
                return Err(A::Error::custom("a member is there twice"));
            }
            if !members.read(&name, &mut map)? {
                map.next_value::<IgnoredAny>()?;
            }
            seen.push(name);
        }
        Ok(Object(members))
    }
}
