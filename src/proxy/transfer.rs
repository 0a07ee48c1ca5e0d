//! A body on its way, piece by piece, each asked for only when its receiver takes it. It can be ended from outside, also while its receiver
//! does not ask for anything.

use std::{
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

use super::slots::Slot;
use crate::clock::Stopwatch;

/// What a body waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Its receiver, which has not asked for anything yet: the request waits for a connection, or for a stream of one.
    Queued,
    /// Its sender, for the next piece.
    Sender,
    /// Its receiver, which has taken a piece and has not asked for the next one.
    Receiver,
    /// Nothing.
    Over(End),
}

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It is complete, or its receiver does not want the rest.
    Done,
    /// Its receiver dropped it without asking for any of it, although it is not empty.
    Unread,
    /// Its sender broke it off.
    Broken,
    /// Its time was over.
    Cut,
}

/// Why a piece of a body is missing.
#[derive(Debug)]
pub(super) enum Missing<E> {
    Cut,
    Broken(E),
}

/// A body and its progress. The one who forwards it and the one who watches it share it.
#[derive(Debug)]
pub(super) struct Transfer<B>(Mutex<State<B>>);

#[derive(Debug)]
struct State<B> {
    /// The body, with the slot of its request. Not there before the transfer begins, and once it is over.
    body: Option<(B, Slot)>,
    turn: Turn,
    /// Since when it is this turn, or since the last piece.
    moved: Stopwatch,
    /// Wakes the receiver.
    waker: Option<Waker>,
}

impl<B> Transfer<B> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State { body: None, turn: Turn::Queued, moved: Stopwatch::start(), waker: None }))
    }

    fn state(&self) -> MutexGuard<'_, State<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Provides the body. Its slot is taken until it is over.
    pub(super) fn set(&self, body: B, slot: Slot) {
        self.state().body = Some((body, slot));
    }

    /// Starts the time of its turn again.
    pub(super) fn go_on(&self) {
        self.state().moved = Stopwatch::start();
    }

    /// Records that the receiver will ask for it now.
    pub(super) fn begin(&self) {
        let mut state = self.state();
        if state.turn == Turn::Queued {
            (state.turn, state.moved) = (Turn::Sender, Stopwatch::start());
        }
    }

    /// Its turn, and the time since something moved.
    pub(super) fn progress(&self) -> (Turn, Duration) {
        let state = self.state();
        (state.turn, state.moved.elapsed())
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state().turn, Turn::Over(_))
    }

    /// Ends it, and frees its body and its slot, unless it is over.
    pub(super) fn end(&self, end: End) {
        let mut state = self.state();
        if matches!(state.turn, Turn::Over(_)) {
            return;
        }
        (state.turn, state.moved) = (Turn::Over(end), Stopwatch::start());
        let (body, waker) = (state.body.take(), state.waker.take());
        // Both run other code.
        drop(state);
        drop(body);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A piece of a body, or why it is missing.
type Piece<B> = Result<Frame<Bytes>, Missing<<B as HttpBody>::Error>>;

impl<B: HttpBody<Data = Bytes> + Unpin> Transfer<B> {
    /// The next piece.
    pub(super) fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Piece<B>>> {
        let mut guard = self.state();
        let state = &mut *guard;
        let Some((body, _)) = &mut state.body else {
            let cut = state.turn == Turn::Over(End::Cut);
            return Poll::Ready(cut.then_some(Err(Missing::Cut)));
        };
        let polled = Pin::new(&mut *body).poll_frame(cx);
        let turn = match &polled {
            Poll::Pending => Turn::Sender,
            Poll::Ready(Some(Ok(frame))) if !frame.is_trailers() && !body.is_end_stream() => Turn::Receiver,
            Poll::Ready(Some(Ok(_)) | None) => Turn::Over(End::Done),
            Poll::Ready(Some(Err(_))) => Turn::Over(End::Broken),
        };
        if polled.is_pending() {
            state.waker = Some(cx.waker().clone());
        }
        if polled.is_ready() || state.turn != Turn::Sender {
            (state.turn, state.moved) = (turn, Stopwatch::start());
        }
        let over = if matches!(turn, Turn::Over(_)) { state.body.take() } else { None };
        drop(guard);
        drop(over);
        polled.map_err(Missing::Broken)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let state = self.state();
        state.body.as_ref().map_or_else(|| state.turn == Turn::Over(End::Done), |(body, _)| body.is_end_stream())
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let state = self.state();
        match (&state.body, state.turn) {
            (Some((body, _)), _) => body.size_hint(),
            (None, Turn::Over(End::Done)) => SizeHint::with_exact(0),
            (None, _) => SizeHint::default(),
        }
    }

    /// Its receiver does not ask for more.
    pub(super) fn leave(&self) {
        let is_empty = |body: &B| body.is_end_stream() || body.size_hint().exact() == Some(0);
        let state = self.state();
        let unread = state.turn == Turn::Queued && state.body.as_ref().is_some_and(|(body, _)| !is_empty(body));
        drop(state);
        self.end(if unread { End::Unread } else { End::Done });
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::poll_fn};

    use axum::body::Body;
    use futures_util::{FutureExt, StreamExt, stream};

    use super::*;
    use crate::proxy::slots::Slots;

    /// A transfer of two pieces that are there and a third one that never comes, and the slots of which it has the only one.
    fn transfer() -> (Transfer<Body>, Slots) {
        let pieces = stream::iter(["one", "two"]).map(|piece| Ok::<_, Infallible>(Bytes::from_static(piece.as_bytes())));
        let (transfer, slots) = (Transfer::new(), Slots::new(1));
        transfer.set(Body::from_stream(pieces.chain(stream::pending())), slots.take(None).unwrap());
        (transfer, slots)
    }

    /// The next piece; `None` if it has not come yet.
    fn next(transfer: &Transfer<Body>) -> Option<Option<Result<Bytes, &'static str>>> {
        let polled = poll_fn(|cx| transfer.poll_frame(cx)).now_or_never()?;
        Some(polled.map(|piece| match piece {
            Ok(frame) => Ok(frame.into_data().unwrap()),
            Err(Missing::Cut) => Err("cut"),
            Err(Missing::Broken(_)) => Err("broken"),
        }))
    }

    #[test]
    fn gd2_a_body_says_whether_its_sender_or_its_receiver_is_waited_for() {
        let (transfer, _slots) = transfer();
        assert_eq!(transfer.progress().0, Turn::Queued);
        assert_eq!(next(&transfer), Some(Some(Ok(Bytes::from_static(b"one")))));
        assert_eq!(transfer.progress().0, Turn::Receiver, "until it asks for the next piece");
        assert_eq!(next(&transfer), Some(Some(Ok(Bytes::from_static(b"two")))));
        assert_eq!((next(&transfer), transfer.progress().0), (None, Turn::Sender));
    }

    #[test]
    fn gd2_a_body_that_is_ended_from_outside_frees_its_slot_although_its_receiver_keeps_it() {
        let (transfer, slots) = transfer();
        next(&transfer);
        assert!(slots.take(None).is_none());
        transfer.end(End::Cut);
        assert!(slots.take(None).is_some());
        assert!(!transfer.is_end_stream(), "its receiver must not take it for complete");
        assert_eq!(next(&transfer), Some(Some(Err("cut"))));
    }

    #[test]
    fn gd2_a_body_that_is_dropped_before_it_is_asked_for_was_not_sent() {
        let (transfer, slots) = transfer();
        transfer.leave();
        assert_eq!(transfer.progress().0, Turn::Over(End::Unread));
        let empty = Transfer::new();
        empty.set(Body::empty(), slots.take(None).unwrap());
        empty.leave();
        assert_eq!(empty.progress().0, Turn::Over(End::Done));
        empty.end(End::Cut);
        assert_eq!(empty.progress().0, Turn::Over(End::Done), "it ends once");
    }
}
