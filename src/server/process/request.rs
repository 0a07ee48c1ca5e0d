//! What every request has, whatever serves it: an id, a method to log, an answer within a time limit, and perhaps the last one of its
//! connection.

use std::{any::Any, future::Future, panic::AssertUnwindSafe, time::Duration};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use futures_util::FutureExt;

use crate::{
    entropy,
    server::{caller_text, edge::Stopping},
};

/// The header of the id, in requests and in answers.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Maximum length of an id from a caller.
const LIMIT: usize = 64;

/// The id of a request, safe in a log and in a header.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(String);

impl RequestId {
    /// The id that the caller sent, if it is safe; otherwise a new one. Also returns whether the caller's contained a secret.
    pub(crate) fn of(headers: &HeaderMap) -> (Self, bool) {
        let sent = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
        let holds_secret = sent.is_some_and(caller_text::holds_secret);
        let kept = sent.filter(|id| is_safe(id) && !holds_secret);
        (Self(kept.map_or_else(entropy::unique_id, str::to_owned)), holds_secret)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Sets the header of the id.
    pub(crate) fn put_into(&self, headers: &mut HeaderMap) {
        if let Ok(id) = HeaderValue::from_str(&self.0) {
            headers.insert(REQUEST_ID, id);
        }
    }
}

/// Whether an id from a caller is safe in a log and in a header.
fn is_safe(id: &str) -> bool {
    !id.is_empty() && id.len() <= LIMIT && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// The method if it is a standard one, otherwise `_OTHER`, according to OpenTelemetry's conventions: callers can send any text.
pub(crate) fn known_method(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}

/// Why there is no answer to a request.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    TookTooLong,
    /// The text of the panic, which may repeat its input.
    Panicked(String),
}

/// The answer of `answering` within a time limit. A panic ends nothing else.
pub(crate) fn answer_within<T>(limit: Duration, answering: impl Future<Output = T>) -> impl Future<Output = Result<T, NoAnswer>> {
    answer_or_panic(tokio::time::timeout(limit, answering)).map(|answer| match answer {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(NoAnswer::TookTooLong),
        Err(text) => Err(NoAnswer::Panicked(text)),
    })
}

/// The answer of `answering`, or the text of its panic, which may repeat its input. A panic ends nothing else.
pub(crate) fn answer_or_panic<T>(answering: impl Future<Output = T>) -> impl Future<Output = Result<T, String>> {
    // Not an async function, whose future would hold `answering` twice.
    AssertUnwindSafe(answering).catch_unwind().map(|answer| answer.map_err(|panic| panic_text(&*panic).to_owned()))
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}

/// Why a request has ended without an answer, for the log.
pub(crate) fn why_abandoned(stopping: &Stopping) -> &'static str {
    if stopping.is_closing() { "the caller disconnected, or the drain time was over" } else { "the caller disconnected" }
}

/// Announces an answer as the last one of its connection, once the process accepts no more connections. HTTP/2 sends GOAWAY instead.
pub(crate) fn announce_last(headers: &mut HeaderMap, version: Version, stopping: &Stopping) {
    if version < Version::HTTP_2 && stopping.is_closing() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}
