//! Time limits of a request that is forwarded: they end a wait, never a transfer that makes progress.

use std::{
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::Sleep;

use crate::clock::Stopwatch;

/// How long a forwarder waits for each side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeLimits {
    /// For a connection to the upstream: its name, TCP and TLS.
    pub(crate) connect: Duration,
    /// For the head of the answer, from the end of the request.
    pub(crate) answer: Duration,
    /// For the next piece of a body, and in an upgraded connection, while nothing moves in the other direction either.
    pub(crate) idle: Duration,
}

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Turn {
    /// The next piece of its body, from the caller.
    Caller,
    /// The upstream, which has to read.
    Upstream,
    /// The answer. The body has been read to its end.
    Answer,
    /// Nothing: its caller was silent for too long.
    Stalled,
    /// Nothing: its body ended early.
    Broken,
}

const TURNS: [Turn; 5] = [Turn::Caller, Turn::Upstream, Turn::Answer, Turn::Stalled, Turn::Broken];

/// The progress of a request and its answer.
#[derive(Debug)]
pub(super) struct Pace {
    clock: Stopwatch,
    /// When something last moved, in milliseconds of `clock`, times eight; and the turn.
    state: AtomicU64,
}

impl Pace {
    pub(super) fn new(turn: Turn) -> Self {
        Self { clock: Stopwatch::start(), state: AtomicU64::new(turn as u64) }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX >> 3)
    }

    /// Records that something has moved, and what comes next.
    pub(super) fn note(&self, next: Turn) {
        self.state.store((self.now() << 3) | next as u64, SeqCst);
    }

    /// Records that something has moved, and that it is still the same turn.
    pub(super) fn go_on(&self) {
        self.note(self.turn());
    }

    pub(super) fn turn(&self) -> Turn {
        usize::try_from(self.state.load(SeqCst) & 7).ok().and_then(|turn| TURNS.get(turn).copied()).unwrap_or(Turn::Broken)
    }

    /// The time since something moved.
    pub(super) fn quiet(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.state.load(SeqCst) >> 3))
    }

    /// Returns when the upstream has exceeded a time limit.
    pub(super) async fn overdue(&self, limits: TimeLimits) {
        // A turn with a shorter limit may begin during a sleep.
        let step = limits.answer.min(limits.idle);
        loop {
            let left = match self.turn() {
                // The body ends the wait for its sender itself.
                Turn::Caller | Turn::Stalled | Turn::Broken => step,
                Turn::Upstream => limits.idle.saturating_sub(self.quiet()),
                Turn::Answer => limits.answer.saturating_sub(self.quiet()),
            };
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(step)).await;
        }
    }
}

/// Ends the wait for a piece of a body.
#[derive(Debug)]
pub(super) struct IdleTimer {
    limit: Duration,
    waits: bool,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl IdleTimer {
    pub(super) const fn new(limit: Duration) -> Self {
        Self { limit, waits: false, sleep: None }
    }

    /// The piece has arrived.
    pub(super) fn rest(&mut self) {
        self.waits = false;
    }

    /// The piece has not arrived. Ready when nothing has moved for the time limit since it was first asked for.
    pub(super) fn poll_wait(&mut self, pace: &Pace, turn: Turn, cx: &mut Context<'_>) -> Poll<()> {
        if !self.waits {
            self.waits = true;
            // Until now, the other side was busy with the previous piece.
            pace.note(turn);
        }
        let limit = self.limit;
        loop {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
            ready!(sleep.as_mut().poll(cx));
            let quiet = pace.quiet();
            if quiet >= limit {
                return Poll::Ready(());
            }
            self.sleep = Some(Box::pin(tokio::time::sleep(limit - quiet)));
        }
    }
}
