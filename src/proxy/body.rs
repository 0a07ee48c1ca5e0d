//! The bodies that the client and the server of this program get.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::{Bytes, HttpBody};
use http::HeaderMap;
use hyper::body::{Frame, SizeHint};

use super::{fields, relay::Relay, transfer::Missing};

/// Why a body ends early. The connection on which it is sent is then closed, or its stream reset, so that its reader does not take it for
/// complete.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("nothing moved within the time limit")]
    Stalled,
    #[error("the caller's body ended early")]
    Caller(#[source] axum::Error),
    #[error("the upstream's body ended early")]
    Upstream(#[source] hyper::Error),
}

type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

/// Makes what the receiver gets out of what the sender sent.
fn pass<E>(
    polled: Poll<Option<Result<Frame<Bytes>, Missing<E>>>>,
    clean_trailers: fn(&mut HeaderMap),
    broken: fn(E) -> BodyError,
) -> Polled {
    polled.map(|piece| {
        piece.map(|piece| {
            let mut frame = piece.map_err(|missing| match missing {
                Missing::Cut => BodyError::Stalled,
                Missing::Broken(error) => broken(error),
            })?;
            if let Some(trailers) = frame.trailers_mut() {
                clean_trailers(trailers);
            }
            Ok::<_, BodyError>(frame)
        })
    })
}

/// The body of a request, for the client.
#[derive(Debug)]
pub(super) struct Upload(pub(super) Arc<Relay>);

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        pass(self.0.request.poll_frame(cx), fields::keep_digests, BodyError::Caller)
    }

    fn is_end_stream(&self) -> bool {
        self.0.request.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.request.size_hint()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.request.leave();
        self.0.note_end();
    }
}

/// The body of an answer, for the server.
#[derive(Debug)]
pub(super) struct Download(pub(super) Arc<Relay>);

impl HttpBody for Download {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        pass(self.0.answer.poll_frame(cx), fields::clean_trailers, BodyError::Upstream)
    }

    fn is_end_stream(&self) -> bool {
        self.0.answer.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.answer.size_hint()
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.0.answer.leave();
        self.0.note_end();
    }
}

/// No body, and nothing said about its length: the answer to a HEAD describes a body that it does not have (RFC 9110 section 9.3.2).
#[derive(Debug)]
pub(super) struct Absent;

impl HttpBody for Absent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}
