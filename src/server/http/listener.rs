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
            if let Some((stream, peer)) = held.take() {
                held = take_up(stream, peer);
            }
            if held.is_some() {
                // A place is free when a connection has gone, and can be made when one becomes idle.
                tokio::select! {
                    () = &mut stop => break,
                    () = places.left() => {}
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
