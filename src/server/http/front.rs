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
use tracing::{Instrument, info_span};

use super::{
    App,
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

pub(super) async fn front(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let stopwatch = Stopwatch::start();
    let id = given_id(request.headers()).unwrap_or_else(entropy::unique_id);
    let method: String = request.method().as_str().chars().take(20).collect();
    // The path alone: a query may hold what does not belong into a log.
    let path: String = request.uri().path().chars().take(200).collect();
    let peer = request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0);
    let source = app.proxies.source(peer, request.headers());
    request.extensions_mut().insert(Source(source));
    // The route as it was registered: what a caller makes up becomes no label of a metric.
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let span = info_span!("request", request.id = id);
    telemetry::continue_trace(&span, request.headers(), format!("{method} {route}"), &route);
    let one_answer_per_connection = request.version() < Version::HTTP_2;

    let answer = AssertUnwindSafe(tokio::time::timeout(TIME_LIMIT, next.run(request))).catch_unwind().instrument(span.clone()).await;
    let mut response = match answer {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => Failure::unavailable("the request took too long".to_owned()).into_response(),
        Err(panic) => Failure::broken(format!("panic: {}", panic_text(&*panic))).into_response(),
    };
    let mut result = "ok";
    if let Some(failure) = response.extensions_mut().remove::<Failure>() {
        result = failure.code();
        response = failure.render(&id);
    }
    let note = response.extensions_mut().remove::<Note>().unwrap_or_default();
    let headers = response.headers_mut();
    if !headers.contains_key(header::CACHE_CONTROL) {
        // RFC 6749 section 5.1 wants both.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    if one_answer_per_connection && app.stopping.is_set() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let took = stopwatch.elapsed();
    app.meters.observe_request(&route, response.status().as_u16(), took);
    if route.ends_with(ServerMetadata::TOKEN_ROUTE) {
        let grant = note.grant.map_or("none", GrantType::as_str);
        app.meters.token_requests.get_or_create(&TokenRequest { grant, result }).inc();
    }
    telemetry::end_trace(&span, response.status().as_u16(), note.client.as_deref());
    log(&id, &method, &path, source, response.status(), &note, took);
    response
}

/// The id that the caller gave to its request, if it is one that can stand in a log and in a header as it is.
fn given_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let lawful = !id.is_empty() && id.len() <= REQUEST_ID_LIMIT && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    lawful.then(|| id.to_owned())
}

/// One line per request: who asked, what came of it, and how long it took.
fn log(id: &str, method: &str, path: &str, source: IpAddr, status: StatusCode, note: &Note, took: Duration) {
    let duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let client = note.client.as_deref();
    let grant = note.grant.map(GrantType::as_str);
    let cause = note.cause.as_deref();
    let outcome = match status.as_u16() {
        ..400 => "ok",
        400..500 => "refused",
        _ => "failed",
    };
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                http.status = status.as_u16(),
                outcome,
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

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}
