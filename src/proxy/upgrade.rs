//! Connections that change their protocol, such as WebSocket (RFC 9110 section 7.8).

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::{Body, HttpBody};
use http::{
    HeaderMap, HeaderName, HeaderValue, Version,
    header::{CONNECTION, CONTENT_LENGTH, UPGRADE},
    request, response,
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::OwnedSemaphorePermit,
};

use super::{
    error::ForwardError,
    fields,
    pace::{Pace, TimeLimits, Turn},
};

/// Protocols to which no connection is upgraded. Over them a caller could send further requests, which no rule would see.
const HTTP: [&str; 4] = ["h2c", "h2", "http", "tls"];

/// An upgrade that a caller asks for.
#[derive(Debug)]
pub(super) struct Asked {
    protocols: Vec<String>,
    field: HeaderValue,
    caller: OnUpgrade,
}

impl Asked {
    /// The upgrade that a request asks for. A server may ignore it; so it is ignored in a request with a body, because what belongs to the
    /// body and what to the new protocol would then depend on who reads it.
    pub(super) fn take(parts: &mut request::Parts, named: &[HeaderName], body: &Body) -> Option<Self> {
        let caller = parts.extensions.remove::<OnUpgrade>();
        if parts.version != Version::HTTP_11 || !named.contains(&UPGRADE) || !body.is_end_stream() {
            return None;
        }
        let protocols: Vec<String> = protocols(&parts.headers).filter(|protocol| is_tunnelled(protocol)).map(str::to_owned).collect();
        if protocols.is_empty() {
            return None;
        }
        let field = HeaderValue::try_from(protocols.join(", ")).ok()?;
        Some(Self { protocols, field, caller: caller? })
    }

    /// The `Upgrade` of the request to the upstream.
    pub(super) fn field(&self) -> HeaderValue {
        self.field.clone()
    }

    /// Connects the caller with the upstream, which has answered 101. Returns the head of the answer.
    pub(super) fn switch(
        self,
        mut head: response::Parts,
        limits: TimeLimits,
        under_way: OwnedSemaphorePermit,
    ) -> Result<response::Parts, ForwardError> {
        let upstream = head.extensions.remove::<OnUpgrade>();
        let agreed: Vec<&str> = protocols(&head.headers).collect();
        let asked_for = |protocol: &&str| self.protocols.iter().any(|asked| asked.eq_ignore_ascii_case(protocol));
        let (false, true, Some(upstream)) = (agreed.is_empty(), agreed.iter().all(asked_for), upstream) else {
            return Err(unexpected());
        };
        let agreed = HeaderValue::try_from(agreed.join(", ")).map_err(|_| unexpected())?;
        let named = fields::named_by_upstream(&head.headers);
        fields::remove_hop_by_hop(&mut head.headers, &named);
        head.headers.remove(CONTENT_LENGTH);
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(UPGRADE, agreed);
        tokio::spawn(async move {
            carry(self.caller, upstream, limits).await;
            drop(under_way);
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

fn is_tunnelled(protocol: &str) -> bool {
    let name = protocol.split('/').next().unwrap_or_default();
    !HTTP.iter().any(|http| http.eq_ignore_ascii_case(name))
}

/// Carries bytes both ways, until both sides have ended or nothing has moved for the time limit.
async fn carry(caller: OnUpgrade, upstream: OnUpgrade, limits: TimeLimits) {
    // The caller's side changes once the answer has been sent.
    let Ok(Ok((caller, upstream))) = tokio::time::timeout(limits.answer, async { tokio::try_join!(caller, upstream) }).await else {
        tracing::debug!("a connection was not upgraded: one side closed it");
        return;
    };
    let pace = Arc::new(Pace::new(Turn::Upstream));
    let mut caller = Counted { stream: TokioIo::new(caller), pace: Arc::clone(&pace) };
    let mut upstream = TokioIo::new(upstream);
    tokio::select! {
        // An error means that one of the two has closed its side.
        _ = tokio::io::copy_bidirectional(&mut caller, &mut upstream) => {}
        () = pace.overdue(limits) => tracing::debug!("an upgraded connection is closed: nothing moved within the time limit"),
    }
}

/// A stream that records when bytes move.
struct Counted {
    stream: TokioIo<Upgraded>,
    pace: Arc<Pace>,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.pace.note(Turn::Upstream);
        }
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buffer);
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.pace.note(Turn::Upstream);
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
