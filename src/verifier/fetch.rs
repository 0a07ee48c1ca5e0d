//! Reads the keys that an issuer publishes, where its metadata say that they are.

use std::time::Duration;

use reqwest::{
    Client, StatusCode,
    header::{AGE, CACHE_CONTROL, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH},
};
use serde::Deserialize;
use url::Url;

use super::{Algorithm, signature::KeySet};
use crate::{
    clock::Timestamp,
    outbound::{self, Failure, body, endpoint},
    protocol::Issuer,
};

/// How long keys are fresh when the issuer does not say, and at most.
const USUAL_TTL: Duration = Duration::from_secs(600);
const LONGEST_TTL: Duration = Duration::from_secs(3600);
/// How long the metadata's word on where the keys are is taken.
const ADDRESS_TTL: Duration = Duration::from_secs(3600);
/// Bytes of an `ETag` that is sent back; a longer one is forgotten.
const MAX_ETAG_LEN: usize = 256;

/// Where the keys of an issuer are.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) issuer: Issuer,
    /// As it was given; otherwise the issuer's metadata says.
    pub(super) jwks_uri: Option<Url>,
    pub(super) algorithms: Vec<Algorithm>,
    /// For how long keys are used after they should have been fetched anew.
    pub(super) max_stale: Duration,
    /// How long an attempt may take in all.
    pub(super) timeout: Duration,
}

/// Fetches the keys of one issuer, and remembers what makes the next time cheaper.
#[derive(Debug)]
pub(super) struct Fetcher {
    /// Made when it is first needed: reading the machine's trust roots takes tens of milliseconds.
    http: Option<Client>,
    address: Option<(Url, Timestamp)>,
    /// Whether the keys may have moved since: the metadata are asked again.
    doubted: bool,
    /// Of the document whose keys are held, and where that was.
    etag: Option<(Url, HeaderValue)>,
    /// How long that document was said to be fresh: what an answer of "unchanged" does not say stays as it was (RFC 9111 section 4.3.4).
    ttl: Duration,
}

/// Keys, or that they are the same as before, and for how long they are fresh.
#[derive(Debug)]
pub(super) struct Answer {
    /// None: unchanged.
    pub(super) keys: Option<KeySet>,
    pub(super) ttl: Duration,
}

impl Fetcher {
    pub(super) const fn new() -> Self {
        Self { http: None, address: None, doubted: false, etag: None, ttl: USUAL_TTL }
    }

    /// Asks the issuer. `forced`: caches on the way are to ask it as well (RFC 9111 section 5.2.1.4).
    pub(super) async fn fetch(&mut self, source: &Source, forced: bool, now: Timestamp) -> Result<Answer, Failure> {
        // Until it has gone well: whoever gives this attempt up drops it.
        let doubted = std::mem::replace(&mut self.doubted, true);
        let answer = self.fetch_from(source, forced, doubted, now).await?;
        self.doubted = false;
        Ok(answer)
    }

    async fn fetch_from(&mut self, source: &Source, forced: bool, doubted: bool, now: Timestamp) -> Result<Answer, Failure> {
        let http = self.http(source).await?;
        let url = self.address(source, &http, doubted, now).await?;
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
            return Ok(Answer { keys: None, ttl: ttl.unwrap_or(self.ttl) });
        }
        let etag = response.headers().get(ETAG).filter(|etag| (1..=MAX_ETAG_LEN).contains(&etag.len())).cloned();
        let document = body(&url, response).await?;
        let keys = KeySet::parse(&document, &source.algorithms).map_err(|error| Failure::unlawful(&url, error))?;
        // A set without a usable key is taken for a mistake and changes nothing. But trust in a key ends when its private half is published,
        // even if no other key is left.
        if let Some(why) = keys.why_unusable().filter(|_| !keys.is_compromised()) {
            return Err(Failure::unlawful(&url, why));
        }
        self.etag = etag.map(|etag| (url, etag));
        self.ttl = ttl.unwrap_or(USUAL_TTL);
        Ok(Answer { keys: Some(keys), ttl: self.ttl })
    }

    async fn http(&mut self, source: &Source) -> Result<Client, Failure> {
        if let Some(http) = &self.http {
            return Ok(http.clone());
        }
        let begin = || {
            let agent = concat!("sealwright-verifier/", env!("CARGO_PKG_VERSION"));
            // Minutes lie between two fetches: a connection made anew follows the issuer wherever DNS says that it is now.
            Client::builder().user_agent(agent).pool_max_idle_per_host(0)
        };
        let made = outbound::client(&source.issuer, begin).await?;
        Ok(self.http.insert(made).clone())
    }

    /// Where the keys are: as it was given, or as the metadata says (RFC 8414 section 3).
    async fn address(&mut self, source: &Source, http: &Client, doubted: bool, now: Timestamp) -> Result<Url, Failure> {
        if let Some(url) = &source.jwks_uri {
            return Ok(url.clone());
        }
        if let Some((url, asked_at)) = &self.address
            && !doubted
            && now < *asked_at + ADDRESS_TTL
        {
            return Ok(url.clone());
        }
        match (ask_address(source, http).await, &self.address) {
            (Ok(url), _) => Ok(self.address.insert((url, now)).0.clone()),
            // Where they were a while ago they may still be, when nobody says otherwise.
            (Err(Failure::Unreachable(_)), Some((url, _))) => Ok(url.clone()),
            (Err(failure), _) => Err(failure),
        }
    }
}

async fn ask_address(source: &Source, http: &Client) -> Result<Url, Failure> {
    #[derive(Deserialize)]
    struct Endpoints {
        jwks_uri: String,
    }
    let (told, url) = outbound::metadata::<Endpoints>(http, &source.issuer, None).await?;
    let told = endpoint(&told.jwks_uri, &source.issuer);
    told.ok_or_else(|| Failure::unlawful(&url, "its jwks_uri is no https URL (http for loopback issuers)"))
}

/// How long an answer is fresh: `max-age` less the `Age` that it had when it came (RFC 9111 section 4.2), within our bounds.
fn ttl(headers: &HeaderMap) -> Option<Duration> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let seconds = |text: &str| digits(text).then(|| text.parse().unwrap_or(u64::MAX));
    let directives = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let max_age = directives.filter_map(|directive| directive.trim().split_once('=')).find_map(|(name, value)| {
        let value = value.trim_matches('"');
        name.eq_ignore_ascii_case("max-age").then(|| seconds(value)).flatten()
    })?;
    let age = headers.get(AGE).and_then(|value| value.to_str().ok()).and_then(seconds).unwrap_or(0);
    Some(Duration::from_secs(max_age.saturating_sub(age)).min(LONGEST_TTL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_fresh_for_as_long_as_the_issuer_says_within_an_hour() {
        let told = |headers: &[(&str, &str)]| {
            let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            ttl(&headers.collect::<HeaderMap<HeaderValue>>()).unwrap_or(USUAL_TTL).as_secs()
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
            assert_eq!(told(&[("cache-control", value)]), seconds, "{value}");
        }
        assert_eq!(told(&[]), 600);
        assert_eq!(told(&[("cache-control", "public"), ("cache-control", "max-age=60")]), 60);
        // It lay in a cache on the way for a while.
        assert_eq!(told(&[("cache-control", "max-age=300"), ("age", "290")]), 10);
        assert_eq!(told(&[("cache-control", "max-age=300"), ("age", "301")]), 0);
        for unreadable in ["soon", "", "-1"] {
            assert_eq!(told(&[("cache-control", "max-age=300"), ("age", unreadable)]), 300);
        }
    }
}
