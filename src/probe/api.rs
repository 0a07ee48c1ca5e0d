//! The API that is probed: sends requests to it, within a rate and time limits, and nowhere else.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE},
};
use reqwest::{Client, redirect};
use url::Url;

use super::{Options, unprobed::Unprobed};
use crate::{
    clock::{Clock, SystemClock, Timestamp},
    outbound::{error_chain, for_loopback},
    protocol::is_loopback,
};

/// How long the API may take for an answer.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// How much of an answer is read.
const MAX_ANSWER_LEN: usize = 64 * 1024;
/// The name under which this room sleeps.
const SLEEPER: &str = "probe rate";

/// A request to the API.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<String>,
}

impl Attempt {
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Adds an `Authorization` header. `None` if no header can have that value.
    pub(super) fn authorization(self, value: &str) -> Option<Self> {
        let value = HeaderValue::from_bytes(value.as_bytes()).ok()?;
        Some(self.header(AUTHORIZATION, value))
    }

    pub(super) fn bearer(self, token: &str) -> Option<Self> {
        self.authorization(&format!("Bearer {token}"))
    }
}

/// What the API did with a request.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Given(Given),
    /// The connection ended without an answer.
    Ended(String),
    /// No answer within the time limit.
    Silent,
}

#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) status: StatusCode,
    pub(super) location: Option<String>,
    pub(super) challenge: Option<String>,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        self.given().is_some_and(|given| given.status.is_success())
    }

    pub(super) const fn given(&self) -> Option<&Given> {
        match self {
            Self::Given(given) => Some(given),
            Self::Ended(_) | Self::Silent => None,
        }
    }

    pub(super) fn status(&self) -> Option<u16> {
        self.given().map(|given| given.status.as_u16())
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(given) => write!(f, "{}", given.status.as_u16()),
            Self::Ended(_) => f.write_str("the connection ended"),
            Self::Silent => write!(f, "no answer in {} s", TIME_LIMIT.as_secs()),
        }
    }
}

/// The API.
#[derive(Debug)]
pub(super) struct Api {
    client: Client,
    plain: Attempt,
    rate: Option<u32>,
    /// When the next request may be sent.
    next: Mutex<Timestamp>,
    sent: AtomicUsize,
}

impl Api {
    pub(super) async fn new(options: &Options) -> Result<Self, Unprobed> {
        let is_local = options.url.host().is_some_and(|host| is_loopback(&host));
        let build = move || {
            let client = Client::builder()
                .redirect(redirect::Policy::none())
                .referer(false)
                .http1_only()
                .timeout(TIME_LIMIT)
                .user_agent(concat!("sealwright-probe/", env!("CARGO_PKG_VERSION")));
            let client = if is_local { for_loopback(client) } else { client };
            client.build()
        };
        // Reading the system's trust roots takes tens of milliseconds.
        let built = tokio::task::spawn_blocking(build).await.map_err(|error| Unprobed::Client(error.to_string()))?;
        let client = built.map_err(|error| Unprobed::Client(error_chain(&error)))?;
        let mut headers: HeaderMap = options.headers.iter().cloned().collect();
        if options.body.is_some() {
            headers.insert(CONTENT_TYPE, options.content_type.clone());
        }
        let plain = Attempt { method: options.method.clone(), url: options.url.clone(), headers, body: options.body.clone() };
        Ok(Self { client, plain, rate: options.rate, next: Mutex::new(SystemClock.now()), sent: AtomicUsize::new(0) })
    }

    /// The request without a token.
    pub(super) fn plain(&self) -> Attempt {
        self.plain.clone()
    }

    /// The request with this token. `None` if no header can carry it.
    pub(super) fn with_token(&self, token: &str) -> Option<Attempt> {
        self.plain().bearer(token)
    }

    /// The number of requests so far.
    pub(super) fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// Sends a request. When the connection ends, it is sent once more: an idle connection may have been closed at that moment.
    pub(super) async fn send(&self, attempt: &Attempt) -> Answer {
        match self.send_once(attempt).await {
            Answer::Ended(_) => self.send_once(attempt).await,
            answer => answer,
        }
    }

    async fn send_once(&self, attempt: &Attempt) -> Answer {
        self.wait_for_turn().await;
        let mut request = reqwest::Request::new(attempt.method.clone(), attempt.url.clone());
        *request.headers_mut() = attempt.headers.clone();
        *request.body_mut() = attempt.body.clone().map(Into::into);
        match self.receive(request).await {
            Ok(given) => Answer::Given(given),
            Err(error) if error.is_timeout() => Answer::Silent,
            Err(error) => Answer::Ended(error_chain(&error)),
        }
    }

    async fn receive(&self, request: reqwest::Request) -> Result<Given, reqwest::Error> {
        let mut response = self.client.execute(request).await?;
        let text = |name: HeaderName| response.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let (status, location, challenge) = (response.status(), text(LOCATION), text(WWW_AUTHENTICATE));
        let mut body = BytesMut::new();
        // The status has decided. A body that breaks off changes nothing.
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER_LEN {
                break;
            }
        }
        Ok(Given { status, location, challenge, body: body.freeze() })
    }

    /// Waits as long as the rate requires.
    async fn wait_for_turn(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let Some(rate) = self.rate.filter(|rate| *rate > 0) else { return };
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*next).max(SystemClock.now());
            *next = turn + Duration::from_millis(u64::from(1000 / rate.min(1000)));
            turn
        };
        SystemClock.sleep_until(SLEEPER, turn).await;
    }
}
