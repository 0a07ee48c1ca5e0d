//! Refresh tokens: nothing secret is stored for them.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::server::{keys::MacKey, model::LoginId};

/// A refresh token that this issuer made: `swr_`, then `login id . generation . HMAC-SHA-256(K, login id, generation)`.
///
/// The prefix lets leak scanners and the log recognise it. It says nothing and is not covered by the MAC: tokens that were made
/// before there was a prefix have none, and stay good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefreshToken {
    pub(crate) login: LoginId,
    pub(crate) generation: i64,
}

impl RefreshToken {
    /// A MAC under K means this and nothing else.
    const PURPOSE: &str = "refresh token ";
    const PREFIX: &str = "swr_";
    /// 4 characters of prefix, 22 of id, 19 of generation, 43 of MAC and two dots.
    const MAX_LEN: usize = 90;

    /// The text that goes out: the same for the same login and generation, so that a lost answer can be repeated.
    pub(crate) fn to_text(&self, key: &MacKey) -> String {
        let signed = format!("{}.{}", self.login, self.generation);
        let mac = key.sign(format!("{}{signed}", Self::PURPOSE).as_bytes());
        format!("{}{signed}.{}", Self::PREFIX, BASE64_URL_SAFE_NO_PAD.encode(mac))
    }

    /// The token that `text` is, if this issuer made it. The MAC comes first: what it does not cover is not read.
    pub(crate) fn read(text: &str, key: &MacKey) -> Option<Self> {
        if text.len() > Self::MAX_LEN {
            return None;
        }
        let (signed, mac) = Self::without_prefix(text).rsplit_once('.')?;
        let mac = BASE64_URL_SAFE_NO_PAD.decode(mac).ok()?;
        if !key.verifies(format!("{}{signed}", Self::PURPOSE).as_bytes(), &mac) {
            return None;
        }
        let (login, generation) = signed.split_once('.')?;
        Some(Self { login: login.parse().ok()?, generation: generation.parse().ok()? })
    }

    /// What follows the prefix, if there is one. The id of a login may begin with the same characters: its length tells them apart.
    fn without_prefix(text: &str) -> &str {
        match text.strip_prefix(Self::PREFIX) {
            Some(rest) if rest.find('.') == Some(LoginId::LEN) => rest,
            _ => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ca9_ten_thousand_refresh_tokens_never_repeat_and_none_is_good_under_another_key() {
        let (key, other) = (MacKey::random(), MacKey::random());
        let mut seen = HashSet::new();
        for generation in 1..=10_000 {
            let token = RefreshToken { login: LoginId::generate(), generation };
            let text = token.to_text(&key);
            assert_eq!(RefreshToken::read(&text, &key), Some(token));
            assert_eq!(RefreshToken::read(&text, &other), None);
            assert!(seen.insert(text));
        }
    }

    #[test]
    fn rt13_a_token_that_was_altered_anywhere_is_none() {
        let key = MacKey::random();
        let token = RefreshToken { login: LoginId::generate(), generation: 7 };
        let text = token.to_text(&key);
        for at in 0..text.len() {
            assert_eq!(RefreshToken::read(&text[..at], &key), None, "cut at {at}");
            for other in ["A", "b", "0", ".", "-", " "].into_iter().filter(|other| *other != &text[at..=at]) {
                let altered = format!("{}{other}{}", &text[..at], &text[at + 1..]);
                assert_eq!(RefreshToken::read(&altered, &key), None, "{other:?} at {at}");
            }
        }
        let (signed, mac) = text.rsplit_once('.').unwrap();
        let (login, _) = signed.split_once('.').unwrap();
        for altered in [
            format!("{text}A"),
            format!("{text}="),
            format!(" {text}"),
            format!("{login}.8.{mac}"),
            format!("{login}.07.{mac}"),
            format!("{login}.+7.{mac}"),
        ] {
            assert_eq!(RefreshToken::read(&altered, &key), None, "{altered}");
        }
        assert_eq!(RefreshToken::read(&"x".repeat(100_000), &key), None);
    }

    #[test]
    fn hd7_a_refresh_token_has_a_prefix_and_those_from_before_there_was_one_stay_good() {
        let key = MacKey::random();
        for login in ["di5G35ZktxQQIXjO7RRStA", "swr_35ZktxQQIXjO7RRStA", "swr_swr_swr_swr_swr_sw"] {
            for generation in [1, i64::MAX] {
                let token = RefreshToken { login: login.parse().unwrap(), generation };
                let text = token.to_text(&key);
                assert!(text.starts_with("swr_") && text.len() <= RefreshToken::MAX_LEN, "{text}");
                let old = &text[4..];
                assert_eq!(RefreshToken::read(&text, &key).as_ref(), Some(&token));
                assert_eq!(RefreshToken::read(old, &key).as_ref(), Some(&token), "as it was made before");
                let mac = BASE64_URL_SAFE_NO_PAD.decode(old.rsplit_once('.').unwrap().1).unwrap();
                assert!(key.verifies(format!("refresh token {login}.{generation}").as_bytes(), &mac), "the MAC covers what it covered");
                for altered in
                    [format!("swr_{text}"), format!("SWR_{old}"), format!("swr{old}"), format!("sw_{old}"), format!("swr_.{old}")]
                {
                    assert_eq!(RefreshToken::read(&altered, &key), None, "{altered}");
                }
            }
        }
    }
}
