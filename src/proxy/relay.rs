//! A request and its answer on their way, and the time limits for both.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use hyper::body::Incoming;
use tokio::sync::Notify;

use super::{
    error::ForwardError,
    limits::TimeLimits,
    slots::Slot,
    transfer::{End, Transfer, Turn},
};

/// A request and its answer.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) request: Transfer<Body>,
    pub(super) answer: Transfer<Incoming>,
    over: Notify,
}

impl Relay {
    pub(super) fn new(body: Body, slot: Slot) -> Self {
        let request = Transfer::new();
        request.set(body, slot);
        Self { request, answer: Transfer::new(), over: Notify::new() }
    }

    /// Returns when a time limit is exceeded before there is an answer, and says which one. It is called once there is a connection.
    pub(super) async fn late(&self, limits: TimeLimits) -> ForwardError {
        self.request.go_on();
        // A turn with a shorter limit may begin during a sleep.
        let step = limits.connect.min(limits.answer).min(limits.idle);
        loop {
            let (turn, quiet) = self.request.progress();
            let (limit, error) = match turn {
                Turn::Queued => (limits.connect, ForwardError::Full),
                Turn::Sender => (limits.idle, ForwardError::Stalled),
                Turn::Receiver => (limits.idle, ForwardError::TimedOut),
                Turn::Over(_) => (limits.answer, ForwardError::TimedOut),
            };
            let left = limit.saturating_sub(quiet);
            if left.is_zero() {
                return error;
            }
            tokio::time::sleep(left.min(step)).await;
        }
    }

    /// Ends both bodies when the receiver of one does not take it for the time limit, or nothing moves in either direction. It needs a task
    /// of its own: no one polls a body whose receiver does not read.
    pub(super) fn watch(self: Arc<Self>, limits: TimeLimits) {
        if self.is_over() {
            return;
        }
        tokio::spawn(async move {
            tokio::select! {
                () = self.over.notified() => {}
                () = self.stopped(limits.idle) => {
                    tracing::debug!("a request or its answer is cut off: nothing moved within the time limit");
                    self.request.end(End::Cut);
                    self.answer.end(End::Cut);
                }
            }
        });
    }

    async fn stopped(&self, limit: Duration) {
        loop {
            let [one, other] = [self.request.progress(), self.answer.progress()];
            // While one body moves, the other one may wait for its sender, but not for its receiver.
            let untaken = [one, other].into_iter().filter(|(turn, _)| *turn == Turn::Receiver).map(|(_, quiet)| quiet);
            let waited = untaken.fold(one.1.min(other.1), Duration::max);
            let left = limit.saturating_sub(waited);
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }

    fn is_over(&self) -> bool {
        self.request.is_over() && self.answer.is_over()
    }

    /// Ends the watch if both bodies are over.
    pub(super) fn note_end(&self) {
        if self.is_over() {
            self.over.notify_one();
        }
    }
}
