use std::str::FromStr;

use super::{Malformed, parsed_text, secret_forms::contains_secret};

/// The id of a key by which a client authenticates: the `kid` of its JWK (RFC 7517 section 4.5), or its thumbprint (RFC 7638).
///
/// 1 to 128 visible characters of ASCII, and never a text that looks like a secret or a token: key ids are logged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

parsed_text!(KeyId);

impl FromStr for KeyId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let refuse = |rule| Malformed { what: "key id", rule };
        if !(1..=128).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(refuse("it must be 1 to 128 visible characters of ASCII"));
        }
        if contains_secret(text) {
            return Err(refuse("it must not look like a secret or a token, because key ids are logged"));
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_id_is_a_short_visible_text_and_not_a_secret() {
        for valid in ["1", "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", "2026-12/billing+1=", "-1", &"x".repeat(128)] {
            assert!(valid.parse::<KeyId>().is_ok(), "{valid:?}");
        }
        let secret = "sw_09a27efed3ca36aeZ4Scn9TjQsubFyZ4fFxZahelin3z9J-GvXnxYbRaywS";
        for invalid in ["", "a b", "a\n", "\u{e9}", "\u{7f}", secret, &"x".repeat(129)] {
            assert!(invalid.parse::<KeyId>().is_err(), "{invalid:?}");
        }
    }
}
