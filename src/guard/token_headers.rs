//! The headers that say to the API who calls: their names, and their values.
//!
//! Only the guard may set them. A copy that the caller sent is removed, or refused where the guard cannot remove it.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::value::RawValue;

use super::rules::is_override;
use crate::{
    proxy::Reserved,
    server::settings::{Error, Setting, Values, setting},
    verifier::{self, Claims},
};

/// Maximum length of a value in bytes. The claims of every token of Sealwright fit.
const MAX_LEN: usize = 8 * 1024;

/// What is percent-encoded in a value (RFC 3986 section 2.1), so that it is visible ASCII. `%` too, so that no two texts have one value.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

const NAME: &str = "the name of a header that has no other meaning, such as X-User, or off";

/// What a header says about the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fact {
    Subject,
    Client,
    Scope,
    Issuer,
    Claims,
}

impl Fact {
    const ALL: [Self; 5] = [Self::Subject, Self::Client, Self::Scope, Self::Issuer, Self::Claims];

    const fn setting(self) -> &'static str {
        match self {
            Self::Subject => "subject_header",
            Self::Client => "client_header",
            Self::Scope => "scope_header",
            Self::Issuer => "issuer_header",
            Self::Claims => "claims_header",
        }
    }

    const fn default_name(self) -> &'static str {
        match self {
            Self::Subject => "X-Token-Subject",
            Self::Client => "X-Token-Client",
            Self::Scope => "X-Token-Scope",
            Self::Issuer => "X-Token-Issuer",
            Self::Claims => "X-Token-Claims",
        }
    }

    /// The text of its header: visible ASCII and spaces.
    fn of(self, claims: &Claims) -> Result<String, verifier::Error> {
        let encoded = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
        Ok(match self {
            Self::Subject => encoded(claims.subject()),
            Self::Client => encoded(claims.client_id()),
            Self::Scope => claims.scopes().map(encoded).collect::<Vec<_>>().join(" "),
            Self::Issuer => encoded(claims.issuer()),
            // The payload as it was signed.
            Self::Claims => BASE64_URL_SAFE_NO_PAD.encode(claims.custom::<Box<RawValue>>()?.get()),
        })
    }
}

/// The headers that are set, and the names that no caller may use.
#[derive(Debug, Clone)]
pub(super) struct TokenHeaders {
    set: Vec<(Fact, HeaderName)>,
    /// Those that are set, and those that would be by default: the API may read them all the same.
    reserved: Reserved,
}

/// A value that is too long for a header.
#[derive(Debug, thiserror::Error)]
#[error("the value of {0} would be longer than 8,192 bytes: turn this header off if the API does not need it")]
pub(super) struct Oversized(HeaderName);

/// A header that only the guard may set, with another value than that of its answer.
#[derive(Debug, thiserror::Error)]
#[error("the caller sent the header {0}, which only this guard sets")]
pub(super) struct SentByCaller(HeaderName);

impl TokenHeaders {
    pub(super) const SETTINGS: &'static [Setting] = &[
        setting(
            Fact::Subject.setting(),
            Some(Fact::Subject.default_name()),
            "the header with the subject of the token: the user, or the client itself",
            NAME,
        ),
        setting(Fact::Client.setting(), Some(Fact::Client.default_name()), "the header with the client that the token was issued to", NAME),
        setting(Fact::Scope.setting(), Some(Fact::Scope.default_name()), "the header with the scope of the token", NAME),
        setting(
            Fact::Issuer.setting(),
            Some(Fact::Issuer.default_name()),
            "the header with the issuer of the token; a subject is unique only within its issuer",
            NAME,
        ),
        setting(
            Fact::Claims.setting(),
            Some(Fact::Claims.default_name()),
            "the header with all claims of the token, as JSON in base64url",
            NAME,
        ),
    ];

    pub(super) fn read(values: &Values) -> Result<Self, Error> {
        let mut set: Vec<(Fact, HeaderName)> = Vec::new();
        for fact in Fact::ALL {
            let Some(name) = values.parse(fact.setting(), |text| name(text).ok_or(None))? else { continue };
            if set.iter().any(|(_, other)| Reserved::new([other.clone()]).contains(&name)) {
                let why = "another header of this guard has this name, or one that an API may take for the same";
                return Err(values.refuse(fact.setting(), Some(why.to_owned())));
            }
            set.push((fact, name));
        }
        let defaults = Fact::ALL.iter().filter_map(|fact| fact.default_name().parse().ok());
        let reserved = Reserved::new(set.iter().map(|(_, name)| name.clone()).chain(defaults));
        Ok(Self { set, reserved })
    }

    /// The names that no caller may use.
    pub(super) fn reserved(&self) -> Reserved {
        self.reserved.clone()
    }

    /// Sets the headers for a caller with these claims.
    pub(super) fn set(&self, claims: &Claims, headers: &mut HeaderMap) -> Result<(), Unsettable> {
        for (fact, name) in &self.set {
            let text = fact.of(claims)?;
            let value = Some(text).filter(|text| text.len() <= MAX_LEN).and_then(|text| HeaderValue::try_from(text).ok());
            headers.insert(name, value.ok_or_else(|| Oversized(name.clone()))?);
        }
        Ok(())
    }

    /// Sets them to nothing, so that a gateway overwrites those of the caller.
    pub(super) fn set_empty(&self, headers: &mut HeaderMap) {
        for (_, name) in &self.set {
            headers.insert(name, HeaderValue::from_static(""));
        }
    }

    /// Refuses a request with a header that only the guard may set: nothing says that the gateway replaces it. Not every gateway copies all
    /// headers of the answer, or replaces one by an empty one (Caddy did not between 2.9 and its advisory GHSA-7r4p-vjf4-gxv4), and none
    /// replaces `X_Token_Subject`, which is the same header for an API behind CGI, WSGI or Rack.
    ///
    /// A header that says what `answer` says is true, no matter who sent it. It comes from a gateway that asks again about a request to which
    /// it has already copied the answer, or from one before it that has a guard as well.
    pub(super) fn refuse_copies(&self, sent: &HeaderMap, answer: &HeaderMap) -> Result<(), SentByCaller> {
        let is_true = |name: &HeaderName| answer.get(name).is_some_and(|value| sent.get_all(name).iter().eq([value]));
        let copy = sent.keys().find(|name| self.reserved.contains(name) && !is_true(name));
        copy.map_or(Ok(()), |name| Err(SentByCaller(name.clone())))
    }
}

/// Why the headers cannot be set.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsettable {
    #[error(transparent)]
    Oversized(#[from] Oversized),
    #[error(transparent)]
    Claims(#[from] verifier::Error),
}

/// The name of a header, or `None` for `off`.
fn name(text: &str) -> Option<Option<HeaderName>> {
    if text == "off" {
        return Some(None);
    }
    let name: HeaderName = text.parse().ok()?;
    (!has_meaning(&name)).then_some(Some(name))
}

/// Whether a header with this name means something to a gateway, to the guard, to HTTP or to an API, in any spelling.
fn has_meaning(name: &HeaderName) -> bool {
    const NAMES: [&str; 36] = [
        "authorization",
        "baggage",
        "cache-control",
        "connection",
        "cookie",
        "date",
        "dpop",
        "early-data",
        "expect",
        "forwarded",
        "from",
        "host",
        "keep-alive",
        "last-event-id",
        "location",
        "max-forwards",
        "origin",
        "pragma",
        "priority",
        "range",
        "referer",
        "retry-after",
        "set-cookie",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "true-client-ip",
        "upgrade",
        "user-agent",
        "via",
        "www-authenticate",
        "x-csrf-token",
        "x-real-ip",
        "x-requested-with",
    ];
    /// How the names of further ones begin.
    const FAMILIES: [&str; 13] = [
        "accept",
        "access-control-",
        "content-",
        "grpc-",
        "if-",
        "proxy-",
        "sec-",
        "x-forwarded-",
        "x-guard-",
        "x-http-method",
        "x-original-",
        "x-request-id",
        "x-rewrite-",
    ];
    let plain = |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte) } else { '-' };
    let folded: String = name.as_str().bytes().map(plain).collect();
    NAMES.contains(&folded.as_str()) || FAMILIES.iter().any(|family| folded.starts_with(family)) || is_override(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_has_another_meaning_cannot_name_the_caller() {
        for text in [
            "Authorization",
            "User-Agent",
            "user_agent",
            "Range",
            "Origin",
            "traceparent",
            "If-None-Match",
            "Accept",
            "Content-Type",
            "Sec-Fetch-Site",
            "Path-Info",
            "SCRIPT_NAME",
            "Daphne-Root-Path",
            "X-Method-Override",
            "X-Original-URL",
            "X-Forwarded-User",
            "X-Real-IP",
            "X-Request-Id",
            "a b",
            "",
        ] {
            assert_eq!(name(text), None, "{text}");
        }
        for text in ["X-User", "X_User", "Remote-User", "X-Token-Subject", "X-Auth-Request-User"] {
            assert_eq!(name(text), Some(Some(text.parse().unwrap())), "{text}");
        }
        assert_eq!(name("off"), Some(None));
    }
}
