use std::{cmp::Ordering, fmt, str::FromStr, sync::Arc};

use serde::{Serialize, Serializer};

use crate::protocol::Malformed;

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

/// The name of a custom claim or of a user's attribute.
///
/// 1 to 64 printable ASCII characters without space, quotation mark and backslash. Names that differ only in case are the same name: JSON
/// readers that ignore case, such as Go's, would take `ISS` for `iss`. Registered claims are refused.
#[derive(Debug, Clone)]
pub struct ClaimName(Arc<str>);

impl ClaimName {
    const MAX_LEN: usize = 64;
    /// The claim that has the user's name. Every user has it, and no one can set it.
    pub(super) const PREFERRED_USERNAME: &str = "preferred_username";

    /// The name as it was parsed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the name of the claim that has the user's name.
    pub(crate) fn is_preferred_username(&self) -> bool {
        self.0.eq_ignore_ascii_case(Self::PREFERRED_USERNAME)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at4_every_registered_claim_is_refused_in_any_case() {
        for name in REGISTERED.iter().flat_map(|(_, names)| names.iter()) {
            for name in [(*name).to_owned(), name.to_uppercase()] {
                assert!(name.parse::<ClaimName>().unwrap_err().rule.contains("registered"), "{name}");
            }
        }
        for allowed in ["roles", "groups", "entitlements", "email", "preferred_username", "https://example.com/tenant", "issuer"] {
            assert!(allowed.parse::<ClaimName>().is_ok(), "{allowed}");
        }
        for invalid in ["", " ", "a b", "a\"", "a\\", "é", "\u{7f}", "$serde_json::private::RawValue", &"x".repeat(65)] {
            assert!(invalid.parse::<ClaimName>().is_err(), "{invalid:?}");
        }
    }
}
