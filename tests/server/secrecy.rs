//! Secrets are not in logs, traces, metrics or the database.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{Backend, PASSWORD, Process, SIGN_IN, TestDatabase, command_on, furnish, on_both_databases, wait_until};

on_both_databases![ad6_no_secret_is_in_a_log_a_trace_a_metric_or_the_database];

/// Receives spans and keeps their bytes.
pub(crate) async fn receiver() -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let received = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&received);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let mut chunk = vec![0; 64 * 1024];
                while let Ok(count @ 1..) = stream.read(&mut chunk).await {
                    kept.lock().unwrap().extend_from_slice(&chunk[..count]);
                    // Each batch of spans is one request, so an early answer is harmless.
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                }
            });
        }
    });
    (url, received)
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

async fn ad6_no_secret_is_in_a_log_a_trace_a_metric_or_the_database(backend: Backend) {
    let (otlp, spans) = receiver().await;
    let database = TestDatabase::create(backend).await;
    let mut command = command_on(&database);
    command.args(["serve", "--listen", "127.0.0.1:0", "--log", "trace", "--otlp-endpoint", &otlp]);
    let mut process = Process::spawn(command);
    let addr = process.addr().await;
    let secret = furnish(&database);
    let http = reqwest::Client::new();
    let post = async |path: &str, body: String| {
        let request = http.post(format!("http://{addr}{path}")).header("content-type", "application/x-www-form-urlencoded");
        request.body(body).send().await.unwrap().text().await.unwrap()
    };
    let by = |grant: &str| format!("grant_type={grant}&client_id=shop&client_secret={secret}");
    let json = |text: String| serde_json::from_str::<Value>(&text).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();

    let access = text(&json(post("/oauth/token", by("client_credentials")).await)["access_token"]);
    let signed_in = json(post("/oauth/token", format!("{}&{SIGN_IN}", by("password"))).await);
    let refreshed =
        json(post("/oauth/token", format!("{}&refresh_token={}", by("refresh_token"), text(&signed_in["refresh_token"]))).await);
    let wrong_secret = secret.replace(&secret[30..40], "canarysecr");
    post("/oauth/token", format!("grant_type=client_credentials&client_id=shop&client_secret={wrong_secret}")).await;
    post("/oauth/token", format!("{}&username=alice&password=canary-of-a-wrong-password", by("password"))).await;
    post("/oauth/token", format!("{}&refresh_token=canary-of-a-wrong-refresh-token", by("refresh_token"))).await;
    post(&format!("/oauth/token?{}&password=canary-in-the-url", by("password")), SIGN_IN.to_owned()).await;
    post(&format!("/oauth/token/{secret}"), String::new()).await;
    // A secret in the place of a name.
    post("/oauth/token", format!("grant_type={secret}&client_id=shop&client_secret={secret}&scope={secret}&resource={secret}")).await;
    post("/oauth/revoke", format!("client_id=shop&client_secret={secret}&token={}", text(&refreshed["refresh_token"]))).await;
    post("/oauth/introspect", format!("client_id=shop&client_secret={secret}&token={access}")).await;
    let huge = "canary-of-a-huge-body".repeat(20_000);
    post("/oauth/token", format!("{}&x={huge}", by("client_credentials"))).await;

    let serving: Value = process
        .stderr()
        .iter()
        .find_map(|line| serde_json::from_str(line).ok().filter(|event: &Value| event["message"] == "serving"))
        .unwrap();
    let metrics = http.get(text(&serving["metrics"])).send().await.unwrap().text().await.unwrap();
    process.signal("TERM");
    assert!(process.wait().success());
    wait_until(|| contains(&spans.lock().unwrap(), "hash_password")).await;

    let sealing_key = std::fs::read_to_string(database.keys_dir().join("sealing.key")).unwrap();
    let sealing_key = text(&serde_json::from_str::<Value>(&sealing_key).unwrap()["keys"][0]["k"]);
    let mut stored = String::new();
    if backend == Backend::Postgres {
        for table in database.texts("SELECT CAST(table_name AS TEXT) FROM information_schema.tables WHERE table_schema = 'public'").await {
            stored += &database.texts(&format!("SELECT CAST(ROW(t.*) AS TEXT) FROM \"{table}\" t")).await.join("\n");
        }
        assert!(stored.contains("shop") && stored.contains("argon2id"), "{stored}");
    }
    let mut places = vec![
        ("the log", process.stderr().join("\n").into_bytes()),
        ("standard output", process.stdout().join("\n").into_bytes()),
        ("the spans", spans.lock().unwrap().clone()),
        ("the metrics", metrics.into_bytes()),
        ("the database", stored.into_bytes()),
    ];
    for file in std::fs::read_dir(database.folder()).unwrap().flatten().filter(|file| file.path().is_file()) {
        places.push(("the database's files", std::fs::read(file.path()).unwrap()));
    }
    let secrets = [
        ("the client's secret", &secret[19..60]),
        ("a wrong secret", &wrong_secret[19..60]),
        ("the password", PASSWORD),
        ("the password as it was sent", "plum+trousers"),
        ("a wrong password", "canary-of-a-wrong-password"),
        ("a password in a URL", "canary-in-the-url"),
        ("a wrong refresh token", "canary-of-a-wrong-refresh-token"),
        ("a refresh token", &text(&signed_in["refresh_token"])[30..]),
        ("its successor", &text(&refreshed["refresh_token"])[30..]),
        ("the signature of an access token", access.rsplit('.').next().unwrap()),
        ("what an access token says", access.split('.').nth(1).unwrap()),
        ("a body", "canary-of-a-huge-body"),
        ("the sealing key", &sealing_key),
    ];
    for (place, bytes) in &places {
        for (name, secret) in &secrets {
            let line = || String::from_utf8_lossy(bytes).lines().find(|line| line.contains(secret)).unwrap_or_default().to_owned();
            assert!(!contains(bytes, secret), "{name} is in {place}: {}", line());
        }
    }
    assert!(contains(&places[2].1, "request") && contains(&places[0].1, "token.issued"), "they were looked at with something in them");
}
