use std::{fmt, str::FromStr};

use http::{
    Uri,
    uri::{Authority, InvalidUriParts, Parts, PathAndQuery, Scheme},
};
use url::{Position, Url};

/// Scheme, host and port of an upstream (RFC 6454 section 4). It has no path: the upstream sees the path that its caller wrote, so that a
/// rule about a path holds for both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    scheme: Scheme,
    authority: Authority,
}

/// A text that is not exactly one origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an upstream is `http://` or `https://`, a host and an optional port, and nothing else: for example http://127.0.0.1:3000")]
pub(crate) struct InvalidOrigin;

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let url = Url::parse(text).map_err(|_| InvalidOrigin)?;
        let scheme = match url.scheme() {
            "http" => Scheme::HTTP,
            "https" => Scheme::HTTPS,
            _ => return Err(InvalidOrigin),
        };
        // `Url` forgives more than a URL may hold: it drops line breaks, and reads `http:\\host` and `http:///host` as `http://host`.
        let exact = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\@".contains(&byte));
        let after_scheme = text.get(scheme.as_str().len()..).and_then(|rest| rest.strip_prefix("://"));
        let host_follows = after_scheme.is_some_and(|rest| !rest.starts_with('/'));
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !(exact && host_follows && bare) {
            return Err(InvalidOrigin);
        }
        let authority = url[Position::BeforeHost..Position::AfterPort].parse().map_err(|_| InvalidOrigin)?;
        Ok(Self { scheme, authority })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

impl Origin {
    pub(super) fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// The URI of a path at this origin.
    pub(super) fn at(&self, path: PathAndQuery) -> Result<Uri, InvalidUriParts> {
        let mut parts = Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        Uri::from_parts(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gd2_an_upstream_is_an_origin_and_nothing_more() {
        for (text, shown) in [
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("http://localhost/", "http://localhost"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("https://Orders.Example:443", "https://orders.example"),
            ("https://orders.example:8443", "https://orders.example:8443"),
        ] {
            assert_eq!(text.parse::<Origin>().unwrap().to_string(), shown);
        }
        for text in [
            "",
            "orders.example",
            "localhost:3000",
            "ftp://orders.example",
            "http://",
            "http:orders.example",
            "http:///orders.example",
            "http:\\\\orders.example",
            "http://orders.example/v1",
            "http://orders.example?",
            "http://orders.example#",
            "http://a@orders.example",
            "http://@orders.example",
            "http://orders.exa\nmple",
            " http://orders.example",
            "http://orders.example:99999",
        ] {
            assert_eq!(text.parse::<Origin>(), Err(InvalidOrigin), "{text:?}");
        }
    }
}
