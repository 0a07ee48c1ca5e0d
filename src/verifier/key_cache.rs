//! The keys of an issuer, kept fresh: read from memory without a lock, fetched ahead of their end by one task in the background,
//! used for a bounded time when the issuer is gone.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::{runtime::Handle, sync::watch, task::AbortHandle};
use tracing::{Instrument, Span, field::Empty};

use super::{
    Error,
    fetch::{Answer, Failure, Fetcher, Source},
    pace::{COOL_DOWN, Outcome, Pace, Turn},
    signature::KeySet,
};
use crate::clock::{SharedClock, Timestamp};

/// How often the clock on the wall is looked at while the next attempt is waited for.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Tokens that wait for an attempt at most: an issuer that is slow must not pile up what strangers send. One more is refused at once.
const MAX_WAITING: usize = 4096;
/// The number of no task.
const NOBODY: u64 = 0;

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
    /// The number of the task in the background.
    running: AtomicU64,
    /// How many there have been.
    tasks: AtomicU64,
    /// Tokens that wait for an attempt.
    waiting: AtomicUsize,
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
            running: AtomicU64::new(NOBODY),
            tasks: AtomicU64::new(NOBODY),
            waiting: AtomicUsize::new(0),
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

    /// Whether there are keys that are good at `now`.
    pub(super) fn is_usable(&self, now: Timestamp) -> bool {
        self.held().as_ref().is_some_and(|held| held.is_usable(now))
    }

    /// The answer when there are no keys that are good.
    pub(super) fn unavailable(&self, now: Timestamp) -> Error {
        Error::KeysUnavailable { retry_after: self.shared.pace.borrow().retry_after(now) }
    }

    /// Whether the last attempt brought no keys.
    pub(super) fn last_attempt_failed(&self) -> bool {
        self.shared.pace.borrow().failures() > 0
    }

    /// Asks for an attempt, if the issuer may be asked, and does not wait for it.
    pub(super) fn ask(&self) -> Turn {
        let now = self.shared.clock.now();
        let mut turn = Turn::CoolingDown;
        self.shared.pace.send_if_modified(|pace| {
            let was_wanted = pace.is_wanted();
            turn = pace.ask(now);
            pace.is_wanted() != was_wanted
        });
        // Asked first: a task that is just going away tells whoever asked before it was gone.
        self.keep();
        turn
    }

    /// Waits for an attempt to fetch the keys, if the issuer may be asked; returns at once when it may not, or when there is no
    /// runtime to wait in.
    pub(super) async fn catch_up(&self) {
        if Handle::try_current().is_err() {
            return;
        }
        let Some(_place) = Waiting::enter(&self.shared.waiting) else { return };
        // A second time when the task went away amid the first, with its runtime.
        for _ in 0..2 {
            let mut pace = self.shared.pace.subscribe();
            let Turn::Wait(attempts) = self.ask() else { return };
            // The task lets no attempt take longer. If it cannot run, since its runtime is not being driven, another takes its place.
            let patience = self.shared.clock.now() + self.shared.policy.fetch_timeout + Duration::from_secs(1);
            let abandoned = tokio::select! {
                over = pace.wait_for(|pace| pace.has_finished_more_than(attempts)) => over.is_ok_and(|pace| pace.was_abandoned()),
                () = self.shared.clock.sleep_until(patience) => {
                    self.shared.leave(self.shared.running.load(Ordering::Acquire));
                    return;
                }
            };
            if !abandoned {
                return;
            }
        }
    }

    /// Sees to it that keys are being kept, by a task of the runtime that this is called in. Costs one read of memory when they
    /// are. Outside a runtime it does nothing.
    pub(super) fn keep(&self) {
        if self.shared.running.load(Ordering::Relaxed) != NOBODY {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.shared.tasks.fetch_add(1, Ordering::Relaxed) + 1;
        if self.shared.running.compare_exchange(NOBODY, number, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            let present = Present { shared: Arc::clone(&self.shared), number };
            let before = task.replace(runtime.spawn(async move { present.shared.keep_fetching(present.number).await }).abort_handle());
            if let Some(before) = before {
                before.abort();
            }
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

/// A place among the tokens that wait.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(waiting: &'a AtomicUsize) -> Option<Self> {
        let place = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < MAX_WAITING).then_some(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// That the task is there. It may go at any moment, with its runtime: whoever waits for its attempt is told, and the next who
/// needs keys begins a new one.
struct Present {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Present {
    fn drop(&mut self) {
        self.shared.leave(self.number);
    }
}

impl Shared {
    /// The task of this number is gone, or does not count any more.
    fn leave(&self, number: u64) {
        self.pace.send_if_modified(|pace| {
            let counted = number != NOBODY && self.running.compare_exchange(number, NOBODY, Ordering::AcqRel, Ordering::Relaxed).is_ok();
            if counted && pace.abandon() {
                self.failures.fetch_add(1, Ordering::Relaxed);
                self.note_error("whoever fetched them was gone before they came".to_owned(), self.clock.now());
            }
            counted
        });
    }

    fn note_error(&self, why: String, now: Timestamp) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some((why, now));
    }

    async fn keep_fetching(&self, number: u64) {
        let mut fetcher = Fetcher::new(&self.source);
        loop {
            self.wait_for_turn().await;
            // Another may have taken its place while nobody drove it.
            if self.running.load(Ordering::Acquire) != number {
                return;
            }
            let span = tracing::info_span!("fetch_keys", issuer = %self.source.issuer, outcome = Empty);
            self.attempt(&mut fetcher).instrument(span).await;
        }
    }

    /// Waits until an attempt is planned or wanted. Both clocks count: the one that only goes forward, in which the wait is
    /// measured, and the one on the wall, which jumps when it is set or the machine has slept.
    async fn wait_for_turn(&self) {
        let mut pace = self.pace.subscribe();
        let next_at = pace.borrow().next_at();
        let mut left = next_at.since(self.clock.now());
        while !left.is_zero() && self.clock.now() < next_at {
            let part = left.min(LOOK_EVERY);
            tokio::select! {
                () = self.clock.sleep_until(self.clock.now() + part) => left -= part,
                _ = pace.wait_for(Pace::is_wanted) => return,
            }
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
        Span::current().record("outcome", if outcome.is_ok() { "fetched" } else { "failed" });
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
                self.note_error(failure.why, now);
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
        if !before.as_ref().is_some_and(|before| keys.is_same_as(&before.keys)) {
            tracing::info!(issuer = %self.source.issuer, kids = ?keys.kids().collect::<BTreeSet<_>>(), "the issuer's keys changed");
            for why in keys.skipped() {
                tracing::warn!(issuer = %self.source.issuer, "a key of the issuer is not used: {why}");
            }
        }
        self.held.store(Some(Arc::new(Held::new(keys, answer.ttl, now, &self.policy))));
        Ok(answer.ttl)
    }
}
