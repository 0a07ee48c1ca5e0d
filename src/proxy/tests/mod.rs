//! The forwarder between a caller and an upstream, over real sockets. Where the bytes matter, both ends are written by hand.

mod failures;
mod http2;
mod messages;
mod streams;
mod upgrades;

use std::{convert::Infallible, future::Future, net::SocketAddr, time::Duration};

use axum::body::Body;
use futures_util::FutureExt;
use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};

use super::{Forwarder, Options, Origin, Terms, TimeLimits};

/// Time limits that no test reaches.
const LONG: TimeLimits = TimeLimits { connect: Duration::from_secs(60), answer: Duration::from_secs(60), idle: Duration::from_secs(60) };
/// A time limit that a test waits for.
const SHORT: Duration = Duration::from_millis(100);

async fn within_a_minute<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it takes less than a minute")
}

/// An upstream, and a forwarder to it behind a server.
struct Between {
    upstream: TcpListener,
    forwarder: Forwarder,
    server: SocketAddr,
}

impl Between {
    async fn new(limits: TimeLimits, options: Options) -> Self {
        // A body soon fills the buffers of the kernel, which would grow otherwise.
        const BUFFER: u32 = 256 * 1024;
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(BUFFER).unwrap();
        socket.set_send_buffer_size(BUFFER).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let upstream = socket.listen(64).unwrap();
        let forwarder = Forwarder::new(origin(&upstream), limits, options).unwrap();
        let server = serve(forwarder.clone()).await;
        Self { upstream, forwarder, server }
    }

    async fn call(&self) -> Wire {
        Wire::new(TcpStream::connect(self.server).await.unwrap())
    }

    /// Sends a request on a connection of its own.
    async fn ask(&self, request: &str) -> Wire {
        let mut caller = self.call().await;
        caller.send(request).await;
        caller
    }

    /// The next connection to the upstream.
    async fn accept(&self) -> Wire {
        Wire::new(within_a_minute(self.upstream.accept()).await.unwrap().0)
    }

    /// Whether the upstream has got no further connection.
    fn is_left_alone(&self) -> bool {
        self.upstream.accept().now_or_never().is_none()
    }
}

fn origin(upstream: &TcpListener) -> Origin {
    format!("http://{}", upstream.local_addr().unwrap()).parse().unwrap()
}

/// Serves a forwarder. An error is answered with its status and its message.
async fn serve(forwarder: Forwarder) -> SocketAddr {
    serve_on(forwarder, Terms::default).await
}

async fn serve_on(forwarder: Forwarder, terms: impl Fn() -> Terms + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (forwarder, terms) = (forwarder.clone(), terms.clone());
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let (forwarder, terms) = (forwarder.clone(), terms());
                    async move { Ok::<_, Infallible>(answer(&forwarder, request, terms).await) }
                });
                let builder = auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
            });
        }
    });
    addr
}

async fn answer(forwarder: &Forwarder, request: Request<Incoming>, terms: Terms) -> Response<Body> {
    match forwarder.forward_on(request.map(Body::new), terms).await {
        Ok(answer) => answer,
        Err(error) => {
            let mut answer = Response::new(Body::from(error.to_string()));
            *answer.status_mut() = error.status();
            answer
        }
    }
}

/// A request as a server gets it over HTTP/1.1.
fn request(method: &str, body: Body) -> Request<Body> {
    Request::builder().method(method).uri("/").header("host", "x").body(body).unwrap()
}

/// One end of a connection.
struct Wire {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Wire {
    fn new(stream: TcpStream) -> Self {
        Self { stream, received: Vec::new() }
    }

    async fn send(&mut self, text: &str) {
        within_a_minute(self.stream.write_all(text.as_bytes())).await.unwrap();
    }

    /// What arrives up to `end`, including it.
    async fn receive(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.received.windows(end.len()).position(|window| window == end.as_bytes()) {
                let rest = self.received.split_off(at + end.len());
                return String::from_utf8(std::mem::replace(&mut self.received, rest)).unwrap();
            }
            let count = within_a_minute(self.stream.read_buf(&mut self.received)).await.unwrap();
            assert_ne!(count, 0, "{end:?} is missing after {:?}", String::from_utf8_lossy(&self.received));
        }
    }

    /// The head of a message, in lower case.
    async fn head(&mut self) -> String {
        self.receive("\r\n\r\n").await.to_lowercase()
    }

    /// What arrives before the other side closes the connection.
    async fn rest(&mut self) -> String {
        while !matches!(within_a_minute(self.stream.read_buf(&mut self.received)).await, Ok(0) | Err(_)) {}
        String::from_utf8(std::mem::take(&mut self.received)).unwrap()
    }
}
