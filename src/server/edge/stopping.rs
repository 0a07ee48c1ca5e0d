use std::sync::Arc;

use tokio::sync::watch;

/// The progress of a shutdown. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stopping(Arc<watch::Sender<Phase>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Phase {
    #[default]
    Serving,
    /// Requests are served as before, but readiness reports "not ready".
    Leaving,
    /// No new connections are accepted, and each open one gets its last answer.
    Closing,
}

impl Stopping {
    pub(crate) fn has_begun(&self) -> bool {
        *self.0.borrow() >= Phase::Leaving
    }

    pub(crate) fn is_closing(&self) -> bool {
        *self.0.borrow() == Phase::Closing
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.0.send_replace(phase);
    }
}
