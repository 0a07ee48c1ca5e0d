//! HTTP to the issuer: finds its endpoints, and sends the requests of the `oauth2` crate.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};
use reqwest::{ClientBuilder, StatusCode};
use serde::Deserialize;
use tokio::sync::{Mutex, OnceCell};
use url::Url;

use crate::{
    clock::Timestamp,
    outbound::{self, RequestError, endpoint},
    protocol::Issuer,
};

/// How long the endpoints from the metadata are used.
const ENDPOINTS_TTL: Duration = Duration::from_secs(3600);
/// The time limit for fetching the metadata again while the endpoints are known.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);

/// The user's changes to the HTTP clients.
pub(super) type Configure = Arc<dyn Fn(ClientBuilder) -> ClientBuilder + Send + Sync>;

/// The connection to one issuer, shared by all clients that use it.
pub(super) struct Connection {
    pub(super) issuer: Issuer,
    configure: Configure,
    http: OnceCell<reqwest::Client>,
    /// Locked while the metadata is fetched, so that concurrent callers share one fetch.
    endpoints: Mutex<Option<(Endpoints, Timestamp)>>,
}

#[derive(Debug, Clone)]
pub(super) struct Endpoints {
    pub(super) token: Url,
    pub(super) revocation: Option<Url>,
}

impl Connection {
    pub(super) fn new(issuer: Issuer, configure: Configure) -> Self {
        Self { issuer, configure, http: OnceCell::new(), endpoints: Mutex::new(None) }
    }

    pub(super) async fn http(&self) -> Result<&reqwest::Client, RequestError> {
        let build = || {
            let configure = Arc::clone(&self.configure);
            let agent = concat!("sealwright-client/", env!("CARGO_PKG_VERSION"));
            // Idle connections end soon, so that a change of the issuer's DNS records takes effect.
            outbound::http_client(&self.issuer, move || {
                configure(reqwest::Client::builder().user_agent(agent)).pool_idle_timeout(Duration::from_secs(10))
            })
        };
        self.http.get_or_try_init(build).await
    }

    /// The endpoints, from the metadata (RFC 8414 section 3).
    pub(super) async fn endpoints(&self, now: Timestamp) -> Result<Endpoints, RequestError> {
        #[derive(Deserialize)]
        struct Metadata {
            token_endpoint: String,
            revocation_endpoint: Option<String>,
        }
        let mut known = self.endpoints.lock().await;
        if let Some((endpoints, fetched_at)) = &*known
            && now < *fetched_at + ENDPOINTS_TTL
        {
            return Ok(endpoints.clone());
        }
        let timeout = known.is_some().then_some(METADATA_TIMEOUT);
        let fetched = outbound::metadata::<Metadata>(self.http().await?, &self.issuer, timeout).await;
        let (metadata, url) = match (fetched, &*known) {
            (Ok(fetched), _) => fetched,
            // While the metadata cannot be fetched, the last known endpoints are used.
            (Err(RequestError::Unreachable(_) | RequestError::Status { .. }), Some((endpoints, _))) => return Ok(endpoints.clone()),
            (Err(error), _) => return Err(error),
        };
        let parse = |name: &str, text: &str| {
            endpoint(text, &self.issuer)
                .ok_or_else(|| RequestError::invalid(&url, format_args!("its {name} is not an https URL (http for loopback issuers)")))
        };
        let endpoints = Endpoints {
            token: parse("token_endpoint", &metadata.token_endpoint)?,
            revocation: metadata.revocation_endpoint.map(|text| parse("revocation_endpoint", &text)).transpose()?,
        };
        *known = Some((endpoints.clone(), now));
        Ok(endpoints)
    }

    /// Makes the next request fetch the metadata again, because the endpoints may have moved.
    pub(super) async fn invalidate_endpoints(&self) {
        if let Some((_, fetched_at)) = &mut *self.endpoints.lock().await {
            *fetched_at = Timestamp::from_seconds(0);
        }
    }

    /// Sends one request of the `oauth2` crate. It gets only answers that RFC 6749 sections 5.1 and 5.2 define.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, SendError> {
        let request = reqwest::Request::try_from(request).map_err(RequestError::from)?;
        let url = request.url().clone();
        let response = self.http().await?.execute(request).await.map_err(RequestError::from)?;
        if !matches!(response.status(), StatusCode::OK | StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED) {
            return Err(outbound::unexpected_status(&url, &response).into());
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let mut answer = HttpResponse::new(outbound::read(&url, response).await?);
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        Ok(answer)
    }
}

impl<'c> AsyncHttpClient<'c> for Connection {
    type Error = SendError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, SendError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

/// The error that the `oauth2` crate gets instead of an answer.
#[derive(Debug, thiserror::Error)]
#[error("no answer")]
pub(super) struct SendError(pub(super) RequestError);

impl From<RequestError> for SendError {
    fn from(error: RequestError) -> Self {
        Self(error)
    }
}
