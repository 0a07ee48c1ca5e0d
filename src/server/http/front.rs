//! What every request passes on its way in and every answer on its way out: an id, a span, a time limit, one line in the log.

use std::{
    any::Any,
    borrow::Cow,
    net::{IpAddr, Ipv4Addr},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, Version, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use tracing::Instrument;

use super::{
    App, TrustedProxies,
    budget::Share,
    error::Failure,
    note::{Note, Place, Source},
};
use crate::{
    clock::Stopwatch,
    entropy,
    protocol::{GrantType, ServerMetadata},
    server::{
        caller_text,
        meters::TokenRequest,
        telemetry::{self, ALERT, Noise},
    },
};

/// The other end of the connection that a request came over, and its share of the memory; every connection notes it.
#[derive(Debug, Clone)]
pub(super) struct Peer(pub(super) IpAddr, pub(super) Arc<Share>);

/// The longest that a request may take, reading its body included.
const TIME_LIMIT: Duration = Duration::from_secs(30);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that a caller may give to its request.
const REQUEST_ID_LIMIT: usize = 64;

/// What is known of a request when it comes, for the log and the figures.
struct Asked {
    id: String,
    method: &'static str,
    /// Fit for a log.
    path: String,
    /// The route as it was registered: what a caller makes up becomes no label of a metric.
    route: String,
    source: IpAddr,
    since: Stopwatch,
    /// Where in its head a secret was.
    misplaced_secret: Option<Place>,
}

impl Asked {
    fn new(request: &Request, proxies: &TrustedProxies) -> Self {
        let peer = request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0);
        let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let path = request.uri().path();
        // A path that is a route is not text of the caller's.
        let (path, secret_in_path) = if route == Some(path) { (path.to_owned(), false) } else { caller_text::path(path) };
        let sent_id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
        let secret_in_id = sent_id.is_some_and(caller_text::holds_secret);
        let misplaced = [
            (secret_in_path, Place::Path),
            (request.uri().query().is_some_and(caller_text::holds_secret), Place::Query),
            (secret_in_id, Place::RequestId),
        ];
        Self {
            id: sent_id.filter(|id| may_be_id(id) && !secret_in_id).map_or_else(entropy::unique_id, str::to_owned),
            method: known_method(request.method()),
            path,
            route: route.unwrap_or("none").to_owned(),
            source: proxies.source(peer, request.headers()),
            since: Stopwatch::start(),
            misplaced_secret: misplaced.into_iter().find_map(|(found, place)| found.then_some(place)),
        }
    }
}

pub(super) async fn front(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let asked = Asked::new(&request, &app.proxies);
    request.extensions_mut().insert(Source(asked.source));
    let span = telemetry::request_span(&asked.id, asked.source);
    telemetry::continue_trace(&span, request.headers(), asked.method, &asked.route);
    let before_http2 = request.version() < Version::HTTP_2;
    let unanswered = Unanswered { app: Arc::clone(&app), asked: Some(asked) };

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
    app: Arc<App>,
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

/// The methods of HTTP, and `_OTHER` for any other, as OpenTelemetry's conventions have it: a method is text of the caller's too.
fn known_method(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}

/// Whether an id that the caller gave to its request can stand in a log and in a header as it is.
fn may_be_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= REQUEST_ID_LIMIT && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// One line per request: who asked, what came of it, and how long it took. Lines that strangers can cause at will are left out
/// when there are too many.
fn log(asked: &Asked, status: u16, note: &Note) {
    let Asked { id, method, path, route, source, since, misplaced_secret } = asked;
    let event = event(route, status);
    let noise = noise(event, status);
    if noise.is_some_and(|noise| !telemetry::admits(noise, *source)) {
        return;
    }
    let duration_us = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
    let (client, user) = (note.client.as_deref(), note.user.as_deref());
    let misplaced_secret = note.misplaced_secret.or(*misplaced_secret).map(Place::as_str);
    let grant = note.grant.map(GrantType::as_str);
    let address = note.user_address.as_ref().map(tracing::field::display);
    // The text of a library or of a panic may repeat what could not be handled.
    let cause = note.cause.as_deref().map(|cause| if status >= 500 { Cow::Owned(caller_text::words(cause)) } else { Cow::Borrowed(cause) });
    let cause = cause.as_deref();
    let outcome = match status {
        ..400 => "ok",
        499 => "abandoned",
        400..500 => "refused",
        _ => "failed",
    };
    macro_rules! line {
        ($level:ident, $target:expr) => {
            tracing::$level!(
                target: $target,
                {
                    http.status = status,
                    outcome,
                    event,
                    user.id = user,
                    user.address = address,
                    client.id = client,
                    grant,
                    cause,
                    misplaced_secret,
                    %source,
                    duration_us,
                    request.id = id,
                },
                "{method} {path}"
            )
        };
    }
    match noise {
        Some(Noise::Failed) => line!(error, ALERT),
        Some(Noise::Limited) => line!(info, ALERT),
        _ => line!(info, module_path!()),
    }
}

/// What the line about a request is, if it is one of those that strangers can cause at will.
fn noise(event: Option<&str>, status: u16) -> Option<Noise> {
    match status {
        ..400 => event.is_none().then_some(Noise::Served),
        404 | 405 => Some(Noise::NotFound),
        429 => Some(Noise::Limited),
        499 => Some(Noise::Abandoned),
        400..500 => Some(Noise::Refused),
        _ => Some(Noise::Failed),
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
