//! Values with a lifetime that an issuer provides, such as keys or a token. They are read from memory without a lock, refreshed ahead
//! of their expiry by one background task, never fetched twice at once, and used to their end while the issuer is down.

mod cached;
mod fetch;
mod schedule;

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::{runtime::Handle, sync::watch, task::AbortHandle};
use tracing::{Instrument, Span};

pub(crate) use cached::Cached;
pub(crate) use fetch::{Fetch, FetchError, Fetched};
pub(crate) use schedule::{Demand, Outcome, Prefetch, RefreshPolicy};

use crate::clock::{SharedClock, Timestamp, reached};
use schedule::Schedule;

/// Consecutive failures after which a value that is not used is no longer fetched.
const UNUSED_ATTEMPTS: u32 = 5;
/// The task number that means "no task".
const NO_TASK: u64 = 0;

// The names under which this room sleeps.
const BETWEEN_FETCHES: &str = "between fetches";
const FETCH: &str = "fetch";
const CALLER: &str = "caller";

/// A handle to the value. Fetching ends when it is dropped.
pub(crate) struct Refresher<F: Fetch> {
    shared: Arc<Shared<F>>,
    task: Mutex<Option<AbortHandle>>,
}

struct Shared<F: Fetch> {
    fetch: F,
    clock: SharedClock,
    /// Replaced as a whole, so that readers never wait and never see a mixture.
    cached: ArcSwapOption<Cached<F::Value>>,
    schedule: watch::Sender<Schedule>,
    /// The number of the background task.
    running: AtomicU64,
    /// The number of tasks started so far.
    tasks: AtomicU64,
    /// The number of callers that wait for an attempt.
    waiters: AtomicUsize,
    last_error: Mutex<Option<(F::Error, Timestamp)>>,
    fetches: AtomicU64,
    failures: AtomicU64,
    /// Of the schedule, for callers that read it with every token, so without its lock.
    last_attempt_failed: AtomicBool,
    has_outcome: AtomicBool,
}

impl<F: Fetch + fmt::Debug> fmt::Debug for Refresher<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refresher").field("fetch", &self.shared.fetch).finish_non_exhaustive()
    }
}

impl<F: Fetch> Drop for Refresher<F> {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

impl<F: Fetch> Refresher<F> {
    /// Does no I/O: the value is fetched on first demand.
    pub(crate) fn new(fetch: F, clock: SharedClock) -> Self {
        let schedule = watch::Sender::new(Schedule::new(fetch.policy(), clock.now()));
        let shared = Shared {
            fetch,
            clock,
            cached: ArcSwapOption::empty(),
            schedule,
            running: AtomicU64::new(NO_TASK),
            tasks: AtomicU64::new(NO_TASK),
            waiters: AtomicUsize::new(0),
            last_error: Mutex::new(None),
            fetches: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            last_attempt_failed: AtomicBool::new(false),
            has_outcome: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared), task: Mutex::new(None) }
    }

    /// As [`new`](Self::new), with a value that was fetched earlier.
    pub(crate) fn with_value(fetch: F, clock: SharedClock, value: Arc<F::Value>, usable_until: Timestamp) -> Self {
        let refresher = Self::new(fetch, clock);
        let now = refresher.shared.clock.now();
        let left = usable_until.since(now);
        refresher.shared.store(Fetched { value, fresh: left, usable: left }, now);
        refresher
    }

    pub(crate) fn fetch(&self) -> &F {
        &self.shared.fetch
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Runs `work` with a time limit. Returns `None` if it takes longer.
    pub(crate) async fn with_timeout<T>(&self, timeout: Duration, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.shared.clock.sleep_until(CALLER, self.now() + timeout) => None,
        }
    }

    /// The value in memory, usable or not. Takes no lock and does not wait.
    pub(crate) fn cached(&self) -> arc_swap::Guard<Option<Arc<Cached<F::Value>>>> {
        self.shared.cached.load()
    }

    /// The time after which another attempt is possible, for callers that find no usable value.
    pub(crate) fn retry_after(&self, now: Timestamp) -> Duration {
        self.shared.schedule.borrow().retry_after(now)
    }

    pub(crate) fn last_attempt_failed(&self) -> bool {
        self.shared.last_attempt_failed.load(Ordering::Relaxed)
    }

    /// Whether an attempt has ended with an outcome: a value or an error.
    pub(crate) fn has_outcome(&self) -> bool {
        self.shared.has_outcome.load(Ordering::Relaxed)
    }

    /// Whether an attempt is in flight, or could begin on demand: whether waiting for one may change anything.
    pub(crate) fn permits_demand(&self) -> bool {
        self.shared.schedule.borrow().permits_demand(self.shared.clock.now())
    }

    /// Requests an attempt, if the schedule permits one, and does not wait for it.
    pub(crate) fn demand(&self) -> Demand {
        let now = self.shared.clock.now();
        let mut demand = Demand::CoolingDown;
        self.shared.schedule.send_if_modified(|schedule| {
            let was_demanded = schedule.is_demanded();
            demand = schedule.demand(now);
            schedule.is_demanded() != was_demanded
        });
        // After the demand: a task that is just ending wakes every caller that came before.
        self.ensure_running();
        demand
    }

    /// Requests an attempt that confirms the value, unless one began less than `age` ago, and does not wait for it.
    pub(crate) fn confirm(&self, age: Duration) {
        let now = self.shared.clock.now();
        self.shared.schedule.send_if_modified(|schedule| schedule.confirm(age, now));
        self.ensure_running();
    }

    /// Waits for an attempt, if the schedule permits one. Returns at once if it does not, or if there is no runtime.
    pub(crate) async fn refresh(&self) {
        if Handle::try_current().is_err() {
            return;
        }
        let Some(_place) = Waiter::enter(&self.shared.waiters, self.shared.fetch.policy().max_waiters) else { return };
        // Twice, in case the task ends with its runtime during the first attempt.
        for _ in 0..2 {
            let mut schedule = self.shared.schedule.subscribe();
            let Demand::Pending(attempts) = self.demand() else { return };
            // The task enforces the timeout itself. A task that cannot run, because its runtime is not driven, is replaced.
            let deadline = self.shared.clock.now() + self.shared.fetch.timeout() + Duration::from_secs(1);
            let abandoned = tokio::select! {
                ended = schedule.wait_for(|schedule| schedule.has_finished_more_than(attempts)) => {
                    ended.is_ok_and(|schedule| schedule.was_abandoned())
                }
                () = self.shared.clock.sleep_until(CALLER, deadline) => {
                    self.shared.task_ended(self.shared.running.load(Ordering::Acquire));
                    return;
                }
            };
            if !abandoned {
                return;
            }
        }
    }

    /// Starts the background task in the current runtime, unless it runs already: then this costs one atomic read. Does nothing outside
    /// a runtime.
    pub(crate) fn ensure_running(&self) {
        if self.shared.running.load(Ordering::Relaxed) != NO_TASK {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.shared.tasks.fetch_add(1, Ordering::Relaxed) + 1;
        if self.shared.running.compare_exchange(NO_TASK, number, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            let guard = RunningGuard { shared: Arc::clone(&self.shared), number };
            let previous = task.replace(runtime.spawn(async move { guard.shared.run(guard.number).await }).abort_handle());
            if let Some(previous) = previous {
                previous.abort();
            }
        }
    }

    pub(crate) fn last_error(&self) -> Option<(F::Error, Timestamp)> {
        self.shared.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn is_fetching(&self) -> bool {
        self.shared.schedule.borrow().is_in_flight()
    }

    /// The number of attempts that began, and of those that failed.
    pub(crate) fn attempts(&self) -> (u64, u64) {
        (self.shared.fetches.load(Ordering::Relaxed), self.shared.failures.load(Ordering::Relaxed))
    }
}

/// A caller's place among the waiters.
struct Waiter<'a>(&'a AtomicUsize);

impl<'a> Waiter<'a> {
    fn enter(waiters: &'a AtomicUsize, max: usize) -> Option<Self> {
        let place = Self(waiters);
        (waiters.fetch_add(1, Ordering::Relaxed) < max).then_some(place)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Marks the background task as alive. The task may end at any moment, with its runtime: dropping the guard wakes all waiters, and the next
/// caller starts a new task.
struct RunningGuard<F: Fetch> {
    shared: Arc<Shared<F>>,
    number: u64,
}

impl<F: Fetch> Drop for RunningGuard<F> {
    fn drop(&mut self) {
        self.shared.task_ended(self.number);
    }
}

impl<F: Fetch> Shared<F> {
    /// Notes that the task of this number has ended or was replaced.
    fn task_ended(&self, number: u64) {
        self.schedule.send_if_modified(|schedule| {
            let current = number != NO_TASK && self.running.compare_exchange(number, NO_TASK, Ordering::AcqRel, Ordering::Relaxed).is_ok();
            if current && schedule.abandon() {
                self.failures.fetch_add(1, Ordering::Relaxed);
                let error = self.fetch.unfinished("the runtime of the request ended before the answer arrived".to_owned());
                self.note_error(error, self.clock.now());
                self.note_outcome(schedule);
            }
            current
        });
    }

    /// Called while the schedule is changed: every task that waits for the change sees this as well.
    fn note_outcome(&self, schedule: &Schedule) {
        self.last_attempt_failed.store(schedule.failures() > 0, Ordering::Relaxed);
        self.has_outcome.store(schedule.has_outcome(), Ordering::Relaxed);
    }

    fn note_error(&self, error: F::Error, now: Timestamp) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some((error, now));
    }

    async fn run(&self, number: u64) {
        let mut state = self.fetch.initial_state();
        loop {
            self.wait_for_next_attempt().await;
            // Another task may have replaced this one while its runtime was not driven.
            if self.running.load(Ordering::Acquire) != number {
                return;
            }
            self.attempt(&mut state).instrument(self.fetch.span()).await;
        }
    }

    /// Waits until an attempt is due or demanded.
    async fn wait_for_next_attempt(&self) {
        let mut schedule = self.schedule.subscribe();
        let next_at = schedule.borrow().next_at();
        tokio::select! {
            () = reached(&*self.clock, BETWEEN_FETCHES, next_at) => {}
            _ = schedule.wait_for(Schedule::is_demanded) => return,
        }
        if !self.wants_planned_attempt() {
            let _ = schedule.wait_for(Schedule::is_demanded).await;
        }
    }

    /// Whether a planned attempt is worthwhile although no caller waits for it.
    fn wants_planned_attempt(&self) -> bool {
        let cached = self.cached.load();
        let used = cached.as_ref().is_some_and(|cached| cached.was_used());
        match self.fetch.policy().prefetch {
            Prefetch::Always => true,
            Prefetch::WhenUsed => match self.schedule.borrow().failures() {
                0 => used,
                // A recent failure is retried a few times. After that, only a value in use is worth more attempts.
                1..=UNUSED_ATTEMPTS => true,
                _ => used && cached.as_ref().is_some_and(|cached| cached.is_usable(self.clock.now())),
            },
            Prefetch::Never => false,
        }
    }

    async fn attempt(&self, state: &mut F::State) {
        let begun = self.clock.now();
        let mut forced = false;
        self.schedule.send_modify(|schedule| forced = schedule.begin(begun));
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let timeout = self.fetch.timeout();
        let cached = self.cached.load_full().map(|cached| Arc::clone(&cached.value));
        let result = tokio::select! {
            // An answer that has arrived counts, even if it is read only after the time limit.
            biased;
            result = self.fetch.fetch(state, forced, cached, begun) => result,
            () = self.clock.sleep_until(FETCH, begun + timeout) => {
                let error = self.fetch.unfinished(format!("no complete answer within {} s", timeout.as_secs_f32()));
                Err(FetchError { error, outcome: Outcome::Unreachable })
            }
        };
        let now = self.clock.now();
        let since = if self.fetch.policy().lifetime_from_request { begun } else { now };
        let result = result.and_then(|fetched| {
            if now < since + fetched.usable {
                return Ok(fetched);
            }
            let error = self.fetch.unfinished("the value expired before it arrived".to_owned());
            Err(FetchError { error, outcome: Outcome::Unusable(Duration::ZERO) })
        });
        Span::current().record("outcome", if result.is_ok() { "fetched" } else { "failed" });
        match result {
            Ok(fetched) => {
                let pause = self.store(fetched, since);
                let failures = self.schedule.borrow().failures();
                if failures > 0 {
                    tracing::info!(issuer = self.fetch.issuer(), failures, "{} could be fetched again", F::WHAT);
                }
                *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = None;
                self.fetch.ended(None);
                self.end_attempt(since, Outcome::Fetched(pause));
            }
            Err(FetchError { error, outcome }) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                let (issuer, failures) = (self.fetch.issuer(), self.schedule.borrow().failures().saturating_add(1));
                // The first of a row and every doubling: an outage must not fill the log.
                if failures.is_power_of_two() {
                    tracing::warn!(issuer, failures, %error, "{} could not be fetched", F::WHAT);
                } else {
                    tracing::debug!(issuer, failures, %error, "{} could not be fetched", F::WHAT);
                }
                self.fetch.ended(Some(&error));
                self.note_error(error, now);
                self.end_attempt(now, outcome);
            }
        }
    }

    fn end_attempt(&self, at: Timestamp, outcome: Outcome) {
        self.schedule.send_modify(|schedule| {
            schedule.end(at, outcome);
            self.note_outcome(schedule);
        });
    }

    /// Replaces the cached value. Returns the time until its refresh.
    fn store(&self, fetched: Fetched<F::Value>, since: Timestamp) -> Duration {
        let policy = self.fetch.policy();
        // Values fetched on demand are never refreshed ahead of time.
        let pause = if policy.prefetch == Prefetch::Never { fetched.usable } else { policy.until_refresh(fetched.fresh) };
        self.cached.store(Some(Arc::new(Cached::new(fetched, since, pause))));
        pause
    }
}
