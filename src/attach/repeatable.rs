//! The body of a request that may have to be sent twice.

use std::{
    collections::VecDeque,
    fmt, mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use axum::body::{Body, Bytes, HttpBody};
use http::HeaderMap;
use hyper::body::{Frame, SizeHint};

/// Maximum length in bytes of a body that is kept until the answer begins.
pub(super) const MAX_KEPT: usize = 64 * 1024;

/// A body that is forwarded while it arrives. A copy of it is kept, unless it is longer than [`MAX_KEPT`].
#[derive(Debug)]
pub(super) struct Repeatable(Option<Arc<Mutex<Arriving>>>);

struct Arriving {
    /// What has not arrived yet.
    rest: Body,
    /// What has arrived. `None` if that was too much to keep.
    kept: Option<VecDeque<Part>>,
    kept_len: usize,
    /// How often it is sent. Only the last sending may read.
    sendings: u8,
    /// Wakes the sending that waits for more.
    waiting: Option<Waker>,
}

enum Part {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl fmt::Debug for Arriving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arriving").field("kept_len", &self.kept_len).field("sendings", &self.sendings).finish_non_exhaustive()
    }
}

impl Repeatable {
    /// The body to send, and the means to send it again.
    pub(super) fn new(body: Body) -> (Body, Self) {
        if body.is_end_stream() {
            return (Body::empty(), Self(None));
        }
        let arriving = Arriving { rest: body, kept: Some(VecDeque::new()), kept_len: 0, sendings: 1, waiting: None };
        let arriving = Arc::new(Mutex::new(arriving));
        (Body::new(Sending { arriving: Arc::clone(&arriving), number: 1, repeated: VecDeque::new() }), Self(Some(arriving)))
    }

    /// Whether what has arrived of the body so far was kept.
    pub(super) fn is_kept(&self) -> bool {
        self.0.as_ref().is_none_or(|arriving| lock(arriving).kept.is_some())
    }

    /// The whole body again, if what has arrived of it was kept. An answer may have come before the body has arrived: the rest is then
    /// sent as it arrives. The first sending is cut off.
    pub(super) fn again(mut self) -> Option<Body> {
        self.0.take().map_or_else(|| Some(Body::empty()), |arriving| next_sending(arriving, |state| state.kept.take()))
    }

    /// What has not been sent of a body whose sending has failed.
    pub(super) fn rest(mut self) -> Body {
        self.0.take().and_then(|arriving| next_sending(arriving, |_| Some(VecDeque::new()))).unwrap_or_else(Body::empty)
    }
}

impl Drop for Repeatable {
    /// The body will not be sent again, so nothing more of it is kept.
    fn drop(&mut self) {
        if let Some(arriving) = &self.0 {
            lock(arriving).kept = None;
        }
    }
}

/// Another sending, which repeats what `repeat` returns. The one before reads no more from then on, so that nothing is lost between them.
fn next_sending(arriving: Arc<Mutex<Arriving>>, repeat: impl FnOnce(&mut Arriving) -> Option<VecDeque<Part>>) -> Option<Body> {
    let mut state = lock(&arriving);
    let repeated = repeat(&mut state)?;
    state.kept = None;
    state.sendings += 1;
    let (number, waiting) = (state.sendings, state.waiting.take());
    drop(state);
    if let Some(waiting) = waiting {
        waiting.wake();
    }
    Some(Body::new(Sending { arriving, number, repeated }))
}

impl Arriving {
    fn keep(&mut self, frame: &Frame<Bytes>) {
        let Some(kept) = &mut self.kept else { return };
        let part = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => Part::Data(data.clone()),
            (_, Some(trailers)) => Part::Trailers(trailers.clone()),
            _ => return,
        };
        self.kept_len += part.len();
        kept.push_back(part);
        // Many tiny parts cost more than their bytes.
        if self.kept_len + kept.len() * mem::size_of::<Part>() > MAX_KEPT {
            self.kept = None;
        }
    }
}

impl Part {
    fn len(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Trailers(trailers) => trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum(),
        }
    }

    /// Its part of the length of the body.
    fn data_len(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Trailers(_) => 0,
        }
    }

    fn into_frame(self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data),
            Self::Trailers(trailers) => Frame::trailers(trailers),
        }
    }
}

/// One sending of the body: what is repeated, and then what arrives.
struct Sending {
    arriving: Arc<Mutex<Arriving>>,
    number: u8,
    repeated: VecDeque<Part>,
}

/// The error of a sending that another one has replaced.
#[derive(Debug, thiserror::Error)]
#[error("the request is sent again with another token")]
struct Replaced;

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(part) = self.repeated.pop_front() {
            return Poll::Ready(Some(Ok(part.into_frame())));
        }
        let mut state = lock(&self.arriving);
        if state.sendings != self.number {
            return Poll::Ready(Some(Err(axum::Error::new(Replaced))));
        }
        let polled = Pin::new(&mut state.rest).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => state.keep(frame),
            Poll::Ready(_) => {}
            Poll::Pending => state.waiting = Some(cx.waker().clone()),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.repeated.is_empty() && lock(&self.arriving).rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let repeated: u64 = self.repeated.iter().map(Part::data_len).sum();
        let rest = lock(&self.arriving).rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(repeated + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(repeated + upper);
        }
        hint
    }
}

fn lock(arriving: &Mutex<Arriving>) -> MutexGuard<'_, Arriving> {
    arriving.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{FutureExt, stream};
    use http_body_util::{BodyExt, Full, StreamBody};

    use super::*;

    /// A body of these frames.
    fn frames(frames: Vec<Frame<Bytes>>) -> Body {
        Body::new(StreamBody::new(stream::iter(frames.into_iter().map(Ok::<_, Infallible>))))
    }

    fn data(text: &'static str) -> Frame<Bytes> {
        Frame::data(Bytes::from_static(text.as_bytes()))
    }

    fn trailers() -> Frame<Bytes> {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", "7".parse().unwrap());
        Frame::trailers(trailers)
    }

    async fn read(body: Body) -> (String, usize) {
        let collected = body.collect().await.unwrap();
        let trailers = collected.trailers().map_or(0, HeaderMap::len);
        (String::from_utf8(collected.to_bytes().to_vec()).unwrap(), trailers)
    }

    #[tokio::test]
    async fn gd4_a_small_body_is_sent_twice_with_its_trailers() {
        let (first, again) = Repeatable::new(frames(vec![data("sugar"), data(" and tea"), trailers()]));
        assert_eq!(read(first).await, ("sugar and tea".to_owned(), 1));
        assert_eq!(read(again.again().unwrap()).await, ("sugar and tea".to_owned(), 1));
        let (none, again) = Repeatable::new(Body::empty());
        assert!(none.is_end_stream() && again.again().unwrap().is_end_stream());
    }

    #[tokio::test]
    async fn gd4_a_body_of_more_than_64_kib_is_not_sent_again() {
        let whole = |len: usize| Body::new(Full::new(Bytes::from(vec![b'x'; len])));
        let (first, again) = Repeatable::new(whole(MAX_KEPT - mem::size_of::<Part>()));
        first.collect().await.unwrap();
        assert!(again.is_kept() && again.again().is_some());
        let (first, again) = Repeatable::new(whole(MAX_KEPT + 1));
        assert_eq!(first.collect().await.unwrap().to_bytes().len(), MAX_KEPT + 1, "it is sent once, whole");
        assert!(!again.is_kept() && again.again().is_none());
        let (first, again) = Repeatable::new(frames((0..MAX_KEPT).map(|_| data("x")).collect()));
        first.collect().await.unwrap();
        assert!(again.again().is_none(), "many tiny parts count for what they take in memory");
    }

    #[tokio::test]
    async fn gd4_after_an_early_answer_what_has_not_arrived_is_sent_once_and_the_first_sending_is_cut_off() {
        let (sender, arrives) = tokio::sync::mpsc::channel(4);
        let stream = stream::unfold(arrives, |mut arrives| async move { arrives.recv().await.map(|frame| (frame, arrives)) });
        let body = Body::new(StreamBody::new(stream));
        sender.send(Ok::<_, Infallible>(data("sugar"))).await.unwrap();
        let (mut first, again) = Repeatable::new(body);
        assert_eq!(first.frame().await.unwrap().unwrap().into_data().unwrap(), "sugar");
        let cut_off = tokio::spawn(async move { first.frame().await });
        while lock(again.0.as_ref().unwrap()).waiting.is_none() {
            tokio::task::yield_now().await;
        }
        let second = again.again().unwrap();
        assert!(matches!(cut_off.await.unwrap(), Some(Err(_))), "it does not wait for the rest any longer");
        sender.send(Ok(data(" and tea"))).await.unwrap();
        drop(sender);
        assert_eq!(read(second).await.0, "sugar and tea");
    }
}
