//! Requests to the server, as HTTP on the wire, and many of them at once.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_STANDARD};
use sealwright_benches::encode;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    task::JoinSet,
};

use crate::seeds::{client_id, client_secret};

const CONNECTIONS: u64 = 64;
/// How long a request waits that was answered 503.
const RETRY_AFTER: Duration = Duration::from_millis(20);

/// Requests of clients and logins. Clones share what signs them.
#[derive(Clone)]
pub struct Requests(Arc<Parts>);

struct Parts {
    /// The `Authorization` of the app to which all logins belong.
    app: String,
    /// The key of refresh tokens.
    key: hmac::Key,
}

impl Requests {
    pub fn new(app: &str, secret: &str, key: hmac::Key) -> Self {
        Self(Arc::new(Parts { app: basic(app, secret), key }))
    }

    /// For a token by client credentials.
    pub fn client(&self, number: u64) -> String {
        post("/oauth/token", &basic(&client_id(number), &client_secret(number)), "grant_type=client_credentials")
    }

    /// For a token by a form of the app.
    pub fn app(&self, form: &str) -> String {
        post("/oauth/token", &self.0.app, form)
    }

    /// For a token of a login.
    pub fn refresh(&self, login: &str, generation: i64) -> String {
        self.app(&format!("grant_type=refresh_token&refresh_token={}", self.refresh_token(login, generation)))
    }

    /// Revokes a login.
    pub fn revoke(&self, login: &str, generation: i64) -> String {
        post("/oauth/revoke", &self.0.app, &format!("token={}", self.refresh_token(login, generation)))
    }

    /// The refresh token of a login, as the server makes it.
    pub fn refresh_token(&self, login: &str, generation: i64) -> String {
        let signed = format!("{login}.{generation}");
        let mac = hmac::sign(&self.0.key, format!("refresh token {signed}").as_bytes());
        format!("swr_{signed}.{}", encode(mac))
    }
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{id}:{secret}")))
}

fn post(path: &str, authorization: &str, form: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: {authorization}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
        form.len()
    )
}

pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")
}

/// A connection that is kept.
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    pub async fn open(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.expect("a connection");
        stream.set_nodelay(true).expect("an option of TCP");
        Self(BufReader::new(stream))
    }

    /// Sends a request, and returns the status and the body of its answer.
    pub async fn send(&mut self, request: &str) -> (u16, Vec<u8>) {
        self.0.get_mut().write_all(request.as_bytes()).await.expect("sent");
        let (mut line, mut status, mut length) = (String::new(), 0, 0);
        loop {
            line.clear();
            let read = self.0.read_line(&mut line).await.expect("an answer");
            assert!(read > 0, "the server closed the connection");
            let header = line.trim_end();
            if header.is_empty() {
                break;
            }
            match header.split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse().expect("a length"),
                Some(_) => {}
                None => status = header.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status"),
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.expect("a body");
        (status, body)
    }
}

/// What a load took.
pub struct Loaded {
    requests: u64,
    took: Duration,
    /// The number of answers 503, after which the request was sent again.
    unavailable: u64,
}

impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        write!(f, "{seconds:.0} s, {:.0} per second, {} answers 503", self.requests as f64 / seconds, self.unavailable)
    }
}

/// Sends this many requests, as many at once as there are connections, until each has been answered 200.
pub async fn load(addr: SocketAddr, requests: u64, request: impl Fn(u64) -> String + Send + Sync + 'static) -> Loaded {
    let (begun, next, unavailable, request) = (Instant::now(), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)), Arc::new(request));
    let mut callers = JoinSet::new();
    for _ in 0..CONNECTIONS.min(requests) {
        let (next, unavailable, request) = (Arc::clone(&next), Arc::clone(&unavailable), Arc::clone(&request));
        callers.spawn(async move {
            let mut connection = Connection::open(addr).await;
            loop {
                let number = next.fetch_add(1, Relaxed);
                if number >= requests {
                    return;
                }
                let text = request(number);
                loop {
                    match connection.send(&text).await {
                        (200, _) => break,
                        (503, _) => unavailable.fetch_add(1, Relaxed),
                        (status, body) => panic!("request {number}: {status} {}", String::from_utf8_lossy(&body)),
                    };
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        });
    }
    callers.join_all().await;
    Loaded { requests, took: begun.elapsed(), unavailable: unavailable.load(Relaxed) }
}
