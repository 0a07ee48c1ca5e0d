//! The keys of an issuer, kept fresh: read from memory without a lock, fetched ahead of their end by one task in the background,
//! used for a bounded time when the issuer is gone.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::{runtime::Handle, sync::watch, task::AbortHandle};

use super::{
    Error,
    fetch::{Answer, Failure, Fetcher, Source},
    pace::{COOL_DOWN, Outcome, Pace, Turn},
    signature::KeySet,
};
use crate::clock::{SharedClock, Timestamp};

/// How keys are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    /// For how long keys are used after they should have been fetched anew.
    pub(super) max_stale: Duration,
    /// How long an attempt may take in all.
    pub(super) fetch_timeout: Duration,
}

/// A handle on the keys. Fetching ends when it is dropped.
pub(super) struct KeyCache {
    shared: Arc<Shared>,
    task: Mutex<Option<AbortHandle>>,
}

struct Shared {
    source: Source,
    policy: Policy,
    clock: SharedClock,
    /// Swapped as a whole, so that no reader ever waits or sees half a set.
    held: ArcSwapOption<Held>,
    pace: watch::Sender<Pace>,
    /// Whether the task in the background is there.
    running: AtomicBool,
    last_error: Mutex<Option<(String, Timestamp)>>,
    fetches: AtomicU64,
    failures: AtomicU64,
}

/// Keys, and until when they are good.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) keys: Arc<KeySet>,
    pub(super) fetched_at: Timestamp,
    fresh_until: Timestamp,
    usable_until: Timestamp,
}

impl Held {
    fn new(keys: Arc<KeySet>, ttl: Duration, now: Timestamp, policy: &Policy) -> Self {
        // However short their life is said to be: until the issuer may be asked again, and has had its time to answer.
        let shortest = COOL_DOWN + policy.fetch_timeout;
        Self { keys, fetched_at: now, fresh_until: now + ttl, usable_until: now + ttl.saturating_add(policy.max_stale).max(shortest) }
    }

    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        now < self.fresh_until
    }

    pub(super) fn is_usable(&self, now: Timestamp) -> bool {
        now < self.usable_until
    }
}

impl fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCache").field("source", &self.shared.source).field("policy", &self.shared.policy).finish_non_exhaustive()
    }
}

impl Drop for KeyCache {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

impl KeyCache {
    /// No input or output: keys are fetched once somebody needs them.
    pub(super) fn new(source: Source, policy: Policy, clock: SharedClock) -> Self {
        let pace = watch::Sender::new(Pace::new(clock.now()));
        let shared = Shared {
            source,
            policy,
            clock,
            held: ArcSwapOption::empty(),
            pace,
            running: AtomicBool::new(false),
            last_error: Mutex::new(None),
            fetches: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared), task: Mutex::new(None) }
    }

    /// The keys in memory, whether or not they are still good. Takes no lock, and waits for nothing.
    pub(super) fn held(&self) -> arc_swap::Guard<Option<Arc<Held>>> {
        self.shared.held.load()
    }

    /// The answer when there are no keys that are good.
    pub(super) fn unavailable(&self, now: Timestamp) -> Error {
        Error::KeysUnavailable { retry_after: self.shared.pace.borrow().retry_after(now) }
    }

    /// Waits for an attempt to fetch the keys, if the issuer may be asked; returns at once when it may not, or when there is no
    /// runtime to wait in.
    pub(super) async fn catch_up(&self) {
        if Handle::try_current().is_err() {
            return;
        }
        let mut pace = self.shared.pace.subscribe();
        let now = self.shared.clock.now();
        let mut turn = Turn::CoolingDown;
        self.shared.pace.send_if_modified(|pace| {
            let was_wanted = pace.is_wanted();
            turn = pace.ask(now);
            pace.is_wanted() != was_wanted
        });
        let Turn::Wait(attempts) = turn else { return };
        // Asked first: a task that is just going away tells whoever asked before it was gone.
        self.keep();
        // The task lets no attempt take longer. If it cannot run (its runtime has stopped being driven), nobody waits for ever.
        let patience = self.shared.clock.sleep_until(now + self.shared.policy.fetch_timeout + Duration::from_secs(1));
        tokio::select! {
            _ = pace.wait_for(|pace| pace.has_finished_more_than(attempts)) => {}
            () = patience => {}
        }
    }

    /// Sees to it that keys are being kept, by a task of the runtime that this is called in. Costs one read of memory when they
    /// are. Outside a runtime it does nothing.
    pub(super) fn keep(&self) {
        if self.shared.running.load(Ordering::Relaxed) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.shared.running.swap(true, Ordering::AcqRel) {
            let present = Present(Arc::clone(&self.shared));
            *task = Some(runtime.spawn(async move { present.0.keep_fetching().await }).abort_handle());
        }
    }

    pub(super) fn last_error(&self) -> Option<(String, Timestamp)> {
        self.shared.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn is_fetching(&self) -> bool {
        self.shared.pace.borrow().is_in_flight()
    }

    /// Attempts that began, and those of them that failed.
    pub(super) fn attempts(&self) -> (u64, u64) {
        (self.shared.fetches.load(Ordering::Relaxed), self.shared.failures.load(Ordering::Relaxed))
    }
}

/// That the task is there. It may go at any moment, with its runtime: whoever waits for its attempt is told, and the next who
/// needs keys begins a new one.
struct Present(Arc<Shared>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::Release);
        self.0.pace.send_modify(Pace::abandon);
    }
}

impl Shared {
    async fn keep_fetching(&self) {
        let mut fetcher = Fetcher::new(&self.source);
        let mut pace = self.pace.subscribe();
        loop {
            let next_at = pace.borrow().next_at();
            tokio::select! {
                () = self.clock.sleep_until(next_at) => {}
                _ = pace.wait_for(Pace::is_wanted) => {}
            }
            self.attempt(&mut fetcher).await;
        }
    }

    async fn attempt(&self, fetcher: &mut Fetcher<'_>) {
        let now = self.clock.now();
        let mut forced = false;
        self.pace.send_modify(|pace| forced = pace.begin(now));
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let timeout = self.policy.fetch_timeout;
        let answer = tokio::select! {
            answer = fetcher.fetch(forced, now) => answer,
            () = self.clock.sleep_until(now + timeout) => {
                Err(Failure::unreachable(format_args!("no whole answer within {} s", timeout.as_secs_f32())))
            }
        };
        let now = self.clock.now();
        let outcome = answer.and_then(|answer| self.hold(answer, now));
        match outcome {
            Ok(ttl) => {
                let failures = self.pace.borrow().failures();
                if failures > 0 {
                    tracing::info!(issuer = %self.source.issuer, failures, "the issuer's keys are fetched again");
                }
                *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = None;
                self.pace.send_modify(|pace| pace.end(now, Outcome::Fetched(ttl)));
            }
            Err(failure) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(issuer = %self.source.issuer, error = failure.why, "the issuer's keys were not fetched");
                *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some((failure.why, now));
                self.pace.send_modify(|pace| pace.end(now, failure.outcome));
            }
        }
    }

    /// Takes an answer in place of what is held: a key that the issuer withdrew is gone.
    fn hold(&self, answer: Answer, now: Timestamp) -> Result<Duration, Failure> {
        let before = self.held.load_full();
        let keys = match (answer.keys, &before) {
            (Some(keys), _) => Arc::new(keys),
            (None, Some(before)) => Arc::clone(&before.keys),
            // A task that began anew sends no tag, so this is an issuer that says "unchanged" to nobody.
            (None, None) => return Err(Failure::unreachable("it answers 304 to who holds nothing")),
        };
        let names = |keys: &KeySet| keys.kids().map(str::to_owned).collect::<BTreeSet<_>>();
        let known = before.as_ref().map(|before| (names(&before.keys), before.keys.skipped()));
        if known != Some((names(&keys), keys.skipped())) {
            tracing::info!(issuer = %self.source.issuer, kids = ?names(&keys), "the issuer's keys changed");
            for why in keys.skipped() {
                tracing::warn!(issuer = %self.source.issuer, "a key of the issuer is not used: {why}");
            }
        }
        self.held.store(Some(Arc::new(Held::new(keys, answer.ttl, now, &self.policy))));
        Ok(answer.ttl)
    }
}
