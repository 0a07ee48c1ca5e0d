//! The origins to which tokens are sent.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use url::Url;

use crate::protocol::is_loopback;

/// Maximum number of origins for which a missing token is logged.
const MAX_WARNINGS: usize = 32;

/// Scheme, host and port of an API (RFC 6454 section 4): `https`, or `http` on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin(url::Origin);

impl Origin {
    /// Returns `None` for a text that is not exactly one origin, or for an origin whose connection others can read (RFC 6750 section 5.3).
    pub(super) fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let secure = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url.host()?));
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let anonymous = url.username().is_empty() && url.password().is_none();
        (secure && bare && anonymous).then(|| Self(url.origin()))
    }

    /// Whether it is `http` on this machine: then no proxy may be used.
    pub(super) fn is_plain(&self) -> bool {
        matches!(&self.0, url::Origin::Tuple(scheme, ..) if scheme == "http")
    }
}

/// The origins to which the token is sent. Clones share the record of warnings.
#[derive(Clone, Default)]
pub(super) struct Origins(Arc<Inner>);

#[derive(Default)]
struct Inner {
    allowed: Vec<Origin>,
    warned: Mutex<BTreeSet<String>>,
}

impl fmt::Debug for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.allowed.fmt(f)
    }
}

impl Origins {
    pub(super) fn new(allowed: Vec<Origin>) -> Self {
        Self(Arc::new(Inner { allowed, warned: Mutex::default() }))
    }

    /// Whether one of them is `http` on this machine.
    pub(super) fn any_plain(&self) -> bool {
        self.0.allowed.iter().any(Origin::is_plain)
    }

    /// Whether a request to `url` gets the token. Logs the first request to each other origin, because a forgotten origin otherwise shows only
    /// as a 401 of the API.
    pub(super) fn allow(&self, url: &Url) -> bool {
        let origin = url.origin();
        let allowed = self.0.allowed.iter().any(|allowed| allowed.0 == origin);
        if !allowed {
            self.warn(origin.ascii_serialization(), "a request is sent without a token, because its origin is not in `attach_to`");
        }
        allowed
    }

    /// Logs that a request has no origin at all, once.
    pub(super) fn warn_relative(&self) {
        self.warn(
            String::new(),
            "a request is sent without a token, because its URI names no origin: with tonic, make the client with `with_origin`",
        );
    }

    fn warn(&self, origin: String, message: &'static str) {
        let Some(count) = self.record(&origin) else { return };
        tracing::warn!(origin, "{message}");
        if count == MAX_WARNINGS {
            tracing::warn!("further origins without a token are not logged");
        }
    }

    /// How many origins are recorded, or `None` if this one need not be logged.
    fn record(&self, origin: &str) -> Option<usize> {
        let mut warned = self.0.warned.lock().unwrap_or_else(PoisonError::into_inner);
        (warned.len() < MAX_WARNINGS && warned.insert(origin.to_owned())).then(|| warned.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_https_or_this_machine_with_scheme_host_and_port_only() {
        for valid in
            ["https://orders.example", "https://orders.example/", "https://orders.example:8443", "http://127.0.0.1:9000", "http://[::1]"]
        {
            assert!(Origin::parse(valid).is_some(), "{valid}");
        }
        for invalid in
            ["", "orders.example", "http://orders.example", "https://orders.example/v1", "https://a@orders.example", "*", "file:///"]
        {
            assert!(Origin::parse(invalid).is_none(), "{invalid}");
        }
        let origins = Origins::new(vec![Origin::parse("https://orders.example").unwrap()]);
        let allow = |url: &str| origins.allow(&Url::parse(url).unwrap());
        assert!(allow("https://orders.example/v1/orders?x=1") && allow("https://orders.example:443/"));
        for other in [
            "http://orders.example/",
            "https://orders.example:444/",
            "https://orders.example.evil.example/",
            "https://xorders.example/",
            "https://orders.example@evil.example/",
        ] {
            assert!(!allow(other), "{other}");
        }
    }

    // `tests/logged.rs` reads the lines.
    #[test]
    fn each_origin_without_a_token_is_recorded_once_and_32_at_most() {
        let origins = Origins::new(Vec::new());
        assert_eq!(origins.record("https://stock.example"), Some(1));
        assert_eq!(origins.record("https://stock.example"), None);
        assert_eq!(origins.record("https://stock.example:444"), Some(2));
        for port in 1..=1000 {
            assert!(!origins.allow(&Url::parse(&format!("https://other.example:{port}/")).unwrap()));
        }
        assert_eq!(origins.record("https://one-too-many.example"), None);
        assert_eq!(origins.0.warned.lock().unwrap().len(), MAX_WARNINGS);
    }
}
