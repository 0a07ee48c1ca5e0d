//! Connections that change their protocol.

use futures_util::FutureExt;
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::oneshot};

use super::{Between, LONG, SHORT, Wire, serve_on};
use crate::proxy::{Options, Protocol, Terms, TimeLimits};

const WEBSOCKET: &str =
    "GET /chat HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket, h2c\r\nSec-WebSocket-Key: a\r\n\r\n";
const SWITCHES: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: b\r\n\r\n";

#[tokio::test]
async fn gd2_an_upgraded_connection_carries_bytes_in_both_directions_until_both_sides_end() {
    let between = Between::new(LONG, Options::default()).await;
    let mut caller = between.ask(WEBSOCKET).await;
    let mut upstream = between.accept().await;
    let head = upstream.head().await;
    assert!(head.contains("\r\nconnection: upgrade\r\n") && head.contains("\r\nupgrade: websocket\r\n"), "{head}");
    assert!(head.contains("\r\nsec-websocket-key: a\r\n"), "{head}");
    // The first bytes may follow the answer at once.
    upstream.send(&format!("{SWITCHES}welcome")).await;
    let head = caller.head().await;
    assert!(head.starts_with("http/1.1 101 ") && head.contains("\r\nconnection: upgrade\r\n"), "{head}");
    assert!(head.contains("\r\nupgrade: websocket\r\n") && head.contains("\r\nsec-websocket-accept: b\r\n"), "{head}");
    caller.receive("welcome").await;
    for number in 1..=3 {
        caller.send(&format!("ping {number}.")).await;
        upstream.receive(&format!("ping {number}.")).await;
        upstream.send(&format!("pong {number}.")).await;
        caller.receive(&format!("pong {number}.")).await;
    }
    // One direction may end before the other.
    caller.stream.shutdown().await.unwrap();
    assert_eq!(upstream.rest().await, "");
    upstream.send("bye").await;
    drop(upstream);
    assert_eq!(caller.rest().await, "bye");
}

#[tokio::test]
async fn gd2_a_connection_is_upgraded_only_to_what_was_asked_for() {
    let between = Between::new(LONG, Options::default()).await;
    for (answer, status) in [
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "403"),
        ("HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "426"),
        ("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", "502"),
        ("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket, h2c\r\n\r\n", "502"),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", "502"),
    ] {
        let mut caller = between.ask(WEBSOCKET).await;
        let mut upstream = between.accept().await;
        upstream.head().await;
        upstream.send(answer).await;
        let head = caller.head().await;
        assert_eq!(head.split(' ').nth(1), Some(status), "{answer}");
        // It is an ordinary connection still.
        caller.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
        let head = between.accept().await.head().await;
        assert!(head.starts_with("post / ") && !head.contains("upgrade"), "{head}");
    }
}

#[tokio::test]
async fn gd2_an_upgrade_that_would_hide_requests_or_whose_begin_is_unclear_is_not_asked_for() {
    let between = Between::new(LONG, Options::default()).await;
    for (head, body) in [
        ("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: a\r\n\r\n", ""),
        ("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: HTTP/2.0, TLS/1.2, tcp, my-websocket\r\n\r\n", ""),
        ("POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n", ""),
        ("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n", ""),
        ("GET / HTTP/1.0\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", ""),
        ("POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\n", "hi"),
    ] {
        let mut caller = between.ask(&format!("{head}{body}")).await;
        let mut upstream = between.accept().await;
        let forwarded = upstream.head().await;
        assert!(!forwarded.contains("upgrade") && !forwarded.contains("http2-settings"), "{forwarded}");
        if !body.is_empty() {
            upstream.receive(body).await;
        }
        upstream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
        caller.receive("ok").await;
    }
}

#[tokio::test]
async fn gd2_an_upgraded_connection_on_which_nothing_moves_is_closed() {
    let between = Between::new(TimeLimits { idle: SHORT, ..LONG }, Options { concurrent: 1, ..Options::default() }).await;
    let mut caller = between.ask(WEBSOCKET).await;
    let mut upstream = between.accept().await;
    upstream.head().await;
    upstream.send(SWITCHES).await;
    caller.head().await;
    assert_eq!((caller.rest().await, upstream.rest().await), (String::new(), String::new()));
    // Its place is free again.
    let mut caller = between.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut upstream = between.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert!(caller.head().await.starts_with("http/1.1 204 "));
}

#[tokio::test]
async fn gd2_without_tls_a_negotiated_protocol_is_http_1_and_upgrades() {
    let between = Between::new(LONG, Options { protocol: Protocol::Negotiated, ..Options::default() }).await;
    let _caller = between.ask("GET / HTTP/1.1\r\nHost: x\r\nConnection: TE\r\nTE: trailers\r\n\r\n").await;
    let head = between.accept().await.head().await;
    assert!(head.contains("\r\nte: trailers\r\n") && head.contains("\r\nconnection: te\r\n"), "{head}");
    let mut caller = between.ask(WEBSOCKET).await;
    let mut upstream = between.accept().await;
    assert!(upstream.head().await.contains("\r\nupgrade: websocket\r\n"));
    upstream.send(&format!("{SWITCHES}hello")).await;
    caller.receive("hello").await;
}

#[tokio::test]
async fn gd2_a_request_has_one_connection_field() {
    let between = Between::new(LONG, Options::default()).await;
    let _caller = between
        .ask("GET / HTTP/1.1\r\nHost: x\r\nConnection: TE\r\nConnection: Upgrade\r\nTE: trailers\r\nUpgrade: websocket\r\n\r\n")
        .await;
    let head = between.accept().await.head().await;
    assert!(head.contains("\r\nconnection: te, upgrade\r\n") && head.matches("connection:").count() == 1, "{head}");
}

#[tokio::test]
async fn gd2_an_upgraded_connection_ends_when_the_right_to_it_does() {
    let between = Between::new(LONG, Options::default()).await;
    let (end, ended) = oneshot::channel::<()>();
    let ended = ended.map(drop).shared();
    let server = serve_on(between.forwarder.clone(), move || Terms { until: Some(ended.clone().boxed()), ..Terms::default() }).await;
    let mut caller = Wire::new(TcpStream::connect(server).await.unwrap());
    caller.send(WEBSOCKET).await;
    let mut upstream = between.accept().await;
    upstream.head().await;
    upstream.send(&format!("{SWITCHES}hello")).await;
    caller.receive("hello").await;
    caller.send("hi").await;
    upstream.receive("hi").await;
    drop(end);
    assert_eq!((caller.rest().await, upstream.rest().await), (String::new(), String::new()));
}
