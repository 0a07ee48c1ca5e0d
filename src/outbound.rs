//! HTTP to an issuer, for the verifier and the client alike: over https, bounded in time and size, and following nobody elsewhere.

use std::{
    error::Error,
    fmt::Display,
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use reqwest::{Client, ClientBuilder, Response, StatusCode, header::RETRY_AFTER, redirect};
use serde::{Deserialize, de::DeserializeOwned};
use url::Url;

use crate::protocol::{Issuer, ServerMetadata, is_loopback};

/// How long a connection may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of an issuer's answer, the longest that there is: 64 large keys.
pub(crate) const MAX_ANSWER_LEN: usize = 256 * 1024;
/// Bytes of the URL of an endpoint.
const MAX_URL_LEN: usize = 2048;

/// Why an issuer gave nothing useful.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No whole answer came.
    Unreachable(String),
    /// It answered with a status that says no.
    Status { status: u16, retry_after: Option<Duration>, why: String },
    /// What it answered is not what was asked for.
    Unlawful(String),
    /// The description at this URL is that of another issuer, which calls itself so; at most 255 characters.
    OtherIssuer { url: String, told: String },
}

impl Failure {
    pub(crate) fn unlawful(url: &Url, why: impl Display) -> Self {
        Self::Unlawful(format!("{url}: {why}"))
    }
}

/// The words of an error and of what lies behind it: reqwest itself says little.
impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        Self::Unreachable(all_words(&error))
    }
}

pub(crate) fn all_words(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}

/// What speaks to one issuer. Reading the machine's trust roots takes tens of milliseconds: made once, and off the runtime's threads.
pub(crate) async fn client(issuer: &Issuer, begin: impl FnOnce() -> ClientBuilder + Send + 'static) -> Result<Client, Failure> {
    let plain = !issuer.as_str().starts_with("https:");
    let make = move || {
        let client = begin().redirect(redirect::Policy::none()).referer(false).connect_timeout(CONNECT_TIMEOUT);
        let client = if plain { to_this_machine(client) } else { client.https_only(true) };
        client.build()
    };
    let made = tokio::task::spawn_blocking(make).await.map_err(|error| Failure::Unreachable(error.to_string()))?;
    Ok(made?)
}

/// Loopback is this machine, whatever a proxy or a name server says.
pub(crate) fn to_this_machine(client: ClientBuilder) -> ClientBuilder {
    client.no_proxy().resolve_to_addrs("localhost", &[(Ipv4Addr::LOCALHOST, 0).into(), (Ipv6Addr::LOCALHOST, 0).into()])
}

/// The description of `issuer` (RFC 8414 section 3), and where it stands. `patience`: who can do without waits no longer.
pub(crate) async fn metadata<T: DeserializeOwned>(http: &Client, issuer: &Issuer, patience: Option<Duration>) -> Result<(T, Url), Failure> {
    #[derive(Deserialize)]
    struct Metadata<T> {
        issuer: String,
        #[serde(flatten)]
        endpoints: T,
    }
    let url = ServerMetadata::url(issuer);
    let url = Url::parse(&url).map_err(|error| Failure::Unreachable(format!("{url}: {error}")))?;
    let mut request = http.get(url.clone()).header("accept", "application/json");
    if let Some(patience) = patience {
        request = request.timeout(patience);
    }
    let document = body(&url, request.send().await?).await?;
    let metadata: Metadata<T> =
        serde_json::from_slice(&document).map_err(|_| Failure::unlawful(&url, "it is no metadata of an issuer (RFC 8414 section 2)"))?;
    // RFC 8414 section 3.3: to the letter, or an impostor could speak for the issuer.
    if metadata.issuer != issuer.as_str() {
        return Err(Failure::OtherIssuer { url: url.to_string(), told: metadata.issuer.chars().take(255).collect() });
    }
    Ok((metadata.endpoints, url))
}

/// The URL of an issuer's endpoint, if nobody else can answer there: `https`, or `http` to a loopback address when the issuer's own
/// URL is such a one.
pub(crate) fn endpoint(text: &str, issuer: &Issuer) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|_| text.len() <= MAX_URL_LEN)?;
    let loopback = is_loopback(&url.host()?);
    let lawful = match url.scheme() {
        "https" => true,
        "http" => loopback && issuer.as_str().starts_with("http:"),
        _ => false,
    };
    (lawful && url.username().is_empty() && url.password().is_none()).then_some(url)
}

/// The body of a 200, of at most [`MAX_ANSWER_LEN`] bytes.
pub(crate) async fn body(url: &Url, response: Response) -> Result<Vec<u8>, Failure> {
    if response.status() == StatusCode::OK { read(url, response).await } else { Err(no(url, &response)) }
}

/// What an answer means that is no success.
pub(crate) fn no(url: &Url, response: &Response) -> Failure {
    let status = response.status();
    let followed = if status.is_redirection() && status != StatusCode::NOT_MODIFIED { ", and redirects are not followed" } else { "" };
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Failure::Status {
        status: status.as_u16(),
        retry_after: seconds.map(Duration::from_secs),
        why: format!("{url}: it answers {status}{followed}"),
    }
}

/// The body of an answer, of at most [`MAX_ANSWER_LEN`] bytes.
pub(crate) async fn read(url: &Url, mut response: Response) -> Result<Vec<u8>, Failure> {
    let too_large = || Failure::unlawful(url, "its answer is larger than 256 KiB");
    if response.content_length().is_some_and(|length| length > MAX_ANSWER_LEN as u64) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_ANSWER_LEN {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_where_nobody_else_can_answer() {
        let (remote, local): (Issuer, Issuer) = ("https://auth.example".parse().unwrap(), "http://localhost:8080".parse().unwrap());
        for url in ["https://auth.example/jwks", "https://keys.elsewhere.example/jwks?v=1"] {
            assert!(endpoint(url, &remote).is_some() && endpoint(url, &local).is_some(), "{url}");
        }
        for url in ["http://localhost:8080/jwks", "http://127.0.0.1/jwks", "http://[::1]:1/jwks"] {
            assert!(endpoint(url, &local).is_some() && endpoint(url, &remote).is_none(), "{url}");
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
            assert!(endpoint(url, &local).is_none() && endpoint(url, &remote).is_none(), "{url}");
        }
    }
}
