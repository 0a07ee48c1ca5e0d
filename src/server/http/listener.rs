//! Connections: accepted up to a number, with a time limit on their headers, and brought to an end when the server stops.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::Request};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt;

use super::note::Source;

/// Time for the headers of a request to arrive.
const HEADER_TIME_LIMIT: Duration = Duration::from_secs(10);
/// Time for the first byte of a connection to arrive.
const FIRST_BYTE_TIME_LIMIT: Duration = Duration::from_secs(10);
/// How long a connection may send nothing, between two requests or amid one: longer than any request takes, since the other
/// side is silent while it waits for its answer. It also ends what hyper's own limits do not see, such as half a preface of
/// HTTP/2.
const READ_TIME_LIMIT: Duration = Duration::from_secs(35);
/// How long a connection may refuse to take what it is sent.
const WRITE_TIME_LIMIT: Duration = Duration::from_secs(10);
/// Bytes of the headers of a request at most; more is answered 431.
const HEADER_LIMIT: usize = 32 * 1024;
/// Connections that are open at once at most; one more waits to be accepted.
const CONNECTION_LIMIT: usize = 4096;
/// How long to wait when accepting failed, for want of file descriptors say, before trying again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` until `shutdown` comes; then lets the requests under way finish, for `drain` at most.
pub(crate) async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>, drain: Duration) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIME_LIMIT).max_buf_size(HEADER_LIMIT);
    builder.http2().timer(TokioTimer::new()).max_header_list_size(HEADER_LIMIT as u32);
    let builder = Arc::new(builder);
    let graceful = GracefulShutdown::new();
    let permits = Arc::new(Semaphore::new(CONNECTION_LIMIT));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = connection(Arc::clone(&builder), stream, peer, router.clone(), graceful.watcher());
                tokio::spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(drain_s = drain.as_secs(), "requests were still under way when their time to finish was over");
    }
}

async fn connection(
    builder: Arc<auto::Builder<TokioExecutor>>,
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    watcher: hyper_util::server::graceful::Watcher,
) {
    // Readiness may be announced where there is nothing to read; a byte cannot.
    if !matches!(tokio::time::timeout(FIRST_BYTE_TIME_LIMIT, stream.peek(&mut [0])).await, Ok(Ok(1))) {
        return;
    }
    // Answers are small: waiting to fill a packet only delays them. A socket that refuses serves all the same.
    let _ = stream.set_nodelay(true);
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Source(peer));
        router.clone().oneshot(request)
    });
    let mut stream = TimeoutStream::new(stream);
    stream.set_read_timeout(Some(READ_TIME_LIMIT));
    stream.set_write_timeout(Some(WRITE_TIME_LIMIT));
    let connection = builder.serve_connection(TokioIo::new(Box::pin(stream)), service).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        // The other side went away or spoke no HTTP: its affair, and no request of ours.
        tracing::debug!(error, source = %peer.ip(), "a connection ended early");
    }
}
