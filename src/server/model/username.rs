use std::{fmt, str::FromStr};

use precis_profiles::{UsernameCaseMapped, precis_core::profile::PrecisFastInvocation};

use crate::protocol::Malformed;

/// The name of a user in the normal form for comparison: RFC 8265 section 3.3, UsernameCaseMapped.
///
/// `Alice`, `ALICE` and full-width letters are the same name; surrounding white space is ignored. At most 128 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Username(String);

impl Username {
    const MAX_CHARS: usize = 128;

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Username {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let refuse = |rule| Malformed { what: "user name", rule };
        let text = text.trim();
        if text.is_empty() || text.chars().count() > Self::MAX_CHARS {
            return Err(refuse("it must have 1 to 128 characters"));
        }
        let enforced = UsernameCaseMapped::enforce(text)
            .map_err(|_| refuse("it may contain letters, digits and ASCII symbols, but no space (RFC 8265 section 3.3)"))?;
        // One mapping may enable another; a name is valid if mapping it again changes nothing (RFC 8264 section 7).
        let again = UsernameCaseMapped::enforce(enforced.as_ref());
        if again.is_ok_and(|again| again == enforced) { Ok(Self(enforced.into_owned())) } else { Err(refuse("it has no stable form")) }
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pw11_one_name_has_many_spellings() {
        let alice: Username = "alice".parse().unwrap();
        for spelling in ["Alice", " alice", "ALICE", "alice\t", "\u{ff21}lice", "ａｌｉｃｅ"] {
            assert_eq!(spelling.parse::<Username>().as_ref(), Ok(&alice), "{spelling:?}");
        }
        let composed: Username = "andr\u{e9}".parse().unwrap();
        assert_eq!("ANDRE\u{301}".parse::<Username>().as_ref(), Ok(&composed));
    }

    #[test]
    fn a_name_with_hidden_characters_is_refused() {
        for text in ["", " ", "a b", "a\nb", "a\u{200b}b", "a\u{202e}b", "\u{1b}[31m", &"x".repeat(129)] {
            assert!(text.parse::<Username>().is_err(), "{text:?}");
        }
    }
}
