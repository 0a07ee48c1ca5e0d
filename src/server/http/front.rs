//! What every request passes on its way in and every answer on its way out: an id, a span, a time limit, one line in the log.

use std::{
    any::Any,
    net::{IpAddr, Ipv4Addr},
    panic::AssertUnwindSafe,
    time::Duration,
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use tracing::Instrument;

use super::{
    App, TrustedProxies,
    error::Failure,
    note::{Note, Source},
};
use crate::{
    clock::Stopwatch,
    entropy,
    protocol::{GrantType, ServerMetadata},
    server::{meters::TokenRequest, telemetry},
};

/// The other end of the connection that a request came over; every connection notes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// The longest that a request may take, reading its body included.
const TIME_LIMIT: Duration = Duration::from_secs(30);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that a caller may give to its request.
const REQUEST_ID_LIMIT: usize = 64;

/// What is known of a request when it comes, for the log and the figures.
struct Asked {
    id: String,
    method: String,
    /// Fit for a log.
    path: String,
    /// The route as it was registered: what a caller makes up becomes no label of a metric.
    route: String,
    source: IpAddr,
    since: Stopwatch,
}

impl Asked {
    fn new(request: &Request, proxies: &TrustedProxies) -> Self {
        let peer = request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0);
        Self {
            id: given_id(request.headers()).unwrap_or_else(entropy::unique_id),
            method: request.method().as_str().chars().take(20).collect(),
            path: fit_for_log(request.uri().path()),
            route: request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned(),
            source: proxies.source(peer, request.headers()),
            since: Stopwatch::start(),
        }
    }
}

pub(super) async fn front(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let asked = Asked::new(&request, &app.proxies);
    request.extensions_mut().insert(Source(asked.source));
    let span = telemetry::request_span(&asked.id, asked.source);
    telemetry::continue_trace(&span, request.headers(), &asked.method, &asked.route);
    let before_http2 = request.version() < Version::HTTP_2;
    let unanswered = Unanswered { app: app.clone(), asked: Some(asked) };

    let answer = AssertUnwindSafe(tokio::time::timeout(TIME_LIMIT, next.run(request))).catch_unwind().instrument(span.clone()).await;
    let mut response = match answer {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => Failure::unavailable("the request took too long".to_owned()).into_response(),
        Err(panic) => Failure::broken(format!("panic: {}", panic_text(&*panic))).into_response(),
    };
    let asked = unanswered.answered();
    let mut result = "ok";
    if let Some(failure) = response.extensions_mut().remove::<Failure>() {
        result = if response.status() == StatusCode::TOO_MANY_REQUESTS { "limited" } else { failure.code() };
        response = failure.render(&asked.id);
    }
    let note = response.extensions_mut().remove::<Note>().unwrap_or_default();
    let headers = response.headers_mut();
    if !headers.contains_key(header::CACHE_CONTROL) {
        // RFC 6749 section 5.1 wants both.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    }
    if let Ok(id) = HeaderValue::from_str(&asked.id) {
        headers.insert(REQUEST_ID, id);
    }
    if before_http2 && app.stopping.is_closing() {
        // The last answer on this connection; HTTP/2 has a word of its own for it, GOAWAY.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let status = response.status().as_u16();
    telemetry::end_trace(&span, status, note.client.as_deref());
    account(&app, &asked, status, result, &note);
    response
}

/// A request whose caller may go away before it has its answer. It is counted and logged all the same: what it set off (a hash, a
/// failed attempt, a step of a login) may have happened.
struct Unanswered {
    app: App,
    asked: Option<Asked>,
}

impl Unanswered {
    fn answered(mut self) -> Asked {
        self.asked.take().expect("it is taken once")
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(asked) = &self.asked {
            // As other servers count it; no caller ever sees this status.
            let note = Note { cause: Some("the caller went away".to_owned()), ..Note::default() };
            account(&self.app, asked, 499, "abandoned", &note);
        }
    }
}

/// Counts a request and writes its line.
fn account(app: &App, asked: &Asked, status: u16, result: &'static str, note: &Note) {
    app.meters.observe_request(&asked.route, status, asked.since.elapsed());
    if asked.route.ends_with(ServerMetadata::TOKEN_ROUTE) {
        let grant = note.grant.map_or("none", GrantType::as_str);
        app.meters.token_requests.get_or_create(&TokenRequest { grant, result }).inc();
    }
    log(asked, status, note);
}

/// The path alone, since a query may hold what does not belong into a log; and of a path no more than what comes before
/// something that looks like a client's secret or a token.
fn fit_for_log(path: &str) -> String {
    let secret = ["sw_", "eyJ"].iter().filter_map(|begin| path.find(begin)).min();
    path[..secret.unwrap_or(path.len())].chars().take(200).collect()
}

/// The id that the caller gave to its request, if it is one that can stand in a log and in a header as it is.
fn given_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let lawful = !id.is_empty() && id.len() <= REQUEST_ID_LIMIT && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    lawful.then(|| id.to_owned())
}

/// One line per request: who asked, what came of it, and how long it took.
fn log(asked: &Asked, status: u16, note: &Note) {
    let Asked { id, method, path, route, source, since } = asked;
    let duration_us = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
    let (client, user, cause) = (note.client.as_deref(), note.user.as_deref(), note.cause.as_deref());
    let grant = note.grant.map(GrantType::as_str);
    let event = event(route, status);
    let outcome = match status {
        ..400 => "ok",
        499 => "abandoned",
        400..500 => "refused",
        _ => "failed",
    };
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                http.status = status,
                outcome,
                event,
                user.id = user,
                client.id = client,
                grant,
                cause,
                %source,
                duration_us,
                request.id = id,
                "{method} {path}"
            )
        };
    }
    match outcome {
        "failed" => line!(error),
        _ => line!(info),
    }
}

/// What a request was, for whoever watches over security.
fn event(route: &str, status: u16) -> Option<&'static str> {
    let asks_for_token = route.ends_with(ServerMetadata::TOKEN_ROUTE);
    if !asks_for_token && !route.ends_with(ServerMetadata::REVOCATION_ROUTE) {
        return None;
    }
    Some(match status {
        ..400 if asks_for_token => "token.issued",
        ..400 => "token.revoked",
        429 => "attempt.limited",
        499 => "request.abandoned",
        400..500 if asks_for_token => "token.refused",
        400..500 => "revocation.refused",
        _ => "request.failed",
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}
