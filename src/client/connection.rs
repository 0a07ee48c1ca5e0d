//! The one place of the client that speaks HTTP with an issuer: it finds the endpoints, and carries what the `oauth2` crate asks.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};
use reqwest::StatusCode;
use serde::Deserialize;
use tokio::sync::{Mutex, OnceCell};
use url::Url;

use super::credentials::Configure;
use crate::{
    clock::Timestamp,
    outbound::{self, Failure, endpoint},
    protocol::Issuer,
};

/// How long the metadata's word on where the endpoints are is taken.
const ENDPOINTS_TTL: Duration = Duration::from_secs(3600);
/// How long newer metadata are waited for by who knows the endpoints already.
const METADATA_PATIENCE: Duration = Duration::from_secs(2);

/// One issuer, as many clients may share it.
pub(super) struct Connection {
    pub(super) issuer: Issuer,
    configure: Configure,
    http: OnceCell<reqwest::Client>,
    /// Locked while they are asked for: once for all who need them.
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

    pub(super) async fn http(&self) -> Result<&reqwest::Client, Failure> {
        let make = || {
            let configure = Arc::clone(&self.configure);
            let agent = concat!("sealwright-client/", env!("CARGO_PKG_VERSION"));
            // Short-lived connections follow the issuer wherever DNS says that it is now.
            outbound::client(&self.issuer, move || {
                configure(reqwest::Client::builder().user_agent(agent)).pool_idle_timeout(Duration::from_secs(10))
            })
        };
        self.http.get_or_try_init(make).await
    }

    /// Where the endpoints are, as the metadata say (RFC 8414 section 3).
    pub(super) async fn endpoints(&self, now: Timestamp) -> Result<Endpoints, Failure> {
        #[derive(Deserialize)]
        struct Told {
            token_endpoint: String,
            revocation_endpoint: Option<String>,
        }
        let mut known = self.endpoints.lock().await;
        if let Some((endpoints, asked_at)) = &*known
            && now < *asked_at + ENDPOINTS_TTL
        {
            return Ok(endpoints.clone());
        }
        // Who knows an address does not wait long for a newer one.
        let patience = known.is_some().then_some(METADATA_PATIENCE);
        let told = outbound::metadata::<Told>(self.http().await?, &self.issuer, patience).await;
        let (told, url) = match (told, &*known) {
            (Ok(told), _) => told,
            // Where they were a while ago they may still be, when nobody says otherwise.
            (Err(Failure::Unreachable(_) | Failure::Status { .. }), Some((endpoints, _))) => return Ok(endpoints.clone()),
            (Err(failure), _) => return Err(failure),
        };
        let lawful = |name: &str, text: &str| {
            endpoint(text, &self.issuer)
                .ok_or_else(|| Failure::unlawful(&url, format_args!("its {name} is no https URL (http for loopback issuers)")))
        };
        let endpoints = Endpoints {
            token: lawful("token_endpoint", &told.token_endpoint)?,
            revocation: told.revocation_endpoint.map(|text| lawful("revocation_endpoint", &text)).transpose()?,
        };
        *known = Some((endpoints.clone(), now));
        Ok(endpoints)
    }

    /// They may have moved: the metadata are asked again.
    pub(super) async fn doubt(&self) {
        if let Some((_, asked_at)) = &mut *self.endpoints.lock().await {
            *asked_at = Timestamp::from_seconds(0);
        }
    }

    /// One request of the `oauth2` crate. Only what RFC 6749 sections 5.1 and 5.2 know as an answer goes back to it.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, NoAnswer> {
        let request = reqwest::Request::try_from(request).map_err(Failure::from)?;
        let url = request.url().clone();
        let response = self.http().await?.execute(request).await.map_err(Failure::from)?;
        if !matches!(response.status(), StatusCode::OK | StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED) {
            return Err(outbound::no(&url, &response).into());
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let mut answer = HttpResponse::new(outbound::read(&url, response).await?);
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        Ok(answer)
    }
}

impl<'c> AsyncHttpClient<'c> for Connection {
    type Error = NoAnswer;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, NoAnswer>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

/// Why the `oauth2` crate gets no answer.
#[derive(Debug, thiserror::Error)]
#[error("no answer")]
pub(super) struct NoAnswer(pub(super) Failure);

impl From<Failure> for NoAnswer {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}
