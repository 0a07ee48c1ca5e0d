//! The API that is probed: sends requests to it, within a rate and time limits, and nowhere else.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
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
};

/// The most requests per second to an API that is not on this machine, and to one that is.
const RATE_ELSEWHERE: u32 = 50;
const RATE_HERE: u32 = 500;

/// How long an API that a token has stopped may take to start again, if something supervises it.
const RESTART: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);
/// After so many requests in a row without an answer, the API hangs: each costs the whole time limit.
const MOST_SILENT: usize = 8;
/// How much of an answer is read.
const MAX_ANSWER_LEN: usize = 64 * 1024;
/// The names under which this room sleeps.
const RATE_SLEEPER: &str = "probe rate";
const RESTART_SLEEPER: &str = "probe restart";

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
    /// There was no connection, so the request was not sent.
    Unreachable(String),
    /// No answer within this time limit.
    Silent(Duration),
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
            Self::Ended(_) | Self::Unreachable(_) | Self::Silent(_) => None,
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
            Self::Unreachable(_) => f.write_str("no connection"),
            Self::Silent(limit) => write!(f, "no answer in {} s", limit.as_secs()),
        }
    }
}

/// The API.
#[derive(Debug)]
pub(super) struct Api {
    client: Client,
    /// Opens a connection for each request.
    fresh: Client,
    plain: Attempt,
    time_limit: Duration,
    rate: u32,
    /// When the next request may be sent.
    next: Mutex<Timestamp>,
    sent: AtomicUsize,
    /// Whether the attack has begun, so that the API must answer.
    must_answer: AtomicBool,
    /// How many requests in a row got no answer.
    silent: AtomicUsize,
    has_stopped: AtomicBool,
}

impl Api {
    pub(super) async fn new(options: &Options) -> Result<Self, Unprobed> {
        let is_local = options.is_local();
        let time_limit = options.time_limit;
        let build = move |most_idle: usize| {
            let client = Client::builder()
                .redirect(redirect::Policy::none())
                .referer(false)
                .http1_only()
                .pool_max_idle_per_host(most_idle)
                .timeout(time_limit)
                .user_agent(concat!("sealwright-probe/", env!("CARGO_PKG_VERSION")));
            let client = if is_local { for_loopback(client) } else { client };
            client.build()
        };
        let build_both = move || -> Result<(Client, Client), reqwest::Error> { Ok((build(usize::MAX)?, build(0)?)) };
        // Reading the system's trust roots takes tens of milliseconds.
        let built = tokio::task::spawn_blocking(build_both).await.map_err(|error| Unprobed::Client(error.to_string()))?;
        let (client, fresh) = built.map_err(|error| Unprobed::Client(error_chain(&error)))?;
        let mut headers: HeaderMap = options.headers.iter().cloned().collect();
        if options.body.is_some() {
            headers.insert(CONTENT_TYPE, options.content_type.clone());
        }
        let plain = Attempt { method: options.method.clone(), url: options.url.clone(), headers, body: options.body.clone() };
        Ok(Self {
            client,
            fresh,
            plain,
            time_limit,
            rate: options.rate.unwrap_or(if is_local { RATE_HERE } else { RATE_ELSEWHERE }),
            next: Mutex::new(SystemClock.now()),
            sent: AtomicUsize::new(0),
            must_answer: AtomicBool::new(false),
            silent: AtomicUsize::new(0),
            has_stopped: AtomicBool::new(false),
        })
    }

    /// From now on, an API that does not answer for a while has stopped.
    pub(super) fn must_answer(&self) {
        self.must_answer.store(true, Ordering::Relaxed);
    }

    /// Whether the API has stopped answering. Nothing is sent to it then.
    pub(super) fn has_stopped(&self) -> bool {
        self.has_stopped.load(Ordering::Relaxed)
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

    /// Sends a request. During the attack, an API that accepts no connections is given time to start again.
    pub(super) async fn send(&self, attempt: &Attempt) -> Answer {
        let mut until = None;
        loop {
            if self.has_stopped() {
                return Answer::Unreachable("it has stopped".to_owned());
            }
            let answer = self.send_or_repeat(attempt).await;
            if !self.must_answer.load(Ordering::Relaxed) {
                return answer;
            }
            match answer {
                Answer::Unreachable(_) if SystemClock.now() < *until.get_or_insert_with(|| SystemClock.now() + RESTART) => {
                    SystemClock.sleep_until(RESTART_SLEEPER, SystemClock.now() + PAUSE).await;
                }
                Answer::Unreachable(_) => self.has_stopped.store(true, Ordering::Relaxed),
                Answer::Silent(_) => {
                    let silent = self.silent.fetch_add(1, Ordering::Relaxed) + 1;
                    self.has_stopped.fetch_or(silent >= MOST_SILENT, Ordering::Relaxed);
                    return answer;
                }
                answer => {
                    self.silent.store(0, Ordering::Relaxed);
                    return answer;
                }
            }
        }
    }

    /// Sends a request, and once more if its connection ends: an idle connection may have been closed at that moment, but not a new one.
    async fn send_or_repeat(&self, attempt: &Attempt) -> Answer {
        match self.send_once(&self.client, attempt).await {
            Answer::Ended(why) => match self.send_once(&self.fresh, attempt).await {
                // The request may have stopped the API.
                Answer::Unreachable(_) => Answer::Ended(why),
                answer => answer,
            },
            answer => answer,
        }
    }

    async fn send_once(&self, client: &Client, attempt: &Attempt) -> Answer {
        self.wait_for_turn().await;
        // A server that refuses a request without reading its body takes the body for the next request on the connection.
        let client = if attempt.body.is_some() { &self.fresh } else { client };
        let mut request = reqwest::Request::new(attempt.method.clone(), attempt.url.clone());
        *request.headers_mut() = attempt.headers.clone();
        *request.body_mut() = attempt.body.clone().map(Into::into);
        match receive(client, request).await {
            Ok(given) => Answer::Given(given),
            Err(error) if error.is_timeout() => Answer::Silent(self.time_limit),
            // The message names the URL before it.
            Err(error) if error.is_connect() => Answer::Unreachable(error_chain(&error.without_url())),
            Err(error) => Answer::Ended(error_chain(&error.without_url())),
        }
    }

    /// Waits as long as the rate requires.
    async fn wait_for_turn(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        // Rounded up, so that there are never more.
        let interval = Duration::from_millis(u64::from(1000_u32.div_ceil(self.rate.max(1))));
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*next).max(SystemClock.now());
            *next = turn + interval;
            turn
        };
        SystemClock.sleep_until(RATE_SLEEPER, turn).await;
    }
}

async fn receive(client: &Client, request: reqwest::Request) -> Result<Given, reqwest::Error> {
    let mut response = client.execute(request).await?;
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
