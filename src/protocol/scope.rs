//! Scopes: RFC 6749 section 3.3.

use std::{cmp::Ordering, collections::BTreeSet, fmt, str::FromStr};

use serde::{Serialize, Serializer};

use super::{Malformed, parsed_text};

/// One scope token, such as `orders:read`. It is case-sensitive.
///
/// ```text
/// scope-token = 1*( %x21 / %x23-5B / %x5D-7E )      RFC 6749 section 3.3
/// ```
///
/// At most 128 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeToken(String);

parsed_text!(ScopeToken);

impl ScopeToken {
    const MAX_LEN: usize = 128;

    /// Whether a scope token may contain this byte: `%x21 / %x23-5B / %x5D-7E`.
    pub(crate) const fn may_contain(byte: u8) -> bool {
        matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E)
    }
}

impl FromStr for ScopeToken {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let refuse = |rule| Malformed { what: "scope token", rule };
        if text.is_empty() || text.len() > Self::MAX_LEN {
            return Err(refuse("it must have 1 to 128 characters"));
        }
        if !text.bytes().all(Self::may_contain) {
            return Err(refuse("it must be printable ASCII without space, quotation mark and backslash"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A set of scope tokens.
///
/// Scopes are ordered by inclusion: `required <= granted` means that every required token was granted.
///
/// ```
/// use sealwright::protocol::Scope;
///
/// # fn main() -> Result<(), sealwright::protocol::Malformed> {
/// let granted: Scope = "orders:read orders:write".parse()?;
/// let required: Scope = "orders:read".parse()?;
/// assert!(required <= granted);
/// assert!(!(granted <= required));
///
/// let unrelated: Scope = "stock:read".parse()?;
/// assert_eq!(unrelated.partial_cmp(&required), None);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope(BTreeSet<ScopeToken>);

impl Scope {
    /// More than a valid request needs, and few enough to be checked cheaply.
    const MAX_TOKENS: usize = 100;

    /// Whether it has no token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it contains `token`.
    #[must_use]
    pub fn contains(&self, token: &ScopeToken) -> bool {
        self.0.contains(token)
    }

    /// Its tokens, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &ScopeToken> {
        self.0.iter()
    }

    /// The tokens in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }
}

impl FromStr for Scope {
    type Err = Malformed;

    /// Parses `scope = scope-token *( SP scope-token )`: exactly one space between two tokens, and none at the ends.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let mut tokens = BTreeSet::new();
        for (count, word) in text.split(' ').enumerate() {
            if count == Self::MAX_TOKENS {
                return Err(Malformed { what: "scope", rule: "it must have at most 100 scope tokens" });
            }
            tokens.insert(word.parse()?);
        }
        Ok(Self(tokens))
    }
}

impl FromIterator<ScopeToken> for Scope {
    fn from_iter<I: IntoIterator<Item = ScopeToken>>(tokens: I) -> Self {
        Self(tokens.into_iter().collect())
    }
}

impl PartialOrd for Scope {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self.0.is_subset(&other.0), self.0.is_superset(&other.0)) {
            (true, true) => Some(Ordering::Equal),
            (true, false) => Some(Ordering::Less),
            (false, true) => Some(Ordering::Greater),
            (false, false) => None,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, token) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(token.as_str())?;
        }
        Ok(())
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_token_has_only_the_characters_of_its_grammar() {
        for valid in ["!", "#", "[", "]", "~", "orders:read"] {
            assert!(valid.parse::<ScopeToken>().is_ok(), "{valid:?}");
        }
        for invalid in ["", " ", "\"", "\\", "\u{7f}", "\t", "é", "a b"] {
            assert!(invalid.parse::<ScopeToken>().is_err(), "{invalid:?}");
        }
        assert!("x".repeat(128).parse::<ScopeToken>().is_ok());
        assert!("x".repeat(129).parse::<ScopeToken>().is_err());
    }

    #[test]
    fn a_scope_has_one_space_between_tokens_and_none_at_its_ends() {
        for invalid in ["", " ", "a  b", " a", "a ", "a\tb"] {
            assert!(invalid.parse::<Scope>().is_err(), "{invalid:?}");
        }
        let scope: Scope = "b a b".parse().unwrap();
        assert_eq!(scope.to_string(), "a b");
    }

    #[test]
    fn scope_tokens_that_differ_in_case_are_two_and_neither_grants_the_other() {
        let token = |text: &str| text.parse::<ScopeToken>().unwrap();
        let both: Scope = "read READ Read".parse().unwrap();
        assert_eq!(both.iter().map(ScopeToken::as_str).collect::<Vec<_>>(), ["READ", "Read", "read"]);
        assert_eq!(both.to_string(), "READ Read read");

        let (upper, lower): (Scope, Scope) = ("READ".parse().unwrap(), "read".parse().unwrap());
        assert!(upper.contains(&token("READ")) && !upper.contains(&token("read")) && !upper.contains(&token("Read")));
        assert!(lower.contains(&token("read")) && !lower.contains(&token("READ")));
        assert!(upper.intersection(&lower).is_empty());
        assert_eq!(upper.partial_cmp(&lower), None);
        assert!(lower <= both && upper <= both);
    }
}
