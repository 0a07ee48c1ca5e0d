//! Values of any type, for a claim whose type is checked only after other checks.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize,
    de::{
        Deserializer, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};

use super::members::{Members, Object, Unwanted};

/// A value of any type. It is read as strictly as every other: an object with a duplicate member, at any depth, is an error.
#[derive(Debug)]
pub(crate) enum Loose<M> {
    Object(M),
    Number(u64),
    Text(String),
    /// None of these.
    Other,
}

/// For a value that is not expected to be an object.
#[derive(Debug, Default)]
pub(crate) struct NoMembers;

impl Members for NoMembers {
    fn read<'de, A: MapAccess<'de>>(&mut self, _: &str, _: &mut A) -> Result<bool, A::Error> {
        Ok(false)
    }
}

impl<'de, M: Members> Deserialize<'de> for Loose<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor(PhantomData))
    }
}

struct LooseVisitor<M>(PhantomData<M>);

impl<'de, M: Members> Visitor<'de> for LooseVisitor<M> {
    type Value = Loose<M>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Loose<M>, E> {
        Ok(Loose::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Loose<M>, E> {
        Ok(Loose::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Loose<M>, E> {
        Ok(Loose::Other)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Loose<M>, E> {
        Ok(Loose::Number(number))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Loose<M>, E> {
        Ok(Loose::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Loose<M>, E> {
        Ok(Loose::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Loose<M>, A::Error> {
        Unwanted::deserialize(SeqAccessDeserializer::new(list)).map(|_| Loose::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Loose<M>, A::Error> {
        Object::deserialize(MapAccessDeserializer::new(map)).map(|object| Loose::Object(object.0))
    }
}
