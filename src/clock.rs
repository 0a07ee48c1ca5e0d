//! The one source of time: everything that reads the time or waits for it uses a [`Clock`].

use std::{
    fmt,
    future::Future,
    ops::{Add, Sub},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::watch;

/// A point in time, in milliseconds since 1970-01-01T00:00:00Z. Tokens and the database hold it in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The time at `seconds` since 1970-01-01T00:00:00Z, clamped to ±292 million years.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// The first whole second that is not earlier.
    #[must_use]
    pub const fn to_whole_second(self) -> Self {
        Self::from_seconds(self.0.saturating_add(999).div_euclid(1000))
    }

    /// Whole seconds since 1970-01-01T00:00:00Z, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }
}

/// Reads the time and waits for it.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The current time by the wall clock.
    fn now(&self) -> Timestamp;

    /// A lower bound of the time that never goes back within the process, also when the wall clock is set back: the latest time
    /// that the wall clock has shown, plus what the monotonic clock has counted since. Ages, limits and expiry use it.
    ///
    /// Times in a token come from [`now`](Self::now), because others compare them with their own clocks.
    fn steady(&self) -> Timestamp;

    /// [`steady`](Self::steady), for a caller that has just read `now` from [`now`](Self::now): the wall clock is not read again.
    fn steady_at(&self, now: Timestamp) -> Timestamp {
        let _ = now;
        self.steady()
    }

    /// The time since some point in the past, by the monotonic clock: it shows whether the wall clock was set. It may stand still while the
    /// machine is suspended.
    fn monotonic(&self) -> Duration;

    /// Returns once it is `time` or later. `sleeper` is the name of the caller, by which a test can wait until it sleeps.
    fn sleep_until(&self, sleeper: &'static str, time: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// A shared clock.
pub type SharedClock = Arc<dyn Clock>;

/// How often [`reached`] checks the wall clock.
const WALL_CLOCK_CHECK: Duration = Duration::from_secs(30);

/// Returns at the time `end`. Two clocks count: the monotonic one, which measures the wait, and the wall clock, which jumps when it is set
/// or when the machine has slept. So a jump forward is noticed within 30 s, and a jump back prolongs nothing.
pub(crate) async fn reached(clock: &dyn Clock, sleeper: &'static str, end: Timestamp) {
    let mut left = end.since(clock.now());
    loop {
        let now = clock.now();
        let part = left.min(end.since(now)).min(WALL_CLOCK_CHECK);
        if part.is_zero() {
            return;
        }
        clock.sleep_until(sleeper, now + part).await;
        left -= part;
    }
}

/// The system clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the system clock")]
    fn now(&self) -> Timestamp {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => Timestamp(millis(after)),
            Err(before) => Timestamp(-millis(before.duration())),
        }
    }

    fn steady(&self) -> Timestamp {
        self.steady_at(self.now())
    }

    fn steady_at(&self, now: Timestamp) -> Timestamp {
        static STEADY: Steady = Steady::new();
        STEADY.read(now)
    }

    fn monotonic(&self) -> Duration {
        static ORIGIN: OnceLock<Stopwatch> = OnceLock::new();
        ORIGIN.get_or_init(Stopwatch::start).elapsed()
    }

    fn sleep_until(&self, _: &'static str, time: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(time.since(self.now())))
    }
}

/// Combines the wall clock and the monotonic clock.
struct Steady {
    origin: OnceLock<Stopwatch>,
    /// The most that the wall clock has been ahead of the monotonic clock, in milliseconds.
    ahead: AtomicI64,
}

impl Steady {
    const fn new() -> Self {
        Self { origin: OnceLock::new(), ahead: AtomicI64::new(i64::MIN) }
    }

    fn read(&self, wall: Timestamp) -> Timestamp {
        let passed = millis(self.origin.get_or_init(Stopwatch::start).elapsed());
        let ahead = wall.0.saturating_sub(passed);
        let mut most = self.ahead.load(Ordering::Relaxed);
        // Rarely true. Usually this only reads, so that threads do not contend for the cache line.
        if ahead > most {
            most = self.ahead.fetch_max(ahead, Ordering::Relaxed).max(ahead);
        }
        Timestamp(passed.saturating_add(most))
    }
}

/// A clock that stands still until a test moves it.
///
/// ```
/// use std::time::Duration;
///
/// use sealwright::clock::{Clock, ManualClock, Timestamp};
///
/// let clock = ManualClock::at(Timestamp::from_seconds(1_795_500_000));
/// clock.advance(Duration::from_secs(90));
/// assert_eq!(clock.now().seconds(), 1_795_500_090);
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Manual>);

#[derive(Debug)]
struct Manual {
    shown: watch::Sender<Shown>,
    sleepers: Mutex<Vec<Sleeper>>,
}

/// A caller that sleeps until this time of the steady clock, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sleeper {
    name: &'static str,
    until: Timestamp,
}

/// The times that a [`ManualClock`] shows.
#[derive(Debug, Clone, Copy)]
struct Shown {
    now: Timestamp,
    steady: Timestamp,
    monotonic: Duration,
}

impl ManualClock {
    /// A clock that shows `time`.
    #[must_use]
    pub fn at(time: Timestamp) -> Self {
        Self(Arc::new(Manual {
            shown: watch::Sender::new(Shown { now: time, steady: time, monotonic: Duration::ZERO }),
            sleepers: Mutex::default(),
        }))
    }

    /// Moves the clock forward and wakes the sleepers whose time has come.
    pub fn advance(&self, by: Duration) {
        self.0.shown.send_modify(|shown| {
            shown.now = shown.now + by;
            shown.steady = (shown.steady + by).max(shown.now);
            shown.monotonic += by;
        });
    }

    /// Sets the wall clock forward, as an operator or a time server does. The monotonic clock does not change.
    pub fn set_forward(&self, by: Duration) {
        self.0.shown.send_modify(|shown| {
            shown.now = shown.now + by;
            shown.steady = shown.steady.max(shown.now);
        });
    }

    /// Sets the wall clock back, as an operator or a time server does. [`steady`](Clock::steady) does not change.
    pub fn set_back(&self, by: Duration) {
        self.0.shown.send_modify(|shown| shown.now = shown.now - by);
    }

    /// The names of the callers that sleep on this clock, in alphabetical order. A sleeper whose time has come is not among them, even if it
    /// has not woken up yet. So a test can move the clock and then wait until a task sleeps again: by then, its work is done.
    #[must_use]
    pub fn sleepers(&self) -> Vec<&'static str> {
        let now = self.steady();
        let mut names: Vec<_> = self.0.sleepers().iter().filter(|sleeper| sleeper.until > now).map(|sleeper| sleeper.name).collect();
        names.sort_unstable();
        names
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.0.shown.borrow().now
    }

    fn steady(&self) -> Timestamp {
        self.0.shown.borrow().steady
    }

    fn monotonic(&self) -> Duration {
        self.0.shown.borrow().monotonic
    }

    fn sleep_until(&self, sleeper: &'static str, time: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut shown = self.0.shown.subscribe();
        // As in `SystemClock`, setting the wall clock does not change how long the sleep takes.
        let begun = *shown.borrow();
        let until = begun.steady + time.since(begun.now);
        let asleep = Asleep::new(&self.0, Sleeper { name: sleeper, until });
        Box::pin(async move {
            // The sender lives as long as `self`, so waiting cannot fail before the time has come.
            let _ = shown.wait_for(|shown| shown.steady >= until).await;
            drop(asleep);
        })
    }
}

impl Manual {
    fn sleepers(&self) -> MutexGuard<'_, Vec<Sleeper>> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The entry of a sleeper in the list of its clock, until it wakes up or is dropped.
struct Asleep<'a> {
    clock: &'a Manual,
    sleeper: Sleeper,
}

impl<'a> Asleep<'a> {
    fn new(clock: &'a Manual, sleeper: Sleeper) -> Self {
        clock.sleepers().push(sleeper);
        Self { clock, sleeper }
    }
}

impl Drop for Asleep<'_> {
    fn drop(&mut self) {
        let mut sleepers = self.clock.sleepers();
        // Equal entries are interchangeable.
        if let Some(at) = sleepers.iter().position(|sleeper| *sleeper == self.sleeper) {
            sleepers.swap_remove(at);
        }
    }
}

/// Measures elapsed time with the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the monotonic clock")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hd11_the_steady_clock_ignores_a_wall_clock_set_back_and_follows_one_set_forward() {
        let steady = Steady::new();
        let noon = Timestamp::from_seconds(1_795_500_000);
        let hour = Duration::from_secs(3600);
        let first = steady.read(noon);
        assert_eq!(first, noon);
        let back = steady.read(noon - hour);
        assert!(back >= first && back < first + hour);
        assert!(steady.read(noon + hour) >= noon + hour);
        assert!(steady.read(noon) >= noon + hour);
    }

    #[test]
    fn hd11_setting_a_manual_clock_back_moves_only_the_wall_clock() {
        let noon = Timestamp::from_seconds(1_795_500_000);
        let clock = ManualClock::at(noon);
        clock.set_back(Duration::from_secs(3600));
        clock.advance(Duration::from_secs(10));
        assert_eq!((clock.now(), clock.steady()), (noon - Duration::from_secs(3590), noon + Duration::from_secs(10)));
        clock.advance(Duration::from_secs(7200));
        assert_eq!(clock.now(), noon + Duration::from_secs(3610));
        assert_eq!(clock.steady(), noon + Duration::from_secs(7210));
    }

    #[tokio::test]
    async fn a_sleeper_whose_time_has_come_does_not_count_as_asleep() {
        let clock = ManualClock::at(Timestamp::from_seconds(1_795_500_000));
        let seconds = Duration::from_secs;
        let short = clock.sleep_until("short", clock.now() + seconds(10));
        let long = clock.sleep_until("long", clock.now() + seconds(20));
        let again = clock.sleep_until("long", clock.now() + seconds(20));
        assert_eq!(clock.sleepers(), ["long", "long", "short"]);
        drop(again);
        assert_eq!(clock.sleepers(), ["long", "short"]);
        clock.advance(seconds(10));
        assert_eq!(clock.sleepers(), ["long"], "it has not woken up yet");
        clock.set_back(seconds(3600));
        clock.advance(seconds(10));
        short.await;
        long.await;
        assert_eq!(clock.sleepers(), [""; 0]);
    }
}
