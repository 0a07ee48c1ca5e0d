//! Refresh tokens. The database stores no secret for them.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::server::{keys::MacKey, model::LoginId};

/// A refresh token of this issuer: `swr_`, then `login id . generation . HMAC-SHA-256(K, login id, generation)`.
///
/// Leak scanners and the log recognize it by the prefix. The prefix carries no information and is not covered by the MAC: tokens that
/// were issued before there was a prefix stay valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefreshToken {
    pub(crate) login: LoginId,
    pub(crate) generation: i64,
}

impl RefreshToken {
    /// Domain separation: the MAC key signs only messages with this prefix.
    const PURPOSE: &str = "refresh token ";
    const PREFIX: &str = "swr_";
    /// 4 characters of prefix, 22 of id, 19 of generation, 43 of MAC and two dots.
    const MAX_LEN: usize = 90;

    /// The text that is sent to the client. It depends only on login and generation, so that a lost answer can be repeated.
    pub(crate) fn to_text(&self, key: &MacKey) -> String {
        let signed = format!("{}.{}", self.login, self.generation);
        let mac = key.sign(format!("{}{signed}", Self::PURPOSE).as_bytes());
        format!("{}{signed}.{}", Self::PREFIX, BASE64_URL_SAFE_NO_PAD.encode(mac))
    }

    /// Parses a token and verifies that this issuer made it. Nothing is parsed before the MAC is verified.
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

    /// The login that a text in the form of a refresh token names, whether or not this issuer made it.
    pub(crate) fn unverified_login(text: &str) -> Option<LoginId> {
        Self::without_prefix(text).split_once('.')?.0.parse().ok()
    }

    /// Removes the prefix, if there is one. A login id may begin with the same characters, so the length decides.
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
    fn ca9_ten_thousand_refresh_tokens_are_unique_and_invalid_under_another_key() {
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
    fn rt13_an_altered_token_is_invalid() {
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
    fn hd7_a_refresh_token_has_a_prefix_and_tokens_without_one_stay_valid() {
        let key = MacKey::random();
        for login in ["di5G35ZktxQQIXjO7RRStA", "swr_35ZktxQQIXjO7RRStA", "swr_swr_swr_swr_swr_sw"] {
            for generation in [1, i64::MAX] {
                let token = RefreshToken { login: login.parse().unwrap(), generation };
                let text = token.to_text(&key);
                assert!(text.starts_with("swr_") && text.len() <= RefreshToken::MAX_LEN, "{text}");
                let old = &text[4..];
                assert_eq!(RefreshToken::read(&text, &key).as_ref(), Some(&token));
                assert_eq!(RefreshToken::read(old, &key).as_ref(), Some(&token), "without the prefix");
                let mac = BASE64_URL_SAFE_NO_PAD.decode(old.rsplit_once('.').unwrap().1).unwrap();
                assert!(key.verifies(format!("refresh token {login}.{generation}").as_bytes(), &mac), "the MAC does not cover the prefix");
                for altered in
                    [format!("swr_{text}"), format!("SWR_{old}"), format!("swr{old}"), format!("sw_{old}"), format!("swr_.{old}")]
                {
                    assert_eq!(RefreshToken::read(&altered, &key), None, "{altered}");
                }
            }
        }
    }
}
