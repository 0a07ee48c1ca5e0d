//! What every request passes on its way in and every answer on its way out: an id, a span, a time limit, one line in the log.

use std::{any::Any, net::IpAddr, panic::AssertUnwindSafe, time::Duration};

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use tracing::{Instrument, info_span};

use super::{
    error::Failure,
    note::{Note, Source},
};
use crate::{clock::Stopwatch, entropy, protocol::GrantType};

/// The longest that a request may take, reading its body included.
const TIME_LIMIT: Duration = Duration::from_secs(30);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

pub(super) async fn front(request: Request, next: Next) -> Response {
    let stopwatch = Stopwatch::start();
    let id = entropy::unique_id();
    let method: String = request.method().as_str().chars().take(20).collect();
    // The path alone: a query may hold what does not belong into a log.
    let path: String = request.uri().path().chars().take(200).collect();
    let source = Source::of(request.extensions());
    let span = info_span!("request", request.id = id);

    let answer = AssertUnwindSafe(tokio::time::timeout(TIME_LIMIT, next.run(request))).catch_unwind().instrument(span).await;
    let mut response = match answer {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => Failure::unavailable("the request took too long".to_owned()).into_response(),
        Err(panic) => Failure::broken(format!("panic: {}", panic_text(&*panic))).into_response(),
    };
    if let Some(failure) = response.extensions_mut().remove::<Failure>() {
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
    log(&id, &method, &path, source, response.status(), &note, stopwatch.elapsed());
    response
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
