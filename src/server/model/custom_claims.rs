use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde::{Serialize, Serializer};
use serde_json::{Value, value::RawValue};

use super::{ClaimName, ClaimValue};
use crate::{
    jwt::Unwanted,
    protocol::{AccessTokenClaims, Malformed},
};

/// Custom claims, or the attributes of a user. It prints as a JSON object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CustomClaims(BTreeMap<ClaimName, ClaimValue>);

impl CustomClaims {
    /// The maximum length of a set as JSON.
    pub(crate) const MAX_LEN: usize = ClaimValue::MAX_LEN;

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &ClaimName> {
        self.0.keys()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ClaimName, &ClaimValue)> {
        self.0.iter()
    }

    pub(crate) fn contains(&self, name: &ClaimName) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn get(&self, name: &ClaimName) -> Option<&ClaimValue> {
        self.0.get(name)
    }

    /// Sets a claim.
    pub(crate) fn set(&mut self, name: ClaimName, value: ClaimValue) {
        // An earlier name may differ in case.
        self.0.remove(&name);
        self.0.insert(name, value);
    }

    /// Sets all `others`.
    pub(crate) fn set_all(&mut self, others: &Self) {
        for (name, value) in others.iter() {
            self.set(name.clone(), value.clone());
        }
    }

    /// Removes and sets claims. Refuses to remove what is not there. `owner` and `what` name the set: `the user alice`, `attribute`.
    pub(crate) fn change(&mut self, set: &Self, remove: &BTreeSet<ClaimName>, owner: impl fmt::Display, what: &str) -> Result<(), String> {
        for name in remove {
            if set.contains(name) {
                return Err(format!("the {what} {name} is both set and removed"));
            }
            if self.0.remove(name).is_none() {
                return Err(format!("{owner} has no {what} {name}"));
            }
        }
        self.set_all(set);
        Ok(())
    }

    /// The length as JSON.
    pub(crate) fn json_len(&self) -> usize {
        self.iter().map(|(name, value)| name.as_str().len() + value.as_json().len() + 4).sum::<usize>() + 1
    }

    /// Refuses what cannot be stored. `what` names the set.
    pub(crate) fn require_valid(&self, what: impl fmt::Display) -> Result<(), String> {
        if self.names().any(ClaimName::is_preferred_username) {
            return Err(format!("{what} cannot have {}: it is always the user's name", ClaimName::PREFERRED_USERNAME));
        }
        let (len, max) = (self.json_len(), Self::MAX_LEN);
        if len > max { Err(format!("{what} are too long: {len} characters as JSON; the maximum is {max}")) } else { Ok(()) }
    }

    /// Their value in the change log.
    pub(crate) fn fact(&self) -> Value {
        if self.is_empty() {
            return Value::Null;
        }
        self.iter().map(|(name, value)| (name.to_string(), value.fact())).collect::<serde_json::Map<_, _>>().into()
    }
}

impl FromIterator<(ClaimName, ClaimValue)> for CustomClaims {
    fn from_iter<I: IntoIterator<Item = (ClaimName, ClaimValue)>>(claims: I) -> Self {
        let mut all = Self::default();
        claims.into_iter().for_each(|(name, value)| all.set(name, value));
        all
    }
}

impl FromStr for CustomClaims {
    type Err = Malformed;

    /// Parses a JSON object.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let refuse = |rule| Malformed { what: "custom claims", rule };
        if text.len() > Self::MAX_LEN {
            return Err(refuse("they must have at most 1024 characters"));
        }
        let broken = "it must be a JSON object without duplicate members";
        serde_json::from_str::<Unwanted>(text).map_err(|_| refuse(broken))?;
        let members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).map_err(|_| refuse(broken))?;
        let claims: Self =
            members.iter().map(|(name, value)| Ok((name.parse()?, value.get().parse()?))).collect::<Result<_, Malformed>>()?;
        if claims.0.len() == members.len() { Ok(claims) } else { Err(refuse(broken)) }
    }
}

impl fmt::Display for CustomClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.iter().enumerate() {
            // No character of a name needs an escape.
            write!(f, "{}\"{name}\":{}", if index == 0 { '{' } else { ',' }, value.as_json())?;
        }
        f.write_str(if self.is_empty() { "{}" } else { "}" })
    }
}

impl Serialize for CustomClaims {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(&self.0)
    }
}

/// The payload of an access token.
#[derive(Debug, Serialize)]
pub(crate) struct TokenClaims {
    #[serde(flatten)]
    pub(crate) registered: AccessTokenClaims,
    /// No name of them is a registered one.
    #[serde(flatten)]
    pub(crate) custom: CustomClaims,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_print_as_the_object_that_they_parse_from() {
        let claims: CustomClaims = "{\"b\":[1],\"A\":\"x\"}".parse().unwrap();
        assert_eq!(claims.to_string(), "{\"A\":\"x\",\"b\":[1]}");
        assert_eq!((claims.json_len(), CustomClaims::default().to_string().as_str()), (claims.to_string().len(), "{}"));
        assert_eq!(serde_json::to_string(&claims).unwrap(), claims.to_string());
        for damaged in ["", "[]", "{", "{\"a\":1,\"a\":2}", "{\"a\":1,\"A\":2}", "{\"iss\":1}", "{\"a\":1e999}"] {
            assert!(damaged.parse::<CustomClaims>().is_err(), "{damaged}");
        }
    }
}
