//! What is probed, and how.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use http::{HeaderName, HeaderValue, Method};
use serde_json::Value;
use url::Url;

use crate::protocol::{Issuer, ScopeToken, is_loopback};

/// The request that needs a token, and what its tokens must say.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The request.
    pub(crate) url: Url,
    pub(crate) method: Method,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Option<String>,
    pub(crate) content_type: HeaderValue,
    /// The issuer that the API trusts.
    pub(crate) issuer: Issuer,
    /// Where the probe answers for the issuer.
    pub(crate) listen: SocketAddr,
    pub(crate) certificate: Option<Certificate>,
    /// The path of the keys, if the API does not find it in the metadata or at its default place.
    pub(crate) jwks_path: Option<String>,
    /// Whether the key set contains only keys that an API can use.
    pub(crate) plain_keys: bool,
    pub(crate) audience: String,
    /// The scope token that the request needs, and one that is not sufficient.
    pub(crate) scope: Option<ScopeToken>,
    pub(crate) other_scope: Option<ScopeToken>,
    /// Claims that the API demands of every token.
    pub(crate) claims: Vec<(String, Value)>,
    /// How long to wait until the API answers, and until it fetches the keys.
    pub(crate) wait: Duration,
    /// How long the API may take for an answer.
    pub(crate) time_limit: Duration,
    /// Requests per second, if that is decided.
    pub(crate) rate: Option<u32>,
}

impl Options {
    /// The URL without its query, which may contain a secret: the result is stored and uploaded.
    pub(crate) fn shown_url(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        if self.url.query().is_some() { format!("{url}?..") } else { url.into() }
    }

    /// Whether the API is on this machine.
    pub(super) fn is_local(&self) -> bool {
        self.url.host().is_some_and(|host| is_loopback(&host))
    }
}

/// The files with which the probe answers by TLS.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}
