//! Bodies on their way: piece by piece, each asked for only when the other side takes it.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    fields,
    pace::{IdleTimer, Pace, Turn},
    reserved::Reserved,
};

/// Why a body ends early. The connection on which it is sent is then closed, or its stream reset, so that its reader does not take it for
/// complete.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("nothing arrived within the time limit")]
    Stalled,
    #[error("the caller's body ended early")]
    Caller(#[source] axum::Error),
    #[error("the upstream's body ended early")]
    Upstream(#[source] hyper::Error),
}

/// The body of a request.
#[derive(Debug)]
pub(super) struct Upload {
    body: Body,
    /// What is missing of a body whose length is known.
    left: Option<u64>,
    pace: Arc<Pace>,
    timer: IdleTimer,
    reserved: Reserved,
}

impl Upload {
    pub(super) fn new(body: Body, pace: Arc<Pace>, idle: Duration, reserved: Reserved) -> Self {
        let left = body.size_hint().exact();
        Self { body, left, pace, timer: IdleTimer::new(idle), reserved }
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            let waited = this.timer.poll_wait(&this.pace, Turn::Caller, cx);
            return waited.map(|()| {
                this.pace.note(Turn::Stalled);
                Some(Err(BodyError::Stalled))
            });
        };
        this.timer.rest();
        let mut frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                this.pace.note(Turn::Broken);
                return Poll::Ready(Some(Err(BodyError::Caller(error))));
            }
            None => {
                this.pace.note(Turn::Answer);
                return Poll::Ready(None);
            }
        };
        if let (Some(left), Some(data)) = (&mut this.left, frame.data_ref()) {
            *left = left.saturating_sub(data.len() as u64);
        }
        if let Some(trailers) = frame.trailers_mut() {
            fields::keep_trailers(trailers);
            this.reserved.remove_from(trailers);
        }
        // After the last piece, it is not asked for another one.
        let complete = frame.is_trailers() || this.left == Some(0) || this.body.is_end_stream();
        this.pace.note(if complete { Turn::Answer } else { Turn::Upstream });
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer. Its request counts as under way until it is dropped.
#[derive(Debug)]
pub(super) struct Download {
    body: Incoming,
    pace: Arc<Pace>,
    timer: IdleTimer,
    _under_way: OwnedSemaphorePermit,
}

impl Download {
    pub(super) fn new(body: Incoming, pace: Arc<Pace>, idle: Duration, under_way: OwnedSemaphorePermit) -> Self {
        Self { body, pace, timer: IdleTimer::new(idle), _under_way: under_way }
    }
}

impl HttpBody for Download {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            let waited = this.timer.poll_wait(&this.pace, Turn::Answer, cx);
            return waited.map(|()| {
                tracing::debug!("an answer is cut off: nothing more of it arrived within the time limit");
                Some(Err(BodyError::Stalled))
            });
        };
        this.timer.rest();
        this.pace.note(Turn::Answer);
        Poll::Ready(frame.map(|frame| {
            let mut frame = frame.map_err(BodyError::Upstream)?;
            if let Some(trailers) = frame.trailers_mut() {
                fields::keep_trailers(trailers);
            }
            Ok(frame)
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
