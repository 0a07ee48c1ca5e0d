//! Secrets and tokens in the wrong place of a request are not logged or sent back, not even in part.

use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    secrecy::receiver,
    support::{Backend, Process, SIGN_IN, TestApp, TestDatabase, command_on, furnish, on_sqlite, wait_until},
};

on_sqlite![hd7_a_refresh_token_without_the_current_prefix_is_accepted];

/// A text that is sent in the wrong place, and must not be in the log, the spans, the metrics or the answers.
struct Canary {
    name: &'static str,
    text: String,
    /// The secret part.
    secret: String,
}

/// The number of consecutive characters by which a part is recognized.
const PART: usize = 12;

impl Canary {
    fn part_within(&self, text: &str) -> Option<&str> {
        let parts = (0..=self.secret.len() - PART).map(|at| &self.secret[at..at + PART]);
        let folded = text.to_ascii_lowercase();
        parts.into_iter().find(|part| folded.contains(&part.to_ascii_lowercase()))
    }

    /// Unchanged, in lower case, percent-encoded, and percent-encoded twice.
    fn forms(&self) -> [String; 4] {
        let once: String = self.text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        [self.text.clone(), self.text.to_ascii_lowercase(), once.clone(), once.replace('%', "%25")]
    }
}

/// `serve` with all logs and traces in this format; also returns its addresses.
async fn serve(database: &TestDatabase, format: &str, otlp: &str) -> (Process, String, String) {
    let mut command = command_on(database);
    command.args(["serve", "--listen", "127.0.0.1:0", "--log", "trace", "--otlp-endpoint", otlp]);
    command.args(["--log-format", format, "--failed-attempts-burst", "1000"]);
    let process = Process::spawn(command);
    let said = |name: &str| {
        let (json, text) = (format!("\"{name}\":\""), format!("{name}="));
        let line = process.stderr().into_iter().find(|line| line.contains("serving") && line.contains(name))?;
        let value = line.split_once(&json).or_else(|| line.split_once(&text))?.1;
        Some(value.split(['"', ' ']).find(|part| !part.is_empty())?.to_owned())
    };
    wait_until(|| said("metrics").is_some()).await;
    let (listen, metrics) = (said("listen").unwrap(), said("metrics").unwrap());
    (process, format!("http://{listen}"), metrics)
}

/// Requests that contain `form` in the wrong place.
fn requests(http: &reqwest::Client, url: &str, form: &str, shop: &str) -> Vec<RequestBuilder> {
    let post =
        |path: &str, body: String| http.post(format!("{url}{path}")).header("content-type", "application/x-www-form-urlencoded").body(body);
    let shop = format!("client_id=shop&client_secret={shop}");
    let mut requests = vec![
        // Swapped, in the body and in the header.
        post("/oauth/token", format!("grant_type=client_credentials&client_id={form}&client_secret=shop")),
        post("/oauth/token", "grant_type=client_credentials".to_owned()).basic_auth(form, Some("shop")),
        post("/oauth/revoke", format!("token=x&client_id={form}&client_secret=shop")),
        post("/oauth/token", format!("grant_type=client_credentials&client_id=shop&client_secret=x{form}")),
        post("/oauth/token", format!("grant_type=client_credentials&client_id={form}")).basic_auth("shop", Some("x")),
        post("/oauth/token", format!("grant_type={form}&{shop}")),
        post("/oauth/token", format!("grant_type=client_credentials&{shop}&scope={form}")),
        post("/oauth/token", format!("grant_type=client_credentials&{shop}&scope=orders:read+{form}")),
        post("/oauth/token", format!("grant_type=client_credentials&{shop}&resource={form}")),
        post("/oauth/token", format!("grant_type=client_credentials&{shop}&resource=https://orders.example/{form}")),
        post("/oauth/token", format!("grant_type=client_credentials&{shop}&audience={form}")),
        post("/oauth/token", format!("grant_type=password&{shop}&username={form}&password={form}")),
        post("/oauth/token", format!("grant_type=refresh_token&{shop}&refresh_token=x{form}&{form}=1")),
        post("/oauth/revoke", format!("{shop}&token=x&token_type_hint={form}")),
        post("/oauth/introspect", format!("{shop}&token=x{form}")),
        post("/oauth/introspect", format!("{shop}&token=x&token_type_hint={form}")),
        post(&format!("/oauth/token/{form}"), String::new()),
        http.get(format!("{url}/{form}")),
        http.get(format!("{url}/docs/{form}")),
        http.get(format!("{url}/oauth/status-lists/{form}")),
        http.get(format!("{url}//a/x{form}y/z?{form}={form}")),
        post(&format!("/oauth/token?client_secret={form}&{form}"), String::new()),
        http.get(format!("{url}/health/live?token={form}")),
    ];
    // In headers, unchanged.
    let headers = ["x-request-id", "traceparent", "tracestate", "baggage", "user-agent", "cookie", "x-forwarded-for", "referer", "origin"];
    for header in headers {
        requests.push(http.get(format!("{url}/health/live")).header(header, form));
        let known = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        requests.push(http.get(format!("{url}/nowhere")).header("traceparent", known).header(header, format!("a={form}")));
    }
    for scheme in ["Bearer", "Basic", ""] {
        requests.push(post("/oauth/token", String::new()).header("authorization", format!("{scheme} {form}").trim()));
    }
    if let Ok(method) = Method::from_bytes(form.as_bytes()) {
        requests.push(http.request(method, format!("{url}/oauth/token")));
    }
    requests
}

/// Malformed requests, which are answered before any route.
fn broken(form: &str) -> [String; 4] {
    [
        format!("GET /{form} HTTP/9.9\r\n\r\n"),
        format!("{form} {form} {form}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{form}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nauthorization: Basic {form}\n{form}\r\nb\u{1}d: x\r\n\r\n"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn hd7_a_misplaced_secret_is_in_no_log_line_span_metric_or_answer() {
    let (otlp, spans) = receiver().await;
    let database = TestDatabase::create(Backend::Sqlite).await;
    let (mut first, url, _) = serve(&database, "json", &otlp).await;
    let shop = furnish(&database);
    let http = reqwest::Client::new();
    let by = |grant: &str| format!("grant_type={grant}&client_id=shop&client_secret={shop}");
    let request = http.post(format!("{url}/oauth/token")).header("content-type", "application/x-www-form-urlencoded");
    let answer = request.body(format!("{}&{SIGN_IN}", by("password"))).send().await.unwrap();
    let signed_in: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let text = |name: &str| signed_in[name].as_str().unwrap().to_owned();
    let (access, refresh) = (text("access_token"), text("refresh_token"));
    first.signal("TERM");
    first.wait();

    let last = |text: &str| text.rsplit('.').next().unwrap().to_owned();
    // A different secret, because this one authenticates.
    let secret = "sw_09a27efed3ca36aez4SCN9tJqsuBFyZ4FfxzAHELIN3z9J-gVxNxYBRaYWsZwVRoQ".to_owned();
    let assertion = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJiaWxsaW5nIiwiY2FuYXJ5Ijoib25lIn0.Z0dRb3c1VzhDYW5hcnlPZkFuQXNzZXJ0aW9uVGhhdElzTG9uZw";
    let canaries = [
        Canary { name: "a client secret", secret: secret[19..].to_owned(), text: secret },
        Canary { name: "a refresh token", secret: last(&refresh), text: refresh.clone() },
        Canary { name: "a refresh token of before", secret: last(&refresh), text: refresh[4..].to_owned() },
        Canary { name: "an access token", secret: access.split_once('.').unwrap().1.replace('.', ""), text: access },
        Canary { name: "an assertion", secret: assertion.split_once('.').unwrap().1.replace('.', ""), text: assertion.to_owned() },
    ];
    let http2 = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    for (number, canary) in canaries.iter().enumerate() {
        for format in ["json", "text"] {
            let (mut process, url, metrics) = serve(&database, format, &otlp).await;
            spans.lock().unwrap().clear();
            for form in canary.forms() {
                // Over both versions of HTTP, each canary in one format.
                let client = if (number % 2 == 0) == (format == "json") { &http } else { &http2 };
                for request in requests(client, &url, &form, &shop) {
                    // Skips what no request can contain.
                    let Ok(request) = request.build() else { continue };
                    let shown = format!("{} {}", request.method(), request.url().path());
                    let answer = client.execute(request).await.unwrap_or_else(|error| panic!("{shown}: {error:?}"));
                    let headers = format!("{:?}", answer.headers());
                    let shown_to_caller = headers + &answer.text().await.unwrap();
                    assert_eq!(
                        canary.part_within(&shown_to_caller),
                        None,
                        "{} is in the answer to {shown}: {shown_to_caller}",
                        canary.name
                    );
                }
                for request in broken(&form) {
                    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
                    stream.write_all(request.as_bytes()).await.unwrap();
                    let mut answer = Vec::new();
                    drop(stream.read_to_end(&mut answer).await);
                    assert_eq!(canary.part_within(&String::from_utf8_lossy(&answer)), None, "{}", canary.name);
                }
            }
            let measured = http.get(&metrics).send().await.unwrap().text().await.unwrap();
            process.signal("TERM");
            assert!(process.wait().success());
            let log = process.stderr();
            assert!(log.len() > 100 && measured.contains("http_requests"), "they were looked at with something in them");
            for line in &log {
                assert_eq!(canary.part_within(line), None, "{} is in the log: {line}", canary.name);
            }
            assert_eq!(canary.part_within(&measured), None, "{} is in the metrics", canary.name);
            let traced = String::from_utf8_lossy(&spans.lock().unwrap()).into_owned();
            assert!(traced.contains("authenticate"));
            assert_eq!(canary.part_within(&traced), None, "{} is in the spans", canary.name);
            if format == "json" {
                says_where(&log, canary.name);
            }
        }
    }
}

/// The log lines name the place of the secret.
fn says_where(log: &[String], canary: &str) {
    let events: Vec<Value> = log.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    for place in
        ["client_id", "client_secret", "grant_type", "scope", "resource", "audience", "username", "token_type_hint", "path", "query"]
    {
        let own = canary == "a client secret" && place == "client_secret";
        assert!(own || events.iter().any(|event| event["misplaced_secret"] == place), "{canary} in {place} is not reported");
    }
    let swapped = events.iter().find(|event| event["misplaced_secret"] == "client_id").unwrap();
    assert_eq!((&swapped["client.id"], &swapped["http.status"]), (&"[secret]".into(), &401.into()));
    assert_eq!(swapped["cause"], "unknown client: a secret was sent as the client id");
}

#[tokio::test(flavor = "multi_thread")]
async fn hd7_a_client_id_cannot_be_a_secret() {
    let database = TestDatabase::create(Backend::Sqlite).await;
    let mut process = Process::serve(&database);
    process.addr().await;
    for name in ["sw_09a27efed3ca36aez4scn9tjqsubfyz4ffxzahelin3z9j-gvxnxybrayws", "swr_di5g35zktxqqixjo7rrsta.1.xufi8"] {
        let refused = crate::support::sealwright(&database, &["client", "create", name, "--grant", "client_credentials"]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(refused.stderr.contains("must not look like a secret"), "{}", refused.stderr);
    }
}

async fn hd7_a_refresh_token_without_the_current_prefix_is_accepted(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let first = app.sign_in(&client).await.refresh_token();
    let old = first.strip_prefix("swr_").unwrap();
    let second = app.refresh(&client, old).await.refresh_token();
    assert!(second.starts_with("swr_"), "what comes back has it");
    // Both texts are the same token: either gets the same successor, and ends its login when it is used too late.
    assert_eq!(app.refresh(&client, &first).await.refresh_token(), second);
    assert_eq!(app.refresh(&client, old).await.refresh_token(), second);
    let third = app.refresh(&client, &second).await.refresh_token();
    app.refresh(&client, old).await.refused(400, "invalid_grant");
    app.refresh(&client, &third).await.refused(400, "invalid_grant");
    assert_eq!(app.database.texts("SELECT ended_because FROM logins").await, ["replay"]);
    // It can be revoked in either form.
    let token = app.sign_in(&client).await.refresh_token();
    assert_eq!(app.revoke(&client, &format!("token={}", &token[4..])).await.status, 200);
    app.refresh(&client, &token).await.refused(400, "invalid_grant");
}
