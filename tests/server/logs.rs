//! What is logged of a request: one line, well-formed, without secrets.

use serde_json::Value;

use crate::support::{Backend, Process, TestDatabase, on_both_databases, sealwright};

on_both_databases![ad7_hostile_input_makes_one_well_formed_line_per_request, a_request_is_logged_with_outcome_client_duration_and_id];

/// A server as a process, with a client, and a way to ask it.
struct Logged {
    process: Process,
    database: TestDatabase,
    secret: String,
    url: String,
    http: reqwest::Client,
}

impl Logged {
    async fn start(backend: Backend) -> Self {
        let database = TestDatabase::create(backend).await;
        let mut process = Process::serve(&database);
        let url = format!("http://{}/oauth/token", process.addr().await);
        sealwright(&database, &["resource", "create", "https://orders.example", "--scope", "orders:read"]).succeeded();
        let create =
            ["client", "create", "billing", "--grant", "client_credentials", "--allow", "https://orders.example=orders:read", "--json"];
        let created = sealwright(&database, &create).json();
        let secret = created["secret"]["value"].as_str().unwrap().to_owned();
        Self { process, database, secret, url, http: reqwest::Client::new() }
    }

    async fn post(&self, body: String) -> reqwest::Response {
        self.http.post(&self.url).header("content-type", "application/x-www-form-urlencoded").body(body).send().await.unwrap()
    }

    /// Stops the server and reads the lines that its requests left.
    fn lines(mut self) -> Vec<Value> {
        self.process.signal("TERM");
        assert!(self.process.wait().success());
        let all = self.process.stderr();
        for line in &all {
            assert!(line.len() < 2000, "{} bytes: {line}", line.len());
            assert!(!line.contains(&self.secret[19..]), "the secret is in {line}");
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
        drop(self.database);
        let events: Vec<Value> =
            all.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
        events.into_iter().filter(|event| event["outcome"].is_string()).collect()
    }
}

async fn ad7_hostile_input_makes_one_well_formed_line_per_request(backend: Backend) {
    let server = Logged::start(backend).await;
    let hostile = [
        "a%0Ab%0D%0A%7B%22level%22%3A%22INFO%22%7D".to_owned(),
        "%1B%5B31mred%1B%5B0m".to_owned(),
        "%22quoted%22%5C".to_owned(),
        "%E2%80%AE%F0%9F%98%80%C2%85".to_owned(),
        "x".repeat(60_000),
        "%0A".repeat(20_000),
    ];
    for id in &hostile {
        let answer = server.post(format!("grant_type=client_credentials&client_id={id}&client_secret={}", server.secret)).await;
        assert_eq!(answer.status(), 401);
        let answer = server.post(format!("grant_type={id}&client_id=billing&client_secret={}&scope={id}", server.secret)).await;
        assert_eq!(answer.status(), if id.len() > 32_000 { 413 } else { 400 });
    }
    let answer = server.post("x".repeat(1_000_000)).await;
    assert_eq!(answer.status(), 413);
    let path = format!("{}{}?client_secret={}", server.url, "/%0A%1B".repeat(1000), server.secret);
    assert_eq!(server.http.get(path).send().await.unwrap().status(), 404);
    assert_eq!(server.lines().len(), 2 * hostile.len() + 2);
}

async fn a_request_is_logged_with_outcome_client_duration_and_id(backend: Backend) {
    let server = Logged::start(backend).await;
    let good = server.post(format!("grant_type=client_credentials&client_id=billing&client_secret={}", server.secret)).await;
    let id = good.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!(good.status(), 200);
    server.post("grant_type=client_credentials&client_id=billing&client_secret=wrong".to_owned()).await;
    server.post("grant_type=client_credentials&client_id=unknown&client_secret=wrong".to_owned()).await;
    server.post(format!("grant_type=implicit&client_id=billing&client_secret={}", server.secret)).await;
    let lines = server.lines();
    assert_eq!(lines.len(), 4);
    let field = |index: usize, name: &str| lines[index][name].as_str().unwrap().to_owned();
    assert_eq!(
        (field(0, "outcome"), field(0, "client.id"), field(0, "grant"), field(0, "request.id")),
        ("ok".into(), "billing".into(), "client_credentials".into(), id)
    );
    assert_eq!((field(0, "message"), field(0, "source")), ("POST /oauth/token".into(), "127.0.0.1".into()));
    assert!(lines.iter().all(|line| line["duration_us"].is_u64() && line["http.status"].is_u64()));
    // The operator sees what the caller may not.
    assert_eq!(
        (field(1, "outcome"), field(1, "client.id"), field(1, "cause")),
        ("refused".into(), "billing".into(), "unknown secret".into())
    );
    assert_eq!((field(2, "client.id"), field(2, "cause")), ("unknown".into(), "unknown client".into()));
    assert!(field(3, "cause").contains("does not serve this grant type"));
}
