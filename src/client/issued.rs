//! The tokens of one answer of the token endpoint.

use std::time::Duration;

use http::HeaderValue;
use zeroize::Zeroizing;

use crate::clock::Timestamp;

/// Maximum length of a token in bytes.
const MAX_TOKEN_LEN: usize = 16 * 1024;
const BEARER: &str = "Bearer ";

/// The tokens of one answer of the token endpoint.
pub(super) struct IssuedTokens {
    /// `Bearer <token>`, marked as sensitive.
    header: HeaderValue,
    refresh: Option<Zeroizing<String>>,
    /// The granted scope. `None` if the issuer did not state it.
    scope: Option<String>,
    expires_at: Timestamp,
}

impl IssuedTokens {
    /// Returns `None` for an access token that no header may contain (RFC 6750 section 2.1) or that is longer than 16 KiB.
    pub(super) fn new(access: &str, refresh: Option<&str>, scope: Option<String>, expires_at: Timestamp) -> Option<Self> {
        let valid =
            (1..=MAX_TOKEN_LEN).contains(&access.len()) && access.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b));
        let mut header = HeaderValue::try_from(format!("{BEARER}{access}")).ok().filter(|_| valid)?;
        header.set_sensitive(true);
        let refresh = refresh.filter(|refresh| refresh.len() <= MAX_TOKEN_LEN).map(|refresh| Zeroizing::new(refresh.to_owned()));
        Some(Self { header, refresh, scope, expires_at })
    }

    pub(super) fn refresh_token(&self) -> Option<&str> {
        self.refresh.as_ref().map(|refresh| refresh.as_str())
    }

    pub(super) fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    /// Sets the scope, unless the issuer stated one.
    pub(super) fn or_scope(self, scope: String) -> Self {
        Self { scope: self.scope.or_else(|| Some(scope).filter(|scope| !scope.is_empty())), ..self }
    }

    pub(super) const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    pub(super) const fn header(&self) -> &HeaderValue {
        &self.header
    }

    pub(super) fn access(&self) -> &str {
        self.header.to_str().map_or("", |header| &header[BEARER.len()..])
    }
}

/// The part of a token's lifetime that is left unused, for requests in flight when it expires and for clocks that differ. It begins after the
/// refresh, so that there is time for one.
pub(super) fn unused_margin(lifetime: Duration) -> Duration {
    (lifetime / 10).min(Duration::from_secs(30))
}
