//! Source addresses, request ids, CORS, the management listener, and connections.

use std::time::Duration;

use reqwest::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Answer, Backend, Credential, SIGN_IN, TestApp, TestDatabase, on_sqlite};

on_sqlite![
    pw10_behind_a_proxy_limits_apply_to_the_forwarded_address_only,
    ad2_ad10_metrics_are_served_only_on_the_management_listener,
    ad11_a_page_of_another_origin_reads_public_documents_and_nothing_else,
    te15_a_secret_in_a_url_is_not_accepted,
    a_request_keeps_the_id_of_its_caller_if_that_is_safe_to_log,
    one_source_does_not_take_every_connection,
    a_request_whose_caller_disconnects_is_counted,
];

/// A wrong secret for `billing`, through a proxy that sends this `X-Forwarded-For`.
async fn guess(app: &TestApp, forwarded: &str) -> u16 {
    let request = app.token_request("grant_type=client_credentials").basic_auth("billing", Some("wrong"));
    Answer::to(request.header("x-forwarded-for", forwarded)).await.status
}

async fn pw10_behind_a_proxy_limits_apply_to_the_forwarded_address_only(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let app = TestApp::start_with(database, &[("behind_proxy", "127.0.0.1,10.0.0.0/8")]).await.with_orders();
    app.client("billing");
    for attempt in 0..10 {
        // Entries before that of the proxy can be forged.
        assert_eq!(guess(&app, &format!("198.51.100.{attempt}, 203.0.113.1")).await, 401);
    }
    assert_eq!(guess(&app, "203.0.113.1").await, 429);
    assert_eq!(guess(&app, "203.0.113.1, 10.1.2.3").await, 429, "through two proxies");
    assert_eq!(guess(&app, "203.0.113.2").await, 401, "another source");
    for _ in 0..10 {
        guess(&app, "not an address").await;
    }
    assert_eq!(guess(&app, "203.0.113.3, unknown").await, 429, "an unreadable entry counts as the address of the proxy");
}

async fn ad2_ad10_metrics_are_served_only_on_the_management_listener(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    app.plain_token(&client).await.granted();
    app.token(&Credential { secret: "wrong".to_owned(), ..client.clone() }, "grant_type=client_credentials").await;
    app.get("/nowhere/at/all").await;
    for path in ["/metrics", "/admin", "/metrics/", "//metrics"] {
        assert_eq!(app.get(path).await.status, 404, "{path}");
    }
    let metrics = app.metrics().await;
    for line in [
        r#"sealwright_token_requests_total{grant="client_credentials",result="ok"} 1"#,
        r#"sealwright_token_requests_total{grant="none",result="invalid_client"} 1"#,
        r#"sealwright_http_requests_total{route="/oauth/token",status="200"} 1"#,
        r#"sealwright_http_requests_total{route="none",status="404"} 5"#,
        r#"sealwright_http_request_seconds_count{route="/oauth/token"} 2"#,
        "sealwright_tokens_issued_total 1",
        "sealwright_secret_digests_total 2",
        "sealwright_signing_seconds_count 1",
        "sealwright_signing_queue_seconds_count 1",
        "sealwright_password_hashing_seconds_count 0",
        "sealwright_signing_waiting 0",
        "sealwright_key_rotation_paused 0",
        "sealwright_signing_keys_quarantined 0",
        "sealwright_log_lines_dropped_total 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    let kid = app.get("/.well-known/jwks.json").await.json()["keys"][0]["kid"].as_str().unwrap().to_owned();
    for begin in [
        &format!("sealwright_signing_key_age_seconds{{kid=\"{kid}\",state=\"active\"}} "),
        "sealwright_epoch_age_seconds ",
        "sealwright_database_connections ",
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
        "process_open_fds ",
        "process_max_fds ",
        "process_start_time_seconds ",
    ] {
        let value = metrics.lines().find_map(|line| line.strip_prefix(begin)).unwrap_or_else(|| panic!("{begin}\n{metrics}"));
        assert!(value.parse::<f64>().unwrap() >= 0.0, "{begin}{value}");
    }
    assert!(metrics.ends_with("# EOF\n") && !metrics.contains(&client.secret));

    // Every metric of the dashboard exists once the rotation has looked at the keys.
    app.pass(Duration::from_secs(5)).await;
    app.sign_in(&client).await;
    guess(&app, "203.0.113.1").await;
    let metrics = app.metrics().await;
    let dashboard = include_str!("../../examples/grafana-dashboard.json");
    let words = dashboard.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let asked: std::collections::BTreeSet<_> =
        words.filter(|word| word.starts_with("sealwright_") || word.starts_with("process_")).collect();
    assert!(asked.len() > 15, "{asked:?}");
    for name in asked {
        let family = name.trim_end_matches("_bucket").trim_end_matches("_total");
        assert!(metrics.contains(&format!("# TYPE {family} ")), "{name}");
    }
}

async fn ad11_a_page_of_another_origin_reads_public_documents_and_nothing_else(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let token = app.plain_token(&app.client("billing")).await.claims();
    let list = token["status"]["status_list"]["uri"].as_str().unwrap().strip_prefix(&app.issuer).unwrap();
    let ask = |method: Method, path: &str| {
        let request = app.request(method, path).header("origin", "https://evil.example");
        Answer::to(request.header("access-control-request-method", "GET").header("access-control-request-headers", "authorization"))
    };
    let discovery = ["/.well-known/jwks.json", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"];
    for path in discovery.into_iter().chain([list, "/oauth/status-lists", "/openapi.yaml", "/openapi.json"]) {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            let answer = ask(method.clone(), path).await;
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{method} {path}");
            assert_eq!(answer.header("access-control-allow-credentials"), None);
            assert_eq!(answer.status, if method == Method::OPTIONS { 204 } else { 200 });
            let allowed = answer.header("access-control-allow-headers").unwrap_or_default();
            assert!(!allowed.contains("authorization"), "{allowed}");
        }
    }
    for path in [
        "/oauth/authorize",
        "/oauth/token",
        "/oauth/revoke",
        "/oauth/introspect",
        "/health/live",
        "/health/ready",
        "/docs",
        "/docs/reference.js",
        "/nowhere",
    ] {
        for method in [Method::GET, Method::POST, Method::OPTIONS] {
            let answer = ask(method.clone(), path).await;
            assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control")), "{method} {path}: {answer:?}");
        }
    }
}

async fn te15_a_secret_in_a_url_is_not_accepted(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let refresh = app.sign_in(&client).await.refresh_token();
    let Credential { id, secret } = &client;
    for (path, query, body) in [
        ("/oauth/token", format!("client_id={id}&client_secret={secret}"), "grant_type=client_credentials".to_owned()),
        ("/oauth/token", format!("client_id={id}&client_secret={secret}&grant_type=client_credentials"), String::new()),
        ("/oauth/token", "password=plum".to_owned(), format!("grant_type=password&username=alice&client_id={id}&client_secret={secret}")),
        ("/oauth/token", SIGN_IN.to_owned(), format!("grant_type=password&client_id={id}&client_secret={secret}")),
        ("/oauth/token", format!("refresh_token={refresh}"), format!("grant_type=refresh_token&client_id={id}&client_secret={secret}")),
        ("/oauth/revoke", format!("token={refresh}"), format!("client_id={id}&client_secret={secret}")),
        ("/oauth/introspect", format!("token={refresh}"), format!("client_id={id}&client_secret={secret}")),
    ] {
        Answer::to(app.form(&format!("{path}?{query}"), &body)).await.refused(400, "invalid_request");
    }
    // `ad6_...` searches the log of a real process for the contents of these URLs.
    assert!(app.refresh(&client, &refresh).await.status == 200, "none of it had an effect");
}

async fn a_request_keeps_the_id_of_its_caller_if_that_is_safe_to_log(backend: Backend) {
    let app = TestApp::start(backend).await;
    let ask = async |id: &[u8]| {
        let id = reqwest::header::HeaderValue::from_bytes(id).unwrap();
        Answer::to(app.request(Method::GET, "/health/live").header("x-request-id", id)).await.header("x-request-id").unwrap().to_owned()
    };
    for valid in ["a", "0197a1b2-c3d4-4e5f-8a9b-0c1d2e3f4a5b", "Root=1.2_3", &"x".repeat(64)] {
        let answered = ask(valid.as_bytes()).await;
        assert_eq!(answered == valid, !valid.contains('='), "{valid}");
    }
    for invalid in [&b""[..], b" ", b"a b", b"a\"b", b"\xff\xfe", b"a{b}", &[b'x'; 65]] {
        assert_eq!(ask(invalid).await.len(), 22, "{invalid:?}: the server generates one");
    }
}

async fn one_source_does_not_take_every_connection(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let app = TestApp::start_with(database, &[("connections_per_source", "3")]).await;
    let mut open = Vec::new();
    // Each has a request whose body does not arrive.
    for number in 1..=3 {
        let mut stream = TcpStream::connect(app.addr).await.unwrap();
        let head = "POST /oauth/token HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\nexpect: 100-continue";
        stream.write_all(format!("{head}\r\ncontent-length: 9\r\n\r\n").as_bytes()).await.unwrap();
        assert!(stream.read(&mut [0; 2000]).await.unwrap() > 10, "{number}: 100 Continue");
        open.push(stream);
    }
    let mut refused = TcpStream::connect(app.addr).await.unwrap();
    assert!(matches!(refused.read(&mut [0; 10]).await, Ok(0) | Err(_)), "closed without an answer");
    assert!(app.metrics().await.contains("sealwright_connections_refused_total 1\n"));
    open.pop();
    crate::support::wait_until(|| app.meters.open_connections() == 2).await;
    assert_eq!(app.get("/health/live").await.status, 200);
}

async fn a_request_whose_caller_disconnects_is_counted(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    // The password is correct, and the login cannot be stored yet.
    let held = app.database.lock("UPDATE users SET username = username").await;
    let body = format!("grant_type=password&client_id={}&client_secret={}&{SIGN_IN}", client.id, client.secret);
    let head = "POST /oauth/token HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded";
    let mut stream = TcpStream::connect(app.addr).await.unwrap();
    stream.write_all(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
    crate::support::wait_until(|| app.meters.password_hashes.get() == 1).await;
    drop(stream);
    let abandoned = sealwright::server::TokenRequest { grant: "password", result: "abandoned" };
    crate::support::wait_until(|| app.meters.token_requests.get_or_create(&abandoned).get() == 1).await;
    held.release().await;
}

/// Sends these bytes on a new connection and returns all bytes until it is closed.
async fn raw(app: &TestApp, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(app.addr).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // After some of these requests, the server waits for more.
    let _ = tokio::time::timeout(Duration::from_secs(2), stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn te16_an_ambiguous_request_is_at_most_one_request() {
    let app = TestApp::start(Backend::Sqlite).await;
    let smuggled = "GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n";
    let post = |headers: &str, body: &str| format!("POST /oauth/token HTTP/1.1\r\nhost: x\r\n{headers}\r\n{body}").into_bytes();
    for (name, request) in [
        ("two lengths", post("content-length: 3\r\ncontent-length: 44\r\n", &format!("a=b{smuggled}"))),
        ("a list of lengths", post("content-length: 3, 44\r\n", &format!("a=b{smuggled}"))),
        ("a length that is not a number", post("content-length: +3\r\n", &format!("a=b{smuggled}"))),
        ("length and chunks", post("content-length: 5\r\ntransfer-encoding: chunked\r\n", &format!("0\r\n\r\n{smuggled}"))),
        ("an encoding that is not known", post("transfer-encoding: chunked, identity\r\n", &format!("0\r\n\r\n{smuggled}"))),
        ("a folded header", post("x-a: b\r\n folded: yes\r\ncontent-length: 3\r\n", &format!("a=b{smuggled}"))),
        ("a space before the colon", post("content-length : 3\r\n", &format!("a=b{smuggled}"))),
        ("a bare line feed in a value", post("x-a: b\u{0}c\r\n", smuggled)),
        ("a bare carriage return in a value", post("x-a: b\rc\r\n", smuggled)),
    ] {
        let answer = raw(&app, &request).await;
        let answers = answer.matches("HTTP/1.1 ").count();
        assert!(answers <= 1, "{name}: {answer}");
        assert!(!answer.contains("\"live\""), "{name}: the smuggled request was served: {answer}");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{name}: {answer}");
    }
    assert_eq!(app.get("/health/live").await.status, 200);
}
