//! Upstreams that are dead, silent, or answer nonsense, and callers that stop.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use futures_util::stream;
use http::Request;
use tokio::net::TcpListener;

use super::{Between, LONG, SHORT, Wire, origin, serve, within_a_minute};
use crate::proxy::{ForwardError, Forwarder, Options, TimeLimits};

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
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let forwarder = Forwarder::new(origin(&closed), LONG, Options::default()).unwrap();
    drop(closed);
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

#[tokio::test]
async fn gd2_a_request_whose_connection_is_lost_is_sent_again_only_if_it_is_safe() {
    let between = Between::new(LONG, Options::default()).await;
    let mut caller = between.ask(GET).await;
    let mut upstream = between.accept().await;
    upstream.head().await;
    drop(upstream);
    let mut upstream = between.accept().await;
    assert!(upstream.head().await.starts_with("get / "));
    upstream.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
    assert!(caller.head().await.starts_with("http/1.1 204 "));

    caller.send(GET).await;
    for _ in 0..2 {
        between.accept().await.head().await;
    }
    assert_eq!(refusal(&mut caller).await.0, "502", "it is sent twice at most");

    for request in [
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi",
        "DELETE / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    ] {
        let mut caller = between.ask(request).await;
        between.accept().await.head().await;
        assert_eq!(refusal(&mut caller).await.0, "502", "{request}");
        assert!(between.is_left_alone(), "{request}");
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
    let request = Request::post("http://x/").body(Body::from_stream(pieces)).unwrap();
    let refused = within_a_minute(between.forwarder.forward(request)).await.unwrap_err();
    assert_eq!(refused.status(), 400);
    assert!(!refused.to_string().contains("gone"), "{refused}");
}

#[tokio::test]
async fn gd2_an_upstream_that_stops_reading_is_504() {
    let between = Between::new(TimeLimits { idle: SHORT, ..LONG }, Options::default()).await;
    let endless = stream::repeat(Ok::<_, Infallible>(Bytes::from(vec![b'x'; 64 * 1024])));
    let request = Request::post("http://x/").body(Body::from_stream(endless)).unwrap();
    let upstream = async {
        let mut upstream = between.accept().await;
        upstream.head().await;
        upstream
    };
    let (refused, _upstream) = within_a_minute(async { tokio::join!(between.forwarder.forward(request), upstream) }).await;
    assert_eq!(refused.unwrap_err(), ForwardError::TimedOut);
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
