use precis_profiles::{
    OpaqueString,
    precis_core::{self, DerivedPropertyValue, FreeformClass, StringClass, profile::Rules},
};
use secrecy::{ExposeSecret, SecretString};

use crate::protocol::Malformed;

/// A password in the normal form for comparison: RFC 8265 section 4.2, OpaqueString.
#[derive(Debug, Clone)]
pub struct Password(SecretString);

impl Password {
    /// Long enough for any phrase, short enough to bound the cost of hashing.
    pub(crate) const MAX_CHARS: usize = 1024;

    /// Refuses texts that cannot be a password; checks the length first.
    /// # Errors
    ///
    /// If it is empty, too long, or contains characters that a password cannot have.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let refuse = |rule| Malformed { what: "password", rule };
        if text.is_empty() || Self::is_too_long(text) {
            return Err(refuse("it must have 1 to 1,024 characters"));
        }
        let enforced = enforce(text).map_err(|_| {
            refuse("it may contain letters, digits, symbols and spaces, but no control or invisible characters (RFC 8265 section 4.2)")
        })?;
        Ok(Self(enforced.into()))
    }

    pub(crate) fn is_too_long(text: &str) -> bool {
        text.chars().count() > Self::MAX_CHARS
    }

    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    pub(crate) fn into_secret(self) -> SecretString {
        self.0
    }

    pub(crate) fn chars(&self) -> usize {
        self.expose().chars().count()
    }
}

/// Applies OpaqueString, with one difference. Its tables are of Unicode 6.3, so characters added since (half of all emoji) count as
/// unassigned and would be refused, and so would the invisible characters that join emoji. Both are accepted here. They have no mapping,
/// and their normal form comes from newer tables.
fn enforce(text: &str) -> Result<String, precis_core::Error> {
    let (profile, class) = (OpaqueString::new(), FreeformClass::default());
    let known: String =
        text.chars().filter(|c| !joins_emoji(*c) && class.get_value_from_char(*c) != DerivedPropertyValue::Unassigned).collect();
    class.allows(known)?;
    let mapped = profile.additional_mapping_rule(text)?;
    Ok(profile.normalization_rule(mapped)?.into_owned())
}

/// Whether `c` combines emoji into one: a zero-width joiner or a variation selector.
fn joins_emoji(c: char) -> bool {
    matches!(c, '\u{200d}' | '\u{fe0e}' | '\u{fe0f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_has_one_normal_form_and_new_emoji_are_accepted() {
        let form = |text: &str| Password::parse(text).map(|password| password.expose().to_owned());
        assert_eq!(form("caf\u{e9} \u{1f980}"), form("cafe\u{301}\u{3000}\u{1f980}"), "composed or not, with any kind of space");
        assert_ne!(form("Plum"), form("plum"));
        for good in ["\u{1f980}", " a ", "\u{1f469}\u{200d}\u{1f692}", "\u{2764}\u{fe0f}"] {
            assert!(form(good).is_ok(), "{good:?}");
        }
        for refused in ["", "a\u{0}", "a\nb", "\u{1b}", "a\u{200b}b", "\u{202e}x"] {
            assert!(form(refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn pw12_a_password_has_up_to_1024_characters() {
        assert!(Password::parse(&"é".repeat(1024)).is_ok());
        assert!(Password::parse(&"é".repeat(1025)).is_err());
    }
}
