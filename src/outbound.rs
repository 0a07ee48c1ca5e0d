//! HTTP requests to an issuer, for the verifier and the client: TLS only, bounded in time and size, without redirects.

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

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum size of an issuer's answer in bytes. The longest valid one is a set of 64 large keys.
pub(crate) const MAX_ANSWER_LEN: usize = 256 * 1024;
/// Maximum length of an endpoint's URL in bytes.
const MAX_URL_LEN: usize = 2048;

/// Why a request to an issuer failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RequestError {
    /// No complete answer arrived.
    Unreachable(String),
    /// The answer has an error status.
    Status { status: u16, retry_after: Option<Duration>, reason: String },
    /// The answer does not have the expected form.
    Invalid(String),
    /// The metadata at this URL names another issuer. `claimed` is cut to 255 characters.
    OtherIssuer { url: String, claimed: String },
}

impl RequestError {
    pub(crate) fn invalid(url: &Url, reason: impl Display) -> Self {
        Self::Invalid(format!("{url}: {reason}"))
    }
}

/// Keeps the messages of all causes: reqwest's own message says little.
impl From<reqwest::Error> for RequestError {
    fn from(error: reqwest::Error) -> Self {
        Self::Unreachable(error_chain(&error))
    }
}

/// The messages of an error and its causes, on one line.
pub(crate) fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Builds the HTTP client for one issuer. Reading the system's trust roots takes tens of milliseconds, so this is done once, and not on the
/// runtime's threads.
pub(crate) async fn http_client(issuer: &Issuer, begin: impl FnOnce() -> ClientBuilder + Send + 'static) -> Result<Client, RequestError> {
    let plain = !issuer.as_str().starts_with("https:");
    let build = move || {
        let client = begin().redirect(redirect::Policy::none()).referer(false).connect_timeout(CONNECT_TIMEOUT);
        let client = if plain { for_loopback(client) } else { client.https_only(true) };
        client.build()
    };
    let built = tokio::task::spawn_blocking(build).await.map_err(|error| RequestError::Unreachable(error.to_string()))?;
    Ok(built?)
}

/// Makes `localhost` resolve to this machine, whatever a proxy or a name server says.
pub(crate) fn for_loopback(client: ClientBuilder) -> ClientBuilder {
    client.no_proxy().resolve_to_addrs("localhost", &[(Ipv4Addr::LOCALHOST, 0).into(), (Ipv6Addr::LOCALHOST, 0).into()])
}

/// Fetches the metadata of `issuer` (RFC 8414 section 3), and returns it with its URL. `timeout` is set when a cached answer can be used
/// instead.
pub(crate) async fn metadata<T: DeserializeOwned>(
    http: &Client,
    issuer: &Issuer,
    timeout: Option<Duration>,
) -> Result<(T, Url), RequestError> {
    #[derive(Deserialize)]
    struct Metadata<T> {
        issuer: String,
        #[serde(flatten)]
        endpoints: T,
    }
    let url = ServerMetadata::url(issuer);
    let url = Url::parse(&url).map_err(|error| RequestError::Unreachable(format!("{url}: {error}")))?;
    let mut request = http.get(url.clone()).header("accept", "application/json");
    if let Some(timeout) = timeout {
        request = request.timeout(timeout);
    }
    let document = body(&url, request.send().await?).await?;
    let metadata: Metadata<T> =
        serde_json::from_slice(&document).map_err(|_| RequestError::invalid(&url, "not the metadata of an issuer (RFC 8414 section 2)"))?;
    // RFC 8414 section 3.3: compared byte by byte, or an impostor could answer for the issuer.
    if metadata.issuer != issuer.as_str() {
        return Err(RequestError::OtherIssuer { url: url.to_string(), claimed: metadata.issuer.chars().take(255).collect() });
    }
    Ok((metadata.endpoints, url))
}

/// Parses the URL of an issuer's endpoint. Returns it only if no one else can answer there: `https`, or `http` to a loopback address when
/// the issuer's own URL is one.
pub(crate) fn endpoint(text: &str, issuer: &Issuer) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|_| text.len() <= MAX_URL_LEN)?;
    let loopback = is_loopback(&url.host()?);
    let secure = match url.scheme() {
        "https" => true,
        "http" => loopback && issuer.as_str().starts_with("http:"),
        _ => false,
    };
    (secure && url.username().is_empty() && url.password().is_none()).then_some(url)
}

/// The body of an answer with status 200, of at most [`MAX_ANSWER_LEN`] bytes.
pub(crate) async fn body(url: &Url, response: Response) -> Result<Vec<u8>, RequestError> {
    if response.status() == StatusCode::OK { read(url, response).await } else { Err(unexpected_status(url, &response)) }
}

/// The error for an answer with a status other than the expected ones.
pub(crate) fn unexpected_status(url: &Url, response: &Response) -> RequestError {
    let status = response.status();
    let redirect = if status.is_redirection() && status != StatusCode::NOT_MODIFIED { ", and redirects are not followed" } else { "" };
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    RequestError::Status {
        status: status.as_u16(),
        retry_after: seconds.map(Duration::from_secs),
        reason: format!("{url}: it answers {status}{redirect}"),
    }
}

/// The body of an answer, of at most [`MAX_ANSWER_LEN`] bytes.
pub(crate) async fn read(url: &Url, mut response: Response) -> Result<Vec<u8>, RequestError> {
    let too_large = || RequestError::invalid(url, "its answer is larger than 256 KiB");
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
    fn an_endpoint_is_https_or_on_this_machine() {
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
