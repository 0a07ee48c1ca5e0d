//! The forms of secrets and tokens, so that they are recognised where they do not belong.

/// A kind of text that must stay secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SecretForm {
    ClientSecret,
    RefreshToken,
    /// An access token, or an assertion.
    Jwt,
}

/// Whether `text` contains anything with the form of a client secret, a refresh token or a JWT, in any letter case.
pub(crate) fn contains_secret(text: &str) -> bool {
    find_secret(text).is_some()
}

/// The kind of the first secret in `text`.
///
/// Letter case does not matter: a secret in lower case loses only about 35 of its 256 bits, and its checksum recovers some of them.
pub(crate) fn find_secret(text: &str) -> Option<SecretForm> {
    let bytes = text.as_bytes();
    let at = |at: usize| {
        let rest = &bytes[at..];
        match rest[0] {
            b's' | b'S' if is_client_secret(rest) => Some(SecretForm::ClientSecret),
            b's' | b'S' if is_refresh_token(rest) => Some(SecretForm::RefreshToken),
            b'e' | b'E' if is_jwt(rest) => Some(SecretForm::Jwt),
            b'.' if is_old_refresh_token(bytes, at) => Some(SecretForm::RefreshToken),
            _ => None,
        }
    };
    (0..bytes.len()).find_map(at)
}

/// `sw_`, followed by the 16 hexadecimal digits of an id, or by enough base64url to be a damaged secret.
fn is_client_secret(text: &[u8]) -> bool {
    let Some(rest) = after_prefix(text, b"sw_") else { return false };
    rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count() >= 16 || base64url(rest) >= 24
}

/// `swr_`, followed by enough base64url to be the id of a login.
fn is_refresh_token(text: &[u8]) -> bool {
    after_prefix(text, b"swr_").is_some_and(|rest| base64url(rest) >= 16)
}

/// A JWS or JWE in compact form begins with a JSON object in base64url, and so with `eyJ` (RFC 7515 section 3.1).
fn is_jwt(text: &[u8]) -> bool {
    let Some(rest) = after_prefix(text, b"eyj") else { return false };
    let header = base64url(rest);
    header >= 40 || header >= 8 && rest.get(header) == Some(&b'.') && base64url(&rest[header + 1..]) >= 8
}

/// A refresh token of the old form without a prefix, or at least 20 characters of its MAC: 22 characters of base64url,
/// a dot, digits, a dot, and 43 characters of base64url. `at` is where its first dot is.
fn is_old_refresh_token(text: &[u8], at: usize) -> bool {
    let id = text[..at].iter().rev().take_while(|byte| is_base64url(**byte)).count();
    let digits = text[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = &text[at + 1 + digits..];
    id >= 22 && (1..=19).contains(&digits) && rest.first() == Some(&b'.') && base64url(&rest[1..]) >= 20
}

/// The rest of `text` after `prefix`, which is in lower case.
pub(crate) fn after_prefix<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// The number of base64url characters at the start of `text`.
pub(crate) fn base64url(text: &[u8]) -> usize {
    text.iter().take_while(|byte| is_base64url(**byte)).count()
}

const fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRETS: [&str; 6] = [
        "sw_09a27efed3ca36aez4SCN9tJqsuBFyZ4FfxzAHELIN3z9J-gVxNxYBRaYWsZwVRoQ",
        "sw_09a27efed3ca36ae",
        "swr_di5G35ZktxQQIXjO7RRStA.1.XUfI8hKDPMXingimp2HmgswGyzeBeptf3U9i-0jSzGw",
        "di5G35ZktxQQIXjO7RRStA.1.XUfI8hKDPMXingimp2HmgswGyzeBeptf3U9i-0jSzGw",
        "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJiaWxsaW5nIn0.c2lnbmF0dXJl",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJiaWxsaW5nIn0.",
    ];

    #[test]
    fn hd7_a_secret_is_recognised_in_any_letter_case_and_within_other_text() {
        for secret in SECRETS {
            let (lower, upper) = (secret.to_ascii_lowercase(), secret.to_ascii_uppercase());
            for text in [secret, &lower, &upper] {
                assert!(contains_secret(text), "{text}");
                for around in [format!("NAME={text}"), format!("\"{text}\""), format!("x{text}"), format!("ü {text} ü")] {
                    assert!(contains_secret(&around), "{around}");
                }
            }
        }
    }

    #[test]
    fn ordinary_names_are_not_secrets() {
        let names = [
            "",
            "s",
            "sw_",
            "sw_importer",
            "news_writer",
            "swr_",
            "eyjafjallajokull",
            "orders-api-production-v1.2.3",
            "0197a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b",
            "1-5759e988-bd862e3fe1be46a994272793",
            "/.well-known/oauth-authorization-server",
            "plum trousers at the gate",
            "ünicöde.1.ü",
        ];
        for name in names {
            assert!(!contains_secret(name), "{name}");
        }
    }
}
