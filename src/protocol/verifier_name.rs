//! The name of an API in the `User-Agent` of its verifier: RFC 9110 section 10.1.5.

use std::{fmt, str::FromStr};

use super::{Malformed, secret_forms::contains_secret};

/// The name that an API gives its verifier, so that the operator of the issuer recognizes its requests.
///
/// It does not look like a secret or a token, because it is listed and logged, and has nothing that would have to be escaped in a comment of a
/// header (RFC 9110 section 5.6.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VerifierName(String);

impl VerifierName {
    /// The product of the verifier.
    pub(crate) const PRODUCT: &str = "sealwright-verifier";
    const MAX_LEN: usize = 64;

    /// The `User-Agent` of a verifier: its product and version, and the name as a comment.
    pub(crate) fn user_agent(name: Option<&Self>) -> String {
        let product = format!("{}/{}", Self::PRODUCT, env!("CARGO_PKG_VERSION"));
        name.map_or_else(|| product.clone(), |name| format!("{product} ({name})"))
    }
}

impl fmt::Display for VerifierName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for VerifierName {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:/@".contains(&byte);
        let refuse = |rule| Malformed { what: "name of a verifier", rule };
        if text.is_empty() || text.len() > Self::MAX_LEN || !text.bytes().all(allowed) {
            return Err(refuse("it must be 1 to 64 of a-z, 0-9, and - . _ : / @"));
        }
        if contains_secret(text) {
            return Err(refuse("it must not look like a secret or a token, because names are listed and logged"));
        }
        Ok(Self(text.to_owned()))
    }
}
