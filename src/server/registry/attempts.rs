//! Limits on guessing: so many failures at once, then one in a while. In memory, per node.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use governor::{
    Quota, RateLimiter,
    clock::Clock as _,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{NotKeyed, StateStore},
};
use moka::{future::Cache, policy::EvictionPolicy};

use crate::clock::SharedClock;

/// What limits obey.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// Failures that are free.
    pub(crate) burst: std::num::NonZeroU32,
    /// Time after which one more is.
    pub(crate) interval: Duration,
}

/// Counts failures by key, where a key is whose guess at whose secret.
#[derive(Debug, Clone)]
pub(crate) struct Attempts {
    quota: Quota,
    clock: GovernorClock,
    interval: Duration,
    cells: Cache<Key, Arc<(Limiter, Cell)>>,
}

/// 128 bits of a SHA-256: names of any length take the same room.
type Key = [u8; 16];
type Limiter = RateLimiter<NotKeyed, Cell, GovernorClock, NoOpMiddleware<Duration>>;

/// Where a limiter keeps its one number: when it will have forgotten all that it counted. Kept apart from it, so that what was
/// counted in vain can be taken back.
#[derive(Debug, Clone, Default)]
struct Cell(Arc<Mutex<Option<Nanos>>>);

impl StateStore for Cell {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut number = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (outcome, next) = decide(*number)?;
        *number = Some(next);
        Ok(outcome)
    }
}

/// Too many failures; after this long one more attempt is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limited(pub(crate) Duration);

impl Attempts {
    /// Keys that are counted at once; about 10 MB. Beyond it the one that was not seen for the longest time is forgotten.
    const KEYS: u64 = 50_000;

    pub(crate) fn new(policy: Policy, clock: SharedClock) -> Self {
        let quota = Quota::with_period(policy.interval).unwrap_or_else(|| Quota::per_second(policy.burst)).allow_burst(policy.burst);
        // Least recently used: by frequency, a new key might never be let in, and so never be counted.
        let cells = Cache::builder().max_capacity(Self::KEYS).eviction_policy(EvictionPolicy::lru()).build();
        Self { quota, clock: GovernorClock(clock), interval: policy.interval, cells }
    }

    /// Counts an attempt, before it is known to fail: many at once are counted one by one.
    pub(crate) async fn count(&self, parts: [&str; 2]) -> Result<(), Limited> {
        let new = async {
            let cell = Cell::default();
            Arc::new((RateLimiter::new(self.quota, cell.clone(), self.clock.clone()), cell))
        };
        let counted = self.cells.get_with(key(parts), new).await;
        counted.0.check().map_err(|refused| Limited(refused.wait_time_from(self.clock.now())))
    }

    /// Takes back one attempt that was counted: it could not be judged, by no fault of who made it.
    pub(crate) async fn take_back(&self, parts: [&str; 2]) {
        if let Some(counted) = self.cells.get(&key(parts)).await {
            let mut number = counted.1.0.lock().unwrap_or_else(PoisonError::into_inner);
            *number = number.map(|number| number.saturating_sub(self.interval.into()));
        }
    }

    /// Forgets the failures of a key: the attempt that was counted last succeeded.
    pub(crate) async fn forgive(&self, parts: [&str; 2]) {
        self.cells.invalidate(&key(parts)).await;
    }
}

/// Neither part can stand in for the other: a length goes before the first.
fn key([one, other]: [&str; 2]) -> Key {
    let digest = digest(&SHA256, format!("{} {one} {other}", one.len()).as_bytes());
    let mut key = Key::default();
    key.copy_from_slice(&digest.as_ref()[..16]);
    key
}

/// Our clock, as governor wants it.
#[derive(Debug, Clone)]
pub(crate) struct GovernorClock(SharedClock);

impl governor::clock::Clock for GovernorClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.now().since(crate::clock::Timestamp::from_seconds(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Timestamp};

    #[tokio::test]
    async fn ten_failures_are_free_then_one_in_ten_seconds_and_a_success_forgives() {
        let clock = ManualClock::at(Timestamp::from_seconds(1_795_500_000));
        let policy = Policy { burst: 10.try_into().unwrap(), interval: Duration::from_secs(10) };
        let attempts = Attempts::new(policy, Arc::new(clock.clone()));
        for _ in 0..10 {
            assert_eq!(attempts.count(["app", "alice"]).await, Ok(()));
        }
        assert_eq!(attempts.count(["app", "alice"]).await, Err(Limited(Duration::from_secs(10))));
        assert_eq!(attempts.count(["app", "bob"]).await, Ok(()), "another name");
        assert_eq!(attempts.count(["other", "alice"]).await, Ok(()), "another client");
        clock.advance(Duration::from_secs(10));
        assert_eq!(attempts.count(["app", "alice"]).await, Ok(()));
        assert!(attempts.count(["app", "alice"]).await.is_err());
        attempts.take_back(["app", "alice"]).await;
        assert_eq!(attempts.count(["app", "alice"]).await, Ok(()));
        assert!(attempts.count(["app", "alice"]).await.is_err(), "one was taken back and no more");
        attempts.forgive(["app", "alice"]).await;
        assert_eq!(attempts.count(["app", "alice"]).await, Ok(()));
    }
}
