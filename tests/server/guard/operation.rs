//! Metrics, health, and stopping.

use axum::http::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::party::{Answer, Api, Party};

#[tokio::test(flavor = "multi_thread")]
async fn ad10_metrics_count_requests_by_outcome_and_no_label_comes_from_a_caller() {
    let api = Api::start().await;
    let party = Party::start(&[("upstream", &api.url)]).await;
    let read = party.token("orders:read");
    let ask = async |path: &str, token: Option<&str>| {
        let request = party.request(Method::GET, path);
        Answer::to(if let Some(token) = token { request.bearer_auth(token) } else { request }).await
    };
    ask("/orders", Some(&read)).await;
    ask("/orders/pear", Some(&read)).await;
    ask("/open", None).await;
    ask("/orders", None).await;
    ask("/orders", Some("plum")).await;
    ask("/quince", Some(&read)).await;
    ask("/orders//mango", Some(&read)).await;
    let metrics = party.metrics().await;
    for line in [
        r#"sealwright_guard_requests_total{outcome="allowed"} 2"#,
        r#"sealwright_guard_requests_total{outcome="public"} 1"#,
        r#"sealwright_guard_requests_total{outcome="no_token"} 1"#,
        r#"sealwright_guard_requests_total{outcome="malformed"} 1"#,
        r#"sealwright_guard_requests_total{outcome="no_rule"} 1"#,
        r#"sealwright_guard_requests_total{outcome="ambiguous"} 1"#,
        r#"sealwright_guard_requests_total{outcome="upstream_timed_out"} 0"#,
        "sealwright_guard_decision_seconds_count 7",
        "sealwright_guard_upstream_seconds_count 3",
        r#"sealwright_verifier_tokens_total{result="accepted"} 3"#,
        r#"sealwright_verifier_tokens_total{result="malformed"} 1"#,
        "sealwright_guard_log_lines_dropped_total 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    let issuer = party.issuer.url();
    for begin in [
        &format!("sealwright_verifier_keys_usable{{issuer=\"{issuer}\"}} 1"),
        &format!("sealwright_verifier_key_age_seconds{{issuer=\"{issuer}\"}} "),
        "sealwright_guard_connections ",
        "process_resident_memory_bytes ",
    ] {
        assert!(metrics.lines().any(|line| line.starts_with(begin)), "{begin}\n{metrics}");
    }
    assert!(metrics.ends_with("# EOF\n") && !metrics.contains(&read));
    for chosen in ["pear", "plum", "quince", "mango"] {
        assert!(!metrics.contains(chosen), "{chosen}\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hd14_health_and_metrics_are_on_the_management_listener_alone_and_refuse_a_foreign_host() {
    let party = Party::start(&[("gateway", "envoy")]).await;
    for path in ["/metrics", "/health/ready", "/health/live"] {
        let http = reqwest::Client::new();
        let url = format!("http://{}{path}", party.management);
        assert_eq!(Answer::to(http.get(&url)).await.status, 200, "{path}");
        assert_eq!(Answer::to(http.get(&url).header("host", "evil.example")).await.status, 421, "{path}");
        // On the other listener, each is a path of the API.
        assert_eq!(Answer::to(party.request(Method::GET, path)).await.status, 401, "{path}");
    }
}

/// An API that answers when the test lets it. Returns its URL, what signals that a request has arrived, and what lets it answer.
async fn holding() -> (String, tokio::sync::mpsc::Receiver<()>, tokio::sync::mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let ((arrived, arrivals), (go, mut going)) = (tokio::sync::mpsc::channel(8), tokio::sync::mpsc::channel::<()>(8));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            arrived.send(()).await.unwrap();
            going.recv().await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\ndone").await;
        }
    });
    (url, arrivals, go)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_stops_says_so_and_answers_what_it_has_begun() {
    let (api, mut arrivals, go) = holding().await;
    let settings = [("upstream", api.as_str()), ("drain_linger", "5m"), ("drain_timeout", "5m")];
    let mut party = Party::start(&settings).await;
    let token = party.token("orders:read");
    let mut stream = TcpStream::connect(party.addr).await.unwrap();
    let request = format!("GET /orders HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    arrivals.recv().await.unwrap();
    party.stop();
    let mut reason = String::new();
    while !reason.contains("the guard is stopping") {
        reason = party.ready().await.body;
    }
    // New connections are not accepted any more; this one is.
    while TcpStream::connect(party.addr).await.is_ok() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    go.send(()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("done"), "{answer}");
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    party.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_caller_disconnects_is_counted_and_cancelled() {
    let (api, mut arrivals, _go) = holding().await;
    let party = Party::start(&[("upstream", &api)]).await;
    let token = party.token("orders:read");
    let mut stream = TcpStream::connect(party.addr).await.unwrap();
    let request = format!("GET /orders HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    arrivals.recv().await.unwrap();
    drop(stream);
    let abandoned = "sealwright_guard_requests_total{outcome=\"abandoned\"}";
    party.until(abandoned, |count| count == 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hd3_a_connection_that_is_idle_by_requests_is_closed() {
    let party = Party::start(&[("gateway", "nginx"), ("connection_idle", "1s")]).await;
    let mut stream = TcpStream::connect(party.addr).await.unwrap();
    stream.write_all(b"GET /check HTTP/1.1\r\nhost: x\r\nx-original-method: GET\r\nx-original-uri: /open\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(std::time::Duration::from_secs(60), stream.read_to_end(&mut answer)).await;
    read.expect("it is closed").unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test(flavor = "multi_thread")]
async fn hd3_one_source_does_not_keep_more_connections_than_it_may_and_a_trusted_gateway_may() {
    let limited = [("gateway", "nginx"), ("connections_per_source", "2")];
    for (behind_proxy, open) in [(None, 2.0), (Some(("behind_proxy", "127.0.0.1")), 5.0)] {
        let party = Party::start(&limited.into_iter().chain(behind_proxy).collect::<Vec<_>>()).await;
        let mut held = Vec::new();
        for _ in 0..5 {
            let mut stream = TcpStream::connect(party.addr).await.unwrap();
            stream.write_all(b"GET /check HTTP/1.1\r\n").await.unwrap();
            held.push(stream);
        }
        // All five are open for a moment, so the number of open ones says something only once the others have had to go.
        party.until("sealwright_guard_connections_evicted_total", |count| count == 5.0 - open).await;
        party.until("sealwright_guard_connections", |count| count == open).await;
    }
}

/// A frame of HTTP/2 (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A request for `/orders` without a token, on a connection on which no answer may have a body: its flow-control window is 0.
fn unread_request() -> Vec<u8> {
    let field = |name: &str, value: &str| {
        let lengths = [name, value].map(|text| u8::try_from(text.len()).unwrap());
        [&[0, lengths[0]][..], name.as_bytes(), &[lengths[1]], value.as_bytes()].concat()
    };
    let fields =
        [(":method", "GET"), (":scheme", "http"), (":path", "/orders"), (":authority", "x")].map(|(name, value)| field(name, value));
    let window_of_0 = [0, 4, 0, 0, 0, 0];
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &window_of_0), frame(1, 5, 1, &fields.concat())].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn hd3_a_stranger_that_does_not_read_its_refusals_keeps_no_place_for_as_long_as_a_stream_may_pause() {
    let api = Api::start().await;
    let party = Party::start(&[("upstream", &api.url), ("connections", "2"), ("upstream_idle_timeout", "24h")]).await;
    let mut held = Vec::new();
    for count in [1.0, 2.0] {
        let mut stream = TcpStream::connect(party.addr).await.unwrap();
        stream.write_all(&unread_request()).await.unwrap();
        held.push(stream);
        party.until("sealwright_guard_requests_total{outcome=\"no_token\"}", |refused| refused == count).await;
    }
    // A request has stalled after 12 s.
    let asked = tokio::time::timeout(std::time::Duration::from_secs(60), Answer::to(party.request(Method::GET, "/open"))).await;
    assert_eq!(asked.expect("it gets the place of one of the two").status, 200);
    assert_eq!(party.metric("sealwright_guard_connections_evicted_total").await, 1.0);
}
