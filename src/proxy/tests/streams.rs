//! Bodies of any length and pace, in both directions.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use axum::body::{Body, Bytes, HttpBody};
use futures_util::{StreamExt, stream};
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Between, LONG, SHORT, request, within_a_minute};
use crate::proxy::{ForwardError, Options, Reserved, TimeLimits};

const MIB: usize = 1024 * 1024;
/// The length of a large body.
const LARGE: usize = 96 * MIB;
/// More than the kernel and the forwarder hold of one. The kernel holds up to 10 MiB of each connection whose buffers are not small.
const HELD: usize = 64 * MIB;

/// A large body, of which `given` counts what has been taken.
fn large(given: &Arc<AtomicUsize>) -> Body {
    let given = Arc::clone(given);
    let pieces = stream::repeat(Bytes::from(vec![b'x'; MIB])).take(LARGE / MIB).map(move |piece| {
        given.fetch_add(piece.len(), SeqCst);
        Ok::<_, Infallible>(piece)
    });
    Body::from_stream(pieces)
}

#[tokio::test]
async fn gd2_an_event_arrives_before_the_answer_ends() {
    let between = Between::new(LONG, Options::default()).await;
    let mut caller = between.ask("GET /events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n").await;
    let mut upstream = between.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    assert!(caller.head().await.contains("content-type: text/event-stream"));
    for number in 1..=3 {
        let event = format!("data: {number}\n\n");
        upstream.send(&format!("{:x}\r\n{event}\r\n", event.len())).await;
        caller.receive(&event).await;
    }
    upstream.send("0\r\n\r\n").await;
    caller.receive("\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn gd2_a_piece_of_a_request_arrives_before_the_next_one_is_sent() {
    let between = Between::new(LONG, Options::default()).await;
    let mut caller = between.ask("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let mut upstream = between.accept().await;
    upstream.head().await;
    for piece in ["5\r\nfirst\r\n", "6\r\nsecond\r\n"] {
        caller.send(piece).await;
        upstream.receive(piece).await;
    }
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes").await;
    caller.receive("yes").await;
    caller.send("5\r\nthird\r\n0\r\n\r\n").await;
    upstream.receive("5\r\nthird\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn gd2_trailers_pass_in_both_directions_without_what_belongs_into_the_header() {
    let reserved = Reserved::new(["x-token-subject".parse().unwrap()]);
    let between = Between::new(LONG, Options { reserved, ..Options::default() }).await;
    let announced = "Content-Digest, X-Own, X-Token-Subject, X_Token_Subject, Host, Authorization, Content-Length, Connection, Cookie";
    let trailers = "Content-Digest: 1\r\nX-Own: 1\r\nX-Token-Subject: eve\r\nX_Token_Subject: eve\r\nHost: y\r\nAuthorization: Bearer y\r\n\
                    Content-Length: 9\r\nConnection: close\r\nCookie: a=1\r\n";
    let head = format!("POST / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nTrailer: {announced}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut caller = between.ask(&format!("{head}2\r\nhi\r\n0\r\n{trailers}\r\n")).await;
    let mut upstream = between.accept().await;
    upstream.head().await;
    assert_eq!(upstream.receive("\r\n\r\n").await, "2\r\nhi\r\n0\r\ncontent-digest: 1\r\n\r\n");
    let head = "HTTP/1.1 200 OK\r\nTrailer: X-Sum, Set-Cookie, Set_Cookie, Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n";
    let trailers = "X-Sum: 2\r\nSet-Cookie: a=1\r\nSet_Cookie: a=1\r\nTransfer-Encoding: chunked\r\n";
    upstream.send(&format!("{head}2\r\nhi\r\n0\r\n{trailers}\r\n")).await;
    caller.head().await;
    assert_eq!(caller.receive("\r\n\r\n").await, "2\r\nhi\r\n0\r\nx-sum: 2\r\n\r\n");
}

#[tokio::test]
async fn gd2_an_upstream_that_does_not_read_stops_the_caller_and_is_504() {
    let between = Between::new(TimeLimits { idle: SHORT, ..LONG }, Options::default()).await;
    let given = Arc::new(AtomicUsize::new(0));
    let upstream = async {
        let mut upstream = between.accept().await;
        upstream.head().await;
        upstream
    };
    let forwarded = between.forwarder.forward(request("POST", large(&given)));
    let (refused, _upstream) = within_a_minute(async { tokio::join!(forwarded, upstream) }).await;
    assert_eq!(refused.unwrap_err(), ForwardError::TimedOut);
    let given = given.load(SeqCst);
    assert!(given <= HELD, "{given} bytes were taken");
}

#[tokio::test]
async fn gd2_a_caller_that_does_not_read_stops_the_upstream_and_is_cut_off() {
    let between = Between::new(TimeLimits { idle: SHORT, ..LONG }, Options { concurrent: 1, ..Options::default() }).await;
    let mut caller = between.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut upstream = between.accept().await;
    upstream.head().await;
    upstream.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n")).await;
    let (piece, mut sent) = (vec![b'x'; 64 * 1024], 0);
    while sent < LARGE && within_a_minute(upstream.stream.write_all(&piece)).await.is_ok() {
        sent += piece.len();
    }
    assert!(sent <= HELD, "{sent} bytes were taken");
    // Its slot is free, although it has not left.
    let _other = between.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    between.accept().await.head().await;
    caller.head().await;
    assert!(caller.rest().await.len() < sent, "it does not get a complete answer");
}

#[tokio::test]
async fn gd2_a_large_body_arrives_whole_in_both_directions() {
    let between = Between::new(LONG, Options::default()).await;
    let given = Arc::new(AtomicUsize::new(0));
    let forwarder = between.forwarder.clone();
    let forwarding = tokio::spawn({
        let mut request = request("POST", Body::new(Exactly { left: LARGE, body: large(&given) }));
        request.headers_mut().insert("content-length", LARGE.into());
        async move { forwarder.forward(request).await }
    });
    let mut upstream = between.accept().await;
    assert!(upstream.head().await.contains(&format!("content-length: {LARGE}")));
    let mut read = std::mem::take(&mut upstream.received).len();
    let mut buffer = vec![0; MIB];
    while read < LARGE {
        let count = within_a_minute(upstream.stream.read(&mut buffer)).await.unwrap();
        assert_ne!(count, 0);
        read += count;
    }
    assert_eq!((read, given.load(SeqCst)), (LARGE, LARGE));
    upstream.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n")).await;
    let mut answer = within_a_minute(forwarding).await.unwrap().unwrap().into_body().into_data_stream();
    tokio::spawn(async move {
        for _ in 0..LARGE / MIB {
            upstream.stream.write_all(&buffer).await.unwrap();
        }
    });
    let mut read = 0;
    while let Some(piece) = within_a_minute(answer.next()).await {
        read += piece.unwrap().len();
    }
    assert_eq!(read, LARGE);
}

#[tokio::test]
async fn gd2_a_caller_that_leaves_cancels_its_request() {
    let between = Between::new(LONG, Options::default()).await;
    let caller = between.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut upstream = between.accept().await;
    upstream.head().await;
    drop(caller);
    assert_eq!(upstream.rest().await, "", "before the answer");

    let mut caller = between.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut upstream = between.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await;
    caller.receive("hello").await;
    drop(caller);
    assert_eq!(upstream.rest().await, "", "within the answer");

    let mut caller = between.ask("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n").await;
    let mut upstream = between.accept().await;
    upstream.head().await;
    caller.send("hello").await;
    upstream.receive("hello").await;
    drop(caller);
    assert_eq!(upstream.rest().await, "", "within the request");
}

#[tokio::test]
async fn gd2_an_answer_that_is_cut_off_is_not_taken_for_complete() {
    let between = Between::new(LONG, Options::default()).await;
    let mut caller = between.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut upstream = between.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
    caller.receive("hello").await;
    drop(upstream);
    assert!(!caller.rest().await.contains("0\r\n\r\n"));
}

/// A body whose length is known.
struct Exactly {
    left: usize,
    body: Body,
}

impl HttpBody for Exactly {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            self.left -= frame.data_ref().map_or(0, Bytes::len);
        }
        frame
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}
