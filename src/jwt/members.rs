//! Reads JSON objects strictly: a duplicate member is an error, at any depth (RFC 7519 section 4), because two readers of a token must
//! never see different claims.

use std::{borrow::Cow, collections::HashSet, fmt, marker::PhantomData};

use serde::{
    Deserialize,
    de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor},
};

/// A type that is read from members of an object.
pub(crate) trait Members: Default {
    /// Reads the value of the member `name`. Returns `false`, without reading it, if the member is not needed.
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error>;
}

const DUPLICATE: &str = "a member is duplicated";

/// Whether a text was refused because of a duplicate member.
pub(super) fn is_duplicate(error: &serde_json::Error) -> bool {
    // A custom error can be recognised only by its text, to which serde_json appends the position.
    error.to_string().starts_with(DUPLICATE)
}

pub(crate) fn next<'de, A: MapAccess<'de>, T: Deserialize<'de>>(map: &mut A) -> Result<T, A::Error> {
    map.next_value()
}

/// Reads `json`, which must be exactly one object in UTF-8.
pub(super) fn read<M: Members>(json: &[u8]) -> Result<M, serde_json::Error> {
    let text = std::str::from_utf8(json).map_err(serde_json::Error::custom)?;
    serde_json::from_str::<Object<M>>(text).map(|object| object.0)
}

/// Names are compared after unescaping: `\u0061ud` is `aud`.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The next name of an object. A duplicate is an error, and so is a name that serde_json uses internally: with its feature
/// `raw_value`, such a name makes a text pass for an object.
fn next_name<'de, A: MapAccess<'de>>(map: &mut A, seen: &mut HashSet<Cow<'de, str>>) -> Result<Option<Cow<'de, str>>, A::Error> {
    let Some(Name(name)) = map.next_key()? else { return Ok(None) };
    if name.starts_with("$serde_json::private::") {
        return Err(A::Error::custom("a member has a reserved name"));
    }
    if !seen.insert(name.clone()) {
        return Err(A::Error::custom(DUPLICATE));
    }
    Ok(Some(name))
}

pub(super) struct Object<M>(pub(super) M);

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
        let (mut members, mut seen) = (M::default(), HashSet::new());
        while let Some(name) = next_name(&mut map, &mut seen)? {
            if !members.read(&name, &mut map)? {
                map.next_value::<Unwanted>()?;
            }
        }
        Ok(Object(members))
    }
}

/// A value that is not needed here, but that the API may read: it is checked by the same rules. (serde's `IgnoredAny` checks
/// neither surrogates nor numbers nor depth.)
pub(crate) struct Unwanted;

impl<'de> Deserialize<'de> for Unwanted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnwantedVisitor)
    }
}

struct UnwantedVisitor;

impl<'de> Visitor<'de> for UnwantedVisitor {
    type Value = Unwanted;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Unwanted, E> {
        Ok(Unwanted)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unwanted, E> {
        Ok(Unwanted)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Unwanted, E> {
        Ok(Unwanted)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Unwanted, E> {
        Ok(Unwanted)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Unwanted, E> {
        Ok(Unwanted)
    }

    fn visit_str<E>(self, _: &str) -> Result<Unwanted, E> {
        Ok(Unwanted)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Unwanted, A::Error> {
        while list.next_element::<Unwanted>()?.is_some() {}
        Ok(Unwanted)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unwanted, A::Error> {
        let mut seen = HashSet::new();
        while next_name(&mut map, &mut seen)?.is_some() {
            map.next_value::<Unwanted>()?;
        }
        Ok(Unwanted)
    }
}
