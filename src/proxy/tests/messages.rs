//! What of a request and an answer passes, and which are refused.

use axum::body::Body;

use super::{Between, LONG, request};
use crate::proxy::{HostField, Options, Protocol, Reserved};

async fn between() -> Between {
    let reserved = Reserved::new(["x-token-subject".parse().unwrap()]);
    Between::new(LONG, Options { reserved, ..Options::default() }).await
}

fn has(head: &str, line: &str) -> bool {
    head.contains(&format!("\r\n{line}\r\n"))
}

#[tokio::test]
async fn gd2_fields_that_are_for_one_connection_end_there_in_both_directions() {
    let between = between().await;
    let mut caller = between
        .ask(
            "GET /a%2Fb//c?d=%20 HTTP/1.1\r\nHost: api.example:8080\r\nConnection: keep-alive, X-Own\r\nConnection: TE, Upgrade, HTTP2-Settings\r\n\
             X-Own: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\nTE: gzip, trailers\r\n\
             Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\nX-Token-Subject: alice\r\nAuthorization: Bearer x\r\nCookie: a=1\r\nCookie: b=2\r\n\
             Via: 1.1 gateway\r\nX-Kept: 1\r\nX_Kept: 1\r\n\r\n",
        )
        .await;
    let mut upstream = between.accept().await;
    let head = upstream.head().await;
    assert!(head.starts_with("get /a%2fb//c?d=%20 http/1.1\r\n"), "{head}");
    for line in [
        "host: api.example:8080",
        "te: trailers",
        "connection: te",
        "x-token-subject: alice",
        "authorization: bearer x",
        "cookie: a=1; b=2",
        "via: 1.1 gateway",
        "via: 1.1 sealwright",
        "x-kept: 1",
        "x_kept: 1",
    ] {
        assert!(has(&head, line), "{line} is missing in {head}");
    }
    for name in ["x-own", "keep-alive", "proxy-", "gzip", "upgrade", "http2-settings", "content-length", "transfer-encoding"] {
        assert!(!head.contains(name), "{name} is in {head}");
    }
    upstream
        .send(
            "HTTP/1.1 200 Fine\r\nConnection: X-Own\r\nX-Own: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\n\
             Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nSet_Cookie: c=3\r\nContent.Length: 3\r\nX-Kept: 2\r\nContent-Length: 2\r\n\r\nok",
        )
        .await;
    let head = caller.head().await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    for line in ["set-cookie: a=1", "set-cookie: b=2", "x-kept: 2", "content-length: 2"] {
        assert!(has(&head, line), "{line} is missing in {head}");
    }
    for name in ["x-own", "keep-alive", "proxy-", "upgrade", "set_cookie", "content.length"] {
        assert!(!head.contains(name), "{name} is in {head}");
    }
    caller.receive("ok").await;
}

#[tokio::test]
async fn gd2_a_request_that_two_programs_may_read_differently_is_refused() {
    let between = between().await;
    let with = |lines: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n");
    let mut requests = vec![
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost:\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: a@x\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: x/y\r\n\r\n".to_owned(),
        "GET http://x/ HTTP/1.1\r\nHost: y\r\n\r\n".to_owned(),
        "GET http://x/ HTTP/1.1\r\n\r\n".to_owned(),
        "GET http://a@x/ HTTP/1.1\r\nHost: a@x\r\n\r\n".to_owned(),
        "GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET http://x?y HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET x HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET * HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n".to_owned(),
        "TRACE / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "OPTIONS / HTTP/1.1\r\nHost: x\r\nMax-Forwards: 0\r\n\r\n".to_owned(),
        "OPTIONS http://x HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "OPTIONS http://x/ HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
    ];
    requests.extend(
        [
            "Content_Length: 5",
            "Transfer.Encoding: chunked",
            "X_Forwarded_For: 192.0.2.1",
            "x-forwarded_host: y",
            "Connection: close, X-Token-Subject",
            "Connection: x_token_subject",
            "Connection: close\r\nConnection: Host",
            "Connection: content-length",
            "Connection: Authorization",
            "Connection: X-Forwarded-For",
            "Connection: a b",
            "Via: 1.1 sealwright, 1.1 sealwright, 1.1 sealwright, 1.1 sealwright\r\nVia: 2 sealwright, 2 sealwright, 2 sealwright, 2 sealwright",
        ]
        .map(with),
    );
    for request in requests {
        let mut caller = between.ask(&request).await;
        let head = tokio::select! {
            head = caller.head() => head,
            _ = between.accept() => panic!("the upstream gets {request}"),
        };
        assert_eq!(head.split(' ').nth(1), Some("400"), "{request}: {head}");
        assert!(between.is_left_alone(), "{request}");
    }
}

#[tokio::test]
async fn gd2_an_ambiguous_length_is_refused_also_where_the_connection_to_the_caller_accepts_it() {
    let between = between().await;
    for lines in [
        &[("content-length", "5"), ("content-length", "5")][..],
        &[("content-length", "5"), ("content-length", "6")],
        &[("content-length", "6")],
        &[("content-length", "+5")],
        &[("content-length", "5, 5")],
        &[("content-length", "0x5")],
        &[("content-length", "5"), ("transfer-encoding", "chunked")],
        &[("transfer-encoding", "gzip, chunked")],
        &[("transfer-encoding", "chunked, identity")],
        &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
    ] {
        let mut request = request("POST", Body::from("hello"));
        for (name, value) in lines {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        let refused = between.forwarder.forward(request).await.unwrap_err();
        assert_eq!(refused.status(), 400, "{lines:?}");
        assert!(between.is_left_alone(), "{lines:?}");
    }
}

#[tokio::test]
async fn gd2_a_length_beside_chunked_does_not_reach_the_upstream() {
    for lines in ["Content-Length: 4\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 4"] {
        let between = between().await;
        let smuggled = "GET /admin HTTP/1.1\r\nHost: x\r\n\r\n";
        let request = format!("POST / HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n5\r\nhello\r\n0\r\n\r\n{smuggled}");
        let mut caller = between.ask(&request).await;
        let mut upstream = between.accept().await;
        let head = upstream.head().await;
        assert!(head.contains("transfer-encoding: chunked") && !head.contains("content-length"), "{head}");
        upstream.receive("5\r\nhello\r\n0\r\n\r\n").await;
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        assert!(caller.head().await.starts_with("http/1.1 200 "));
        assert_eq!(caller.rest().await, "", "what follows is not read as a request");
        assert!(between.is_left_alone());
    }
}

#[tokio::test]
async fn gd2_a_length_with_leading_zeros_reaches_the_other_side_without_them() {
    let between = between().await;
    for (method, length, forwarded, body) in [("POST", "010", "10", "0123456789"), ("GET", "0002", "2", "{}"), ("POST", "00", "0", "")] {
        let mut caller = between.ask(&format!("{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}")).await;
        let mut upstream = between.accept().await;
        let head = upstream.head().await;
        assert!(has(&head, &format!("content-length: {forwarded}")) && head.matches("content-length").count() == 1, "{head}");
        if !body.is_empty() {
            upstream.receive(body).await;
        }
        upstream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 02\r\n\r\nok").await;
        let head = caller.head().await;
        assert!(has(&head, "content-length: 2"), "{head}");
        caller.receive("ok").await;
    }
}

#[tokio::test]
async fn gd2_an_answer_that_two_programs_may_read_differently_is_502() {
    let between = between().await;
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        // Complete for one of the readers.
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ] {
        let mut caller = between.ask("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
        let mut upstream = between.accept().await;
        upstream.head().await;
        upstream.send(head).await;
        assert!(caller.head().await.starts_with("http/1.1 502 "), "{head}");
        assert_eq!(upstream.rest().await, "", "its connection is not used again");
    }
}

#[tokio::test]
async fn gd2_the_upstream_gets_the_callers_host_or_its_own_and_never_chooses_by_it() {
    for (field, host) in [(HostField::Caller, Some("api.example")), (HostField::Origin, None)] {
        let between = Between::new(LONG, Options { protocol: Protocol::Http1(field), ..Options::default() }).await;
        let host = host.map_or_else(|| between.upstream.local_addr().unwrap().to_string(), str::to_owned);
        for (line, forwarded) in [
            ("GET /a?b HTTP/1.1", "get /a?b http/1.1"),
            ("GET http://api.example/a?b HTTP/1.1", "get /a?b http/1.1"),
            ("OPTIONS * HTTP/1.1", "options * http/1.1"),
            ("OPTIONS http://API.example/a HTTP/1.1", "options /a http/1.1"),
        ] {
            let mut caller = between.ask(&format!("{line}\r\nHost: api.example\r\nMax-Forwards: 3\r\n\r\n")).await;
            let mut upstream = between.accept().await;
            let head = upstream.head().await;
            assert_eq!(head.lines().next(), Some(forwarded));
            assert!(has(&head, &format!("host: {host}")), "{head}");
            let left = if line.starts_with("OPTIONS") { 2 } else { 3 };
            assert!(has(&head, &format!("max-forwards: {left}")), "{head}");
            upstream.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
            assert!(caller.head().await.starts_with("http/1.1 204 "));
        }
    }
}

#[tokio::test]
async fn gd2_answers_without_a_body_keep_what_they_say_about_it() {
    let between = between().await;
    let mut caller = between.call().await;
    for (method, answer, length) in [
        ("HEAD", "200 OK\r\nContent-Length: 5000\r\n\r\n", Some("content-length: 5000")),
        ("HEAD", "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        ("GET", "304 Not Modified\r\nETag: \"1\"\r\n\r\n", None),
        ("GET", "204 No Content\r\n\r\n", None),
        ("GET", "204 No Content\r\nContent-Length: 0\r\n\r\n", None),
        ("DELETE", "200 OK\r\nContent-Length: 0\r\n\r\n", Some("content-length: 0")),
        ("GET", "404 Not Found\r\nContent-Length: 2\r\n\r\nno", Some("content-length: 2")),
    ] {
        caller.send(&format!("{method} / HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let mut upstream = between.accept().await;
        upstream.head().await;
        let (line, rest) = answer.split_once("\r\n").unwrap();
        upstream.send(&format!("HTTP/1.1 {line}\r\nConnection: close\r\n{rest}")).await;
        let head = caller.head().await;
        assert!(head.starts_with(&format!("http/1.1 {}", &answer[..3])), "{method} {answer}: {head}");
        match length {
            Some(line) => assert!(has(&head, line), "{head}"),
            None => assert!(!head.contains("content-length"), "{head}"),
        }
    }
    caller.receive("no").await;
}

#[tokio::test]
async fn gd2_a_caller_that_expects_100_sends_its_body_once_the_upstream_is_there() {
    let between = between().await;
    let mut caller = between.ask("PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
    assert_eq!(caller.head().await, "http/1.1 100 continue\r\n\r\n");
    caller.send("hello").await;
    let mut upstream = between.accept().await;
    let head = upstream.head().await;
    assert!(has(&head, "content-length: 5") && !head.contains("expect"), "{head}");
    upstream.receive("hello").await;
    upstream
        .send(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
        )
        .await;
    assert!(caller.head().await.starts_with("http/1.1 201 "));
}

#[tokio::test]
async fn gd2_a_get_keeps_a_body_of_unknown_length() {
    let between = between().await;
    let mut caller = between.ask("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n").await;
    let mut upstream = between.accept().await;
    assert!(has(&upstream.head().await, "transfer-encoding: chunked"));
    upstream.receive("2\r\n{}\r\n0\r\n\r\n").await;
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert!(caller.head().await.starts_with("http/1.1 200 "));
}
