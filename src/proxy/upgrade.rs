//! Connections that become WebSockets (RFC 9110 section 7.8, RFC 6455 section 4).

use std::{
    future, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, HttpBody};
use futures_util::future::BoxFuture;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Version,
    header::{CONNECTION, CONTENT_LENGTH, UPGRADE},
    request, response,
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{error::ForwardError, fields, limits::TimeLimits, slots::Slot};
use crate::clock::Stopwatch;

/// The one protocol to which a connection is upgraded. Over most others, such as `h2c`, a caller could send further requests, which no rule
/// would see.
pub(super) const WEBSOCKET: &str = "websocket";

/// A caller's request to upgrade its connection.
#[derive(Debug)]
pub(super) struct Asked(OnUpgrade);

impl Asked {
    /// The upgrade that a request asks for. A server may ignore it; so it is ignored in a request with a body, because what belongs to the
    /// body and what to the new protocol would then depend on who reads it.
    pub(super) fn take(parts: &mut request::Parts, named: &[HeaderName], body: &Body) -> Option<Self> {
        let caller = parts.extensions.remove::<OnUpgrade>()?;
        let asks = parts.method == Method::GET && parts.version == Version::HTTP_11 && named.contains(&UPGRADE) && body.is_end_stream();
        (asks && protocols(&parts.headers).any(is_websocket)).then_some(Self(caller))
    }

    /// Connects the caller with the upstream, which has answered 101, until one of them ends it, or `until` does. Returns the head of the
    /// answer.
    pub(super) fn switch(
        self,
        mut head: response::Parts,
        limits: TimeLimits,
        slot: Slot,
        until: Option<BoxFuture<'static, ()>>,
    ) -> Result<response::Parts, ForwardError> {
        let upstream = head.extensions.remove::<OnUpgrade>().ok_or_else(unexpected)?;
        let agreed: Vec<&str> = protocols(&head.headers).collect();
        if !matches!(agreed.as_slice(), [protocol] if is_websocket(protocol)) {
            return Err(unexpected());
        }
        let named = fields::named_by_upstream(&head.headers);
        fields::remove_hop_by_hop(&mut head.headers, &named);
        fields::remove_disguised(&mut head.headers);
        head.headers.remove(CONTENT_LENGTH);
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
        tokio::spawn(async move {
            let ended = async {
                match until {
                    Some(until) => until.await,
                    None => future::pending().await,
                }
            };
            tokio::select! {
                () = carry(self.0, upstream, limits) => {}
                () = ended => tracing::debug!("an upgraded connection is closed: the right to it has ended"),
            }
            drop(slot);
        });
        Ok(head)
    }
}

/// The error for a 101 that was not asked for.
pub(super) fn unexpected() -> ForwardError {
    ForwardError::BadAnswer("it switches to a protocol that was not asked for".into())
}

fn protocols(fields: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = fields.get_all(UPGRADE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|protocol| !protocol.is_empty())
}

fn is_websocket(protocol: &str) -> bool {
    protocol.eq_ignore_ascii_case(WEBSOCKET)
}

/// Carries bytes both ways, until both sides have ended or nothing has moved for the time limit.
async fn carry(caller: OnUpgrade, upstream: OnUpgrade, limits: TimeLimits) {
    // The caller's side changes once the answer has been sent.
    let Ok(Ok((caller, upstream))) = tokio::time::timeout(limits.answer, async { tokio::try_join!(caller, upstream) }).await else {
        tracing::debug!("a connection was not upgraded: one side closed it");
        return;
    };
    let moved = Arc::new(Moved { clock: Stopwatch::start(), last: AtomicU64::new(0) });
    let mut caller = Observed { stream: TokioIo::new(caller), moved: Arc::clone(&moved) };
    let mut upstream = TokioIo::new(upstream);
    tokio::select! {
        // An error means that one of the two has closed its side.
        _ = tokio::io::copy_bidirectional(&mut caller, &mut upstream) => {}
        () = moved.stopped(limits.idle) => tracing::debug!("an upgraded connection is closed: nothing moved within the time limit"),
    }
}

/// When bytes last moved, in milliseconds of the clock.
#[derive(Debug)]
struct Moved {
    clock: Stopwatch,
    last: AtomicU64,
}

impl Moved {
    fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn note(&self) {
        self.last.store(self.now(), Relaxed);
    }

    /// Returns when nothing has moved for the time limit.
    async fn stopped(&self, limit: Duration) {
        loop {
            let quiet = Duration::from_millis(self.now().saturating_sub(self.last.load(Relaxed)));
            let left = limit.saturating_sub(quiet);
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}

/// A stream that records when bytes move.
#[derive(Debug)]
struct Observed {
    stream: TokioIo<Upgraded>,
    moved: Arc<Moved>,
}

impl AsyncRead for Observed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.moved.note();
        }
        read
    }
}

impl AsyncWrite for Observed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buffer);
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.moved.note();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
