//! Which passwords may be set: a minimum length and a list of common passwords (NIST SP 800-63B-4 section 3.1.1.2). There are no
//! composition rules, and passwords do not expire.

use std::{collections::HashSet, sync::LazyLock};

use crate::{
    protocol::Issuer,
    server::{
        model::{Password, Username},
        settings::{Error, Setting, Values, number, setting},
    },
};

/// The rules for new passwords.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// Minimum number of characters; at least 8.
    pub(crate) min_length: usize,
    /// Names of the service, which are easy to guess.
    pub(crate) service_names: Vec<String>,
}

/// The ten thousand most common passwords of leaks, in lower case.
static COMMON: LazyLock<HashSet<&'static str>> = LazyLock::new(|| include_str!("common_passwords.txt").split_ascii_whitespace().collect());

/// Minimum number of characters besides a known name.
const OWN_CHARS: usize = 8;
/// Shorter names are ignored: they are too likely to occur in a good password by chance.
const NAME_CHARS: usize = 4;

impl Policy {
    pub(crate) const SETTINGS: &'static [Setting] =
        &[setting("password_min_length", Some("15"), "minimum length of a new password, in characters", "a number from 8 to 64")];

    pub(crate) fn read(values: &Values, issuer: Option<&Issuer>) -> Result<Self, Error> {
        Ok(Self { min_length: values.parse("password_min_length", number(8, 64))?, service_names: service_names(issuer) })
    }

    /// Checks whether `password` may be set for `username`, or returns the reason why not.
    pub(crate) fn check(&self, password: &Password, username: &Username) -> Result<(), String> {
        if password.chars() < self.min_length {
            return Err(format!(
                "it has {} characters, but at least {} are required; a few random words are easy to remember",
                password.chars(),
                self.min_length
            ));
        }
        let lower = password.expose().to_lowercase();
        let core = lower.trim_matches(|c: char| !c.is_alphabetic());
        if [lower.as_str(), core, piece(&lower), piece(core)].iter().any(|text| COMMON.contains(text)) {
            return Err("it is a common password, or one with something added".to_owned());
        }
        if piece(&lower).chars().count() < OWN_CHARS {
            return Err("it repeats a short text".to_owned());
        }
        let names = self.service_names.iter().map(String::as_str).chain([username.as_str()]);
        for name in names.filter(|name| name.chars().count() >= NAME_CHARS) {
            let rest = lower.replace(&name.to_lowercase(), "");
            if rest.len() < lower.len() && rest.chars().filter(|c| c.is_alphanumeric()).count() < OWN_CHARS {
                return Err("it is little more than the name of the user or of the service".to_owned());
            }
        }
        Ok(())
    }
}

/// The parts of the issuer's host, and the name of this program.
fn service_names(issuer: Option<&Issuer>) -> Vec<String> {
    let host = issuer.map_or("", |issuer| issuer.as_str().split('/').nth(2).unwrap_or_default());
    let parts = host.split(['.', ':']).map(str::to_owned);
    parts.chain(["sealwright".to_owned()]).collect()
}

/// The shortest text that `text` repeats at least one and a half times, or `text` itself.
fn piece(text: &str) -> &str {
    let chars: Vec<(usize, char)> = text.char_indices().collect();
    let repeats = |length: &usize| chars.iter().zip(&chars[*length..]).all(|((_, one), (_, other))| one == other);
    match (1..=chars.len() * 2 / 3).find(repeats) {
        Some(length) => &text[..chars[length].0],
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(), String> {
        let policy = Policy { min_length: 15, service_names: vec!["sealwright".to_owned(), "orders".to_owned()] };
        policy.check(&Password::parse(text).unwrap(), &"alice.cooper".parse().unwrap())
    }

    #[test]
    fn pw13_any_characters_are_accepted_and_fourteen_are_too_few() {
        for good in [
            "plumtrousergate",
            "a b c d e f g h i",
            "🦀🦊🐙🐢🦉🐝🦋🐌🐞🦗🦂🐍🦎🦖🦕",
            "correct horse battery",
            "PLUMTROUSERGATE",
            "483920571648302",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let short = check("plumtrousergat").unwrap_err();
        assert!(short.contains("14 characters") && short.contains("15 are required"), "{short}");
    }

    #[test]
    fn pw14_common_passwords_are_refused_with_the_reason() {
        for common in
            ["password12345678", "PassWord12345678", "passwordpassword", "1234567890123456", "qwertyuiop!!!!!!!!", "!!!iloveyou2026!!!"]
        {
            assert!(check(common).unwrap_err().contains("common password"), "{common}");
        }
        for repeated in ["aaaaaaaaaaaaaaaa", "abcabcabcabcabcabc", "zxvzxvzxvzxvzxvzx"] {
            assert!(check(repeated).is_err(), "{repeated}");
        }
        for name in ["alice.cooper-2026", "Sealwright-2026!", "sealwrightsealwright1", "my-alice.cooper-1"] {
            assert!(
                check(name).unwrap_err().contains("name of the user or of the service") || check(name).unwrap_err().contains("repeats"),
                "{name}"
            );
        }
        let with_a_name = "alice.cooper likes plums";
        assert_eq!(check(with_a_name), Ok(()));
    }

    #[test]
    fn pw14_common_passwords_are_refused_at_any_minimum_length() {
        let policy = Policy { min_length: 8, service_names: Vec::new() };
        assert!(COMMON.len() >= 3000);
        for common in COMMON.iter() {
            assert!(policy.check(&Password::parse(common).unwrap(), &"bob".parse().unwrap()).is_err(), "{common}");
        }
    }
}
