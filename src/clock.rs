//! The one source of time: everything that reads the time or waits for it uses a [`Clock`].

mod manual;

use std::{
    fmt,
    future::Future,
    ops::{Add, Sub},
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

pub use manual::ManualClock;

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
    use std::sync::Mutex;

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

    /// A clock that is set by so many seconds during its first sleep. It records how long each sleep takes.
    #[derive(Debug)]
    struct SetDuringSleep {
        now: Mutex<(Timestamp, i64)>,
        slept: Mutex<Vec<u64>>,
    }

    impl Clock for SetDuringSleep {
        fn now(&self) -> Timestamp {
            self.now.lock().unwrap().0
        }

        fn steady(&self) -> Timestamp {
            self.now()
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }

        fn sleep_until(&self, _: &'static str, time: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            let (now, set_by) = &mut *self.now.lock().unwrap();
            self.slept.lock().unwrap().push(time.since(*now).as_secs());
            *now = Timestamp(time.0 + 1000 * std::mem::take(set_by));
            Box::pin(std::future::ready(()))
        }
    }

    #[tokio::test]
    async fn hd11_a_wait_for_a_time_notices_that_the_clock_is_set_within_30_s_and_no_setting_prolongs_it() {
        let noon = Timestamp::from_seconds(1_795_500_000);
        for (set_by, slept) in [(0, vec![30, 30, 15]), (3600, vec![30]), (40, vec![30, 5]), (-3600, vec![30, 30, 15])] {
            let clock = SetDuringSleep { now: Mutex::new((noon, set_by)), slept: Mutex::default() };
            reached(&clock, "test", noon + Duration::from_secs(75)).await;
            assert_eq!(*clock.slept.lock().unwrap(), slept, "set by {set_by} s");
        }
    }
}
