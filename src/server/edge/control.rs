//! Ends a stream that has left its connection by an upgrade.

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::Context,
};

use futures_util::task::AtomicWaker;
use tokio::sync::oneshot;

/// Ends a stream, wherever it is.
#[derive(Debug)]
pub(super) struct Control {
    shared: Arc<Shared>,
    dropped: oneshot::Sender<Infallible>,
}

/// The part of a stream through which it is ended.
#[derive(Debug)]
pub(super) struct Controlled {
    shared: Arc<Shared>,
    _dropped: oneshot::Receiver<Infallible>,
}

/// Its two halves may be in two tasks, both of which have to be woken.
#[derive(Debug, Default)]
struct Shared {
    ended: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

pub(super) fn control() -> (Control, Controlled) {
    let shared = Arc::<Shared>::default();
    let (sender, receiver) = oneshot::channel();
    (Control { shared: Arc::clone(&shared), dropped: sender }, Controlled { shared, _dropped: receiver })
}

impl Control {
    /// Lets every operation on the stream fail, including those that wait.
    pub(super) fn end(&self) {
        self.shared.ended.store(true, SeqCst);
        self.shared.reader.wake();
        self.shared.writer.wake();
    }

    pub(super) fn is_dropped(&self) -> bool {
        self.dropped.is_closed()
    }

    /// Returns when the stream has been dropped.
    pub(super) async fn dropped(&mut self) {
        self.dropped.closed().await;
    }
}

impl Controlled {
    /// Fails if the stream has to end; otherwise wakes its reader when it has to.
    pub(super) fn check_reader(&self, cx: &Context<'_>) -> io::Result<()> {
        self.check(&self.shared.reader, cx)
    }

    /// The same for its writer.
    pub(super) fn check_writer(&self, cx: &Context<'_>) -> io::Result<()> {
        self.check(&self.shared.writer, cx)
    }

    fn check(&self, waker: &AtomicWaker, cx: &Context<'_>) -> io::Result<()> {
        waker.register(cx.waker());
        if self.shared.ended.load(SeqCst) { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}
