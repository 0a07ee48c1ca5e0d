//! Connections: accepted up to a number, with a time limit on their headers, and brought to an end when the server stops.

use std::{
    collections::HashMap,
    future::Future,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, extract::Request};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt;

use super::{Phase, Stopping, front::Peer, proxies::TrustedProxies, tls::Tls, unreadable};
use crate::server::meters::Meters;

/// Time for the headers of a request to arrive.
const HEADER_TIME_LIMIT: Duration = Duration::from_secs(10);
/// Time for the first byte of a connection to arrive.
const FIRST_BYTE_TIME_LIMIT: Duration = Duration::from_secs(10);
/// Time for a TLS handshake.
const HANDSHAKE_TIME_LIMIT: Duration = Duration::from_secs(10);
/// How long a connection may send nothing, between two requests or amid one: longer than any request takes, since the other
/// side is silent while it waits for its answer. It also ends what hyper's own limits do not see, such as half a preface of
/// HTTP/2.
const READ_TIME_LIMIT: Duration = Duration::from_secs(35);
/// How long a connection may refuse to take what it is sent.
const WRITE_TIME_LIMIT: Duration = Duration::from_secs(10);
/// Bytes of the headers of a request at most; more is answered 431.
const HEADER_LIMIT: usize = 32 * 1024;
/// Requests of one HTTP/2 connection at once.
const STREAM_LIMIT: u32 = 100;
/// How long to wait when accepting failed, for want of file descriptors say, before trying again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many connections are open at once at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionLimits {
    /// In all; one more waits to be accepted.
    pub(crate) total: usize,
    /// From one address, and in IPv6 from one /64, unless it is a trusted proxy; one more is closed.
    pub(crate) per_source: usize,
}

/// How a server stops.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drain {
    /// How long it goes on as before when it is told to stop, but for saying that it is not ready: until nobody sends it requests.
    pub(crate) delay: Duration,
    /// How long connections that wait for their next request are kept then: whoever sends one gets its answer, with the word that
    /// it is the last. Closing them at once would cut off a request that is on its way.
    pub(crate) linger: Duration,
    /// How long requests under way may go on then, the linger included.
    pub(crate) limit: Duration,
}

/// How long who is half connected gets to be so wholly: a round trip or two.
const GREETED: Duration = Duration::from_millis(200);

/// A place where connections come in, and how they are treated.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) tls: Option<Tls>,
    pub(crate) limits: ConnectionLimits,
    pub(crate) proxies: Arc<TrustedProxies>,
    pub(crate) meters: Arc<Meters>,
}

/// What every connection of a listener shares.
#[derive(Debug)]
struct Serving {
    builder: auto::Builder<TokioExecutor>,
    router: Router,
    tls: Option<Tls>,
    stopping: Stopping,
    linger: Duration,
}

impl Listener {
    /// Serves `router` until `shutdown` comes; then lets the requests under way finish.
    pub(crate) async fn serve(self, router: Router, shutdown: impl Future<Output = ()>, stopping: Stopping, drain: Drain) {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIME_LIMIT).max_buf_size(HEADER_LIMIT);
        builder.http2().timer(TokioTimer::new()).max_header_list_size(HEADER_LIMIT as u32).max_concurrent_streams(STREAM_LIMIT);
        let serving = Arc::new(Serving { builder, router, tls: self.tls, stopping: stopping.clone(), linger: drain.linger });
        let graceful = GracefulShutdown::new();
        let permits = Arc::new(Semaphore::new(self.limits.total));
        let sources = Sources::default();
        let take_up = |permit, stream: TcpStream, peer: SocketAddr| {
            let limit = if self.proxies.trust(peer.ip().to_canonical()) { usize::MAX } else { self.limits.per_source };
            let Some(place) = sources.enter(peer.ip(), limit) else {
                self.meters.connections_refused.inc();
                return;
            };
            let open = Open::count(&self.meters.connections);
            let (serving, watcher) = (Arc::clone(&serving), graceful.watcher());
            tokio::spawn(async move {
                serving.connection(stream, peer, watcher).await;
                drop((permit, place, open));
            });
        };
        let accept = async || {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, self.socket.accept().await)
        };
        let mut stop = Box::pin(async {
            shutdown.await;
            stopping.enter(Phase::Leaving);
            tokio::time::sleep(drain.delay).await;
            stopping.enter(Phase::Closing);
            if let Err(error) = greet_nobody_new(&self.socket) {
                tracing::debug!(%error, "the port is closed at once: who is just connecting may be cut off");
            }
            tokio::time::sleep(GREETED.min(drain.limit)).await;
        });
        let mut accepting = true;
        loop {
            let (permit, accepted) = tokio::select! {
                () = &mut stop => break,
                accepted = accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    accepting = true;
                    take_up(permit, stream, peer);
                }
                Err(error) => {
                    // Once per spell: it may last.
                    if std::mem::take(&mut accepting) {
                        tracing::error!(%error, "connections cannot be accepted; it is tried again and again");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(stop);
        // Who is in the kernel's queue believes to be connected. The runtime hears of them a moment later: the kernel is asked.
        if let Ok(socket) = self.socket.into_std() {
            while let Ok((stream, peer)) = socket.accept() {
                // Without a place there is none to wait for: the end has come.
                let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else { break };
                if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
                    take_up(Ok(permit), stream, peer);
                }
            }
        }
        let everyone = u32::try_from(self.limits.total).unwrap_or(u32::MAX);
        let linger = drain.linger.min(drain.limit);
        if tokio::time::timeout(linger, permits.acquire_many(everyone)).await.is_err()
            && tokio::time::timeout(drain.limit - linger, graceful.shutdown()).await.is_err()
        {
            tracing::warn!(drain_s = drain.limit.as_secs(), "requests were still under way when their time to finish was over");
        }
    }
}

/// Lets the kernel ignore who only begins to connect, as if the network had lost it: they try again a second later, are refused
/// then, and go elsewhere. Who is already half connected still gets in; closing the port now would cut them off.
#[cfg(target_os = "linux")]
fn greet_nobody_new(socket: &TcpListener) -> std::io::Result<()> {
    use socket2::SockFilter;

    // Classic BPF over the TCP header (RFC 9293 section 3.1): drop what has SYN and not ACK among its flags, in byte 13.
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const SYN_ACK: u32 = 0x12;
    const SYN: u32 = 0x02;
    socket2::SockRef::from(socket).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, 13),
        SockFilter::new(AND, 0, 0, SYN_ACK),
        SockFilter::new(JUMP_IF_EQUAL, 1, 0, SYN),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ])
}

#[cfg(not(target_os = "linux"))]
fn greet_nobody_new(_: &TcpListener) -> std::io::Result<()> {
    Ok(())
}

/// One connection more on a gauge, until it is dropped.
#[derive(Debug)]
struct Open(Gauge);

impl Open {
    fn count(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Serving {
    async fn connection(&self, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        // Readiness may be announced where there is nothing to read; a byte cannot. Who has sent none holds no stop up.
        let mut byte = [0];
        let first = tokio::select! {
            first = tokio::time::timeout(FIRST_BYTE_TIME_LIMIT, stream.peek(&mut byte)) => first,
            () = self.silent_too_long() => return,
        };
        if !matches!(first, Ok(Ok(1))) {
            return;
        }
        // Answers are small: waiting to fill a packet only delays them. A socket that refuses serves all the same.
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => self.requests(stream, peer, watcher).await,
            Some(tls) => match tokio::time::timeout(HANDSHAKE_TIME_LIMIT, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.requests(stream, peer, watcher).await,
                Ok(Err(error)) => tracing::debug!(%error, source = %peer.ip(), "a TLS handshake failed"),
                Err(_) => tracing::debug!(source = %peer.ip(), "a TLS handshake took too long"),
            },
        }
    }

    /// Returns when the server stops and whoever is on its way has had time to say something.
    async fn silent_too_long(&self) {
        self.stopping.closing().await;
        tokio::time::sleep(GREETED + self.linger).await;
    }

    async fn requests(&self, stream: impl AsyncRead + AsyncWrite + Send + 'static, peer: SocketAddr, watcher: Watcher) {
        let router = self.router.clone();
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer.ip()));
            router.clone().oneshot(request)
        });
        let mut stream = TimeoutStream::new(stream);
        stream.set_read_timeout(Some(READ_TIME_LIMIT));
        stream.set_write_timeout(Some(WRITE_TIME_LIMIT));
        let connection = self.builder.serve_connection(TokioIo::new(Box::pin(stream)), service).into_owned();
        if let Err(error) = watcher.watch(connection).await {
            // The other side went away or spoke no HTTP: its affair, and no request of ours.
            tracing::debug!(error, source = %peer.ip(), "a connection ended early");
            unreadable::log(&*error, peer.ip());
        }
    }
}

/// How many connections each source has.
#[derive(Debug, Clone, Default)]
struct Sources(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// The place of one connection, given back when it is dropped.
#[derive(Debug)]
struct Place {
    sources: Sources,
    source: IpAddr,
}

impl Sources {
    fn enter(&self, source: IpAddr, limit: usize) -> Option<Place> {
        let source = neighbourhood(source);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(source).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Place { sources: self.clone(), source })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.sources.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.source);
            }
        }
    }
}

/// Who has one IPv6 address has the whole /64.
fn neighbourhood(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_so_many_connections_and_no_more() {
        let sources = Sources::default();
        let (one, neighbour, other): (IpAddr, IpAddr, IpAddr) =
            ("2001:db8::1".parse().unwrap(), "2001:db8::ffff:1".parse().unwrap(), "2001:db8:0:1::1".parse().unwrap());
        let first = sources.enter(one, 2);
        let second = sources.enter(neighbour, 2);
        assert!(first.is_some() && second.is_some() && sources.enter(one, 2).is_none() && sources.enter(other, 2).is_some());
        drop(first);
        assert!(sources.enter(one, 2).is_some());
        drop(second);
        assert!(sources.0.lock().unwrap().is_empty(), "who is gone takes no memory");
    }
}
