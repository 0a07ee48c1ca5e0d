//! The stream of a connection to the upstream.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_io_timeout::TimeoutStream;

/// A TCP stream on which no write waits for ever: the client flushes a connection before it closes it, also one whose request was cancelled
/// because the upstream does not read.
#[derive(Debug)]
pub(super) struct UpstreamStream {
    stream: Pin<Box<TimeoutStream<TcpStream>>>,
    /// Whether there is nothing more to read.
    read: bool,
    answered: Answered,
}

/// Whether the upstream has answered a request on a connection. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Answered(Arc<AtomicBool>);

impl Answered {
    pub(super) fn note(&self) {
        self.0.store(true, Relaxed);
    }

    pub(super) fn get(&self) -> bool {
        self.0.load(Relaxed)
    }
}

impl UpstreamStream {
    pub(super) fn new(stream: TcpStream, write_limit: Duration) -> Self {
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(write_limit));
        Self { stream: Box::pin(stream), read: false, answered: Answered::default() }
    }

    /// The outcome of writing `len` bytes. An upstream may answer before it has read the request, and close: a write then fails, although the
    /// answer has arrived. So what cannot be written is dropped, and reading decides: it finds an answer, or the end.
    fn outcome(&self, written: Poll<io::Result<usize>>, len: usize) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Err(error)) if !self.read && is_closed(&error) => Poll::Ready(Ok(len)),
            written => written,
        }
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

impl Connection for UpstreamStream {
    fn connected(&self) -> Connected {
        TimeoutStream::get_ref(&self.stream).connected().extra(self.answered.clone())
    }
}

impl AsyncRead for UpstreamStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.remaining();
        let read = self.stream.as_mut().poll_read(cx, buffer);
        self.read |= match &read {
            Poll::Ready(Ok(())) => before > 0 && buffer.remaining() == before,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        read
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.stream.as_mut().poll_write(cx, buffer);
        self.outcome(written, buffer.len())
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffers: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = self.stream.as_mut().poll_write_vectored(cx, buffers);
        self.outcome(written, buffers.iter().map(|buffer| buffer.len()).sum())
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
