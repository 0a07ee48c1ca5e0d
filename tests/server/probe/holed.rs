//! A small API with at most one planted hole.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Method, Response, StatusCode, header, request::Parts},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use sealwright::verifier::Verifier;
use serde_json::Value;
use tokio::{net::TcpListener, sync::Notify};

pub(super) const AUDIENCE: &str = "https://orders.example";
const PATH: &str = "/orders";

/// What the API does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hole {
    Nothing,
    /// Accepts tokens that the verifier refuses with this code.
    Accepts(&'static str),
    /// Answers this status to them.
    Answers(&'static str, u16),
    /// Requires no scope.
    AnyScope,
    /// Answers 401 to a token without the scope.
    WrongStatus,
    /// Answers 401 without a challenge.
    NoChallenge,
    TokenInQuery,
    TokenInCookie,
    TrustsHeader,
    OtherPath,
    OtherMethod,
    RemembersJti,
    FetchesJku,
    FetchesForEachKid,
    FirstKeyOnly,
    NoUsers,
    FallsOver,
    /// Accepts no more than 100 requests.
    Limits,
    /// Answers 403 to all tokens for a while after 100 that it refused.
    Locks,
    /// Stops after 100 requests.
    Stops,
    /// Knows no HEAD.
    NoHead,
    /// Sends a caller without a token to a page for signing in.
    Redirects,
    /// Accepts one token, as a request that creates something would.
    Once,
    /// Requires more than a token.
    Incomplete,
    /// Answers 200 to every token, and says in the body that it is refused.
    SaysInBody,
}

/// The API: everything that its handler needs.
struct Api {
    hole: Hole,
    verifier: Verifier,
    keys: String,
    http: reqwest::Client,
    jtis: Mutex<HashSet<String>>,
    kid: Mutex<Option<String>>,
    accepted: AtomicUsize,
    refused: AtomicUsize,
    requests: AtomicUsize,
    stopped: Notify,
}

/// Starts it for tokens of this issuer. It ends with the runtime.
pub(super) async fn start(issuer: &str, audience: &str, hole: Hole) -> SocketAddr {
    let api = Api {
        hole,
        verifier: Verifier::for_issuer(issuer).audience(audience).build().unwrap(),
        keys: format!("{issuer}/.well-known/jwks.json"),
        http: reqwest::Client::new(),
        jtis: Mutex::default(),
        kid: Mutex::default(),
        accepted: AtomicUsize::new(0),
        refused: AtomicUsize::new(0),
        requests: AtomicUsize::new(0),
        stopped: Notify::new(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let api = Arc::new(api);
    let router = Router::new().fallback(handle).with_state(Arc::clone(&api));
    let stop = async move { api.stopped.notified().await };
    tokio::spawn(async move { axum::serve(listener, router).with_graceful_shutdown(stop).await });
    address
}

async fn handle(State(api): State<Arc<Api>>, request: Parts) -> Response<Body> {
    let status = api.decide(&request).await;
    let has_token = request.headers.contains_key(header::AUTHORIZATION);
    let (status, body) = match status {
        200 => (200, "all orders"),
        401 if api.hole == Hole::SaysInBody && has_token => (200, "refused"),
        401 if api.hole == Hole::Redirects => (302, ""),
        _ => (status, ""),
    };
    let answer = Response::builder().status(status);
    let answer = match status {
        302 => answer.header(header::LOCATION, "/login"),
        401 if api.hole != Hole::NoChallenge => answer.header(header::WWW_AUTHENTICATE, "Bearer"),
        _ => answer,
    };
    answer.body(Body::from(body)).unwrap()
}

impl Api {
    async fn decide(&self, request: &Parts) -> u16 {
        let requests = self.requests.fetch_add(1, Ordering::SeqCst);
        match self.hole {
            Hole::Limits if requests > 100 => return 429,
            Hole::Stops if requests > 100 => self.stopped.notify_one(),
            Hole::NoHead if request.method == Method::HEAD => return 501,
            Hole::Locks if (100..140).contains(&self.refused.load(Ordering::SeqCst)) => {
                self.refused.fetch_add(1, Ordering::SeqCst);
                return 403;
            }
            _ => {}
        }
        if let Some(status) = self.without_token(request) {
            return status;
        }
        if request.uri.path() != PATH {
            return 404;
        }
        let Some(token) = self.token_of(request) else { return 401 };
        let header = decoded(&token, 0);
        let claims = decoded(&token, 1);
        self.fetch(&header).await;
        let jti = claims["jti"].as_str().unwrap_or_default().to_owned();
        if self.hole == Hole::RemembersJti && self.jtis.lock().unwrap().contains(&jti) {
            return 200;
        }
        match self.verifier.verify(&token).await {
            Err(error) if self.hole == Hole::Accepts(error.code()) => 200,
            Err(error) => {
                self.refused.fetch_add(1, Ordering::SeqCst);
                match self.hole {
                    Hole::Answers(code, status) if code == error.code() => status,
                    _ => error.status(),
                }
            }
            Ok(_) if self.hole == Hole::FallsOver && self.refused.load(Ordering::SeqCst) > 100 => 500,
            Ok(_) if self.hole == Hole::Incomplete => 422,
            Ok(_) if self.hole == Hole::Once && self.accepted.fetch_add(1, Ordering::SeqCst) > 0 => 409,
            Ok(_) if self.hole == Hole::NoUsers && claims.get("auth_time").is_some() => 403,
            Ok(_) if self.hole == Hole::FirstKeyOnly && !self.is_first_key(&header) => 401,
            Ok(_) if self.hole == Hole::AnyScope => 200,
            Ok(checked) if checked.has_scope("orders:read") => {
                self.jtis.lock().unwrap().insert(jti);
                200
            }
            Ok(_) if self.hole == Hole::WrongStatus => 401,
            Ok(_) => 403,
        }
    }

    fn without_token(&self, request: &Parts) -> Option<u16> {
        let open = match self.hole {
            Hole::TrustsHeader => request.headers.get("x-forwarded-for").is_some_and(|value| value == "127.0.0.1"),
            Hole::OtherPath => request.uri.path() == "/orders/",
            Hole::OtherMethod => request.method == Method::HEAD,
            _ => false,
        };
        open.then_some(200)
    }

    fn token_of(&self, request: &Parts) -> Option<String> {
        let header = |headers: &HeaderMap, name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let bearer = header(&request.headers, header::AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.to_owned())
        });
        let query = request.uri.query().and_then(|query| query.strip_prefix("access_token=")).map(str::to_owned);
        let cookie = header(&request.headers, header::COOKIE).and_then(|value| {
            let token = value.split("; ").find_map(|cookie| cookie.strip_prefix("jwt="))?;
            Some(token.to_owned())
        });
        let in_query = || query.filter(|_| self.hole == Hole::TokenInQuery);
        let in_cookie = || cookie.filter(|_| self.hole == Hole::TokenInCookie);
        bearer.or_else(in_query).or_else(in_cookie)
    }

    /// What it fetches because of the token.
    async fn fetch(&self, header: &Value) {
        let address = match self.hole {
            Hole::FetchesJku => header["jku"].as_str().map(str::to_owned),
            Hole::FetchesForEachKid => header["kid"].as_str().filter(|kid| kid.len() == 22).map(|_| self.keys.clone()),
            _ => None,
        };
        if let Some(address) = address {
            drop(self.http.get(address).send().await);
        }
    }

    fn is_first_key(&self, header: &Value) -> bool {
        let kid = header["kid"].as_str().unwrap_or_default();
        self.kid.lock().unwrap().get_or_insert_with(|| kid.to_owned()) == kid
    }
}

/// A part of a token; null if it cannot be read.
fn decoded(token: &str, part: usize) -> Value {
    let part = token.split('.').nth(part).and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
    part.and_then(|part| serde_json::from_slice(&part).ok()).unwrap_or_default()
}

/// An API that answers every request alike.
pub(super) async fn start_answering(status: StatusCode, location: Option<&'static str>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = move || async move {
        let answer = Response::builder().status(status);
        let answer = location.into_iter().fold(answer, |answer, location| answer.header(header::LOCATION, location));
        answer.body(Body::empty()).unwrap()
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    address
}
