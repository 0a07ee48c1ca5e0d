//! Connections to the upstream: TCP, TLS and the pool.

use std::{
    fs,
    future::Future,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_platform_verifier::Verifier;
use tower_service::Service;

use super::{
    body::Upload,
    error::BuildError,
    limits::TimeLimits,
    options::{Options, Protocol},
    origin::Origin,
    resolver::Resolver,
    stream::UpstreamStream,
};

/// Maximum size of the header of an answer in bytes, and of a connection's buffers. A larger header is answered with 502.
pub(super) const HEAD_LIMIT: usize = 64 * 1024;
/// How long an idle connection is kept. Node, uvicorn and others close theirs after 5 s: a request that is sent at that moment is lost.
const IDLE_TIME: Duration = Duration::from_secs(4);
/// The same with TLS, where a new connection costs more and upstreams keep them for a minute or more.
const IDLE_TIME_TLS: Duration = Duration::from_secs(30);
/// How long a connection is silent before TCP checks that the other side is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// Flow-control window of an HTTP/2 stream. Data beyond it stays with the upstream.
const STREAM_WINDOW: u32 = 64 * 1024;
/// Maximum of any flow-control window (RFC 9113 section 6.9.1).
const MAX_WINDOW: u32 = (1 << 31) - 1;
/// Maximum buffered part of a request on an HTTP/2 stream.
const SEND_BUFFER: usize = 64 * 1024;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// A pool of connections to the upstream. Clones share it.
pub(super) type Pool = Client<Connector, Upload>;

/// Connects to the upstream within a time limit.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    inner: HttpsConnector<Tcp>,
    limit: Duration,
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<UpstreamStream>>;
    type Error = BoxError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, upstream: Uri) -> Self::Future {
        let connected = tokio::time::timeout(self.limit, self.inner.call(upstream));
        Box::pin(async move { connected.await.map_err(BoxError::from)? })
    }
}

/// The same without TLS and without a time limit.
#[derive(Debug, Clone)]
struct Tcp {
    inner: HttpConnector<Resolver>,
    write_limit: Duration,
}

impl Service<Uri> for Tcp {
    type Response = TokioIo<UpstreamStream>;
    type Error = BoxError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(BoxError::from)
    }

    fn call(&mut self, upstream: Uri) -> Self::Future {
        let (connected, write_limit) = (self.inner.call(upstream), self.write_limit);
        Box::pin(async move {
            let stream = connected.await.map_err(BoxError::from)?;
            Ok(TokioIo::new(UpstreamStream::new(stream.into_inner(), write_limit)))
        })
    }
}

/// The settings of TLS, without a protocol. Reads the system's trust roots if the upstream needs them, which takes tens of milliseconds.
pub(super) fn tls(origin: &Origin, extra_ca: Option<&Path>) -> Result<ClientConfig, BuildError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    if !origin.is_https() {
        return Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth());
    }
    let extra = extra_ca.map(certificates).transpose()?.unwrap_or_default();
    let verifier = Verifier::new_with_extra_roots(extra, provider)?;
    // It is the system's verifier; rustls calls every one but its own dangerous.
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, BuildError> {
    let pem = fs::read(path).map_err(|source| BuildError::File { path: path.to_owned(), source })?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or_else(|| BuildError::NoPem { path: path.to_owned() })
}

/// A pool with these limits. `protocol` is that of `options`, or HTTP/1.1 for upgrades.
pub(super) fn pool(origin: &Origin, protocol: Protocol, options: &Options, limits: TimeLimits, mut tls: ClientConfig) -> Pool {
    let (http2, http1) = (b"h2".to_vec(), b"http/1.1".to_vec());
    tls.alpn_protocols = match protocol {
        Protocol::Http1(_) => vec![http1],
        Protocol::Negotiated => vec![http2, http1],
        Protocol::Http2 => vec![http2],
    };
    let mut tcp = HttpConnector::new_with_resolver(Resolver::new());
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEP_ALIVE));
    // It shares the time between the addresses of a name, so that a dead one does not take all of it.
    tcp.set_connect_timeout(Some(limits.connect));
    let tcp = Tcp { inner: tcp, write_limit: limits.idle };
    let connector = Connector { inner: HttpsConnector::from((tcp, tls)), limit: limits.connect };
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(if origin.is_https() { IDLE_TIME_TLS } else { IDLE_TIME })
        .pool_max_idle_per_host(options.idle_connections())
        .http1_max_buf_size(HEAD_LIMIT)
        .http2_only(protocol == Protocol::Http2)
        .http2_max_header_list_size(HEAD_LIMIT as u32)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(connection_window(options.concurrent))
        .http2_max_send_buf_size(SEND_BUFFER)
        // A dead connection is noticed before a second request is lost on it. gRPC servers close one on which they get more than two pings
        // while they send nothing; by then, requests have reached their time limit.
        .http2_keep_alive_interval(limits.idle / 2)
        .http2_keep_alive_timeout(limits.connect)
        // A request that meets a connection which the upstream has closed is sent on another one, if none of it has been sent yet.
        .retry_canceled_requests(true);
    builder.build(connector)
}

/// Flow-control window of an HTTP/2 connection, which all requests share: as many as may be under way can have a caller that does not read,
/// and the others still get their answers.
fn connection_window(requests: usize) -> u32 {
    u32::try_from(requests).map_or(MAX_WINDOW, |requests| requests.saturating_mul(STREAM_WINDOW)).clamp(STREAM_WINDOW, MAX_WINDOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gd2_the_window_of_a_connection_has_room_for_the_window_of_every_request() {
        let windows = [0, 1, 1024, 100_000, usize::MAX].map(connection_window);
        assert_eq!(windows, [STREAM_WINDOW, STREAM_WINDOW, 1024 * STREAM_WINDOW, MAX_WINDOW, MAX_WINDOW]);
    }
}
