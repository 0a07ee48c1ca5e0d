//! `sealwright attach` between an app and an API: over real sockets, with the running server as the issuer, and a relay before that.

mod limits;
mod outages;
mod process;
mod refusals;
mod requests;
mod retries;
mod settings;

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt;
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use reqwest::{Method, RequestBuilder};
use sealwright::{
    attach::{Attach, Config},
    clock::ManualClock,
    server::config::Sources,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::support::{Backend, Credential, Relay, TestApp, wait_until, write_private};

/// The issuer behind a relay, the client `shop`, and the clock of the process between the app and the API.
struct World {
    app: TestApp,
    relay: Relay,
    shop: Credential,
    clock: ManualClock,
    /// An HTTP client like that of an app: it follows no redirect, and uses no proxy.
    http: reqwest::Client,
}

impl World {
    async fn begin(backend: Backend) -> Self {
        let relay = Relay::start().await;
        let (app, shop) = TestApp::behind(backend, &relay).await;
        let clock = ManualClock::at(app.now());
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
        Self { app, relay, shop, clock, http }
    }

    /// The file of a secret of `shop`.
    fn secret_file(&self, name: &str, secret: &str) -> String {
        let path = self.app.database.folder().join(name);
        write_private(&path, secret);
        path.display().to_string()
    }

    /// Starts the process with these routes.
    async fn attach(&self, to: &str) -> Running {
        self.attach_with(&[("to", to)]).await
    }

    /// Starts the process with these settings, besides those of its client.
    async fn attach_with(&self, settings: &[(&str, &str)]) -> Running {
        let secret_file = self.secret_file("secret", &self.shop.secret);
        let own = [
            ("listen", "127.0.0.1:0"),
            ("management_listen", "127.0.0.1:0"),
            ("issuer", self.relay.url.as_str()),
            ("client", "shop"),
            ("secret_file", secret_file.as_str()),
            ("drain_linger", "0s"),
        ];
        let has = |name: &str| settings.iter().any(|(other, _)| *other == name);
        let own = own.iter().filter(|(name, _)| !has(name) && (*name != "secret_file" || !has("key_file")));
        let given = own.chain(settings);
        let flags = given.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let config = Config::load(Sources { flags, ..Sources::default() }).unwrap();
        let attach = Attach::build(config, Arc::new(self.clock.clone())).await.unwrap();
        let listens: Vec<String> = attach.listens().collect();
        let management = format!("http://{}", attach.management_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(attach.run_until(async move { drop(stopped.await) }));
        Running { url: format!("http://{}", listens[0]), listens, management, stop: Some(stop), running }
    }

    fn get(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.http.get(url.as_ref())
    }

    /// Advances the time of the process and of the issuer.
    async fn pass(&self, seconds: u64) {
        self.app.pass(Duration::from_secs(seconds)).await;
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Waits until this many token requests have arrived at the issuer.
    async fn asked(&self, times: u64) {
        wait_until(|| self.relay.token_requests() >= times).await;
    }

    /// Sends requests until one carries another token than `first`, and returns that.
    async fn other_token(&self, attach: &Running, api: &Api, first: &str) -> String {
        for _ in 0..3000 {
            self.get(&attach.url).send().await.unwrap();
            let token = api.only().token();
            if token != first {
                return token;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the token stays the same");
    }

    /// Waits until the process, which has one token, does not fetch it.
    async fn settles(&self) {
        wait_until(|| self.clock.sleepers().contains(&"between fetches")).await;
    }

    /// Moves the time of the process until it is ready.
    async fn becomes_ready(&self, attach: &Running) {
        for _ in 0..300 {
            if attach.readiness(self).await.0 == 200 {
                return;
            }
            self.settles().await;
            self.clock.advance(Duration::from_secs(1));
        }
        panic!("it does not become ready: {:?}", attach.readiness(self).await);
    }
}

/// The running process.
struct Running {
    /// The URL of its first listener.
    url: String,
    listens: Vec<String>,
    management: String,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

impl Running {
    /// Whether it is ready, and why not.
    async fn readiness(&self, world: &World) -> (u16, String) {
        let answer = world.get(format!("{}/health/ready", self.management)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// A metric by its name and labels.
    async fn metric(&self, world: &World, name: &str) -> Option<u64> {
        let text = world.get(format!("{}/metrics", self.management)).send().await.unwrap().text().await.unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map(|value| value.parse().unwrap())
    }
}

/// A request that an API has received.
#[derive(Debug, Clone)]
struct Seen {
    method: Method,
    target: String,
    headers: HeaderMap,
    body: String,
}

impl Seen {
    /// Its token.
    #[track_caller]
    fn token(&self) -> String {
        let mut values = self.headers.get_all(header::AUTHORIZATION).iter();
        let value = values.next().unwrap_or_else(|| panic!("there is no token: {self:?}")).to_str().unwrap();
        assert!(values.next().is_none(), "there is one Authorization: {self:?}");
        value.strip_prefix("Bearer ").unwrap().to_owned()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// An API with prepared answers, which records its requests.
#[derive(Clone)]
struct Api {
    origin: String,
    /// The next answers; 200 when there is none left.
    next: Arc<Mutex<Vec<Response>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Api {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let api = Self { origin, next: Arc::default(), seen: Arc::default() };
        let router = Router::new().fallback(Self::answer).with_state(api.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        api
    }

    async fn answer(State(api): State<Self>, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_or_else(|_| Vec::new(), |body| body.to_bytes().to_vec());
        let seen = Seen {
            method: parts.method,
            target: parts.uri.to_string(),
            headers: parts.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        };
        api.seen.lock().unwrap().push(seen);
        let mut next = api.next.lock().unwrap();
        if next.is_empty() { ([("x-of-api", "1")], "fine").into_response() } else { next.remove(0) }
    }

    fn answers(&self, answers: impl IntoIterator<Item = Response>) {
        *self.next.lock().unwrap() = answers.into_iter().collect();
    }

    /// The requests since the last call.
    fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// The only request since the last call.
    #[track_caller]
    fn only(&self) -> Seen {
        let mut seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.remove(0)
    }
}

/// The origin of an API with these routes.
async fn api_with(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    origin
}

/// Upgrades the connection of a request with a token, and returns what arrives on it.
async fn echo(mut request: Request) -> Response {
    let bearer = request.headers().get(header::AUTHORIZATION).is_some_and(|value| value.to_str().unwrap().starts_with("Bearer eyJ"));
    if !bearer || request.headers().get(header::UPGRADE).is_none_or(|protocol| protocol != "websocket") {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let (mut received, mut sent) = tokio::io::split(TokioIo::new(upgraded.await.unwrap()));
        let _ = tokio::io::copy(&mut received, &mut sent).await;
    });
    (StatusCode::SWITCHING_PROTOCOLS, [(header::CONNECTION, "upgrade"), (header::UPGRADE, "websocket")]).into_response()
}

/// Asks [`echo`] for an upgrade, and sends two messages.
async fn upgrades(addr: &str, path: &str) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    while !received.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0, "{}", String::from_utf8_lossy(&received));
    }
    let head = String::from_utf8(received).unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 101 ") && head.contains("upgrade: websocket") && head.contains("connection: upgrade"), "{head}");
    for message in [b"ping", b"pong"] {
        stream.write_all(message).await.unwrap();
        let mut echoed = [0; 4];
        stream.read_exact(&mut echoed).await.unwrap();
        assert_eq!(&echoed, message);
    }
}

fn unauthorized(challenge: Option<&str>) -> Response {
    let mut response = StatusCode::UNAUTHORIZED.into_response();
    if let Some(challenge) = challenge {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge.parse().unwrap());
    }
    response
}

const INVALID_TOKEN: &str = "Bearer error=\"invalid_token\"";

/// Sends a request, and returns its status and the problem that its body describes.
async fn problem(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json", "{answer:?}");
    assert!(answer.headers().keys().all(|name| !name.as_str().starts_with("access-control-")), "{answer:?}");
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let problem: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!((problem["status"].as_u64(), problem["request_id"].as_str()), (Some(u64::from(status)), Some(id.as_str())), "{problem}");
    (status, problem)
}

/// A body that arrives as the test sends it.
struct Pieces(mpsc::Receiver<Bytes>);

impl Pieces {
    fn new() -> (mpsc::Sender<Bytes>, Self) {
        let (sender, receiver) = mpsc::channel(4);
        (sender, Self(receiver))
    }
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// Sends these bytes to a listener, and returns all that it answers until it closes the connection.
async fn raw(addr: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
