//! The clock of tests.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use super::{Clock, Timestamp};

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
        // As in `SystemClock`, setting the wall clock back does not change how long the sleep takes. Setting it forward ends it, so that a test
        // need not wait until the sleeper looks.
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

#[cfg(test)]
mod tests {
    use super::*;

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
