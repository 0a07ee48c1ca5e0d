//! A guard with an issuer and an API.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, Method},
    response::IntoResponse,
};
use sealwright::{
    guard::{Config, Guard, config::Sources},
    verifier::testing::Issuer,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

pub(super) const AUDIENCE: &str = "https://orders.example";
pub(super) const ALICE: &str = "0197a1b2-c3d4-4e5f-8a9b-0c1d2e3f4a5b";

/// What the rules of the tests admit: anyone at `/open`, a token with a scope at `/orders`, its owner at `/users/{id}`, and nothing else.
const RULES: &str = r#"
[[rule]]
path = "/open"
public = true

[[rule]]
path = "/orders"
methods = ["GET", "POST"]
scope = "orders:read"

[[rule]]
path = "/orders/{id}"
scope = "orders:read"

[[rule]]
path = "/users/{id}"
owner = "id"
"#;

/// The text of a rule file for tokens of these issuers. Where there are several, no rule has an owner.
pub(super) fn rules_for(issuers: &[&str]) -> String {
    let issuers = issuers.iter().map(|issuer| format!("[[issuer]]\nissuer = \"{issuer}\"\naudience = \"{AUDIENCE}\"\n"));
    let text = issuers.collect::<String>();
    if text.matches("[[issuer]]").count() > 1 { text + &RULES.replace("owner = \"id\"", "scope = \"orders:read\"") } else { text + RULES }
}

/// A guard in this process, by the clock of its issuer.
pub(super) struct Party {
    pub(super) issuer: Issuer,
    pub(super) addr: SocketAddr,
    pub(super) management: SocketAddr,
    http: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<()>>,
    _folder: TempDir,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Answer {
    pub(super) async fn to(request: reqwest::RequestBuilder) -> Self {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Self { status, headers, body: answer.text().await.unwrap() }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().unwrap();
        assert!(values.next().is_none(), "{name} is there twice: {self:?}");
        Some(value)
    }

    pub(super) fn challenge(&self) -> &str {
        self.header("www-authenticate").unwrap_or_default()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Party {
    /// A guard that has the issuer's keys, with these settings besides its rules and its listeners.
    pub(super) async fn start(settings: &[(&str, &str)]) -> Self {
        let party = Self::cold(Issuer::start().await.unwrap(), settings).await;
        party.until_ready().await;
        party
    }

    /// The same, whether or not the issuer answers.
    pub(super) async fn cold(issuer: Issuer, settings: &[(&str, &str)]) -> Self {
        let rules = rules_for(&[issuer.url()]);
        Self::with_rules(issuer, &rules, settings).await
    }

    pub(super) async fn with_rules(issuer: Issuer, rules: &str, settings: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("rules.toml");
        std::fs::write(&path, rules).unwrap();
        let path = path.display().to_string();
        let own = [("rules", path.as_str()), ("listen", "127.0.0.1:0"), ("management_listen", "127.0.0.1:0")];
        let flags = own.iter().chain(settings).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let config = Config::load(Sources { flags, ..Sources::default() }).unwrap();
        let guard = Guard::build(config, Arc::new(issuer.clock().clone())).await.unwrap();
        let (addr, management) = (guard.local_addr(), guard.management_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(guard.run_until(async { drop(stopped.await) }));
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { issuer, addr, management, http, stop: Some(stop), running: Some(running), _folder: folder }
    }

    pub(super) async fn until_ready(&self) {
        for _ in 0..3000 {
            if self.ready().await.status == 200 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("it does not get ready: {:?}", self.ready().await);
    }

    pub(super) async fn ready(&self) -> Answer {
        Answer::to(self.http.get(format!("http://{}/health/ready", self.management))).await
    }

    pub(super) async fn metrics(&self) -> String {
        Answer::to(self.http.get(format!("http://{}/metrics", self.management))).await.body
    }

    /// The value of a metric, with its labels.
    pub(super) async fn metric(&self, name: &str) -> f64 {
        let metrics = self.metrics().await;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{name}: {metrics}")).parse().unwrap()
    }

    /// Waits until the value of a metric is such.
    pub(super) async fn until(&self, name: &str, holds: impl Fn(f64) -> bool) {
        for _ in 0..3000 {
            if holds(self.metric(name).await) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("{name} is not so within 30 s: {}", self.metrics().await);
    }

    pub(super) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.addr))
    }

    /// The check of nginx and HAProxy of a request.
    pub(super) fn check(&self, method: &str, uri: &str) -> reqwest::RequestBuilder {
        self.request(Method::GET, "/check").header("x-original-method", method).header("x-original-uri", uri)
    }

    /// A token of the client `billing` with this scope.
    pub(super) fn token(&self, scope: &str) -> String {
        self.issuer.token(AUDIENCE).scope(scope).sign().unwrap()
    }

    /// Sends these bytes on a new connection, and returns everything until it is closed.
    pub(super) async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(std::time::Duration::from_secs(60), stream.read_to_end(&mut answer)).await;
        read.expect("it closes the connection").unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Asks it to stop.
    pub(super) fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until it has stopped.
    pub(super) async fn stopped(mut self) {
        self.stop();
        self.running.take().unwrap().await.unwrap();
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

/// The head of a request that an API received.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) method: String,
    pub(super) uri: String,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Received {
    /// All values of a header.
    pub(super) fn values(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }
}

/// An API that answers every request with 200, and keeps it.
#[derive(Debug, Clone)]
pub(super) struct Api {
    pub(super) url: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Api {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = Self { url: format!("http://{}", listener.local_addr().unwrap()), received: Arc::default() };
        let router = Router::new().fallback(keep).with_state(api.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        api
    }

    /// What it has received so far.
    pub(super) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

async fn keep(State(api): State<Api>, request: Request) -> impl IntoResponse {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1024 * 1024).await.unwrap_or_default();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let received = Received { method: parts.method.to_string(), uri: parts.uri.to_string(), headers: parts.headers, body };
    let answer = json!({ "method": received.method, "uri": received.uri, "body": received.body });
    api.received.lock().unwrap().push(received);
    ([("x-api", "1"), ("cache-control", "public, max-age=60")], Json(answer))
}
