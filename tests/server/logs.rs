//! What is logged of a request: one line, well-formed, without secrets.

use serde_json::Value;

use crate::support::{Backend, Process, TestDatabase, claims_of, on_both_databases, on_sqlite, sealwright};

on_both_databases![
    ad7_hostile_input_makes_one_well_formed_line_per_request,
    ad8_security_events_name_the_client_the_user_the_source_and_the_outcome,
    a_request_is_logged_with_outcome_client_duration_and_id,
];

on_sqlite![hd7_the_id_of_a_status_list_is_not_taken_for_a_secret];

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

    /// Stops the server and returns the log lines of its requests.
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
        events.into_iter().filter(|event| event["request.id"].is_string()).collect()
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
    // The operator sees the cause, and the caller does not.
    assert_eq!(
        (field(1, "outcome"), field(1, "client.id"), field(1, "cause")),
        ("refused".into(), "billing".into(), "unknown secret".into())
    );
    assert_eq!((field(2, "client.id"), field(2, "cause")), ("unknown".into(), "unknown client".into()));
    assert!(field(3, "cause").contains("does not support this grant type"));
}

async fn hd7_the_id_of_a_status_list_is_not_taken_for_a_secret(backend: Backend) {
    let server = Logged::start(backend).await;
    let token = server.post(format!("grant_type=client_credentials&client_id=billing&client_secret={}", server.secret)).await;
    let token: Value = serde_json::from_str(&token.text().await.unwrap()).unwrap();
    let claims = claims_of(token["access_token"].as_str().unwrap());
    let list = claims["status"]["status_list"]["uri"].as_str().unwrap();
    assert_eq!(server.http.get(list).send().await.unwrap().status(), 200);
    let lines = server.lines();
    assert_eq!(lines.len(), 2);
    assert_eq!((lines[1]["message"].as_str(), lines[1].get("misplaced_secret")), (Some("GET /oauth/status-lists/{id}"), None));
}

/// All events of a stopped server.
fn events(process: &mut Process) -> Vec<Value> {
    process.signal("TERM");
    assert!(process.wait().success());
    process.stderr().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn ad8_security_events_name_the_client_the_user_the_source_and_the_outcome(backend: Backend) {
    let server = Logged::start(backend).await;
    sealwright(&server.database, &["client", "update", "billing", "--add-grant", "password", "--add-grant", "refresh_token"]).succeeded();
    let create = ["user", "create", "alice", "--password-stdin", "--allow", "https://orders.example=orders:read"];
    crate::support::sealwright_with_input(&server.database, &create, crate::support::PASSWORD).succeeded();
    let by = |grant: &str| format!("grant_type={grant}&client_id=billing&client_secret={}", server.secret);
    let sign_in = format!("{}&{}", by("password"), crate::support::SIGN_IN);
    let json = async |response: reqwest::Response| serde_json::from_str::<Value>(&response.text().await.unwrap()).unwrap();
    // The server applies the new grants within half a second.
    let mut signed_in = Value::Null;
    for _ in 0..300 {
        signed_in = json(server.post(sign_in.clone()).await).await;
        if signed_in["refresh_token"].is_string() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let refresh = |token: &Value| format!("{}&refresh_token={}", by("refresh_token"), token["refresh_token"].as_str().unwrap());
    let second = json(server.post(refresh(&signed_in)).await).await;
    server.post(refresh(&second)).await;
    server.post(refresh(&signed_in)).await;
    for _ in 0..12 {
        server.post("grant_type=client_credentials&client_id=billing&client_secret=wrong".to_owned()).await;
    }
    let secrets = sealwright(&server.database, &["client", "add-secret", "billing", "--json"]).json();
    crate::support::wait_until(|| server.process.stderr().iter().any(|line| line.contains("client.add_secret"))).await;

    let Logged { mut process, database, .. } = server;
    let events = events(&mut process);
    drop(database);
    let named = |name: &str| events.iter().filter(|event| event["event"] == name).collect::<Vec<_>>();
    let utc = |event: &Value| event["timestamp"].as_str().unwrap().ends_with('Z');
    let of_request = |event: &Value| {
        assert!(utc(event) && event["request.id"].is_string() && event["outcome"].is_string(), "{event}");
        assert_eq!((&event["source"], &event["client.id"]), (&"127.0.0.1".into(), &"billing".into()), "{event}");
    };
    for (name, least) in [("token.issued", 3), ("token.refused", 10), ("attempt.limited", 2)] {
        assert!(named(name).len() >= least, "{name}: {}", named(name).len());
        named(name).into_iter().for_each(of_request);
    }
    assert!(named("token.issued").iter().any(|event| event["user.id"].is_string() && event["grant"] == "password"));

    // A replay names the user, the app and the request.
    let replay = named("login.ended");
    assert_eq!((replay.len(), &replay[0]["reason"], &replay[0]["level"]), (1, &"replay".into(), &"WARN".into()));
    assert!(replay[0]["user.id"].is_string() && replay[0]["client.id"] == "billing" && utc(replay[0]));
    let within = &replay[0]["spans"][0];
    assert!(within["request.id"].is_string() && within["source"] == "127.0.0.1", "{}", replay[0]);

    // The changes by command, and the key that the first start created.
    for (name, target) in [
        ("key.create", None),
        ("resource.create", Some("https://orders.example".to_owned())),
        ("client.create", Some("billing".to_owned())),
        ("client.update", Some("billing".to_owned())),
        ("user.create", Some("alice".to_owned())),
        ("client.add_secret", Some(format!("billing {}", secrets["secret"]["id"].as_str().unwrap()))),
    ] {
        let [event] = named(name)[..] else { panic!("{name}: {:?}", named(name)) };
        assert!(utc(event) && event["at_s"].is_i64() && event["outcome"] == "ok");
        assert!(event["actor"].as_str().unwrap().contains('@'), "{event}");
        assert!(target.is_none_or(|target| event["target"] == target.as_str()), "{event}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ad8_a_request_whose_caller_disconnects_is_logged_with_its_client() {
    let database = TestDatabase::create(Backend::Sqlite).await;
    let mut process = Process::serve(&database);
    let addr = process.addr().await;
    let secret = crate::support::furnish(&database);
    // The password is right, and the login cannot be written yet.
    let held = database.lock("UPDATE users SET username = username").await;
    let body = format!("grant_type=password&client_id=shop&client_secret={secret}&user_address=192.0.2.7&{}", crate::support::SIGN_IN);
    let head = "POST /oauth/token HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded";
    let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    let metrics =
        process.stderr().iter().find_map(|line| serde_json::from_str::<Value>(line).unwrap()["metrics"].as_str().map(str::to_owned));
    let metrics = metrics.expect("the address of the metrics is logged");
    while !reqwest::get(&metrics).await.unwrap().text().await.unwrap().contains("sealwright_password_hashes_total 1\n") {}
    drop(stream);
    crate::support::wait_until(|| process.stderr().iter().any(|line| line.contains("request.abandoned"))).await;
    held.release().await;
    let events = events(&mut process);
    let [line] = events.iter().filter(|event| event["event"] == "request.abandoned").collect::<Vec<_>>()[..] else { panic!("{events:?}") };
    assert_eq!((&line["outcome"], &line["http.status"]), (&"abandoned".into(), &499.into()));
    assert_eq!((&line["client.id"], &line["grant"], &line["user.address"]), (&"shop".into(), &"password".into(), &"192.0.2.7".into()));
    assert_eq!((&line["cause"], &line["message"]), (&"the caller disconnected".into(), &"POST /oauth/token".into()));
}

/// A server whose standard error is a pipe, which the test may read or leave unread.
pub(crate) async fn with_pipe(database: &TestDatabase) -> (std::process::Child, std::io::BufReader<std::process::ChildStderr>, Value) {
    use std::io::BufRead;

    let mut command = crate::support::command_on(database);
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    let mut child = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut event = Value::Null;
    while event["message"] != "serving" {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended: {:?}", child.wait());
        event = serde_json::from_str(&line).unwrap();
    }
    (child, lines, event)
}

/// How many lines it lost, by its metrics.
async fn lost_lines(serving: &Value) -> u64 {
    let metrics = reqwest::get(serving["metrics"].as_str().unwrap()).await.unwrap().text().await.unwrap();
    let count = metrics.lines().find_map(|line| line.strip_prefix("sealwright_log_lines_dropped_total "));
    count.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_not_read_or_cannot_be_written_costs_only_lines() {
    let database = TestDatabase::create(Backend::Sqlite).await;
    let mut secret = String::new();
    for closed in [true, false] {
        let (mut child, lines, serving) = with_pipe(&database).await;
        assert_eq!(lost_lines(&serving).await, 0);
        if secret.is_empty() {
            secret = crate::support::furnish(&database);
        }
        // The reader closes the pipe, or reads nothing until pipe and queue are full.
        let kept = (!closed).then_some(lines);
        let url = format!("http://{}/oauth/token", serving["listen"].as_str().unwrap());
        let http = reqwest::Client::new();
        // A token that was issued is always logged.
        let ask = async || {
            let request = http.post(&url).header("content-type", "application/x-www-form-urlencoded").basic_auth("shop", Some(&secret));
            assert_eq!(request.body("grant_type=client_credentials").send().await.unwrap().status(), 200);
        };
        let mut asked = 0_u32;
        while lost_lines(&serving).await == 0 {
            for _ in 0..25 {
                tokio::join!(ask(), ask(), ask(), ask(), ask(), ask(), ask(), ask());
            }
            asked += 200;
            assert!(asked < 100_000, "no line is lost");
        }
        ask().await;
        let sent = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(sent.success() && child.wait().unwrap().success(), "and ends as it should");
        drop(kept);
    }
}
