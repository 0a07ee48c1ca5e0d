//! The challenge for a refused token: RFC 6750 section 3.

use super::Error;

impl Error {
    /// The value of `WWW-Authenticate` for the answer, on one line. `None` for a 500 or 503, where a new token would not help.
    #[must_use]
    pub fn challenge(&self) -> Option<String> {
        match self {
            Self::KeysUnavailable { .. } | Self::StatusUnavailable { .. } | Self::NotLayered => None,
            // Section 3.1: a request without a token gets no error code.
            Self::NoToken => Some("Bearer".to_owned()),
            Self::BadRequest(_) => Some(format!("Bearer error=\"invalid_request\", error_description=\"{self}\"")),
            Self::InsufficientScope(needed) => {
                let scope = if is_scope(needed) { format!(", scope=\"{needed}\"") } else { String::new() };
                Some(format!("Bearer error=\"insufficient_scope\", error_description=\"{self}\"{scope}"))
            }
            // The only code that does not make the caller request the same token again.
            Self::WrongCaller | Self::NotOwner => Some(format!("Bearer error=\"insufficient_scope\", error_description=\"{self}\"")),
            _ => Some(format!("Bearer error=\"invalid_token\", error_description=\"{self}\"")),
        }
    }
}

/// Whether `text` is scope tokens separated by spaces, which need no quoting (RFC 6750 section 3, `scope`).
fn is_scope(text: &str) -> bool {
    text.split(' ').all(|token| token.parse::<crate::protocol::ScopeToken>().is_ok())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use super::{
        super::{KeyFetchError, StatusFetchError},
        *,
    };
    use crate::protocol::Algorithm;

    /// One error of each kind, with hostile texts.
    fn every() -> Vec<Error> {
        vec![
            Error::TooLarge,
            Error::Malformed("it has no signature"),
            Error::AlgorithmNotAllowed(Some(Algorithm::EdDsa)),
            Error::AlgorithmNotAllowed(None),
            Error::Critical,
            Error::WrongType,
            Error::UnknownKey,
            Error::BadSignature,
            Error::MissingClaim("exp"),
            Error::BadClaim("sub"),
            Error::WrongIssuer,
            Error::WrongAudience,
            Error::Expired,
            Error::NotYetValid,
            Error::BindingRequired,
            Error::WrongCaller,
            Error::NotOwner,
            Error::InsufficientScope("a\"\r\nSet-Cookie: x".to_owned()),
            Error::KeysUnavailable { retry_after: Duration::from_secs(5), cause: Some(KeyFetchError("a\"\r\nb".to_owned())) },
            Error::Revoked,
            Error::BadStatus("its status list does not exist any more"),
            Error::StatusUnavailable { retry_after: Duration::from_secs(5), cause: Some(StatusFetchError("a\"\r\nb".to_owned())) },
            Error::NoToken,
            Error::BadRequest("the Authorization header is there twice"),
            Error::NotLayered,
        ]
    }

    #[test]
    fn every_reason_has_its_own_code_and_a_well_formed_challenge() {
        let codes: BTreeSet<_> = every().iter().map(Error::code).collect();
        assert_eq!(codes, Error::CODES.iter().copied().collect(), "every code is listed and used");
        for error in every() {
            let Some(challenge) = error.challenge() else {
                let wait = (error.status() == 503).then_some(Duration::from_secs(5));
                assert!(matches!(error.status(), 500 | 503) && error.retry_after() == wait);
                continue;
            };
            assert!(matches!(error.status(), 400 | 401 | 403) && error.retry_after().is_none());
            // RFC 6750 section 3: a description has no quotes, no backslashes and only ASCII.
            let values: Vec<&str> = challenge.split('"').skip(1).step_by(2).collect();
            assert_eq!(challenge.matches('"').count(), 2 * values.len(), "{challenge}");
            assert!(challenge.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'\\'), "{challenge}");
        }
    }

    #[test]
    fn the_challenge_names_the_required_scope() {
        let needed = Error::InsufficientScope("orders:read orders:write".to_owned());
        assert!(needed.challenge().is_some_and(|challenge| challenge.ends_with(", scope=\"orders:read orders:write\"")));
        assert_eq!(needed.status(), 403);
        let hostile = Error::InsufficientScope("a\" b".to_owned()).challenge();
        assert!(hostile.is_some_and(|challenge| !challenge.contains("scope=")));
    }

    #[test]
    fn debug_prints_a_sentence_and_only_debug_prints_the_cause_or_the_missing_scope() {
        let cause = KeyFetchError("https://auth.example: it answers 404".to_owned());
        let error = Error::KeysUnavailable { retry_after: Duration::from_secs(5), cause: Some(cause) };
        assert_eq!(error.to_string(), "the issuer's keys are not available");
        assert_eq!(format!("{error:?}"), "the issuer's keys are not available: https://auth.example: it answers 404");
        assert!(std::error::Error::source(&error).is_some());
        assert_eq!(format!("{:?}", Error::Expired), "the token has expired");
        let needed = Error::InsufficientScope("orders:read orders:write".to_owned());
        assert_eq!(needed.to_string(), "the token does not have the required scope");
        assert_eq!(format!("{needed:?}"), "the token does not have the required scope: orders:read orders:write");
        assert!(!format!("{:?}", Error::InsufficientScope("a\r\nb".to_owned())).contains(['\r', '\n']));
    }
}
