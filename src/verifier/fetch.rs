//! Fetches the keys that an issuer publishes, from the URL in its metadata.

use std::time::Duration;

use reqwest::{
    Client, StatusCode,
    header::{AGE, CACHE_CONTROL, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH},
};
use serde::Deserialize;
use url::Url;

use super::{BuildError, clients::Clients};
use crate::{
    clock::Timestamp,
    jwt::{KeySet, MAX_SET_LEN},
    outbound::{self, MAX_ANSWER_LEN, RequestError, body, endpoint},
    protocol::{Algorithm, Issuer},
};

/// How long keys are fresh without a `Cache-Control`, and at most.
const DEFAULT_TTL: Duration = Duration::from_secs(600);
const MAX_TTL: Duration = Duration::from_secs(3600);
/// How long the `jwks_uri` of the metadata is used.
const URL_TTL: Duration = Duration::from_secs(3600);
/// Maximum length of an `ETag` in bytes. A longer one is ignored.
const MAX_ETAG_LEN: usize = 256;
// A set that can be given can be fetched too.
const _: () = assert!(MAX_SET_LEN <= MAX_ANSWER_LEN);

/// The source of an issuer's keys.
#[derive(Debug)]
pub(super) struct KeySource {
    pub(super) issuer: Issuer,
    /// The configured URL, if any. Otherwise the metadata names it.
    pub(super) jwks_uri: Option<Url>,
    pub(super) algorithms: Vec<Algorithm>,
    /// How long keys are used after they should have been refreshed.
    pub(super) max_stale: Duration,
    /// For all requests to the issuer: its status lists are fetched with them too.
    pub(super) clients: Clients,
    /// The time limit of a whole attempt.
    pub(super) timeout: Duration,
    /// By how much the pauses between attempts are divided.
    pub(super) pause_divisor: u32,
}

/// Fetches the keys of one issuer, and keeps what makes the next fetch cheaper.
#[derive(Debug)]
pub(super) struct Fetcher {
    url: Option<(Url, Timestamp)>,
    /// Whether the last attempt failed, so that the keys may have moved and the metadata is fetched again.
    failed: bool,
    /// The tag and the URL of the document with the cached keys.
    etag: Option<(Url, HeaderValue)>,
    /// The freshness of that document. It stays in force if a 304 does not state another (RFC 9111 section 4.3.4).
    ttl: Duration,
}

/// The result of a fetch.
#[derive(Debug)]
pub(super) struct FetchedKeys {
    /// `None` if they are unchanged.
    pub(super) keys: Option<KeySet>,
    pub(super) ttl: Duration,
}

impl Fetcher {
    pub(super) const fn new() -> Self {
        Self { url: None, failed: false, etag: None, ttl: DEFAULT_TTL }
    }

    /// Fetches the keys. With `forced`, caches on the way must ask the issuer (RFC 9111 section 5.2.1.4).
    pub(super) async fn fetch(&mut self, source: &KeySource, forced: bool, now: Timestamp) -> Result<FetchedKeys, RequestError> {
        // Reset only on success, because an attempt that times out is dropped here.
        let failed_before = std::mem::replace(&mut self.failed, true);
        let fetched = self.fetch_from(source, forced, failed_before, now).await?;
        self.failed = false;
        Ok(fetched)
    }

    async fn fetch_from(
        &mut self,
        source: &KeySource,
        forced: bool,
        failed_before: bool,
        now: Timestamp,
    ) -> Result<FetchedKeys, RequestError> {
        let http = source.clients.get(&source.issuer).await?;
        let url = self.jwks_uri(source, &http, failed_before, now).await?;
        let mut request = http.get(url.clone()).header("accept", "application/jwk-set+json, application/json");
        if forced {
            request = request.header(CACHE_CONTROL, "no-cache");
        }
        let known = self.etag.as_ref().filter(|(of, _)| *of == url).map(|(_, etag)| etag.clone());
        let conditional = known.is_some();
        if let Some(etag) = known {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let response = request.send().await?;
        let ttl = ttl(response.headers());
        if response.status() == StatusCode::NOT_MODIFIED && conditional {
            return Ok(FetchedKeys { keys: None, ttl: ttl.unwrap_or(self.ttl) });
        }
        let etag = response.headers().get(ETAG).filter(|etag| (1..=MAX_ETAG_LEN).contains(&etag.len())).cloned();
        let document = body(&url, response).await?;
        let keys = KeySet::parse(&document, &source.algorithms).map_err(|error| RequestError::invalid(&url, BuildError::from(error)))?;
        // A set without a usable key is treated as a mistake and changes nothing. But trust in a key ends when its private half is published,
        // even if no other key is left.
        if let Some(why) = keys.why_unusable().filter(|_| !keys.is_compromised()) {
            return Err(RequestError::invalid(&url, BuildError::NoUsableKey(why)));
        }
        self.etag = etag.map(|etag| (url, etag));
        self.ttl = ttl.unwrap_or(DEFAULT_TTL);
        Ok(FetchedKeys { keys: Some(keys), ttl: self.ttl })
    }

    /// The URL of the keys: the configured one, or that of the metadata (RFC 8414 section 3).
    async fn jwks_uri(&mut self, source: &KeySource, http: &Client, failed_before: bool, now: Timestamp) -> Result<Url, RequestError> {
        if let Some(url) = &source.jwks_uri {
            return Ok(url.clone());
        }
        if let Some((url, fetched_at)) = &self.url
            && !failed_before
            && now < *fetched_at + URL_TTL
        {
            return Ok(url.clone());
        }
        match (fetch_jwks_uri(source, http).await, &self.url) {
            (Ok(url), _) => Ok(self.url.insert((url, now)).0.clone()),
            // While the metadata cannot be fetched, the last known URL is used.
            (Err(RequestError::Unreachable(_)), Some((url, _))) => Ok(url.clone()),
            (Err(error), _) => Err(error),
        }
    }
}

async fn fetch_jwks_uri(source: &KeySource, http: &Client) -> Result<Url, RequestError> {
    #[derive(Deserialize)]
    struct Endpoints {
        jwks_uri: String,
    }
    let (endpoints, url) = outbound::metadata::<Endpoints>(http, &source.issuer, None).await?;
    let jwks_uri = endpoint(&endpoints.jwks_uri, &source.issuer);
    jwks_uri.ok_or_else(|| RequestError::invalid(&url, "its jwks_uri is not an https URL (http for loopback issuers)"))
}

/// For how long caches on the way held an answer (RFC 9111 section 5.1): no time if it does not say so.
pub(super) fn age(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(AGE).and_then(|value| value.to_str().ok()).and_then(seconds);
    Duration::from_secs(seconds.unwrap_or(0))
}

/// A number of seconds (RFC 9111 section 1.2.2). One that is too large for its type counts as the largest.
fn seconds(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// The freshness of an answer: its `max-age` less its `Age` (RFC 9111 section 4.2), up to the maximum.
fn ttl(headers: &HeaderMap) -> Option<Duration> {
    let directives = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let max_age = directives.filter_map(|directive| directive.trim().split_once('=')).find_map(|(name, value)| {
        let value = value.trim_matches('"');
        name.eq_ignore_ascii_case("max-age").then(|| seconds(value)).flatten()
    })?;
    Some(Duration::from_secs(max_age).saturating_sub(age(headers)).min(MAX_TTL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_fresh_for_max_age_up_to_an_hour() {
        let seconds_of = |headers: &[(&str, &str)]| {
            let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            ttl(&headers.collect::<HeaderMap<HeaderValue>>()).unwrap_or(DEFAULT_TTL).as_secs()
        };
        for (value, seconds) in [
            ("max-age=300", 300),
            ("public, Max-Age=300, must-revalidate", 300),
            ("max-age=\"300\"", 300),
            ("max-age=0", 0),
            ("max-age=86400", 3600),
            ("max-age=99999999999999999999", 3600),
            ("no-store", 600),
            ("max-age=", 600),
            ("max-age=-1", 600),
            ("max-age", 600),
            ("s-maxage=5", 600),
            ("", 600),
        ] {
            assert_eq!(seconds_of(&[("cache-control", value)]), seconds, "{value}");
        }
        assert_eq!(seconds_of(&[]), 600);
        assert_eq!(seconds_of(&[("cache-control", "public"), ("cache-control", "max-age=60")]), 60);
        // The answer was in a cache on the way for a while.
        assert_eq!(seconds_of(&[("cache-control", "max-age=300"), ("age", "290")]), 10);
        assert_eq!(seconds_of(&[("cache-control", "max-age=300"), ("age", "301")]), 0);
        for unreadable in ["soon", "", "-1", "+1"] {
            assert_eq!(seconds_of(&[("cache-control", "max-age=300"), ("age", unreadable)]), 300);
        }
    }

    #[test]
    fn an_age_beyond_every_number_is_the_longest() {
        for (value, seconds) in [("7", 7), ("4294967296", 1 << 32), ("99999999999999999999", u64::MAX), ("7.5", 0), ("7, 8", 0), ("", 0)] {
            let headers = HeaderMap::from_iter([(AGE, HeaderValue::from_static(value))]);
            assert_eq!(age(&headers), Duration::from_secs(seconds), "{value}");
        }
        assert_eq!(age(&HeaderMap::new()), Duration::ZERO);
    }
}
