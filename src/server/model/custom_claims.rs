use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
    sync::Arc,
};

use serde::{Serialize, Serializer};
use serde_json::{Value, value::RawValue};

use crate::{
    jwt::Unwanted,
    protocol::{AccessTokenClaims, Malformed},
};

/// The claims that no custom claim may replace or imitate, because this server or a verifier gives them a meaning.
const REGISTERED: &[(&str, &[&str])] = &[
    ("RFC 7519 section 4.1", &["iss", "sub", "aud", "exp", "nbf", "iat", "jti"]),
    ("RFC 7662 section 2.2, the answer of introspection", &["active", "token_type", "username"]),
    ("RFC 7800 section 3.1, RFC 8705, RFC 9449", &["cnf", "htm", "htu", "ath"]),
    ("RFC 8417 section 2.2", &["events", "toe", "txn"]),
    ("RFC 8693 section 4", &["act", "may_act", "scope", "client_id"]),
    ("RFC 9068 section 2.2.1", &["auth_time", "acr", "amr"]),
    ("RFC 9396 section 9.1", &["authorization_details"]),
    ("RFC 9493 section 4", &["sub_id"]),
    ("draft-ietf-oauth-status-list", &["status", "status_list", "ttl"]),
    ("OpenID Connect Core 1.0", &["azp", "nonce", "at_hash", "c_hash", "s_hash", "sub_jwk"]),
    ("OpenID Connect Front-Channel Logout 1.0", &["sid"]),
    ("other issuers: the type of a token, and its scope", &["typ", "token_use", "scp"]),
];

/// The user's name. Every user has it, and no one can set it.
const PREFERRED_USERNAME: &str = "preferred_username";

/// The name of a custom claim or of a user's attribute.
///
/// 1 to 64 printable ASCII characters without space, quotation mark and backslash. Names that differ only in case are the same name: JSON
/// readers that ignore case, such as Go's, would take `ISS` for `iss`. Registered claims are refused.
#[derive(Debug, Clone)]
pub struct ClaimName(Arc<str>);

impl ClaimName {
    const MAX_LEN: usize = 64;

    /// The name as it was parsed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the name of the claim that has the user's name.
    pub(crate) fn is_preferred_username(&self) -> bool {
        self.0.eq_ignore_ascii_case(PREFERRED_USERNAME)
    }

    fn folded(&self) -> impl Iterator<Item = u8> {
        self.0.bytes().map(|byte| byte.to_ascii_lowercase())
    }
}

impl FromStr for ClaimName {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let refuse = |rule| Malformed { what: "claim name", rule };
        if text.is_empty() || text.len() > Self::MAX_LEN {
            return Err(refuse("it must have 1 to 64 characters"));
        }
        if !text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E)) {
            return Err(refuse("it must be printable ASCII without space, quotation mark and backslash"));
        }
        if REGISTERED.iter().any(|(_, names)| names.iter().any(|name| name.eq_ignore_ascii_case(text))) {
            return Err(refuse("it is a registered claim, to which the server or a verifier gives a meaning; choose another name"));
        }
        // serde_json uses such names internally, and verifiers that are built with it refuse them.
        if text.starts_with("$serde_json::") {
            return Err(refuse("it must not begin with $serde_json::"));
        }
        Ok(Self(text.into()))
    }
}

impl PartialEq for ClaimName {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for ClaimName {}

impl Ord for ClaimName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.folded().cmp(other.folded())
    }
}

impl PartialOrd for ClaimName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for ClaimName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for ClaimName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// The value of a custom claim: JSON that every strict reader accepts, without white space between its parts. Numbers keep their digits.
#[derive(Debug, Clone)]
pub struct ClaimValue(Arc<RawValue>);

impl ClaimValue {
    const MAX_DEPTH: usize = 16;

    /// A text, as a JSON string.
    pub(crate) fn text(text: &str) -> Self {
        Self::from_valid(&Value::from(text).to_string())
    }

    /// Parses a value as an operator writes it: JSON, or text without quotation marks.
    pub(crate) fn of_operator(text: &str) -> Result<Self, Malformed> {
        match text.parse() {
            Ok(value) => Ok(value),
            // What was meant as JSON must not become a text.
            Err(malformed) if text.trim_start().starts_with(['{', '[', '"']) || serde_json::from_str::<&RawValue>(text).is_ok() => {
                Err(malformed)
            }
            Err(_) => Ok(Self::text(text)),
        }
    }

    /// The JSON text.
    #[must_use]
    pub fn as_json(&self) -> &str {
        self.0.get()
    }

    /// `json` was checked. If it is not JSON after all, the value is null.
    fn from_valid(json: &str) -> Self {
        Self(RawValue::from_string(json.to_owned()).map_or_else(|_| Arc::from(RawValue::NULL.to_owned()), Arc::from))
    }

    /// For the change log: a value that JSON readers of 64-bit numbers would change is shown as its text.
    fn fact(&self) -> Value {
        let outside_strings: String = characters(self.as_json()).filter(|(_, in_string)| !in_string).map(|(c, _)| c).collect();
        let mut numbers = outside_strings
            .split(['[', ']', '{', '}', ',', ':', '"'])
            .filter(|part| part.starts_with(|c: char| c == '-' || c.is_ascii_digit()));
        let is_kept = |number: &str| serde_json::from_str::<Value>(number).is_ok_and(|read| read.to_string() == number);
        if numbers.all(is_kept) { serde_json::from_str(self.as_json()).unwrap_or_default() } else { self.as_json().into() }
    }
}

impl FromStr for ClaimValue {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let refuse = |rule| Malformed { what: "claim value", rule };
        if text.len() > CustomClaims::MAX_LEN {
            return Err(refuse("it must have at most 1024 characters"));
        }
        serde_json::from_str::<Unwanted>(text).map_err(|_| {
            refuse("it must be JSON without duplicate members, broken \\u escapes, and numbers that exceed double precision; quote a text as \"...\"")
        })?;
        let (json, depth) = compact(text);
        if depth > Self::MAX_DEPTH {
            return Err(refuse("its arrays and objects are nested more than 16 deep"));
        }
        Ok(Self::from_valid(&json))
    }
}

/// Valid JSON without the white space between its parts, and how deeply it is nested.
fn compact(json: &str) -> (String, usize) {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut kept = String::with_capacity(json.len());
    for (c, in_string) in characters(json) {
        if !in_string {
            match c {
                ' ' | '\t' | '\n' | '\r' => continue,
                '{' | '[' => depth += 1,
                '}' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            deepest = deepest.max(depth);
        }
        kept.push(c);
    }
    (kept, deepest)
}

/// The characters of valid JSON, and whether each is in a string. The quotation mark that begins a string is not.
fn characters(json: &str) -> impl Iterator<Item = (char, bool)> {
    let (mut in_string, mut escaped) = (false, false);
    json.chars().map(move |c| {
        let was_in_string = in_string;
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else {
            in_string = c == '"';
        }
        (c, was_in_string)
    })
}

impl PartialEq for ClaimValue {
    fn eq(&self, other: &Self) -> bool {
        self.as_json() == other.as_json()
    }
}

impl Eq for ClaimValue {}

impl Serialize for ClaimValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// Custom claims, or the attributes of a user. It prints as a JSON object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CustomClaims(BTreeMap<ClaimName, ClaimValue>);

impl CustomClaims {
    /// The maximum length of a set as JSON.
    pub(crate) const MAX_LEN: usize = 1024;

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

    /// Removes and sets claims. `Err` is a name that is both removed and set, or to be removed and not there.
    pub(crate) fn change(&mut self, set: &Self, remove: &BTreeSet<ClaimName>) -> Result<(), ClaimName> {
        for name in remove {
            if set.contains(name) || self.0.remove(name).is_none() {
                return Err(name.clone());
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
            return Err(format!("{what} cannot have {PREFERRED_USERNAME}: it is always the user's name"));
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
    fn at4_every_registered_claim_is_refused_in_any_case() {
        for name in REGISTERED.iter().flat_map(|(_, names)| names.iter()) {
            for name in [(*name).to_owned(), name.to_uppercase()] {
                assert!(name.parse::<ClaimName>().unwrap_err().rule.contains("registered"), "{name}");
                assert!(format!("{{\"{name}\":1}}").parse::<CustomClaims>().is_err(), "{name}");
            }
        }
        for allowed in ["roles", "groups", "entitlements", "email", "preferred_username", "https://example.com/tenant", "issuer"] {
            assert!(allowed.parse::<ClaimName>().is_ok(), "{allowed}");
        }
        for invalid in ["", " ", "a b", "a\"", "a\\", "é", "\u{7f}", "$serde_json::private::RawValue", &"x".repeat(65)] {
            assert!(invalid.parse::<ClaimName>().is_err(), "{invalid:?}");
        }
    }

    #[test]
    fn a_value_keeps_its_digits_and_characters_and_loses_the_white_space_between_them() {
        for (text, kept) in [
            (" [ 1 , \"a b\" ,\n{\"x\" : null } ] ", "[1,\"a b\",{\"x\":null}]"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("1.10", "1.10"),
            ("\"a\\\\\\\" {[ b\"", "\"a\\\\\\\" {[ b\""),
            ("\"\u{1F600}\\u00e9\"", "\"\u{1F600}\\u00e9\""),
        ] {
            assert_eq!(text.parse::<ClaimValue>().unwrap().as_json(), kept);
        }
    }

    #[test]
    fn an_operators_value_is_json_or_a_text_but_never_half_of_each() {
        let read = |text: &str| ClaimValue::of_operator(text).map(|value| value.as_json().to_owned());
        assert_eq!(read("3").unwrap(), "3");
        assert_eq!(read("alice@example.com").unwrap(), "\"alice@example.com\"");
        assert_eq!(read("").unwrap(), "\"\"");
        let deep = format!("{}{}", "[".repeat(17), "]".repeat(17));
        for broken in ["[\"admin\"", "{\"a\":1,\"a\":2}", "\"\\ud800\"", "1e999", "{\"$serde_json::private::RawValue\":\"1\"}", &deep] {
            assert!(read(broken).is_err(), "{broken}");
        }
        assert!(read(&deep[1..33]).is_ok());
    }

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
