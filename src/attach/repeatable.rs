//! The body of a request that may have to be sent twice.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

/// Maximum length in bytes of a body that is kept until the answer begins. A power of two.
pub(super) const MAX_KEPT: usize = 64 * 1024;

/// The means to send a body again. It is forwarded while it arrives, and copied if it has at most [`MAX_KEPT`] and no trailers: to keep what
/// arrives, instead of a copy, would keep the buffers that it arrived in.
#[derive(Debug)]
pub(super) struct Repeatable(Option<Arc<Mutex<Arriving>>>);

struct Arriving {
    /// What has not arrived yet.
    rest: Body,
    /// A copy of what has arrived. `None` if there is none.
    copy: Option<Vec<u8>>,
    /// Whether the body has arrived whole.
    ended: bool,
}

impl fmt::Debug for Arriving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arriving").field("copied", &self.copy.as_ref().map(Vec::len)).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Repeatable {
    /// The body to send, and the means to send it again.
    pub(super) fn new(body: Body) -> (Body, Self) {
        if body.is_end_stream() {
            return (Body::empty(), Self(None));
        }
        let fits = body.size_hint().lower() <= MAX_KEPT as u64;
        let arriving = Arriving { rest: body, copy: fits.then(Vec::new), ended: false };
        let arriving = Arc::new(Mutex::new(arriving));
        (Body::new(Sending(Arc::clone(&arriving))), Self(Some(arriving)))
    }

    /// The whole body once more, if it has arrived whole and was copied.
    pub(super) fn again(&self) -> Option<Body> {
        let Some(arriving) = &self.0 else { return Some(Body::empty()) };
        let mut state = lock(arriving);
        let whole = state.ended || state.rest.is_end_stream();
        state.copy.take().filter(|_| whole).map(Body::from)
    }
}

impl Drop for Repeatable {
    /// The body will not be sent again, so nothing more of it is copied.
    fn drop(&mut self) {
        if let Some(arriving) = &self.0 {
            lock(arriving).copy = None;
        }
    }
}

impl Arriving {
    fn copy(&mut self, frame: &Frame<Bytes>) {
        let Some(copy) = &mut self.copy else { return };
        match frame.data_ref() {
            Some(data) if copy.len() + data.len() <= MAX_KEPT => {
                let len = copy.len() + data.len();
                // At most `MAX_KEPT`, which is a power of two.
                copy.reserve_exact(len.next_power_of_two() - copy.len());
                copy.extend_from_slice(data);
            }
            _ => self.copy = None,
        }
    }
}

/// The sending of a body while it arrives.
struct Sending(Arc<Mutex<Arriving>>);

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut state = lock(&self.0);
        let polled = Pin::new(&mut state.rest).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => state.copy(frame),
            Poll::Ready(Some(Err(_))) => state.copy = None,
            Poll::Ready(None) => state.ended = true,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.0).rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.0).rest.size_hint()
    }
}

fn lock(arriving: &Mutex<Arriving>) -> MutexGuard<'_, Arriving> {
    arriving.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http::HeaderMap;
    use http_body_util::{BodyExt, Full, StreamBody};
    use tokio::sync::mpsc;

    use super::*;

    /// A body of these frames.
    fn frames(frames: Vec<Frame<Bytes>>) -> Body {
        Body::new(StreamBody::new(stream::iter(frames.into_iter().map(Ok::<_, Infallible>))))
    }

    fn data(text: &'static str) -> Frame<Bytes> {
        Frame::data(Bytes::from_static(text.as_bytes()))
    }

    /// A body that arrives as the test sends it.
    fn arrives() -> (mpsc::Sender<Result<Frame<Bytes>, Infallible>>, Body) {
        let (sender, receiver) = mpsc::channel(4);
        let stream = stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|frame| (frame, receiver)) });
        (sender, Body::new(StreamBody::new(stream)))
    }

    async fn read(body: Body) -> String {
        String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn gd4_a_small_body_that_has_arrived_whole_is_sent_twice() {
        let (first, again) = Repeatable::new(frames(vec![data("sugar"), data(" and tea")]));
        assert_eq!(read(first).await, "sugar and tea");
        assert_eq!(read(again.again().unwrap()).await, "sugar and tea");
        let (none, again) = Repeatable::new(Body::empty());
        assert!(none.is_end_stream() && again.again().unwrap().is_end_stream());
        // A reader that knows the length does not ask for the end.
        let (mut first, again) = Repeatable::new(Body::from("tea"));
        first.frame().await.unwrap().unwrap();
        assert_eq!(read(again.again().unwrap()).await, "tea");
    }

    #[tokio::test]
    async fn gd4_a_body_that_has_not_arrived_whole_or_has_trailers_is_not_sent_twice() {
        let (sender, body) = arrives();
        sender.send(Ok(data("sugar"))).await.unwrap();
        let (mut first, again) = Repeatable::new(body);
        assert_eq!(first.frame().await.unwrap().unwrap().into_data().unwrap(), "sugar");
        assert!(again.again().is_none());
        sender.send(Ok(data(" and tea"))).await.unwrap();
        drop(sender);
        assert_eq!(read(first).await, " and tea", "it is sent once, whole");

        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", "7".parse().unwrap());
        let (first, again) = Repeatable::new(frames(vec![data("tea"), Frame::trailers(trailers.clone())]));
        assert_eq!(first.collect().await.unwrap().trailers(), Some(&trailers));
        assert!(again.again().is_none());
    }

    #[tokio::test]
    async fn gd4_a_body_of_more_than_64_kib_is_not_sent_twice_and_a_copy_is_never_larger() {
        for len in [1, 40_000, MAX_KEPT] {
            // Each piece keeps a buffer that is much larger.
            let piece = || Frame::data(Bytes::from(vec![b'x'; 1024 * 1024]).slice(..len / 8 + 1));
            let (first, again) = Repeatable::new(frames((0..8).map(|_| piece()).collect()));
            let sent = first.collect().await.unwrap().to_bytes().len();
            let capacity = lock(again.0.as_ref().unwrap()).copy.as_ref().map(Vec::capacity);
            assert_eq!(capacity.is_some(), sent <= MAX_KEPT, "{len}");
            assert!(capacity.is_none_or(|capacity| capacity <= MAX_KEPT), "{len}");
        }
        let whole = |len: usize| Body::new(Full::new(Bytes::from(vec![b'x'; len])));
        let (first, again) = Repeatable::new(whole(MAX_KEPT));
        first.collect().await.unwrap();
        assert!(again.again().is_some());
        let (first, again) = Repeatable::new(whole(MAX_KEPT + 1));
        assert_eq!(first.collect().await.unwrap().to_bytes().len(), MAX_KEPT + 1, "it is sent once, whole");
        assert!(again.again().is_none());
    }
}
