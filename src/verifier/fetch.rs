//! The one place of the verifier that speaks HTTP: it reads an issuer's metadata and keys, in bounded time and size, and follows
//! nobody elsewhere.

use std::{
    error::Error as _,
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use reqwest::{
    Client, Response, StatusCode,
    header::{AGE, CACHE_CONTROL, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, RETRY_AFTER},
    redirect,
};
use serde::Deserialize;
use url::Url;

use super::{
    Algorithm,
    pace::Outcome,
    signature::{KeySet, MAX_SET_LEN},
};
use crate::{
    clock::Timestamp,
    protocol::{Issuer, ServerMetadata, is_loopback},
};

/// How long a connection may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long keys are fresh when the issuer does not say, and at most.
const USUAL_TTL: Duration = Duration::from_secs(600);
const LONGEST_TTL: Duration = Duration::from_secs(3600);
/// How long the metadata's word on where the keys are is taken.
const ADDRESS_TTL: Duration = Duration::from_secs(3600);
/// Bytes of an `ETag` that is sent back; a longer one is forgotten.
const MAX_ETAG_LEN: usize = 256;
/// Bytes of the URL of the keys.
const MAX_URL_LEN: usize = 2048;

/// Where the keys of an issuer are.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) issuer: Issuer,
    /// As it was given; otherwise the issuer's metadata says.
    pub(super) jwks_uri: Option<Url>,
    pub(super) algorithms: Vec<Algorithm>,
}

/// Fetches the keys of one issuer, and remembers what makes the next time cheaper.
#[derive(Debug)]
pub(super) struct Fetcher<'a> {
    source: &'a Source,
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

/// Why there are no keys, for an operator.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) why: String,
    pub(super) outcome: Outcome,
}

impl Failure {
    fn useless(url: &Url, why: impl std::fmt::Display) -> Self {
        Self { why: format!("{url}: {why}"), outcome: Outcome::Useless(Duration::ZERO) }
    }

    pub(super) fn unreachable(why: impl std::fmt::Display) -> Self {
        Self { why: why.to_string(), outcome: Outcome::Unreachable }
    }
}

/// The words of an error and of what lies behind it: reqwest itself says little.
impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        let mut why = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            why = format!("{why}: {cause}");
            source = cause.source();
        }
        Self::unreachable(why)
    }
}

impl<'a> Fetcher<'a> {
    pub(super) const fn new(source: &'a Source) -> Self {
        Self { source, http: None, address: None, doubted: false, etag: None, ttl: USUAL_TTL }
    }

    /// Asks the issuer. `forced`: caches on the way are to ask it as well (RFC 9111 section 5.2.1.4).
    pub(super) async fn fetch(&mut self, forced: bool, now: Timestamp) -> Result<Answer, Failure> {
        // Until it has gone well: whoever gives this attempt up drops it.
        let doubted = std::mem::replace(&mut self.doubted, true);
        let answer = self.fetch_from(forced, doubted, now).await?;
        self.doubted = false;
        Ok(answer)
    }

    async fn fetch_from(&mut self, forced: bool, doubted: bool, now: Timestamp) -> Result<Answer, Failure> {
        let http = self.http().await?;
        let url = self.address(&http, doubted, now).await?;
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
        let keys = KeySet::parse(&document, &self.source.algorithms).map_err(|error| Failure::useless(&url, error))?;
        if let Some(why) = keys.why_unusable() {
            return Err(Failure::useless(&url, why));
        }
        self.etag = etag.map(|etag| (url, etag));
        self.ttl = ttl.unwrap_or(USUAL_TTL);
        Ok(Answer { keys: Some(keys), ttl: self.ttl })
    }

    async fn http(&mut self) -> Result<Client, Failure> {
        if let Some(http) = &self.http {
            return Ok(http.clone());
        }
        let plain = !self.source.issuer.as_str().starts_with("https:");
        let made = tokio::task::spawn_blocking(move || client(plain)).await.map_err(Failure::unreachable)??;
        Ok(self.http.insert(made).clone())
    }

    /// Where the keys are: as it was given, or as the metadata says (RFC 8414 section 3).
    async fn address(&mut self, http: &Client, doubted: bool, now: Timestamp) -> Result<Url, Failure> {
        if let Some(url) = &self.source.jwks_uri {
            return Ok(url.clone());
        }
        if let Some((url, asked_at)) = &self.address
            && !doubted
            && now < *asked_at + ADDRESS_TTL
        {
            return Ok(url.clone());
        }
        match (self.ask_address(http).await, &self.address) {
            (Ok(url), _) => Ok(self.address.insert((url, now)).0.clone()),
            // Where they were a while ago they may still be, when nobody says otherwise.
            (Err(Failure { outcome: Outcome::Unreachable, .. }), Some((url, _))) => Ok(url.clone()),
            (Err(failure), _) => Err(failure),
        }
    }

    async fn ask_address(&self, http: &Client) -> Result<Url, Failure> {
        let url = ServerMetadata::url(&self.source.issuer);
        let url = Url::parse(&url).map_err(|error| Failure::unreachable(format_args!("{url}: {error}")))?;
        let document = body(&url, http.get(url.clone()).header("accept", "application/json").send().await?).await?;
        let metadata: Metadata =
            serde_json::from_slice(&document).map_err(|_| Failure::useless(&url, "it is no metadata of an issuer (RFC 8414 section 2)"))?;
        // RFC 8414 section 3.3: to the letter, or an impostor could speak for the issuer.
        if metadata.issuer != self.source.issuer.as_str() {
            let told = metadata.issuer.chars().take(255).collect::<String>();
            let why = format_args!("it is the metadata of {told:?}, not of {:?}", self.source.issuer.as_str());
            return Err(Failure::useless(&url, why));
        }
        let told = key_address(&metadata.jwks_uri, &self.source.issuer);
        told.ok_or_else(|| Failure::useless(&url, "its jwks_uri is no https URL (http for loopback issuers)"))
    }
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

/// The URL of an issuer's keys, if nobody else can answer there: `https`, or `http` to a loopback address when the issuer's own
/// URL is such a one.
pub(super) fn key_address(text: &str, issuer: &Issuer) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|_| text.len() <= MAX_URL_LEN)?;
    let loopback = is_loopback(&url.host()?);
    let lawful = match url.scheme() {
        "https" => true,
        "http" => loopback && issuer.as_str().starts_with("http:"),
        _ => false,
    };
    (lawful && url.username().is_empty() && url.password().is_none()).then_some(url)
}

fn client(plain: bool) -> Result<Client, reqwest::Error> {
    let client = Client::builder()
        .user_agent(concat!("sealwright-verifier/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        // Minutes lie between two fetches: a connection made anew follows the issuer wherever DNS says that it is now.
        .pool_max_idle_per_host(0);
    let client = if plain {
        // Loopback is this machine, whatever a proxy or a name server says.
        client.no_proxy().resolve_to_addrs("localhost", &[(Ipv4Addr::LOCALHOST, 0).into(), (Ipv6Addr::LOCALHOST, 0).into()])
    } else {
        client.https_only(true)
    };
    client.build()
}

/// The body of a 200, of at most [`MAX_SET_LEN`] bytes.
async fn body(url: &Url, mut response: Response) -> Result<Vec<u8>, Failure> {
    let status = response.status();
    if status != StatusCode::OK {
        let followed = if status.is_redirection() && status != StatusCode::NOT_MODIFIED { ", and redirects are not followed" } else { "" };
        let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0);
        let outcome = Outcome::Useless(Duration::from_secs(seconds));
        return Err(Failure { outcome, ..Failure::useless(url, format_args!("it answers {status}{followed}")) });
    }
    let too_large = || Failure::useless(url, "its answer is larger than 256 KiB");
    if response.content_length().is_some_and(|length| length > MAX_SET_LEN as u64) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_SET_LEN {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
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

    #[test]
    fn keys_come_from_where_nobody_else_can_answer() {
        let (remote, local): (Issuer, Issuer) = ("https://auth.example".parse().unwrap(), "http://localhost:8080".parse().unwrap());
        for url in ["https://auth.example/jwks", "https://keys.elsewhere.example/jwks?v=1"] {
            assert!(key_address(url, &remote).is_some() && key_address(url, &local).is_some(), "{url}");
        }
        for url in ["http://localhost:8080/jwks", "http://127.0.0.1/jwks", "http://[::1]:1/jwks"] {
            assert!(key_address(url, &local).is_some() && key_address(url, &remote).is_none(), "{url}");
        }
        for url in [
            "http://auth.example/jwks",
            "http://localhost.evil.example/",
            "ftp://auth.example",
            "file:///etc/passwd",
            "/jwks",
            "",
            "https://a:b@auth.example/",
        ] {
            assert!(key_address(url, &local).is_none() && key_address(url, &remote).is_none(), "{url}");
        }
    }
}
