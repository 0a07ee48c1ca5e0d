//! The guard forwards.

use std::time::Duration;

use axum::http::Method;
use sealwright::verifier::testing::Issuer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::party::{ALICE, AUDIENCE, Answer, Api, Party, rules_for};
use crate::support::wait_until;

#[tokio::test(flavor = "multi_thread")]
async fn gd1_vf15_what_is_admitted_reaches_the_api_and_nothing_else_does() {
    let api = Api::start().await;
    let party = Party::start(&[("upstream", &api.url)]).await;
    let (read, none) = (party.token("orders:read"), party.token(""));
    let ask = async |method: Method, path: &str, token: Option<&str>| {
        let request = party.request(method, path).body("some text");
        Answer::to(if let Some(token) = token { request.bearer_auth(token) } else { request }).await
    };
    let answer = ask(Method::POST, "/orders?a=b", Some(&read)).await;
    assert_eq!((answer.status, answer.header("x-api"), answer.header("cache-control")), (200, Some("1"), Some("public, max-age=60")));
    assert_eq!(answer.json(), serde_json::json!({ "method": "POST", "uri": "/orders?a=b", "body": "some text" }));
    assert_eq!(ask(Method::GET, "/open", None).await.status, 200);
    assert_eq!(api.received().len(), 2);

    let refused = [
        (ask(Method::GET, "/orders", None).await, 401, "no_token"),
        (ask(Method::GET, "/orders", Some("junk")).await, 401, "invalid_token"),
        (ask(Method::GET, "/open", Some("junk")).await, 401, "invalid_token"),
        (ask(Method::GET, "/orders", Some(&none)).await, 403, "insufficient_scope"),
        (ask(Method::DELETE, "/orders", Some(&read)).await, 403, "access_denied"),
        (ask(Method::GET, "/nowhere", Some(&read)).await, 403, "access_denied"),
        (ask(Method::GET, &format!("/orders?access_token={read}"), None).await, 401, "no_token"),
        (ask(Method::GET, "/orders?access_token=x", Some(&read)).await, 400, "invalid_request"),
        (ask(Method::GET, "/orders;x", Some(&read)).await, 400, "invalid_request"),
        (ask(Method::GET, "/ORDERS", Some(&read)).await, 403, "access_denied"),
        (ask(Method::GET, "/orders/", Some(&read)).await, 403, "access_denied"),
        (ask(Method::GET, &format!("/users/{ALICE}"), Some(&read)).await, 403, "insufficient_scope"),
    ];
    for (answer, status, error) in refused {
        assert_eq!((answer.status, answer.json()["error"].as_str()), (status, Some(error)), "{answer:?}");
        assert!(answer.header("cache-control") == Some("no-store") && answer.header("x-request-id").is_some(), "{answer:?}");
        assert_eq!(answer.challenge().starts_with("Bearer"), status == 401 || error == "insufficient_scope" || answer.body.contains("URL"));
    }
    assert_eq!(api.received().len(), 2, "none of these reached the API");
}

#[tokio::test(flavor = "multi_thread")]
async fn gd3_a_path_that_the_api_could_read_in_another_way_is_400_and_does_not_reach_it() {
    let api = Api::start().await;
    let party = Party::start(&[("upstream", &api.url)]).await;
    let read = party.token("orders:read");
    for target in [
        "/orders/..%2fopen",
        "/open/../orders",
        "/open/%2e%2e/orders",
        "//open",
        "/orders//1",
        "/orders/1;a=b",
        "/orders%5c1",
        "/orders/%00",
        "/%6fpen",
        "/open?_method=DELETE",
        "*",
        "open",
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {read}\r\nconnection: close\r\n\r\n");
        let answer = party.raw(&request).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{target}: {answer}");
    }
    for header in ["x-http-method-override: DELETE", "x_http_method_override: DELETE", "x-original-url: /admin", "x-rewrite-url: /admin"] {
        let answer = party.raw(&format!("GET /open HTTP/1.1\r\nhost: x\r\n{header}\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{header}: {answer}");
    }
    assert_eq!(api.received().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn gd3_a_path_that_the_api_could_take_for_that_of_another_rule_does_not_reach_it() {
    let api = Api::start().await;
    let for_others = "[[rule]]\npath = \"/{*rest}\"\npublic = true\n";
    // Where no rule is for the path as it was sent, it is denied like any other path without a rule.
    for (more, status, error) in [("", 403, "access_denied"), (for_others, 400, "invalid_request")] {
        let issuer = Issuer::start().await.unwrap();
        let rules = rules_for(&[issuer.url()]) + more;
        let party = Party::with_rules(issuer, &rules, &[("upstream", &api.url)]).await;
        party.until_ready().await;
        let read = party.token("orders:read");
        for path in ["/Orders", "/orders/", "/ORDERS/1", "/orders.json", "/index.php/orders"] {
            let answer = Answer::to(party.request(Method::GET, path).bearer_auth(&read)).await;
            assert_eq!((answer.status, answer.json()["error"].as_str()), (status, Some(error)), "{path}: {answer:?}");
        }
        assert_eq!(api.received().len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gd1_the_api_gets_no_token_unless_it_is_asked_for_and_learns_where_a_request_comes_from() {
    for (pass_token, behind_proxy) in [("false", None), ("true", None), ("false", Some("127.0.0.1"))] {
        let api = Api::start().await;
        let mut settings = vec![("upstream", api.url.as_str()), ("pass_token", pass_token)];
        settings.extend(behind_proxy.map(|network| ("behind_proxy", network)));
        let party = Party::start(&settings).await;
        let read = party.token("orders:read");
        let request = party.request(Method::GET, "/orders").bearer_auth(&read).header("x-request-id", "from-the-caller");
        let request =
            request.header("x-forwarded-for", "203.0.113.1").header("x-forwarded-proto", "https").header("x-real-ip", "203.0.113.1");
        let answer = Answer::to(request.header("forwarded", "for=203.0.113.1")).await;
        assert_eq!((answer.status, answer.header("x-request-id")), (200, Some("from-the-caller")));
        let received = api.received().remove(0);
        let token = format!("Bearer {read}");
        assert_eq!(received.values("authorization"), if pass_token == "true" { vec![token.as_str()] } else { vec![] });
        assert_eq!(received.values("x-request-id"), ["from-the-caller"]);
        let host = party.addr.to_string();
        assert_eq!((received.values("host"), received.values("x-forwarded-host")), (vec![host.as_str()], vec![host.as_str()]));
        let trusted = behind_proxy.is_some();
        let (chain, proto) = if trusted { ("203.0.113.1, 127.0.0.1", "https") } else { ("127.0.0.1", "http") };
        assert_eq!((received.values("x-forwarded-for"), received.values("x-forwarded-proto")), (vec![chain], vec![proto]));
        assert_eq!(received.values("x-real-ip").is_empty() && received.values("forwarded").is_empty(), !trusted, "{received:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gd1_no_caller_removes_what_a_proxy_says_about_it() {
    let api = Api::start().await;
    let party = Party::start(&[("upstream", &api.url), ("behind_proxy", "127.0.0.1")]).await;
    for name in ["x-forwarded-port", "X_Forwarded_Prefix", "client-ip", "traceparent", "tracestate", "baggage"] {
        let answer = party.raw(&format!("GET /open HTTP/1.1\r\nhost: x\r\nconnection: close, {name}\r\n{name}: 1\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{name}: {answer}");
    }
    assert_eq!(api.received().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn gd2_an_api_that_is_dead_slow_or_no_api_is_502_or_504_with_a_request_id() {
    let answering = async |bytes: &'static [u8]| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(bytes).await;
                open.push(stream);
            }
        });
        url
    };
    for (upstream, status, outcome) in [
        (dead().await, 502, "upstream_unreachable"),
        (answering(b"not HTTP\r\n\r\n").await, 502, "upstream_bad_answer"),
        (answering(b"").await, 504, "upstream_timed_out"),
    ] {
        let party = Party::start(&[("upstream", &upstream), ("upstream_answer_timeout", "1s")]).await;
        let answer = Answer::to(party.request(Method::GET, "/orders").bearer_auth(party.token("orders:read"))).await;
        assert_eq!(answer.status, status, "{answer:?}");
        let id = answer.header("x-request-id").unwrap();
        assert!(answer.json()["error_description"].as_str().unwrap().contains(id) && !answer.body.contains("127.0.0.1"), "{answer:?}");
        assert_eq!(party.metric(&format!("sealwright_guard_requests_total{{outcome=\"{outcome}\"}}")).await, 1.0);
    }
}

/// The URL of an API that no one listens at.
async fn dead() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// The URL of an API that upgrades every connection to a WebSocket, and returns what arrives on it.
async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                read_head(&mut stream).await;
                let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
                stream.write_all(answer).await.unwrap();
                let (mut received, mut sent) = stream.split();
                let _ = tokio::io::copy(&mut received, &mut sent).await;
            });
        }
    });
    url
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0, "{}", String::from_utf8_lossy(&head));
    }
    String::from_utf8(head).unwrap()
}

/// A guard before an API of WebSockets. It ends none for being idle, so that only the token can be the reason.
async fn start_before_websockets() -> Party {
    Party::start(&[("upstream", &echo().await), ("upstream_idle_timeout", "24h")]).await
}

/// A WebSocket, opened with a token that expires after a minute.
async fn open_websocket(party: &Party) -> TcpStream {
    let token = party.issuer.token(AUDIENCE).scope("orders:read").lifetime(Duration::from_secs(60)).sign().unwrap();
    let mut stream = TcpStream::connect(party.addr).await.unwrap();
    let asked = "host: x\r\nconnection: upgrade\r\nupgrade: websocket";
    let request = format!("GET /orders HTTP/1.1\r\n{asked}\r\nauthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    wait_until(|| party.issuer.clock().sleepers().contains(&"websocket")).await;
    stream
}

async fn assert_echoes(stream: &mut TcpStream) {
    stream.write_all(b"ping").await.unwrap();
    let mut echoed = [0; 4];
    stream.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"ping");
}

async fn assert_ends(mut stream: TcpStream) {
    let ended = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut [0; 1])).await;
    assert_eq!(ended.expect("it closes the connection").unwrap_or(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn gd2_a_websocket_ends_when_its_token_would_be_refused() {
    let party = start_before_websockets().await;
    let mut stream = open_websocket(&party).await;
    // The leeway is 30 s.
    for seconds in [0, 59, 30] {
        party.issuer.clock().advance(Duration::from_secs(seconds));
        assert_echoes(&mut stream).await;
    }
    party.issuer.clock().advance(Duration::from_secs(1));
    assert_ends(stream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hd11_a_websocket_does_not_outlive_its_token_because_the_clock_is_set() {
    let party = start_before_websockets().await;
    let (clock, hour) = (party.issuer.clock(), Duration::from_secs(3600));
    let mut stream = open_websocket(&party).await;
    clock.set_back(hour);
    for _ in 0..3 {
        wait_until(|| clock.sleepers().contains(&"websocket")).await;
        assert_echoes(&mut stream).await;
        clock.advance(Duration::from_secs(30));
    }
    assert_ends(stream).await;
    clock.set_forward(hour);
    let stream = open_websocket(&party).await;
    // As after the machine was suspended.
    clock.set_forward(hour);
    assert_ends(stream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_a_body_says_the_length_that_the_api_said_and_no_other() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let length = stream.read(&mut head).await.unwrap();
            let answer: &[u8] = if head[..length].starts_with(b"HEAD") {
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
            } else {
                b"HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\nconnection: close\r\n\r\n"
            };
            stream.write_all(answer).await.unwrap();
        }
    });
    let party = Party::start(&[("upstream", &url)]).await;
    for method in ["HEAD", "GET"] {
        let answer = party.raw(&format!("{method} /open HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.1 304"), "{answer}");
        assert!(!answer.to_lowercase().contains("content-length"), "{method}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hd2_strangers_that_hold_back_their_bodies_use_up_no_more_than_their_memory() {
    let api = Api::start().await;
    let settings = [("upstream", api.url.as_str()), ("unauthenticated_memory_mib", "1"), ("behind_proxy", "127.0.0.1")];
    let party = Party::start(&settings).await;
    let mut held = Vec::new();
    for number in 0..200 {
        let mut stream = TcpStream::connect(party.addr).await.unwrap();
        let source = format!("198.51.100.{}", number % 50);
        let head = format!("POST /open HTTP/1.1\r\nhost: x\r\nx-forwarded-for: {source}\r\ncontent-length: 10\r\n\r\n123");
        stream.write_all(head.as_bytes()).await.unwrap();
        held.push(stream);
    }
    let refused = "sealwright_guard_requests_total{outcome=\"memory_exhausted\"}";
    // 1 MiB is not enough for 200 of them.
    party.until(refused, |count| count >= 100.0).await;
    let (read, mut served) = (party.token("orders:read"), 0);
    for _ in 0..20 {
        let request = party.request(Method::GET, "/orders").bearer_auth(&read).header("x-forwarded-for", "203.0.113.1");
        served += usize::from(Answer::to(request).await.status == 200);
    }
    assert_eq!(served, 20, "a caller with a token is served throughout");
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn hd2_a_refused_caller_gets_its_answer_while_it_still_sends() {
    let api = Api::start().await;
    let party = Party::start(&[("upstream", &api.url)]).await;
    let without_api = Party::start(&[("upstream", &dead().await)]).await;
    let body = vec![b'x'; 2 * 1024 * 1024];
    let send = async |party: &Party, path: &str, own: (&str, &str)| {
        Answer::to(party.request(Method::POST, path).header(own.0, own.1).body(body.clone())).await.status
    };
    let (bearer, of_without) = (format!("Bearer {}", party.token("orders:read")), format!("Bearer {}", without_api.token("orders:read")));
    for _ in 0..5 {
        assert_eq!(send(&party, "/orders", ("x-own", "1")).await, 401);
        assert_eq!(send(&party, "/orders", ("authorization", &bearer[..bearer.len() - 4])).await, 401);
        assert_eq!(send(&party, "/open", ("content_length", "5")).await, 400, "the forwarder refuses it");
        assert_eq!(send(&without_api, "/open", ("x-own", "1")).await, 502);
        assert_eq!(send(&without_api, "/orders", ("authorization", &of_without)).await, 502);
    }
    assert_eq!(api.received().len(), 0);
}
