//! Bodies that are forwarded, and taken back if that fails.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

/// The means to take back a body that was given to what forwards it.
#[derive(Debug)]
pub(super) struct Lent(Option<Arc<Mutex<State>>>);

#[derive(Debug)]
struct State {
    /// What has not been read of it. `None` if it was taken back.
    body: Option<Body>,
    /// Whether its reader has asked for any of it.
    asked_for: bool,
    /// Wakes the reader that waits for more.
    waiting: Option<Waker>,
}

impl Lent {
    /// The body to forward, and the means to take it back.
    pub(super) fn new(body: Body) -> (Body, Self) {
        if body.is_end_stream() {
            return (Body::empty(), Self(None));
        }
        let state = Arc::new(Mutex::new(State { body: Some(body), asked_for: false, waiting: None }));
        (Body::new(Borrowed(Arc::clone(&state))), Self(Some(state)))
    }

    /// Whether its reader has asked for any of the body.
    pub(super) fn is_asked_for(&self) -> bool {
        self.0.as_ref().is_some_and(|state| lock(state).asked_for)
    }

    /// What has not been read of the body. Its reader gets an error instead of it.
    pub(super) fn rest(&self) -> Body {
        let Some(state) = &self.0 else { return Body::empty() };
        let mut state = lock(state);
        let (rest, waiting) = (state.body.take(), state.waiting.take());
        drop(state);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
        rest.unwrap_or_default()
    }
}

/// A body that can be taken back.
struct Borrowed(Arc<Mutex<State>>);

/// The error of a body that was taken back.
#[derive(Debug, thiserror::Error)]
#[error("the request has failed")]
struct TakenBack;

impl HttpBody for Borrowed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut state = lock(&self.0);
        state.asked_for = true;
        let Some(body) = &mut state.body else { return Poll::Ready(Some(Err(axum::Error::new(TakenBack)))) };
        let polled = Pin::new(body).poll_frame(cx);
        if polled.is_pending() {
            state.waiting = Some(cx.waker().clone());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.0).body.as_ref().is_some_and(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.0).body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http_body_util::{BodyExt, StreamBody};
    use tokio::sync::mpsc;

    use super::*;

    fn data(text: &'static str) -> Frame<Bytes> {
        Frame::data(Bytes::from_static(text.as_bytes()))
    }

    async fn read(body: Body) -> String {
        String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn hd2_the_rest_of_a_body_that_was_not_forwarded_whole_is_taken_from_its_reader() {
        let (sender, receiver) = mpsc::channel::<Result<_, Infallible>>(4);
        let arriving = stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|frame| (frame, receiver)) });
        let (mut body, lent) = Lent::new(Body::new(StreamBody::new(arriving)));
        sender.send(Ok(data("sugar"))).await.unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "sugar");
        let reading = tokio::spawn(async move { body.frame().await });
        while lock(lent.0.as_ref().unwrap()).waiting.is_none() {
            tokio::task::yield_now().await;
        }
        let rest = lent.rest();
        assert!(matches!(reading.await.unwrap(), Some(Err(_))), "it does not wait any longer");
        sender.send(Ok(data("tea"))).await.unwrap();
        drop(sender);
        assert_eq!(read(rest).await, "tea");
    }

    #[tokio::test]
    async fn a_lent_body_is_what_it_was() {
        let (none, lent) = Lent::new(Body::empty());
        assert!(none.is_end_stream() && lent.rest().is_end_stream());
        let (body, lent) = Lent::new(Body::from("tea"));
        assert_eq!((body.size_hint().exact(), body.is_end_stream(), lent.is_asked_for()), (Some(3), false, false));
        assert_eq!((read(body).await.as_str(), lent.is_asked_for()), ("tea", true));
        assert!(lent.rest().is_end_stream());
    }
}
