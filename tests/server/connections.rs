//! Idle connections and requests without an end: the limits on them, and that other callers are served.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Answer, Backend, TestApp, TestDatabase, sealwright, wait_until};

async fn app_with(settings: &[(&str, &str)]) -> TestApp {
    TestApp::start_with(TestDatabase::create(Backend::Sqlite).await, settings).await
}

/// Opens a connection and sends these bytes.
async fn sent(app: &TestApp, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(app.addr).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// Reads until the connection is closed, and requires that it is.
async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut read)).await;
    // A reset closes the connection too.
    let _ = closed.expect("the connection is closed");
    read
}

const LIVE: &[u8] = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n";

/// A connection that got an answer and is idle.
async fn kept(app: &TestApp) -> TcpStream {
    let mut stream = sent(app, LIVE).await;
    live(&mut stream).await;
    stream
}

/// Reads one answer to [`LIVE`].
async fn live(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b"\"live\"}") {
        assert!(stream.read_buf(&mut read).await.unwrap() > 0, "{:?}", String::from_utf8_lossy(&read));
    }
    String::from_utf8(read).unwrap()
}

const FORM: &str = "POST /oauth/token HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn hd2_bodies_without_an_end_take_no_more_than_their_share_and_good_clients_are_served() {
    // One source gets a quarter of the memory: fewer than twenty requests with such a body.
    let app = app_with(&[("unauthenticated_memory_mib", "8")]).await.with_orders();
    let client = app.client("billing");
    let body = "a".repeat(64 * 1024 - 1);
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(sent(&app, format!("{FORM}content-length: 65536\r\n\r\n{body}").as_bytes()).await);
        app.plain_token(&client).await.granted();
    }
    let mut refused = 0;
    for stream in &mut held[..20] {
        let mut answer = vec![0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 503");
        refused += 1;
    }
    assert_eq!(refused, 20, "the oldest give way");
    app.plain_token(&client).await.granted();
    let metrics = app.metrics().await;
    let counted = metrics.lines().find_map(|line| line.strip_prefix("sealwright_unauthenticated_memory_refused_total "));
    assert!(counted.unwrap().parse::<u32>().unwrap() >= 20, "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hd2_a_wrong_secret_in_the_header_is_refused_before_the_body() {
    let app = app_with(&[]).await.with_orders();
    let client = app.client("billing");
    for (secret, status) in [("wrong", "HTTP/1.1 401"), (client.secret.as_str(), "HTTP/1.1 100")] {
        use base64::{Engine, prelude::BASE64_STANDARD};
        let basic = BASE64_STANDARD.encode(format!("billing:{secret}"));
        let head = format!("{FORM}authorization: Basic {basic}\r\nexpect: 100-continue\r\ncontent-length: 60000\r\n\r\n");
        let mut answer = vec![0; 12];
        sent(&app, head.as_bytes()).await.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), status);
    }
    // Over HTTP/1.1 the body is still read, so that the answer is not lost.
    let request = app.token_request(&"a".repeat(200_000)).basic_auth("billing", Some("wrong"));
    Answer::to(request).await.refused(401, "invalid_client");
    let request = app.token_request(&"a".repeat(200_000)).basic_auth("billing", Some(&client.secret));
    Answer::to(request).await.refused(413, "invalid_request");
}

/// A frame of HTTP/2 (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const GOAWAY: u8 = 7;

/// The kinds of the frames in `bytes`.
fn kinds(mut bytes: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while bytes.len() >= 9 {
        kinds.push(bytes[3]);
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        bytes = bytes.get(9 + length..).unwrap_or_default();
    }
    kinds
}

#[tokio::test(flavor = "multi_thread")]
async fn hd3_a_connection_that_only_pings_is_closed() {
    let app = app_with(&[("connection_idle", "1s")]).await;
    // `:method: GET`, `:scheme: http`, `:path: /health/live`, `:authority: x` (RFC 7541).
    let headers = [b"\x82\x86\x04\x0c".as_slice(), b"/health/live", b"\x01\x01x"].concat();
    let begin = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, b""), frame(1, 5, 1, &headers)].concat();
    let (mut read, mut write) = sent(&app, &begin).await.into_split();
    let pings = tokio::spawn(async move {
        while write.write_all(&frame(6, 0, 0, b"12345678")).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut answers = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(60), read.read_to_end(&mut answers)).await;
    let _ = closed.expect("the connection is closed");
    let kinds = kinds(&answers);
    assert!(kinds.contains(&1) && kinds.contains(&0), "its one request was answered: {kinds:?}");
    assert!(kinds.contains(&GOAWAY), "{kinds:?}");
    pings.abort();
    wait_until(|| app.meters.open_connections() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hd3_a_connection_without_a_request_is_closed() {
    let app = app_with(&[("connection_idle", "1s")]).await;
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, b"")].concat();
    for bytes in [b"".as_slice(), b"GET / HTTP/1.1\r\nx: ", b"PRI * HT", &preface] {
        until_closed(&mut sent(&app, bytes).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hd3_at_the_limit_the_oldest_idle_connection_is_closed() {
    let app = app_with(&[("connections", "3"), ("connections_per_source", "3")]).await;
    let mut first = kept(&app).await;
    let (mut second, mut third) = (kept(&app).await, kept(&app).await);
    let mut fourth = kept(&app).await;
    assert_eq!(until_closed(&mut first).await, b"");
    for stream in [&mut second, &mut third, &mut fourth] {
        stream.write_all(LIVE).await.unwrap();
        live(stream).await;
    }
    assert!(app.metrics().await.contains("sealwright_connections_evicted_total 1\n"));
    // The closed connection counts until its task has ended.
    wait_until(|| app.meters.open_connections() == 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hd3_an_old_connection_announces_its_last_answer() {
    let app = app_with(&[("connection_age", "1s")]).await;
    let mut stream = TcpStream::connect(app.addr).await.unwrap();
    loop {
        stream.write_all(LIVE).await.unwrap();
        if live(&mut stream).await.to_lowercase().contains("connection: close") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(until_closed(&mut stream).await, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn hd3_the_management_listener_serves_health() {
    let app = app_with(&[]).await;
    for path in ["/health/live", "/health/ready"] {
        let url = format!("http://{}{path}", app.management);
        assert_eq!(app.http.get(url).send().await.unwrap().status(), 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hd14_metrics_requests_for_a_foreign_host_are_refused() {
    let app = app_with(&[("management_hosts", "scraped.internal")]).await;
    for (host, status) in [
        ("localhost:8081", 200),
        ("127.0.0.1", 200),
        ("[::1]:8081", 200),
        ("scraped.internal:8081", 200),
        ("evil.example", 421),
        ("evil.example:8081", 421),
        ("192.0.2.1", 421),
    ] {
        for path in ["/metrics", "/health/live"] {
            let answer = app.http.get(format!("http://{}{path}", app.management)).header("host", host).send().await.unwrap();
            assert_eq!(answer.status(), status, "{host} {path}");
            let text = answer.text().await.unwrap();
            assert_eq!(status == 421, text.contains("management_hosts"), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hd14_metrics_on_a_remote_address_need_a_list_of_hosts() {
    let database = TestDatabase::create(Backend::Sqlite).await;
    let check = |more: &[&str]| {
        let finished = sealwright(&database, &[&["check", "--management-listen", "0.0.0.0:0"], more].concat());
        finished.stdout + &finished.stderr
    };
    assert!(check(&[]).contains("management_unprotected = true"));
    assert!(check(&["--management-unprotected", "true"]).contains("all settings are known"));
    assert!(check(&["--management-unprotected", "true", "--management-hosts", "a:80"]).contains("without ports"));
}
