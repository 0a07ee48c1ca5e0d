use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};

type Bytes = std::collections::VecDeque<u8>;

/// A relay between a client and the issuer, whose URL is that of the issuer. It counts requests and simulates network faults.
pub(crate) struct Relay {
    pub(crate) url: String,
    shared: Arc<Shared>,
    listening: tokio::task::JoinHandle<()>,
}

/// What happens to a request.
#[derive(Debug, Clone, Default)]
pub(crate) enum Behaviour {
    /// It is relayed, and so is the answer.
    #[default]
    Normal,
    /// The connection ends without an answer.
    Down,
    /// It is relayed, and the answer is lost.
    LosesAnswers,
    /// It gets this answer: status, headers, body.
    Answers(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// It is relayed, and the answer is held until it is released.
    Slow,
    /// One byte of an answer, and then nothing.
    Stuck,
    /// No answer on an open connection.
    Silent,
}

struct Shared {
    target: Mutex<Option<SocketAddr>>,
    metadata: Mutex<Behaviour>,
    token: Mutex<Behaviour>,
    token_requests: AtomicU64,
    metadata_requests: AtomicU64,
    bodies: Mutex<Vec<String>>,
    released: tokio::sync::Notify,
    http: reqwest::Client,
}

impl Relay {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            target: Mutex::default(),
            metadata: Mutex::default(),
            token: Mutex::default(),
            token_requests: AtomicU64::new(0),
            metadata_requests: AtomicU64::new(0),
            bodies: Mutex::default(),
            released: tokio::sync::Notify::new(),
            http: reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap(),
        });
        let listening = tokio::spawn(listen(listener, Arc::clone(&shared)));
        Self { url, shared, listening }
    }

    /// Sets the target of requests.
    pub(crate) fn leads_to(&self, addr: SocketAddr) {
        *self.shared.target.lock().unwrap() = Some(addr);
    }

    /// Releases an answer that is held.
    pub(crate) fn release(&self) {
        self.shared.released.notify_one();
    }

    /// Sets what happens to token requests.
    pub(crate) fn token(&self, behaviour: Behaviour) {
        *self.shared.token.lock().unwrap() = behaviour;
    }

    /// Sets what happens to metadata requests.
    pub(crate) fn metadata(&self, behaviour: Behaviour) {
        *self.shared.metadata.lock().unwrap() = behaviour;
    }

    pub(crate) fn goes_down(&self) {
        self.token(Behaviour::Down);
        self.metadata(Behaviour::Down);
    }

    pub(crate) fn comes_back(&self) {
        self.token(Behaviour::Normal);
        self.metadata(Behaviour::Normal);
    }

    /// The number of token requests, also of failed ones.
    pub(crate) fn token_requests(&self) -> u64 {
        self.shared.token_requests.load(Ordering::SeqCst)
    }

    /// The number of metadata requests, also of failed ones.
    pub(crate) fn metadata_requests(&self) -> u64 {
        self.shared.metadata_requests.load(Ordering::SeqCst)
    }

    /// The forms that were sent to the token endpoint.
    pub(crate) fn forms(&self) -> Vec<String> {
        self.shared.bodies.lock().unwrap().clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(|request| pass(Arc::clone(&shared), request));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn pass(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Response<UnsyncBoxBody<Bytes, Infallible>>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let behaviour = match parts.uri.path() {
        "/oauth/token" => {
            shared.bodies.lock().unwrap().push(String::from_utf8_lossy(&body).into_owned());
            shared.token_requests.fetch_add(1, Ordering::SeqCst);
            shared.token.lock().unwrap().clone()
        }
        path if path.starts_with("/.well-known/") => {
            shared.metadata_requests.fetch_add(1, Ordering::SeqCst);
            shared.metadata.lock().unwrap().clone()
        }
        _ => Behaviour::Normal,
    };
    let gone = || io::Error::other("the connection ends here");
    match behaviour {
        Behaviour::Down => Err(gone()),
        Behaviour::Silent => std::future::pending().await,
        Behaviour::Stuck => Ok(Response::new(Stuck(true).boxed_unsync())),
        Behaviour::Answers(status, headers, body) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            Ok(response.body(whole(body)).unwrap())
        }
        Behaviour::Normal | Behaviour::LosesAnswers | Behaviour::Slow => {
            let target = shared.target.lock().unwrap().ok_or_else(gone)?;
            let url = format!("http://{target}{}", parts.uri);
            let sent = shared.http.request(parts.method, url).headers(parts.headers).body(body).send().await.map_err(io::Error::other)?;
            let (status, headers) = (sent.status(), sent.headers().clone());
            let body = sent.bytes().await.map_err(io::Error::other)?;
            if matches!(behaviour, Behaviour::LosesAnswers) {
                return Err(gone());
            }
            if matches!(behaviour, Behaviour::Slow) {
                shared.released.notified().await;
            }
            let mut response = Response::new(whole(body.to_vec()));
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            Ok(response)
        }
    }
}

fn whole(body: Vec<u8>) -> UnsyncBoxBody<Bytes, Infallible> {
    http_body_util::Full::new(Bytes::from(body)).boxed_unsync()
}

/// A body of one byte without an end.
struct Stuck(bool);

impl Body for Stuck {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match std::mem::take(&mut self.0) {
            true => Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'{']))))),
            false => Poll::Pending,
        }
    }
}
