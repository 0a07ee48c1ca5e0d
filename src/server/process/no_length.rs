//! Answers whose length is that of another answer, or not known.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::header,
    response::Response,
};
use hyper::body::Frame;

/// Prevents that a forwarded answer without a body gets a length that the upstream did not send. The router would write the length of a body
/// that is known to be empty, and the length of an answer to HEAD and of a 304 is that of another answer (RFC 9110 section 8.6).
pub(crate) fn keep_without_length(answer: &mut Response) {
    if answer.body().is_end_stream() && !answer.headers().contains_key(header::CONTENT_LENGTH) {
        *answer.body_mut() = Body::new(Nothing);
    }
}

/// An empty body of unknown length. hyper writes the length where it is right.
#[derive(Debug)]
struct Nothing;

impl HttpBody for Nothing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}
