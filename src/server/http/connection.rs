//! One connection: its first byte, its TLS handshake, its requests, and its end.

use std::{
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::{HeaderValue, Version, header},
};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt;

use super::{
    activity::{Activity, Order, UnderWay},
    budget::Share,
    front::Peer,
    tls::Tls,
    unreadable,
};

/// Time for the first byte of a connection to arrive.
const FIRST_BYTE_TIME_LIMIT: Duration = Duration::from_secs(10);
/// Time for a TLS handshake.
const HANDSHAKE_TIME_LIMIT: Duration = Duration::from_secs(10);
/// How long a connection may refuse to take what it is sent.
const WRITE_TIME_LIMIT: Duration = Duration::from_secs(10);
/// Bytes of the headers of a request at most; more is answered 431.
const HEADER_LIMIT: usize = 32 * 1024;
/// Requests of one HTTP/2 connection at once.
const STREAM_LIMIT: u32 = 32;
/// What one HTTP/2 stream may send before it is read. What is not read stays with the sender, and not in our memory.
const STREAM_WINDOW: u32 = 16 * 1024;
/// The same for a whole HTTP/2 connection: the least that the protocol has (RFC 9113 section 6.9.2).
const CONNECTION_WINDOW: u32 = 65_535;
/// What is kept of one HTTP/2 stream's answer until it is taken.
const SEND_BUFFER: usize = 64 * 1024;

/// What every connection of a listener shares.
#[derive(Debug)]
pub(super) struct Serving {
    builder: auto::Builder<TokioExecutor>,
    router: Router,
    tls: Option<Tls>,
}

impl Serving {
    pub(super) fn new(router: Router, tls: Option<Tls>) -> Self {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        // hyper would count the time for headers from the end of the request before; `places` counts from their first byte.
        builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(HEADER_LIMIT);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(HEADER_LIMIT as u32)
            .max_concurrent_streams(STREAM_LIMIT)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER);
        Self { builder, router, tls }
    }

    pub(super) async fn connection(&self, stream: TcpStream, peer: SocketAddr, activity: &Arc<Activity>, share: Arc<Share>) {
        // Readiness may be announced where there is nothing to read; a byte cannot. Who has sent none holds no stop up.
        let mut byte = [0];
        let first = tokio::select! {
            first = tokio::time::timeout(FIRST_BYTE_TIME_LIMIT, stream.peek(&mut byte)) => first,
            _ = activity.told() => return,
        };
        if !matches!(first, Ok(Ok(1))) {
            return;
        }
        // Answers are small: waiting to fill a packet only delays them. A socket that refuses serves all the same.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else {
            return self.requests(stream, peer, activity, share).await;
        };
        let mut handshake = pin!(tokio::time::timeout(HANDSHAKE_TIME_LIMIT, tls.accept(stream)));
        let shaken = loop {
            tokio::select! {
                shaken = &mut handshake => break shaken,
                order = activity.told() => if order > Order::Finish { return },
            }
        };
        match shaken {
            Ok(Ok(stream)) => self.requests(stream, peer, activity, share).await,
            Ok(Err(error)) => tracing::debug!(%error, source = %peer.ip(), "a TLS handshake failed"),
            Err(_) => tracing::debug!(source = %peer.ip(), "a TLS handshake took too long"),
        }
    }

    async fn requests(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + 'static,
        peer: SocketAddr,
        activity: &Arc<Activity>,
        share: Arc<Share>,
    ) {
        let (router, doing) = (self.router.clone(), Arc::clone(activity));
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            let version = request.version();
            let under_way = doing.begin(version >= Version::HTTP_2);
            request.extensions_mut().insert(Peer(peer.ip(), Arc::clone(&share)));
            let (answer, doing) = (router.clone().oneshot(request), Arc::clone(&doing));
            async move {
                let mut response = answer.await?;
                if doing.is_last() && version < Version::HTTP_2 {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, std::convert::Infallible>(response.map(|body| Answer { body, _under_way: under_way }))
            }
        });
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(WRITE_TIME_LIMIT));
        let stream = Heard { stream: Box::pin(stream), activity: Arc::clone(activity) };
        let mut connection = pin!(self.builder.serve_connection(TokioIo::new(stream), service));
        let mut order = activity.order();
        loop {
            match order {
                Order::Stay => {}
                // `places` closes it when this takes too long.
                Order::Finish | Order::MakeRoom => connection.as_mut().graceful_shutdown(),
                Order::Close => return,
            }
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        // The other side went away or spoke no HTTP: its affair, and no request of ours.
                        tracing::debug!(error, source = %peer.ip(), "a connection ended early");
                        unreadable::log(&*error, peer.ip());
                    }
                    return;
                }
                told = activity.told() => order = told,
            }
        }
    }
}

/// A stream that notes when bytes come.
struct Heard<S> {
    stream: Pin<Box<S>>,
    activity: Arc<Activity>,
}

impl<S: AsyncRead> AsyncRead for Heard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.stream.as_mut().poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.hear();
        }
        read
    }
}

impl<S: AsyncWrite> AsyncWrite for Heard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(cx, buffer)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffers: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(cx)
    }
}

/// The body of an answer: its request is under way until it has been sent.
struct Answer {
    body: Body,
    _under_way: UnderWay,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
