//! A strict parser for `application/x-www-form-urlencoded` request bodies.
//!
//! The parser of the URL standard accepts every mistake (`%zz` stays, bad UTF-8 becomes U+FFFD, the last of two values wins). This one
//! refuses them, because secrets must be compared exactly as they were sent.

use std::collections::BTreeMap;

use percent_encoding::percent_decode;
use secrecy::{ExposeSecret, SecretString};

use crate::{
    protocol::{ErrorCode, SecretForm},
    server::{caller_text, http::note::RequestPart, issuer::Refusal},
};

/// Parameters, each at most once (RFC 6749 section 3.2). All values are treated as secrets, because some are.
#[derive(Debug, Default)]
pub(super) struct Form(BTreeMap<String, SecretString>);

impl Form {
    /// More than any valid request needs.
    const MAX_PARAMETERS: usize = 100;

    pub(super) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let refuse = |description| Refusal::new(ErrorCode::InvalidRequest, description);
        let mut parameters = BTreeMap::new();
        for pair in body.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()) {
            let at = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
            let decoded = decode(&pair[..at]).zip(decode(pair.get(at + 1..).unwrap_or_default()));
            let (name, value) = decoded.ok_or_else(|| refuse("A parameter is not form-encoded UTF-8."))?;
            if parameters.len() == Self::MAX_PARAMETERS {
                return Err(refuse("There are too many parameters."));
            }
            let repeated = if name == "resource" || name == "audience" {
                // RFC 8707 section 2 allows several resources, but this server issues a token for one only.
                Refusal::new(ErrorCode::InvalidTarget, "Name one resource. A token is for one resource.")
            } else {
                refuse("A parameter occurs more than once.")
            };
            if parameters.insert(name, value.into()).is_some() {
                return Err(repeated);
            }
        }
        Ok(Self(parameters))
    }

    /// The value of a parameter. An empty one is treated as absent (RFC 6749 section 3.2).
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(SecretString::expose_secret).filter(|value| !value.is_empty())
    }

    /// The first parameter that contains a secret or a token of a kind that does not belong there.
    pub(super) fn misplaced_secret(&self) -> Option<RequestPart> {
        const IN_PLACE: [(RequestPart, &[SecretForm]); 13] = [
            (RequestPart::ClientId, &[]),
            (RequestPart::ClientSecret, &[SecretForm::ClientSecret]),
            (RequestPart::GrantType, &[]),
            (RequestPart::Scope, &[]),
            (RequestPart::Resource, &[]),
            (RequestPart::Audience, &[]),
            (RequestPart::Username, &[]),
            (RequestPart::Password, &[]),
            (RequestPart::RefreshToken, &[SecretForm::RefreshToken]),
            (RequestPart::Token, &[SecretForm::RefreshToken, SecretForm::Jwt]),
            (RequestPart::TokenTypeHint, &[]),
            (RequestPart::ClientAssertion, &[SecretForm::Jwt]),
            (RequestPart::ClientAssertionType, &[]),
        ];
        let misplaced = |(place, in_place): &&(RequestPart, &[SecretForm])| {
            self.get(place.as_str()).is_some_and(|value| caller_text::holds_other_secret(value, in_place))
        };
        let place = IN_PLACE.iter().find(misplaced).map(|(place, _)| *place);
        place.or_else(|| self.0.keys().any(|name| caller_text::holds_secret(name)).then_some(RequestPart::ParameterName))
    }
}

/// Decodes one name or value: `+` is a space, `%` precedes two hexadecimal digits, and the result is UTF-8 without NUL.
pub(super) fn decode(encoded: &[u8]) -> Option<String> {
    let mut rest = encoded;
    while let Some(at) = rest.iter().position(|&byte| byte == b'%') {
        let digits = rest.get(at + 1..at + 3)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        rest = &rest[at + 3..];
    }
    let spaced: Vec<u8> = encoded.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
    let text = percent_decode(&spaced).decode_utf8().ok()?;
    (!text.contains('\0')).then(|| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ca1_values_are_form_decoded() {
        assert_eq!(decode(b"a%3A%25%2B+b%C3%BC").as_deref(), Some("a:%+ bü"));
        assert_eq!(decode(b"").as_deref(), Some(""));
    }

    #[test]
    fn te8_malformed_form_encoding_and_invalid_utf8_are_refused() {
        for broken in [&b"%"[..], b"%z", b"%zz", b"%1", b"a%", b"%FF%FE", b"%00", b"%C0%AF", b"%ED%A0%80", b"%+1", b"\xff"] {
            assert_eq!(decode(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn a_repeated_parameter_is_refused_and_an_empty_one_is_absent() {
        let form = Form::parse(b"&a=1&&b=&c").unwrap();
        assert_eq!((form.get("a"), form.get("b"), form.get("c"), form.get("d")), (Some("1"), None, None, None));
        assert_eq!(Form::parse(b"a=&a=").unwrap_err().code, ErrorCode::InvalidRequest);
        for twice in [&b"resource=a&resource=b"[..], b"audience=a&audience=a"] {
            assert_eq!(Form::parse(twice).unwrap_err().code, ErrorCode::InvalidTarget);
        }
        let many = |count: usize| (0..count).map(|n| format!("p{n}=1&")).collect::<String>();
        assert!(Form::parse(many(100).as_bytes()).is_ok());
        assert!(Form::parse(many(101).as_bytes()).is_err());
        assert!(!format!("{:?}", Form::parse(b"client_secret=hunter2").unwrap()).contains("hunter2"));
    }

    #[test]
    fn hd7_a_secret_in_the_wrong_parameter_is_detected() {
        let (secret, token) =
            ("sw_09a27efed3ca36aez4SCN9tJqsuBFyZ4", "swr_di5G35ZktxQQIXjO7RRStA.1.XUfI8hKDPMXingimp2HmgswGyzeBeptf3U9i-0jSzGw");
        let misplaced = |body: String| Form::parse(body.as_bytes()).unwrap().misplaced_secret().map(RequestPart::as_str);
        for name in ["client_id", "grant_type", "scope", "resource", "audience", "username", "password", "refresh_token", "token"] {
            assert_eq!(misplaced(format!("{name}={secret}")), Some(name));
            assert_eq!(misplaced(format!("{name}=a+%2573w_{}", &secret[3..])), Some(name), "encoded twice");
        }
        assert_eq!(misplaced(format!("client_secret={token}")), Some("client_secret"));
        assert_eq!(misplaced(format!("{secret}=1")), Some("the name of a parameter"));
        assert_eq!(misplaced(format!("client_id=billing&client_secret={secret}&refresh_token={token}&token={token}")), None);
    }
}
