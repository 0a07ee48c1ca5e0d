use std::{str::FromStr, sync::Arc};

use serde::{Serialize, Serializer};
use serde_json::{Value, value::RawValue};

use crate::{jwt::Unwanted, protocol::Malformed};

/// The value of a custom claim: JSON that every strict reader accepts, without white space between its parts. Numbers keep their digits.
#[derive(Debug, Clone)]
pub struct ClaimValue(Arc<RawValue>);

impl ClaimValue {
    /// The maximum length of a value, and of a set of claims.
    pub(super) const MAX_LEN: usize = 1024;
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
    pub(super) fn fact(&self) -> Value {
        let outside_strings: String = characters(self.as_json()).filter(|(_, in_string)| !in_string).map(|(c, _)| c).collect();
        let mut numbers = outside_strings
            .split(['[', ']', '{', '}', ',', ':', '"'])
            .filter(|part| part.starts_with(|c: char| c == '-' || c.is_ascii_digit()));
        let is_kept = |number: &str| serde_json::from_str::<Value>(number).is_ok_and(|read| format!("{read}") == number);
        if numbers.all(is_kept) { serde_json::from_str(self.as_json()).unwrap_or_default() } else { self.as_json().into() }
    }
}

impl FromStr for ClaimValue {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let refuse = |rule| Malformed { what: "claim value", rule };
        if text.len() > Self::MAX_LEN {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
