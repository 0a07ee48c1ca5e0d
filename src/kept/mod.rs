//! A value that an issuer gives for a time, such as its keys or a token: read from memory without a lock, fetched ahead of its end by
//! one task in the background, never by two at once, and kept while it is good when the issuer is gone.

mod held;
mod pace;
mod source;

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::{runtime::Handle, sync::watch, task::AbortHandle};
use tracing::{Instrument, Span};

pub(crate) use held::Held;
pub(crate) use pace::{Ahead, Manners, Outcome, Turn};
pub(crate) use source::{Failure, Fetched, Source};

use crate::clock::{SharedClock, Timestamp};
use pace::Pace;

/// How often the clock on the wall is looked at while the next attempt is waited for.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Attempts in a row that fail before a value that nobody uses is left to its end.
const UNUSED_ATTEMPTS: u32 = 5;
/// The number of no task.
const NOBODY: u64 = 0;

/// A handle on the value. Fetching ends when it is dropped.
pub(crate) struct Kept<S: Source> {
    shared: Arc<Shared<S>>,
    task: Mutex<Option<AbortHandle>>,
}

struct Shared<S: Source> {
    source: S,
    clock: SharedClock,
    /// Swapped as a whole, so that no reader ever waits or sees half of it.
    held: ArcSwapOption<Held<S::Value>>,
    pace: watch::Sender<Pace>,
    /// The number of the task in the background.
    running: AtomicU64,
    /// How many there have been.
    tasks: AtomicU64,
    /// Those who wait for an attempt.
    waiting: AtomicUsize,
    last_error: Mutex<Option<(S::Error, Timestamp)>>,
    fetches: AtomicU64,
    failures: AtomicU64,
}

impl<S: Source + fmt::Debug> fmt::Debug for Kept<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("source", &self.shared.source).finish_non_exhaustive()
    }
}

impl<S: Source> Drop for Kept<S> {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

impl<S: Source> Kept<S> {
    /// No input or output: the value is fetched once somebody needs it.
    pub(crate) fn new(source: S, clock: SharedClock) -> Self {
        let pace = watch::Sender::new(Pace::new(source.manners(), clock.now()));
        let shared = Shared {
            source,
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

    /// The same with a value that was fetched earlier.
    pub(crate) fn with(source: S, clock: SharedClock, value: Arc<S::Value>, usable_until: Timestamp) -> Self {
        let kept = Self::new(source, clock);
        let now = kept.shared.clock.now();
        let left = usable_until.since(now);
        kept.shared.hold(Fetched { value, fresh: left, usable: left }, now);
        kept
    }

    pub(crate) fn source(&self) -> &S {
        &self.shared.source
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// What comes of this, unless it takes longer than that.
    pub(crate) async fn within<T>(&self, time: Duration, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.shared.clock.sleep_until(self.now() + time) => None,
        }
    }

    /// The value in memory, whether or not it is still good. Takes no lock, and waits for nothing.
    pub(crate) fn held(&self) -> arc_swap::Guard<Option<Arc<Held<S::Value>>>> {
        self.shared.held.load()
    }

    /// After how long it is worth asking again, when there is no value that is good.
    pub(crate) fn retry_after(&self, now: Timestamp) -> Duration {
        self.shared.pace.borrow().retry_after(now)
    }

    /// Whether the last attempt brought nothing.
    pub(crate) fn last_attempt_failed(&self) -> bool {
        self.shared.pace.borrow().failures() > 0
    }

    /// Asks for an attempt, if the issuer may be asked, and does not wait for it.
    pub(crate) fn ask(&self) -> Turn {
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

    /// Waits for an attempt, if the issuer may be asked; returns at once when it may not, or when there is no runtime to wait in.
    pub(crate) async fn catch_up(&self) {
        if Handle::try_current().is_err() {
            return;
        }
        let Some(_place) = Waiting::enter(&self.shared.waiting, self.shared.source.manners().waiting) else { return };
        // A second time when the task went away amid the first, with its runtime.
        for _ in 0..2 {
            let mut pace = self.shared.pace.subscribe();
            let Turn::Wait(attempts) = self.ask() else { return };
            // The task lets no attempt take longer. If it cannot run, since its runtime is not being driven, another takes its place.
            let patience = self.shared.clock.now() + self.shared.source.timeout() + Duration::from_secs(1);
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

    /// Sees to it that the value is being kept, by a task of the runtime that this is called in. Costs one read of memory when it
    /// is. Outside a runtime it does nothing.
    pub(crate) fn keep(&self) {
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

    pub(crate) fn last_error(&self) -> Option<(S::Error, Timestamp)> {
        self.shared.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn is_fetching(&self) -> bool {
        self.shared.pace.borrow().is_in_flight()
    }

    /// Attempts that began, and those of them that failed.
    pub(crate) fn attempts(&self) -> (u64, u64) {
        (self.shared.fetches.load(Ordering::Relaxed), self.shared.failures.load(Ordering::Relaxed))
    }
}

/// A place among those who wait.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        let place = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < most).then_some(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// That the task is there. It may go at any moment, with its runtime: whoever waits for its attempt is told, and the next who
/// needs the value begins a new one.
struct Present<S: Source> {
    shared: Arc<Shared<S>>,
    number: u64,
}

impl<S: Source> Drop for Present<S> {
    fn drop(&mut self) {
        self.shared.leave(self.number);
    }
}

impl<S: Source> Shared<S> {
    /// The task of this number is gone, or does not count any more.
    fn leave(&self, number: u64) {
        self.pace.send_if_modified(|pace| {
            let counted = number != NOBODY && self.running.compare_exchange(number, NOBODY, Ordering::AcqRel, Ordering::Relaxed).is_ok();
            if counted && pace.abandon() {
                self.failures.fetch_add(1, Ordering::Relaxed);
                let why = self.source.came_to_no_end("whoever asked was gone before the answer came".to_owned());
                self.note_error(why, self.clock.now());
            }
            counted
        });
    }

    fn note_error(&self, why: S::Error, now: Timestamp) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some((why, now));
    }

    async fn keep_fetching(&self, number: u64) {
        let mut memory = self.source.memory();
        loop {
            self.wait_for_turn().await;
            // Another may have taken its place while nobody drove it.
            if self.running.load(Ordering::Acquire) != number {
                return;
            }
            self.attempt(&mut memory).instrument(self.source.span()).await;
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
        if !self.goes_ahead() {
            let _ = pace.wait_for(Pace::is_wanted).await;
        }
    }

    /// Whether a planned attempt is worth making although nobody waits for it.
    fn goes_ahead(&self) -> bool {
        let held = self.held.load();
        let used = held.as_ref().is_some_and(|held| held.was_used());
        match self.source.manners().ahead {
            Ahead::Always => true,
            Ahead::WhenUsed => match self.pace.borrow().failures() {
                0 => used,
                // What failed a moment ago is repeated while that may still mend it, and no more once nobody has any use for it.
                1..=UNUSED_ATTEMPTS => true,
                _ => used && held.as_ref().is_some_and(|held| held.is_usable(self.clock.now())),
            },
            Ahead::Never => false,
        }
    }

    async fn attempt(&self, memory: &mut S::Memory) {
        let now = self.clock.now();
        let mut forced = false;
        self.pace.send_modify(|pace| forced = pace.begin(now));
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let timeout = self.source.timeout();
        let held = self.held.load_full().map(|held| Arc::clone(&held.value));
        let outcome = tokio::select! {
            // An answer that is there counts, although nobody looked before its time was over.
            biased;
            outcome = self.source.fetch(memory, forced, held, now) => outcome,
            () = self.clock.sleep_until(now + timeout) => {
                let why = self.source.came_to_no_end(format!("no whole answer within {} s", timeout.as_secs_f32()));
                Err(Failure { why, outcome: Outcome::Unreachable })
            }
        };
        let began = now;
        let now = self.clock.now();
        let since = if self.source.manners().counts_from_request { began } else { now };
        let outcome = outcome.and_then(|fetched| {
            if now < since + fetched.usable {
                return Ok(fetched);
            }
            let why = self.source.came_to_no_end("it was over before it came".to_owned());
            Err(Failure { why, outcome: Outcome::Useless(Duration::ZERO) })
        });
        Span::current().record("outcome", if outcome.is_ok() { "fetched" } else { "failed" });
        match outcome {
            Ok(fetched) => {
                let pause = self.hold(fetched, since);
                let failures = self.pace.borrow().failures();
                if failures > 0 {
                    tracing::info!(issuer = self.source.issuer(), failures, "{} could be fetched again", S::WHAT);
                }
                *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = None;
                self.pace.send_modify(|pace| pace.end(since, Outcome::Fetched(pause)));
            }
            Err(failure) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(issuer = self.source.issuer(), error = %failure.why, "{} could not be fetched", S::WHAT);
                self.note_error(failure.why, now);
                self.pace.send_modify(|pace| pace.end(now, failure.outcome));
            }
        }
    }

    /// Holds a value in place of what was held. Gives the time until it is to be fetched anew.
    fn hold(&self, fetched: Fetched<S::Value>, since: Timestamp) -> Duration {
        let manners = self.source.manners();
        // Who is asked only when somebody needs it is not asked before.
        let pause = if manners.ahead == Ahead::Never { fetched.usable } else { manners.until_renewal(fetched.fresh) };
        self.held.store(Some(Arc::new(Held::new(fetched, since, pause))));
        pause
    }
}
