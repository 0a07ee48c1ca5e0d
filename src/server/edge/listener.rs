//! Accepts connections up to a limit, and ends them when the server stops.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use tokio::net::{TcpListener, TcpSocket};

use super::{
    activity::Order,
    budget::MemoryBudget,
    connection::Serving,
    limits::ConnectionLimits,
    places::{Entry, Places},
    proxies::TrustedProxies,
    socket::{Socket, Stream},
    stopping::{Phase, Stopping},
    tls::Tls,
};
use crate::server::meters::ConnectionMeters;

/// Pause after a failed accept, for example for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a server stops.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drain {
    /// How long it serves as before after the signal, while readiness reports "not ready", until load balancers send no more requests.
    pub(crate) delay: Duration,
    /// How long idle connections are kept after the delay. A request that arrives meanwhile is answered, with the notice that the answer is
    /// the last one. Closing them at once would cut off a request that is on its way.
    pub(crate) linger: Duration,
    /// Time limit for requests under way after the delay, including the linger.
    pub(crate) limit: Duration,
}

/// Grace period for half-open connections to complete the TCP handshake: a round trip or two.
const HANDSHAKE_GRACE: Duration = Duration::from_millis(200);

/// How long requests may take to end whose connection has been closed: it is a matter of milliseconds.
const CUT_OFF_LIMIT: Duration = Duration::from_secs(1);

/// A listening socket and the settings of its connections.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: Socket,
    pub(crate) tls: Option<Tls>,
    pub(crate) limits: ConnectionLimits,
    pub(crate) proxies: Arc<TrustedProxies>,
    pub(crate) meters: ConnectionMeters,
    pub(crate) budget: MemoryBudget,
}

impl Listener {
    /// Serves `router` until `shutdown` completes, then lets the requests under way finish.
    pub(crate) async fn serve(self, router: Router, shutdown: impl Future<Output = ()>, stopping: Stopping, drain: Drain) {
        let places = Places::new(self.limits, self.meters.clone());
        tokio::select! {
            () = places.clone().watch() => {}
            () = self.serve_in(places, router, shutdown, stopping, drain) => {}
        }
    }

    async fn serve_in(self, places: Places, router: Router, shutdown: impl Future<Output = ()>, stopping: Stopping, drain: Drain) {
        let serving = Arc::new(Serving::new(router, self.tls, self.limits.traffic));
        // Returns the connection if there is no place for it.
        let take_in = |stream: Stream, source: IpAddr| {
            let limited = !self.proxies.trust(source.to_canonical());
            let place = match places.enter(source, limited) {
                Entry::Place(place) => place,
                Entry::Full => return Some((stream, source)),
                Entry::SourceFull => {
                    self.meters.refused.inc();
                    return None;
                }
            };
            let (serving, share) = (Arc::clone(&serving), self.budget.share(source));
            tokio::spawn(async move {
                serving.connection(stream, source, &place.activity, share).await;
                drop(place);
            });
            None
        };
        let mut stop = Box::pin(async {
            shutdown.await;
            stopping.enter(Phase::Leaving);
            tokio::time::sleep(drain.delay).await;
            stopping.enter(Phase::Closing);
            if let Err(error) = self.socket.close_queue() {
                tracing::debug!(%error, "the port is closed at once; connections that are being established may be cut off");
            }
            tokio::time::sleep(HANDSHAKE_GRACE.min(drain.limit)).await;
        });
        let mut accepting = true;
        let mut held = None;
        loop {
            // Created before the places are checked, so that a connection that closes meanwhile is not missed.
            let left = places.left();
            if let Some((stream, source)) = held.take() {
                held = take_in(stream, source);
            }
            if held.is_some() {
                // A place becomes free when a connection closes, and can be made when one becomes idle.
                tokio::select! {
                    () = &mut stop => break,
                    () = left => {}
                    () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                }
                continue;
            }
            let accepted = tokio::select! {
                () = &mut stop => break,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok(connection) => {
                    accepting = true;
                    held = Some(connection);
                }
                Err(error) => {
                    // Logged once per series of failures, which may be long.
                    if std::mem::take(&mut accepting) {
                        tracing::error!(%error, "connections cannot be accepted; retrying");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(stop);
        if let Some((stream, source)) = held {
            // If there is no place for it, it is dropped, because the server stops.
            drop(take_in(stream, source));
        }
        if let Ok(mut rest) = self.socket.rest() {
            // Up to the first one for which there is no place.
            let _ = rest.find_map(|(stream, source)| take_in(stream, source));
        }
        let linger = drain.linger.min(drain.limit);
        if tokio::time::timeout(linger, places.empty()).await.is_ok() {
            return;
        }
        places.order_all(Order::Finish);
        if tokio::time::timeout(drain.limit - linger, places.empty()).await.is_err() {
            tracing::warn!(drain_s = drain.limit.as_secs(), "requests were still under way at the end of the drain time");
            // The process ends in any case.
            let _ = tokio::time::timeout(CUT_OFF_LIMIT, cut_off(&places)).await;
        }
    }
}

/// Closes every connection, and returns when their requests have ended, of which each writes its log line then.
async fn cut_off(places: &Places) {
    let closed = places.order_all(Order::Close);
    places.empty().await;
    // Over HTTP/2, a request has a task of its own, which ends after its connection.
    while closed.iter().any(|activity| !activity.is_idle()) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A port that is bound, but not listened on yet.
#[derive(Debug)]
pub(crate) struct Bound {
    socket: TcpSocket,
    addr: SocketAddr,
}

impl Bound {
    pub(crate) fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // Allows binding while old connections are in TIME_WAIT. (The option has another meaning on other systems.)
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        let addr = socket.local_addr()?;
        Ok(Self { socket, addr })
    }

    pub(crate) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Listens with a longer queue than the runtime's 128: a client that finds it full waits for a second without notice.
    pub(crate) fn listen(self) -> io::Result<TcpListener> {
        const QUEUE: u32 = 4096;
        self.socket.listen(QUEUE)
    }
}

#[cfg(test)]
mod tests {
    use axum::{
        body::Bytes,
        extract::Request,
        http::{StatusCode, header},
        response::IntoResponse,
        routing::get,
    };
    use futures_util::FutureExt;
    use hyper_util::rt::TokioIo;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        sync::oneshot,
    };

    use super::*;
    use crate::server::edge::{activity::Activity, traffic::Traffic};

    const LIMITS: ConnectionLimits = ConnectionLimits {
        total: 1,
        per_source: 8,
        idle: Duration::from_secs(75),
        age: Duration::from_secs(3600),
        traffic: Traffic::Messages,
    };
    /// More than the kernel buffers while the client reads nothing.
    const LARGE: usize = 32 * 1024 * 1024;

    fn router() -> Router {
        Router::new()
            .route("/large", get(|| async { Bytes::from_static(&[b'x'; LARGE]) }))
            .route("/small", get(|| async { "small" }))
            .route("/never", get(std::future::pending::<()>))
            .route("/echo", get(echo))
            .route("/flood", get(flood))
    }

    fn switches() -> impl IntoResponse {
        (StatusCode::SWITCHING_PROTOCOLS, [(header::CONNECTION, "upgrade"), (header::UPGRADE, "test")])
    }

    /// Upgrades the connection, and returns what arrives on it.
    async fn echo(mut request: Request) -> impl IntoResponse {
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let (mut received, mut sent) = tokio::io::split(TokioIo::new(upgraded.await.unwrap()));
            let _ = tokio::io::copy(&mut received, &mut sent).await;
        });
        switches()
    }

    /// Upgrades the connection, reads to the end, and writes until that fails.
    async fn flood(mut request: Request) -> impl IntoResponse {
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgraded.await.unwrap());
            while stream.read_u8().await.is_ok() {}
            while stream.write_all(&[b'x'; 64 * 1024]).await.is_ok() {}
        });
        switches()
    }

    async fn ask(addr: SocketAddr, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        stream
    }

    /// Returns when a request is under way.
    async fn begun(activity: &Activity) {
        while activity.is_idle() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn within_a_minute<T>(future: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(60), future).await.expect("it takes less than a minute")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn hd3_a_connection_that_makes_room_sends_its_whole_answer_and_shutdown_waits_for_it() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = socket.local_addr().unwrap();
        let meters = ConnectionMeters::default();
        let budget = MemoryBudget::new(LARGE, prometheus_client::metrics::counter::Counter::default());
        let listener =
            Listener { socket: Socket::Tcp(socket), tls: None, limits: LIMITS, proxies: Arc::default(), meters: meters.clone(), budget };
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async { drop(stopped.await) };
        let drain = Drain { delay: Duration::ZERO, linger: Duration::ZERO, limit: Duration::from_secs(60) };
        let serving = tokio::spawn(listener.serve(router(), shutdown, Stopping::default(), drain));

        let mut slow = ask(addr, "/large").await;
        assert_eq!(slow.read_u8().await.unwrap(), b'H');
        // The second connection gets the only place, once the first answer is in the buffers.
        let mut second = ask(addr, "/small").await;
        let mut begin = [0; 12];
        within_a_minute(second.read_exact(&mut begin)).await.unwrap();
        assert_eq!(&begin, b"HTTP/1.1 200");
        assert_eq!((meters.evicted.get(), meters.open.get()), (1, 2), "it is open while it sends");
        drop((stop, second));
        let mut answer = Vec::new();
        within_a_minute(slow.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.len() > LARGE, "{} bytes are missing", LARGE - answer.len());
        within_a_minute(serving).await.unwrap();
        assert_eq!(meters.open.get(), 0, "shutdown waits for every connection");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn hd3_a_connection_whose_request_has_stalled_is_closed_at_once_when_its_place_is_needed() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let places = Places::new(LIMITS, ConnectionMeters::default());
        let mut client = ask(socket.local_addr().unwrap(), "/never").await;
        let (stream, peer) = socket.accept().await.unwrap();
        let Entry::Place(place) = places.enter(peer.ip(), true) else { panic!("the only place is free") };
        let activity = Arc::clone(&place.activity);
        let budget = MemoryBudget::new(LARGE, prometheus_client::metrics::counter::Counter::default());
        tokio::spawn(async move {
            Serving::new(router(), None, Traffic::Messages)
                .connection(Stream::Tcp(stream), peer.ip(), &place.activity, budget.share(peer.ip()))
                .await;
            drop(place);
        });
        within_a_minute(begun(&activity)).await;
        let began = activity.changed.load(std::sync::atomic::Ordering::SeqCst);
        let other = "192.0.2.1".parse().unwrap();
        assert!(matches!(places.enter_at(began + 12_000, other, true), Entry::Full));
        let Entry::Place(entered) = places.enter_at(began + 12_001, other, true) else { panic!("it has stalled") };
        assert_eq!(within_a_minute(client.read(&mut [0; 1])).await.unwrap_or(0), 0, "closed without an answer");
        drop(entered);
        within_a_minute(places.empty()).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn gd2_an_upgraded_connection_has_its_place_until_it_ends_or_is_ordered_to() {
        let limits = ConnectionLimits { total: 8, traffic: Traffic::Streams { quiet: Duration::from_secs(60) }, ..LIMITS };
        let places = Places::new(limits, ConnectionMeters::default());
        let budget = MemoryBudget::new(LARGE, prometheus_client::metrics::counter::Counter::default());
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // A client that leaves; one that is ordered to; and one that has half-closed its connection and does not read.
        for (path, ordered) in [("/echo", false), ("/echo", true), ("/flood", true)] {
            let mut client = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: test\r\n\r\nping");
            client.write_all(request.as_bytes()).await.unwrap();
            let (stream, peer) = socket.accept().await.unwrap();
            let Entry::Place(place) = places.enter(peer.ip(), true) else { panic!("there are free places") };
            let (activity, share) = (Arc::clone(&place.activity), budget.share(peer.ip()));
            tokio::spawn(async move {
                Serving::new(router(), None, limits.traffic).connection(Stream::Tcp(stream), peer.ip(), &place.activity, share).await;
                drop(place);
            });
            let (mut received, end) = (Vec::new(), if path == "/echo" { "ping" } else { "\r\n\r\n" });
            while !received.ends_with(end.as_bytes()) {
                assert_ne!(within_a_minute(client.read_buf(&mut received)).await.unwrap(), 0, "{received:?}");
            }
            assert!(received.starts_with(b"HTTP/1.1 101 "));
            within_a_minute(begun(&activity)).await;
            assert!(places.empty().now_or_never().is_none());
            if path == "/flood" {
                client.shutdown().await.unwrap();
                within_a_minute(client.readable()).await.unwrap();
            }
            if ordered {
                activity.give_order(Order::Close);
                within_a_minute(places.empty()).await;
                within_a_minute(async { while client.read(&mut [0; 4096]).await.unwrap_or(0) > 0 {} }).await;
            } else {
                drop(client);
                within_a_minute(places.empty()).await;
            }
        }
    }
}
