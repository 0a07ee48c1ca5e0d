//! Upstreams that are dead, silent, or answer nonsense, and callers that stop.

use std::{convert::Infallible, time::Duration};

use axum::body::{Body, Bytes};
use futures_util::{FutureExt, StreamExt, stream};
use http_body_util::BodyExt;
use tokio::net::TcpSocket;

use super::{Between, LONG, SHORT, Wire, request, serve, within_a_minute};
use crate::proxy::{ForwardError, Forwarder, Options, Terms, TimeLimits};

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// The status of an answer, and its text.
async fn refusal(caller: &mut Wire) -> (String, String) {
    let head = caller.head().await;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse::<usize>().unwrap();
    while caller.received.len() < length {
        assert_ne!(within_a_minute(tokio::io::AsyncReadExt::read_buf(&mut caller.stream, &mut caller.received)).await.unwrap(), 0);
    }
    let text = String::from_utf8(caller.received.drain(..length).collect()).unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), text)
}

#[tokio::test]
async fn gd2_a_dead_upstream_is_502_before_the_body_is_asked_for() {
    // Bound, so that no one else gets its port, and not listened on.
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let origin = format!("http://{}", closed.local_addr().unwrap()).parse().unwrap();
    let forwarder = Forwarder::new(origin, LONG, Options::default()).unwrap();
    let server = serve(forwarder).await;
    let mut caller = Wire::new(tokio::net::TcpStream::connect(server).await.unwrap());
    caller.send("PUT /secret-path HTTP/1.1\r\nHost: secret-host\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
    let (status, text) = refusal(&mut caller).await;
    assert_eq!(status, "502");
    assert!(text.starts_with("the upstream cannot be reached: ") && !text.contains("secret"), "{text}");
}

#[tokio::test]
async fn gd2_a_silent_upstream_is_504() {
    let between = Between::new(TimeLimits { answer: SHORT, ..LONG }, Options::default()).await;
    for request in [GET, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"] {
        let mut caller = between.ask(request).await;
        let mut upstream = between.accept().await;
        upstream.head().await;
        let (status, text) = refusal(&mut caller).await;
        assert_eq!((status.as_str(), text.as_str()), ("504", "the upstream did not answer in time"));
        upstream.rest().await;
        assert!(between.is_left_alone(), "what may have been done is not done again");
    }
}

#[tokio::test]
async fn gd2_interim_answers_do_not_extend_the_time_for_an_answer() {
    let between = Between::new(TimeLimits { answer: SHORT, ..LONG }, Options::default()).await;
    let mut caller = between.ask(GET).await;
    let mut upstream = between.accept().await;
    upstream.head().await;
    let sending = tokio::spawn(async move {
        while tokio::io::AsyncWriteExt::write_all(&mut upstream.stream, b"HTTP/1.1 102 Processing\r\n\r\n").await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(refusal(&mut caller).await.0, "504");
    within_a_minute(sending).await.unwrap();
}

#[tokio::test]
async fn gd2_an_answer_that_is_not_http_is_502() {
    let between = Between::new(LONG, Options::default()).await;
    let long = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\n\r\n", "x".repeat(70_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-Many: 1\r\n".repeat(1000));
    for answer in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "\u{0}\u{1}\u{2}\u{3}\r\n\r\n",
        "HTTP/1.1 999999 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Split: a\r\n b\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        &long,
        &many,
    ] {
        let mut caller = between.ask(GET).await;
        let mut upstream = between.accept().await;
        upstream.head().await;
        // It may be refused before it has been read to its end.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut upstream.stream, answer.as_bytes()).await;
        let (status, text) = refusal(&mut caller).await;
        assert_eq!(status, "502", "{answer:.50}");
        assert!(text.starts_with("the upstream's answer cannot be used: "), "{text}");
        upstream.rest().await;
        assert!(between.is_left_alone());
    }
}

/// Sends a request on a connection on which the upstream has answered another one. Returns both ends.
async fn ask_on_a_used_connection(between: &Between, request: &str) -> (Wire, Wire) {
    let mut caller = between.ask(GET).await;
    let mut upstream = between.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    caller.head().await;
    caller.send(request).await;
    upstream.head().await;
    (caller, upstream)
}

#[tokio::test]
async fn gd2_a_request_that_is_lost_on_a_used_connection_is_sent_again_only_if_it_is_safe() {
    let between = Between::new(LONG, Options::default()).await;
    let (mut caller, upstream) = ask_on_a_used_connection(&between, GET).await;
    drop(upstream);
    let mut upstream = between.accept().await;
    assert!(upstream.head().await.starts_with("get / "));
    upstream.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
    assert!(caller.head().await.starts_with("http/1.1 204 "));

    let (mut caller, upstream) = ask_on_a_used_connection(&between, GET).await;
    drop(upstream);
    between.accept().await.head().await;
    assert_eq!(refusal(&mut caller).await.0, "502", "it is sent twice at most");
    assert!(between.is_left_alone());

    for request in [
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi",
        "DELETE / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    ] {
        let (mut caller, upstream) = ask_on_a_used_connection(&between, request).await;
        drop(upstream);
        assert_eq!(refusal(&mut caller).await.0, "502", "{request}");
        assert!(between.is_left_alone(), "{request}");
    }
}

#[tokio::test]
async fn gd2_a_request_that_is_lost_on_a_new_connection_is_not_sent_again() {
    let between = Between::new(LONG, Options::default()).await;
    for _ in 0..2 {
        let mut caller = between.ask(GET).await;
        // It was not idle: the upstream has probably seen the request, and failed.
        between.accept().await.head().await;
        assert_eq!(refusal(&mut caller).await.0, "502");
        assert!(between.is_left_alone());
    }
}

#[tokio::test]
async fn gd2_an_idle_connection_is_used_again_and_one_that_the_upstream_has_closed_is_not() {
    let between = Between::new(LONG, Options::default()).await;
    let post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    let mut caller = between.ask(post).await;
    let mut upstream = between.accept().await;
    for _ in 0..3 {
        upstream.head().await;
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        assert!(caller.head().await.starts_with("http/1.1 200 "));
        caller.send(post).await;
    }
    upstream.head().await;
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    caller.head().await;
    drop(upstream);
    // The forwarder gets to know of it when it next looks at its sockets.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    caller.send(post).await;
    let mut upstream = between.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert!(caller.head().await.starts_with("http/1.1 200 "), "although it is not safe to send it twice");
}

#[tokio::test]
async fn gd2_an_http_1_0_connection_is_not_used_for_a_body_that_it_cannot_carry() {
    let between = Between::new(LONG, Options::default()).await;
    let mut caller = between.ask(GET).await;
    let mut old = between.accept().await;
    old.head().await;
    old.send("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n").await;
    caller.head().await;
    caller.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n").await;
    let mut upstream = between.accept().await;
    assert!(upstream.head().await.starts_with("post / http/1.1\r\n"));
    upstream.receive("5\r\nhello\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn gd2_an_answer_whose_rest_does_not_come_is_cut_off() {
    let between = Between::new(TimeLimits { idle: SHORT, ..LONG }, Options::default()).await;
    let mut caller = between.ask(GET).await;
    let mut upstream = between.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
    caller.receive("hello\r\n").await;
    assert_eq!(caller.rest().await, "", "without the end of a body");
    assert_eq!(upstream.rest().await, "");
}

#[tokio::test]
async fn gd2_a_caller_whose_body_does_not_come_is_408_and_one_whose_body_breaks_off_is_400() {
    let between = Between::new(TimeLimits { idle: SHORT, ..LONG }, Options::default()).await;
    let mut caller = between.ask("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello").await;
    let mut upstream = between.accept().await;
    upstream.receive("hello").await;
    assert_eq!(refusal(&mut caller).await.0, "408");
    assert_eq!(upstream.rest().await, "");

    let pieces = stream::iter([Ok(Bytes::from_static(b"hello")), Err(std::io::Error::other("gone"))]);
    let refused = within_a_minute(between.forwarder.forward(request("POST", Body::from_stream(pieces)))).await.unwrap_err();
    assert_eq!(refused.status(), 400);
    assert!(!refused.to_string().contains("gone"), "{refused}");
}

#[tokio::test]
async fn gd2_requests_beyond_the_maximum_are_503() {
    let between = Between::new(LONG, Options { concurrent: 1, ..Options::default() }).await;
    let mut first = between.ask(GET).await;
    let mut upstream = between.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nha").await;
    first.receive("ha").await;
    let mut second = between.ask(GET).await;
    assert_eq!(refusal(&mut second).await.0, "503", "the first answer is still under way");
    assert!(between.is_left_alone());
    upstream.send("lf").await;
    first.receive("lf").await;
    drop(first);
    upstream.rest().await;
    let mut third = between.ask(GET).await;
    let mut upstream = between.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert!(third.head().await.starts_with("http/1.1 204 "));
}

#[tokio::test]
async fn gd2_a_source_leaves_room_for_another_one() {
    let between = Between::new(LONG, Options { concurrent: 2, ..Options::default() }).await;
    let forward = |source: &str| {
        let terms = Terms { source: Some(source.parse().unwrap()), ..Terms::default() };
        Box::pin(between.forwarder.forward_on(request("GET", Body::empty()), terms))
    };
    let (mut first, mut other) = (forward("192.0.2.1"), forward("192.0.2.2"));
    assert!(first.as_mut().now_or_never().is_none());
    assert_eq!(forward("192.0.2.1").await.unwrap_err(), ForwardError::Full);
    assert!(other.as_mut().now_or_never().is_none());
}

#[tokio::test]
async fn gd2_a_request_is_under_way_until_its_body_ends_even_after_the_answer() {
    let between = Between::new(LONG, Options { concurrent: 1, ..Options::default() }).await;
    let mut caller = between.ask("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello").await;
    let mut upstream = between.accept().await;
    upstream.receive("hello").await;
    upstream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
    caller.receive("ok").await;
    let mut second = between.ask(GET).await;
    assert_eq!(refusal(&mut second).await.0, "503");
    caller.send("world").await;
    upstream.receive("world").await;
    second.send(GET).await;
    between.accept().await.head().await;
}

#[tokio::test]
async fn gd2_a_request_whose_rest_does_not_come_after_the_answer_is_cut_off() {
    let between = Between::new(TimeLimits { idle: SHORT, ..LONG }, Options { concurrent: 1, ..Options::default() }).await;
    let mut caller = between.ask("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello").await;
    let mut upstream = between.accept().await;
    upstream.receive("hello").await;
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    caller.receive("ok").await;
    assert_eq!(upstream.rest().await, "");
    let _second = between.ask(GET).await;
    between.accept().await.head().await;
}

#[tokio::test]
async fn gd2_a_request_that_is_cancelled_while_the_upstream_does_not_read_ends() {
    let between = Between::new(TimeLimits { idle: SHORT, ..LONG }, Options { concurrent: 1, ..Options::default() }).await;
    let forwarder = between.forwarder.clone();
    let endless = Body::from_stream(stream::repeat(Bytes::from(vec![b'x'; 64 * 1024])).map(Ok::<_, Infallible>));
    let forwarding = tokio::spawn(async move { forwarder.forward(request("POST", endless)).await });
    let mut upstream = between.accept().await;
    upstream.head().await;
    forwarding.abort();
    let its_slot_is_free = async {
        while between.forwarder.forward(request("GET", Body::empty())).now_or_never().is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within_a_minute(its_slot_is_free).await;
}

#[tokio::test]
async fn gd2_an_early_answer_is_not_lost_when_the_upstream_closes_without_reading_the_request() {
    let between = Between::new(LONG, Options::default()).await;
    for _ in 0..20 {
        let endless = Body::from_stream(stream::repeat(Bytes::from(vec![b'x'; 64 * 1024])).map(Ok::<_, Infallible>));
        let upstream = async {
            let mut upstream = between.accept().await;
            upstream.head().await;
            upstream.send("HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 4\r\n\r\nmany").await;
            // The kernel resets the connection, because there is something to read.
        };
        let both = async { tokio::join!(between.forwarder.forward(request("POST", endless)), upstream) };
        let answer = within_a_minute(both).await.0.unwrap();
        assert_eq!(answer.status(), 413);
        assert_eq!(within_a_minute(answer.into_body().collect()).await.unwrap().to_bytes(), "many");
    }
}
