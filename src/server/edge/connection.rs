//! A connection: first byte, TLS handshake, requests, perhaps an upgrade, close.

use std::{
    convert::Infallible,
    io,
    net::IpAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Bytes, HttpBody},
    extract::Request,
    http::{HeaderValue, StatusCode, Version, header},
};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulConnection},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt;

use super::{
    activity::{Activity, Order, UnderWay},
    budget::MemoryShare,
    control::{Control, Controlled, control},
    peer::Peer,
    socket::Stream,
    tls::Tls,
    traffic::Traffic,
    unreadable,
};

/// Time limit for the first byte of a connection.
const FIRST_BYTE_TIME_LIMIT: Duration = Duration::from_secs(10);
/// Time limit for a TLS handshake.
const HANDSHAKE_TIME_LIMIT: Duration = Duration::from_secs(10);
/// Maximum size of the headers of a request in bytes. Larger ones are answered with 431.
const HEADER_LIMIT: usize = 32 * 1024;
/// Maximum buffered part of an HTTP/2 stream's answer.
const SEND_BUFFER: usize = 64 * 1024;

/// The parts that all connections of a listener share.
#[derive(Debug)]
pub(super) struct Serving {
    builder: auto::Builder<TokioExecutor>,
    router: Router,
    tls: Option<Tls>,
    traffic: Traffic,
}

impl Serving {
    pub(super) fn new(router: Router, tls: Option<Tls>, traffic: Traffic) -> Self {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        // hyper would measure the time for headers from the end of the previous request; `activity` measures from their first byte.
        builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(HEADER_LIMIT);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(HEADER_LIMIT as u32)
            .max_concurrent_streams(traffic.stream_limit())
            .initial_stream_window_size(traffic.stream_window())
            .initial_connection_window_size(traffic.connection_window())
            .max_send_buf_size(SEND_BUFFER);
        Self { builder, router, tls, traffic }
    }

    pub(super) async fn connection(&self, stream: Stream, source: IpAddr, activity: &Arc<Activity>, share: Arc<MemoryShare>) {
        activity.note_served();
        // A connection without a byte does not delay a shutdown.
        let first = tokio::select! {
            first = tokio::time::timeout(FIRST_BYTE_TIME_LIMIT, stream.first_byte()) => first,
            _ = activity.new_order() => return,
        };
        if !matches!(first, Ok(Ok(true))) {
            return;
        }
        let mut peer = Peer { address: source, share, certificate: None, activity: Arc::clone(activity) };
        let stream = match stream {
            Stream::Tcp(stream) => stream,
            // What never leaves this machine needs no TLS.
            #[cfg(unix)]
            Stream::Unix(stream) => return self.requests(stream, peer, activity).await,
        };
        // Answers are small, and waiting to fill a packet only delays them. A failure does not matter.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else {
            return self.requests(stream, peer, activity).await;
        };
        let mut handshake = pin!(tokio::time::timeout(HANDSHAKE_TIME_LIMIT, tls.accept(stream)));
        let accepted = loop {
            tokio::select! {
                accepted = &mut handshake => break accepted,
                order = activity.new_order() => if order > Order::Finish { return },
            }
        };
        match accepted {
            Ok(Ok(stream)) => {
                let certificates = stream.get_ref().1.peer_certificates();
                peer.certificate = certificates.and_then(|chain| chain.first()).map(|first| Arc::new(first.clone()));
                self.requests(stream, peer, activity).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, source = %peer.address, "a TLS handshake failed"),
            Err(_) => tracing::debug!(source = %peer.address, "a TLS handshake took too long"),
        }
    }

    async fn requests(&self, stream: impl AsyncRead + AsyncWrite + Send + 'static, peer: Peer, activity: &Arc<Activity>) {
        let (router, doing, address) = (self.router.clone(), Arc::clone(activity), peer.address);
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let version = request.version();
            let under_way = Arc::new(doing.begin(version >= Version::HTTP_2));
            let mut request = request.map(|body| CountedBody { body, under_way: Arc::clone(&under_way) });
            request.extensions_mut().insert(peer.clone());
            let (answer, doing) = (router.clone().oneshot(request), Arc::clone(&doing));
            async move {
                let mut response = answer.await?;
                under_way.note_progress();
                // After 101, the connection ends with the other protocol.
                let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
                if doing.is_last() && version < Version::HTTP_2 && !switches {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response.map(|body| CountedBody { body, under_way }))
            }
        });
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.traffic.write_limit()));
        let (control, controlled) = control();
        let controlled = self.traffic.streams().then_some(controlled);
        let stream = ObservedStream { stream: Box::pin(stream), activity: Arc::clone(activity), controlled };
        drive(self.builder.serve_connection_with_upgrades(TokioIo::new(stream), service), activity, address).await;
        outlive(control, activity).await;
    }
}

/// Serves a connection until it ends. Its stream is then closed, unless it has been upgraded.
async fn drive<C>(connection: C, activity: &Activity, source: IpAddr)
where
    C: GracefulConnection<Error = Box<dyn std::error::Error + Send + Sync>>,
{
    let mut connection = pin!(connection);
    let mut order = activity.order();
    loop {
        match order {
            Order::Stay => {}
            // `activity` orders to close it if this takes too long.
            Order::Finish | Order::MakeRoom => connection.as_mut().graceful_shutdown(),
            Order::Close => return,
        }
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    // The client disconnected or did not speak HTTP, so there is no request to log.
                    tracing::debug!(error, %source, "a connection ended early");
                    unreadable::log(&*error, source);
                }
                return;
            }
            new = activity.new_order() => order = new,
        }
    }
}

/// Keeps the place of a connection that has been upgraded until its stream is closed, and ends it if it has to.
async fn outlive(mut stream: Control, activity: &Arc<Activity>) {
    if stream.is_dropped() {
        return;
    }
    let _under_way = activity.upgrade();
    loop {
        tokio::select! {
            () = stream.dropped() => return,
            order = activity.new_order() => if order == Order::Close { stream.end() },
        }
    }
}

/// A stream that reports bytes to its `Activity`.
struct ObservedStream<S> {
    stream: Pin<Box<S>>,
    activity: Arc<Activity>,
    /// Only there if the stream may be upgraded, and so outlive its connection.
    controlled: Option<Controlled>,
}

impl<S> ObservedStream<S> {
    fn check_writer(&self, cx: &Context<'_>) -> io::Result<()> {
        self.controlled.as_ref().map_or(Ok(()), |controlled| controlled.check_writer(cx))
    }

    fn note_written(&self, written: &Poll<io::Result<usize>>) {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.activity.note_moved();
        }
    }
}

impl<S: AsyncRead> AsyncRead for ObservedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(controlled) = &self.controlled {
            controlled.check_reader(cx)?;
        }
        let before = buffer.filled().len();
        let read = self.stream.as_mut().poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.note_bytes();
        }
        read
    }
}

impl<S: AsyncWrite> AsyncWrite for ObservedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        self.check_writer(cx)?;
        let written = self.stream.as_mut().poll_write(cx, buffer);
        self.note_written(&written);
        written
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffers: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.check_writer(cx)?;
        let written = self.stream.as_mut().poll_write_vectored(cx, buffers);
        self.note_written(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_writer(cx)?;
        self.stream.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_writer(cx)?;
        self.stream.as_mut().poll_shutdown(cx)
    }
}

/// The body of a request or of its answer. The request is under way until both have been dropped.
struct CountedBody<B> {
    body: B,
    under_way: Arc<UnderWay>,
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for CountedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(polled, Poll::Ready(Some(Ok(_)))) {
            self.under_way.note_progress();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
