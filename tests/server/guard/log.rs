//! What a guard logs: one line per request, no token, and no flood.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStderr, Stdio},
    time::Duration,
};

use sealwright::verifier::testing::Issuer;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::party::{ALICE, AUDIENCE, Answer, rules_for};
use crate::support::{Process, command};

fn guard(folder: &TempDir, issuer: &Issuer) -> std::process::Command {
    std::fs::write(folder.path().join("rules.toml"), rules_for(&[issuer.url()])).unwrap();
    let mut command = command(folder.path());
    command.env("SEALWRIGHT_GUARD_MANAGEMENT_LISTEN", "127.0.0.1:0");
    command.args(["guard", "--rules", "rules.toml", "--listen", "127.0.0.1:0", "--gateway", "nginx"]);
    command
}

fn check(addr: &str, uri: &str) -> reqwest::RequestBuilder {
    let request = reqwest::Client::new().get(format!("http://{addr}/check"));
    request.header("x-original-method", "GET").header("x-original-uri", uri)
}

#[tokio::test(flavor = "multi_thread")]
async fn ad8_each_request_is_one_line_with_its_outcome_its_caller_and_its_reason() {
    let issuer = Issuer::start().await.unwrap();
    let folder = TempDir::new().unwrap();
    let mut process = Process::spawn(guard(&folder, &issuer));
    let addr = process.addr().await.to_string();
    let token = issuer.token(AUDIENCE).client("shop").user(ALICE).scope("orders:read").sign().unwrap();
    let answer = Answer::to(check(&addr, "/orders?page=2").bearer_auth(&token)).await;
    let id = answer.header("x-request-id").unwrap().to_owned();
    Answer::to(check(&addr, "/open")).await;
    Answer::to(check(&addr, "/orders")).await;
    Answer::to(check(&addr, "/orders").bearer_auth(issuer.token(AUDIENCE).sign().unwrap())).await;
    Answer::to(check(&addr, "/nowhere").bearer_auth(&token)).await;
    Answer::to(reqwest::Client::new().get(format!("http://{addr}/check"))).await;
    process.signal("TERM");
    assert!(process.wait().success());
    let events: Vec<Value> = process.stderr().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let lines: Vec<_> = events.iter().filter(|event| event["request.id"].is_string()).collect();
    assert_eq!(lines.len(), 6, "{events:?}");
    // Lines of failures are written before others.
    let line = |reason: &str| *lines.iter().find(|line| line["reason"] == reason).unwrap_or_else(|| panic!("{reason}: {events:?}"));
    for (reason, message, event, outcome) in [
        ("allowed", "GET /orders", "request.allowed", "ok"),
        ("public", "GET /open", "request.allowed", "ok"),
        ("no_token", "GET /orders", "request.refused", "refused"),
        ("insufficient_scope", "GET /orders", "request.refused", "refused"),
        ("no_rule", "GET /nowhere", "request.refused", "refused"),
        ("gateway_misconfigured", "- -", "request.failed", "failed"),
    ] {
        let shown = ["message", "event", "outcome"].map(|field| line(reason)[field].as_str().unwrap_or_default());
        assert_eq!(shown, [message, event, outcome], "{reason}");
    }
    let allowed = line("allowed");
    assert_eq!((&allowed["client.id"], &allowed["user.id"]), (&"shop".into(), &ALICE.into()));
    assert_eq!((allowed["request.id"].as_str(), allowed["source"].as_str()), (Some(id.as_str()), Some("127.0.0.1")));
    let insufficient = line("insufficient_scope");
    assert!(insufficient["cause"].as_str().unwrap().contains("orders:read") && insufficient["client.id"] == "billing", "{insufficient}");
    // The line says what to write into the configuration of the gateway.
    let misconfigured = line("gateway_misconfigured")["cause"].as_str().unwrap();
    assert!(misconfigured.contains("proxy_set_header X-Original-URI $request_uri;"), "{misconfigured}");
    assert!(lines.iter().all(|line| line["duration_us"].is_u64() && line["http.status"].is_u64()));
}

#[tokio::test(flavor = "multi_thread")]
async fn hd7_no_part_of_a_token_is_in_the_log_a_metric_or_an_answer_wherever_it_was_sent() {
    let issuer = Issuer::start().await.unwrap();
    let folder = TempDir::new().unwrap();
    let mut process = Process::spawn(guard(&folder, &issuer));
    let addr = process.addr().await.to_string();
    let good = issuer.token(AUDIENCE).scope("orders:read").sign().unwrap();
    let expired = issuer.token(AUDIENCE).lifetime(Duration::ZERO).claim("exp", 1).sign().unwrap();
    let encoded: String = good.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let mut answers = Vec::new();
    for token in [&good, &expired] {
        answers.push(Answer::to(check(&addr, "/orders").bearer_auth(token)).await);
        answers.push(Answer::to(check(&addr, &format!("/orders/{token}")).bearer_auth(token)).await);
        answers.push(Answer::to(check(&addr, &format!("/orders?access_token={token}"))).await);
        answers.push(Answer::to(check(&addr, &format!("/orders?access_token={token}")).bearer_auth(token)).await);
        answers.push(Answer::to(check(&addr, "/orders").header("x-request-id", token)).await);
        answers.push(Answer::to(check(&addr, "/orders").basic_auth(token, Some(token))).await);
        answers.push(Answer::to(check(&addr, "/orders").header("authorization", format!("Bearer {token} {token}"))).await);
        answers.push(Answer::to(check(&addr, "/orders").header("x-token-subject", token)).await);
        answers.push(Answer::to(check(&addr, &format!("/{encoded}"))).await);
    }
    let serving: Value = serde_json::from_str(process.stderr().iter().find(|line| line.contains("\"serving\"")).unwrap()).unwrap();
    let metrics = reqwest::get(serving["metrics"].as_str().unwrap()).await.unwrap().text().await.unwrap();
    process.signal("TERM");
    assert!(process.wait().success());
    let log = process.stderr().join("\n");
    let parts = good.split('.').chain(expired.split('.')).filter(|part| part.len() > 20);
    for part in parts.chain([&encoded[..60]]) {
        for piece in [part, &part[..20], &part[part.len() - 20..]] {
            // The header of a token, and the beginning of its claims, are the same for all.
            let text = [log.as_str(), &metrics];
            assert!(!text.iter().any(|text| text.contains(piece)), "{piece} is in the log or a metric");
        }
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            assert!(!format!("{answer:?}").contains(part), "{answer:?}");
        }
    }
    assert!(log.contains("\"misplaced_secret\":\"query\"") && log.contains("\"misplaced_secret\":\"path\""), "{log}");
}

/// A guard whose standard error the test reads when it wants to.
fn with_pipe(folder: &TempDir, issuer: &Issuer) -> (Child, BufReader<ChildStderr>, Value) {
    let mut child = guard(folder, issuer).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut event = Value::Null;
    while event["message"] != "serving" {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended: {:?}", child.wait());
        event = serde_json::from_str(&line).unwrap();
    }
    (child, lines, event)
}

/// Sends this many requests without a token over one connection, as fast as possible.
async fn flood(addr: &str, count: usize) {
    let (mut answers, mut requests) = TcpStream::connect(addr).await.unwrap().into_split();
    let sending = tokio::spawn(async move {
        let request = b"GET /check HTTP/1.1\r\nhost: x\r\nx-original-method: GET\r\nx-original-uri: /orders\r\n\r\n".repeat(100);
        for _ in 0..count / 100 {
            requests.write_all(&request).await.unwrap();
        }
        requests
    });
    let (mut found, mut chunk, mut rest) = (0, vec![0; 64 * 1024], Vec::new());
    while found < count {
        let length = answers.read(&mut chunk).await.unwrap();
        assert!(length > 0, "the connection ended after {found} answers");
        rest.extend_from_slice(&chunk[..length]);
        let needle = b"HTTP/1.1 401";
        found += rest.windows(needle.len()).filter(|window| window == needle).count();
        let keep = rest.len().min(needle.len() - 1);
        rest.drain(..rest.len() - keep);
    }
    drop(sending.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn hd10_a_flood_of_refused_requests_and_a_slow_reader_hide_no_request_of_a_caller_with_a_token() {
    const FLOOD: usize = 20_000;
    let issuer = Issuer::start().await.unwrap();
    let folder = TempDir::new().unwrap();
    let (mut child, mut lines, serving) = with_pipe(&folder, &issuer);
    let addr = serving["listen"].as_str().unwrap().to_owned();
    let token = issuer.token(AUDIENCE).scope("orders:read").sign().unwrap();
    // The log is not read meanwhile.
    let floods: Vec<_> = (0..4)
        .map(|_| {
            let addr = addr.clone();
            tokio::spawn(async move { flood(&addr, FLOOD / 4).await })
        })
        .collect();
    for _ in 0..10 {
        assert_eq!(Answer::to(check(&addr, "/orders").bearer_auth(&token)).await.status, 200);
    }
    for flood in floods {
        flood.await.unwrap();
    }
    let reading = std::thread::spawn(move || {
        let mut events = Vec::new();
        let mut line = String::new();
        while lines.read_line(&mut line).unwrap() > 0 {
            events.push(serde_json::from_str::<Value>(&line).unwrap_or_else(|error| panic!("{error}: {line}")));
            line.clear();
        }
        events
    });
    let signalled = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(signalled.success() && child.wait().unwrap().success());
    let events = tokio::task::spawn_blocking(move || reading.join().unwrap()).await.unwrap();
    let count = |reason: &str| events.iter().filter(|event| event["reason"] == reason).count();
    assert_eq!(count("allowed"), 10, "each is in the log");
    let left_out: u64 = events.iter().filter(|event| event["event"] == "log.sampled").map(|event| event["count"].as_u64().unwrap()).sum();
    assert_eq!(count("no_token") + usize::try_from(left_out).unwrap(), FLOOD, "each of these is in the log or counted");
    assert!(count("no_token") < FLOOD / 2, "{}", count("no_token"));
}
