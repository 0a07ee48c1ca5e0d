//! Where connections come in: accepted up to a number, and brought to an end when the server stops.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{
    Phase, Stopping,
    activity::ConnectionLimits,
    budget::MemoryBudget,
    connection::Serving,
    places::{Entry, Places},
    proxies::TrustedProxies,
    tls::Tls,
};
use crate::server::meters::Meters;

/// How long to wait when accepting failed, for want of file descriptors say, before trying again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
    pub(crate) budget: MemoryBudget,
}

impl Listener {
    /// Serves `router` until `shutdown` comes; then lets the requests under way finish.
    pub(crate) async fn serve(self, router: Router, shutdown: impl Future<Output = ()>, stopping: Stopping, drain: Drain) {
        let places = Places::new(self.limits, Arc::clone(&self.meters));
        tokio::select! {
            () = places.clone().watch() => {}
            () = self.serve_in(places, router, shutdown, stopping, drain) => {}
        }
    }

    async fn serve_in(self, places: Places, router: Router, shutdown: impl Future<Output = ()>, stopping: Stopping, drain: Drain) {
        let serving = Arc::new(Serving::new(router, self.tls));
        // Gives the connection back when all places are taken by connections with a request under way.
        let take_up = |stream: TcpStream, peer: SocketAddr| {
            let limited = !self.proxies.trust(peer.ip().to_canonical());
            let place = match places.enter(peer.ip(), limited) {
                Entry::Place(place) => place,
                Entry::Full => return Some((stream, peer)),
                Entry::SourceFull => {
                    self.meters.connections_refused.inc();
                    return None;
                }
            };
            let (serving, share) = (Arc::clone(&serving), self.budget.share(peer.ip()));
            tokio::spawn(async move {
                serving.connection(stream, peer, &place.activity, share).await;
                drop(place);
            });
            None
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
        let mut held = None;
        loop {
            // Before the look at the places, so that a connection that closes meanwhile is not missed.
            let left = places.left();
            if let Some((stream, peer)) = held.take() {
                held = take_up(stream, peer);
            }
            if held.is_some() {
                // A place is free when a connection has gone, and can be made when one becomes idle.
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
                    // Once per spell: it may last.
                    if std::mem::take(&mut accepting) {
                        tracing::error!(%error, "connections cannot be accepted; it is tried again and again");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(stop);
        if let Some((stream, peer)) = held {
            // Without a place there is none to wait for: the end has come.
            drop(take_up(stream, peer));
        }
        // Who is in the kernel's queue believes to be connected. The runtime hears of them a moment later: the kernel is asked.
        if let Ok(socket) = self.socket.into_std() {
            while let Ok((stream, peer)) = socket.accept() {
                let taken_up = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)).map(|stream| take_up(stream, peer));
                if matches!(taken_up, Ok(Some(_))) {
                    break;
                }
            }
        }
        let linger = drain.linger.min(drain.limit);
        if tokio::time::timeout(linger, places.empty()).await.is_ok() {
            return;
        }
        places.finish();
        if tokio::time::timeout(drain.limit - linger, places.empty()).await.is_err() {
            tracing::warn!(drain_s = drain.limit.as_secs(), "requests were still under way when their time to finish was over");
        }
    }
}

/// Lets the kernel ignore who only begins to connect, as if the network had lost it: they try again a second later, are refused
/// then, and go elsewhere. Who is already half connected still gets in; closing the port now would cut them off.
#[cfg(target_os = "linux")]
fn greet_nobody_new(socket: &TcpListener) -> io::Result<()> {
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
fn greet_nobody_new(_: &TcpListener) -> io::Result<()> {
    Ok(())
}

/// A port that is this process's, on which it does not listen yet.
#[derive(Debug)]
pub(crate) struct Bound {
    socket: TcpSocket,
    addr: SocketAddr,
}

impl Bound {
    pub(crate) fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A port that is free but for connections that ended a moment ago is free. (Elsewhere the option means something else.)
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        let addr = socket.local_addr()?;
        Ok(Self { socket, addr })
    }

    pub(crate) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// With a longer queue than the runtime's 128: whoever finds it full is silently kept waiting for a second.
    pub(crate) fn listen(self) -> io::Result<TcpListener> {
        const QUEUE: u32 = 4096;
        self.socket.listen(QUEUE)
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Bytes, routing::get};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::oneshot,
    };

    use super::*;
    use crate::server::http::activity::Activity;

    const LIMITS: ConnectionLimits =
        ConnectionLimits { total: 1, per_source: 8, idle: Duration::from_secs(75), age: Duration::from_secs(3600) };
    /// More than the kernel takes from the server while the other side reads nothing.
    const LARGE: usize = 32 * 1024 * 1024;

    fn router() -> Router {
        Router::new()
            .route("/large", get(|| async { Bytes::from_static(&[b'x'; LARGE]) }))
            .route("/small", get(|| async { "small" }))
            .route("/never", get(std::future::pending::<()>))
    }

    async fn ask(addr: SocketAddr, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        stream
    }

    async fn within_a_minute<T>(future: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(60), future).await.expect("it takes less than a minute")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn hd3_a_connection_that_makes_room_sends_its_answer_whole_and_a_stop_waits_for_it() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = socket.local_addr().unwrap();
        let meters = Arc::<Meters>::default();
        let budget = MemoryBudget::new(LARGE, prometheus_client::metrics::counter::Counter::default());
        let listener = Listener { socket, tls: None, limits: LIMITS, proxies: Arc::default(), meters: Arc::clone(&meters), budget };
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async { drop(stopped.await) };
        let drain = Drain { delay: Duration::ZERO, linger: Duration::ZERO, limit: Duration::from_secs(60) };
        let serving = tokio::spawn(listener.serve(router(), shutdown, Stopping::default(), drain));

        let mut slow = ask(addr, "/large").await;
        assert_eq!(slow.read_u8().await.unwrap(), b'H');
        // The only place is given to the second connection, once the first answer is in the buffers.
        let mut second = ask(addr, "/small").await;
        let mut begin = [0; 12];
        within_a_minute(second.read_exact(&mut begin)).await.unwrap();
        assert_eq!(&begin, b"HTTP/1.1 200");
        assert_eq!((meters.connections_evicted.get(), meters.open_connections()), (1, 2), "it is open as long as it sends");
        drop((stop, second));
        let mut answer = Vec::new();
        within_a_minute(slow.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.len() > LARGE, "{} bytes are missing", LARGE - answer.len());
        within_a_minute(serving).await.unwrap();
        assert_eq!(meters.open_connections(), 0, "whoever waits for the stop waits for each connection");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn hd3_a_connection_whose_request_has_stalled_is_closed_at_once_when_its_place_is_needed() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let places = Places::new(LIMITS, Arc::default());
        let mut client = ask(socket.local_addr().unwrap(), "/never").await;
        let (stream, peer) = socket.accept().await.unwrap();
        let Entry::Place(place) = places.enter(peer.ip(), true) else { panic!("the only place is free") };
        let activity = Arc::clone(&place.activity);
        let budget = MemoryBudget::new(LARGE, prometheus_client::metrics::counter::Counter::default());
        tokio::spawn(async move {
            Serving::new(router(), None).connection(stream, peer, &place.activity, budget.share(peer.ip())).await;
            drop(place);
        });
        let begun = async |activity: &Activity| {
            while activity.is_idle() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        within_a_minute(begun(&activity)).await;
        let began = activity.changed.load(std::sync::atomic::Ordering::SeqCst);
        let other = "192.0.2.1".parse().unwrap();
        assert!(matches!(places.enter_at(began + 12_000, other, true), Entry::Full));
        let Entry::Place(entered) = places.enter_at(began + 12_001, other, true) else { panic!("it has stalled") };
        assert_eq!(within_a_minute(client.read(&mut [0; 1])).await.unwrap_or(0), 0, "closed without an answer");
        drop(entered);
        within_a_minute(places.empty()).await;
    }
}
