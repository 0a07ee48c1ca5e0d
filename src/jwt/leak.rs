//! Private keys that a JWK set publishes, and the entries of the set that they compromise.

use std::{collections::HashSet, fmt};

use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::{
    Deserialize,
    de::{Deserializer, Error, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The members that exist only in private or symmetric keys: RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1, RFC 8037 section 2, and `priv` of keys
/// for ML-DSA.
const PRIVATE: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];
/// The member that identifies a key pair: the modulus of an RSA key, the x coordinate of another. The other public members do not
/// matter: the private key for one exponent reveals the factors of the modulus, and the two points of one x have private keys that
/// follow from each other. ML-DSA has `pub`.
const PUBLIC: [&str; 3] = ["n", "x", "pub"];

/// An entry with a private member. It is read leniently: a private key is published whether or not the rest of
/// the entry is valid. A duplicate member counts with each of its values.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Leak {
    /// The first private member.
    pub(super) member: &'static str,
    kids: Vec<String>,
    publics: Vec<Vec<u8>>,
    is_symmetric: bool,
}

impl Leak {
    /// Returns `None` if the entry has no private member.
    pub(super) fn find(entry: &str) -> Option<Self> {
        let members = serde_json::from_str::<RawMembers<'_>>(entry).ok()?.0;
        // Some serializers write null for absent members.
        let member = members.iter().filter(|(_, value)| value.get() != "null");
        let member = member.filter_map(|(name, _)| PRIVATE.into_iter().find(|private| private == name)).next()?;
        let texts = |names: &'static [&str]| {
            let values = members.iter().filter(move |(name, _)| names.contains(&name.as_str()));
            values.filter_map(|(_, value)| serde_json::from_str::<String>(value.get()).ok())
        };
        Some(Self {
            member,
            kids: texts(&["kid"]).collect(),
            publics: texts(&PUBLIC).map(|text| number(&text)).collect(),
            is_symmetric: texts(&["kty"]).eq(["oct"]),
        })
    }
}

/// The leaks of a set.
#[derive(Debug, Default)]
pub(super) struct Leaks {
    publics: HashSet<Vec<u8>>,
    kids: HashSet<String>,
}

impl Leaks {
    /// Adds a leak. `is_valid` says that the public half of the entry can be read. If it cannot, the entry may be a copy of any entry with its
    /// kid.
    pub(super) fn add(&mut self, leak: &Leak, is_valid: bool) {
        self.publics.extend(leak.publics.iter().cloned());
        // A symmetric key has no public half.
        if !is_valid && !leak.is_symmetric {
            self.kids.extend(leak.kids.iter().cloned());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.publics.is_empty() && self.kids.is_empty()
    }

    /// Whether the key with these public members belongs to a published private key.
    pub(super) fn contain_key(&self, publics: [Option<&str>; 2]) -> bool {
        publics.into_iter().flatten().any(|text| self.publics.contains(&number(text)))
    }

    /// Whether an entry with this kid has a private member, and its public members cannot be read.
    pub(super) fn contain_kid(&self, kid: &str) -> bool {
        self.kids.contains(kid)
    }
}

/// The number that a text encodes, read as leniently as any reader does: with padding, in the standard alphabet, with leading zeros. A text
/// that is not base64 is compared as it is.
fn number(text: &str) -> Vec<u8> {
    let lenient =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true);
    let compact: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
    let compact = compact.replace('+', "-").replace('/', "_");
    let bytes = GeneralPurpose::new(&URL_SAFE, lenient).decode(&compact).unwrap_or_else(|_| text.as_bytes().to_vec());
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    bytes[first..].to_vec()
}

/// The members of an object, each value as its raw text, with duplicates.
struct RawMembers<'a>(Vec<(String, &'a RawValue)>);

/// The name of a member. Invalid Unicode in it is replaced, so that it does not hide the members after it.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl Visitor<'_> for NameVisitor {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_bytes<E: Error>(self, name: &[u8]) -> Result<Name, E> {
                Ok(Name(String::from_utf8_lossy(name).into_owned()))
            }
        }

        deserializer.deserialize_bytes(NameVisitor)
    }
}

impl<'de> Deserialize<'de> for RawMembers<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;

        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = RawMembers<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawMembers<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    members.push((name, map.next_value()?));
                }
                Ok(RawMembers(members))
            }
        }

        deserializer.deserialize_map(ObjectVisitor)
    }
}
