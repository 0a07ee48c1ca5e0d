//! Limits on guessing: a burst of failures, then one per interval. In memory, per node.
//!
//! This is the generic cell rate algorithm (ITU-T I.371). It is written here and not taken from a crate because attempts that
//! succeed are given back, which the rate limiting crates do not support.

use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use moka::{future::Cache, policy::EvictionPolicy};
use tokio::sync::Notify;

use crate::clock::{SharedClock, Timestamp};

/// The settings of a limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// Failures that are allowed at once.
    pub(crate) burst: NonZeroU32,
    /// Time after which one more is allowed.
    pub(crate) interval: Duration,
}

/// Counts failures per key. A key names who guesses and whose secret is guessed.
#[derive(Debug, Clone)]
pub(crate) struct Attempts {
    policy: Policy,
    clock: SharedClock,
    counted: Cache<CountKey, Arc<Counted>>,
}

/// 128 bits of a SHA-256, so that names of any length take the same memory.
type CountKey = [u8; 16];

/// The failures of one key.
#[derive(Debug, Default)]
struct Counted {
    bucket: Mutex<Bucket>,
    /// Wakes waiting attempts when an attempt under way ends.
    decided: Notify,
}

#[derive(Debug, Default)]
struct Bucket {
    /// When all failures will have expired. Each failure adds one interval.
    empty_at: Option<Timestamp>,
    /// Attempts that are counted and whose outcome is still unknown.
    under_way: u32,
    /// Attempts that wait for one of them to end.
    waiting: u32,
}

/// Too many failures. The next attempt is allowed after this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limited(pub(crate) Duration);

/// An attempt that is allowed and counted. If it is dropped before it is [`made`](Self::made), it is given back. If it is dropped
/// afterwards, it stays counted as a failure: a caller that disconnects must not get a free attempt.
#[derive(Debug)]
pub(crate) struct Attempt {
    limit: Attempts,
    counted: Arc<Counted>,
    made: bool,
}

impl Attempts {
    /// Maximum number of keys, which take about 10 MB. Beyond it, the least recently used one is dropped.
    const KEYS: u64 = 50_000;
    /// Maximum number of attempts of one key that wait for other attempts of the same key.
    const WAITING: u32 = 100;
    /// How long an attempt waits at most. It may wait at three limits in succession.
    const WAIT_LIMIT: Duration = Duration::from_secs(3);

    pub(crate) fn new(policy: Policy, clock: SharedClock) -> Self {
        // LRU, because a frequency-based policy might never admit a new key, and so never count it.
        let counted = Cache::builder().max_capacity(Self::KEYS).eviction_policy(EvictionPolicy::lru()).build();
        Self { policy, clock, counted }
    }

    /// Begins an attempt. It is counted before its outcome is known, so that parallel attempts cannot exceed the limit.
    pub(crate) async fn begin(&self, parts: &[&str]) -> Result<Attempt, Limited> {
        self.try_begin(&self.counted(parts).await)
    }

    /// Begins an attempt. At the limit, waits while other attempts of this key are under way: each success frees a place.
    pub(crate) async fn begin_in_turn(&self, parts: &[&str]) -> Result<Attempt, Limited> {
        let counted = self.counted(parts).await;
        let in_turn = async {
            loop {
                // Created first, so that no wake-up is missed.
                let decided = counted.decided.notified();
                if let Ok(attempt) = self.try_begin(&counted) {
                    return Ok(attempt);
                }
                // Try once more, because the last attempt under way may have succeeded meanwhile.
                let Some(_waiting) = WaitingPlace::enter(&counted) else { return self.try_begin(&counted) };
                decided.await;
            }
        };
        tokio::select! {
            biased;
            outcome = in_turn => outcome,
            () = self.clock.sleep_until("attempt", self.clock.now() + Self::WAIT_LIMIT) => self.try_begin(&counted),
        }
    }

    async fn counted(&self, parts: &[&str]) -> Arc<Counted> {
        self.counted.get_with(key(parts), async { Arc::default() }).await
    }

    fn try_begin(&self, counted: &Arc<Counted>) -> Result<Attempt, Limited> {
        let now = self.clock.steady();
        let mut bucket = counted.bucket();
        let next = bucket.empty_at.map_or(now, |at| at.max(now)) + self.policy.interval;
        let wait = next.since(now + self.policy.interval * self.policy.burst.get());
        if !wait.is_zero() {
            return Err(Limited(wait));
        }
        bucket.empty_at = Some(next);
        bucket.under_way += 1;
        drop(bucket);
        Ok(Attempt { limit: self.clone(), counted: Arc::clone(counted), made: false })
    }
}

impl Attempt {
    /// Marks the attempt as made: from now on it counts unless it is given back or forgiven.
    pub(crate) fn made(&mut self) {
        self.made = true;
    }

    /// Removes this attempt from the count.
    pub(crate) fn give_back(mut self) {
        self.uncount(0);
    }

    /// Removes this attempt and all earlier failures of the key.
    pub(crate) fn forgive(mut self) {
        let interval = self.limit.policy.interval;
        let bucket = self.counted.bucket();
        let counted = bucket.empty_at.map_or(Duration::ZERO, |at| at.since(self.limit.clock.steady()));
        let counted = u32::try_from(counted.as_nanos().div_ceil(interval.as_nanos())).unwrap_or(u32::MAX);
        let failures = counted.saturating_sub(bucket.under_way);
        drop(bucket);
        self.uncount(failures);
    }

    /// Lets `drop` remove this attempt, and removes `failures` earlier ones.
    fn uncount(&mut self, failures: u32) {
        let interval = self.limit.policy.interval;
        let mut bucket = self.counted.bucket();
        bucket.empty_at = bucket.empty_at.map(|at| {
            // Attempts under way stay counted. This one is still among them.
            let least = self.limit.clock.steady() + interval * bucket.under_way;
            (at - interval * failures).max(least.min(at))
        });
        drop(bucket);
        self.made = false;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut bucket = self.counted.bucket();
        bucket.under_way -= 1;
        if !self.made {
            bucket.empty_at = bucket.empty_at.map(|at| at - self.limit.policy.interval);
        }
        drop(bucket);
        self.counted.decided.notify_waiters();
    }
}

impl Counted {
    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the waiting attempts of a key.
struct WaitingPlace<'a>(&'a Counted);

impl<'a> WaitingPlace<'a> {
    /// `None` if too many wait already, or if no attempt is under way.
    fn enter(counted: &'a Counted) -> Option<Self> {
        let mut bucket = counted.bucket();
        if bucket.under_way == 0 || bucket.waiting == Attempts::WAITING {
            return None;
        }
        bucket.waiting += 1;
        Some(Self(counted))
    }
}

impl Drop for WaitingPlace<'_> {
    fn drop(&mut self) {
        self.0.bucket().waiting -= 1;
    }
}

/// Each part is preceded by its length, so that different parts never give the same key.
fn key(parts: &[&str]) -> CountKey {
    let text: String = parts.iter().map(|part| format!("{} {part} ", part.len())).collect();
    let digest = digest(&SHA256, text.as_bytes());
    let mut key = CountKey::default();
    key.copy_from_slice(&digest.as_ref()[..16]);
    key
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::clock::ManualClock;

    const ALICE: &[&str] = &["app", "alice"];

    fn ten_then_one_in_ten_seconds() -> (Attempts, ManualClock) {
        let clock = ManualClock::at(Timestamp::from_seconds(1_795_500_000));
        let policy = Policy { burst: 10.try_into().unwrap(), interval: Duration::from_secs(10) };
        (Attempts::new(policy, Arc::new(clock.clone())), clock)
    }

    async fn make(attempts: &Attempts, key: &[&str]) -> Result<Attempt, Limited> {
        let mut attempt = attempts.begin(key).await?;
        attempt.made();
        Ok(attempt)
    }

    /// Makes failing attempts until one is refused.
    async fn fail_until_limited(attempts: &Attempts, key: &[&str]) -> (u32, Duration) {
        for failed in 0.. {
            match make(attempts, key).await {
                Ok(attempt) => drop(attempt),
                Err(Limited(wait)) => return (failed, wait),
            }
        }
        unreachable!()
    }

    #[tokio::test]
    async fn ten_failures_are_free_then_one_in_ten_seconds_and_a_success_forgives() {
        let (attempts, clock) = ten_then_one_in_ten_seconds();
        assert_eq!(fail_until_limited(&attempts, ALICE).await, (10, Duration::from_secs(10)));
        drop(make(&attempts, &["app", "bob"]).await.expect("another name"));
        drop(make(&attempts, &["other", "alice"]).await.expect("another client"));
        clock.advance(Duration::from_secs(4));
        assert_eq!(fail_until_limited(&attempts, ALICE).await, (0, Duration::from_secs(6)));
        clock.advance(Duration::from_secs(6));
        make(&attempts, ALICE).await.unwrap().give_back();
        drop(attempts.begin(ALICE).await.unwrap());
        assert_eq!(
            fail_until_limited(&attempts, ALICE).await,
            (1, Duration::from_secs(10)),
            "attempts that were given back or never made do not count"
        );
        clock.advance(Duration::from_secs(10));
        make(&attempts, ALICE).await.unwrap().forgive();
        assert_eq!(fail_until_limited(&attempts, ALICE).await.0, 10);
    }

    #[tokio::test]
    async fn op12_attempts_under_way_are_limited_to_ten_without_counting_as_failures() {
        let (attempts, _) = ten_then_one_in_ten_seconds();
        let mut under_way = Vec::new();
        for _ in 0..10 {
            under_way.push(make(&attempts, ALICE).await.unwrap());
        }
        let mut next = std::pin::pin!(attempts.begin_in_turn(ALICE));
        assert!(next.as_mut().now_or_never().is_none(), "it waits");
        assert!(attempts.begin(ALICE).await.is_err());
        under_way.pop().unwrap().forgive();
        let mut next = next.await.expect("a success lets the next one proceed");
        next.made();
        assert!(attempts.begin(ALICE).await.is_err(), "ten are under way again");

        let mut last = std::pin::pin!(attempts.begin_in_turn(ALICE));
        assert!(last.as_mut().now_or_never().is_none());
        drop(under_way);
        assert!(last.as_mut().now_or_never().is_none(), "one is under way");
        drop(next);
        assert_eq!(last.await.err(), Some(Limited(Duration::from_secs(10))), "all ten failed");
    }

    #[tokio::test]
    async fn op12_waiting_attempts_are_limited_and_a_dropped_one_frees_its_place() {
        let (attempts, _) = ten_then_one_in_ten_seconds();
        let mut under_way = Vec::new();
        for _ in 0..10 {
            under_way.push(make(&attempts, ALICE).await.unwrap());
        }
        let mut waiting: Vec<_> = (0..Attempts::WAITING).map(|_| Box::pin(attempts.begin_in_turn(ALICE))).collect();
        for one in &mut waiting {
            assert!(one.as_mut().now_or_never().is_none());
        }
        assert_eq!(attempts.begin_in_turn(ALICE).await.err(), Some(Limited(Duration::from_secs(10))));
        waiting.pop();
        assert!(attempts.begin_in_turn(ALICE).now_or_never().is_none());
    }

    #[tokio::test]
    async fn op12_an_attempt_waits_three_seconds_at_most() {
        let (attempts, clock) = ten_then_one_in_ten_seconds();
        let mut under_way = Vec::new();
        for _ in 0..10 {
            under_way.push(make(&attempts, ALICE).await.unwrap());
        }
        let mut next = std::pin::pin!(attempts.begin_in_turn(ALICE));
        assert!(next.as_mut().now_or_never().is_none());
        clock.advance(Duration::from_millis(2_999));
        assert!(next.as_mut().now_or_never().is_none());
        clock.advance(Duration::from_millis(1));
        assert_eq!(next.await.err(), Some(Limited(Duration::from_secs(7))));
    }

    #[tokio::test]
    async fn hd11_setting_the_clock_back_does_not_lengthen_any_wait() {
        let (attempts, clock) = ten_then_one_in_ten_seconds();
        fail_until_limited(&attempts, ALICE).await;
        clock.set_back(Duration::from_secs(3600));
        assert_eq!(fail_until_limited(&attempts, ALICE).await, (0, Duration::from_secs(10)));
        clock.advance(Duration::from_secs(10));
        assert_eq!(fail_until_limited(&attempts, ALICE).await, (1, Duration::from_secs(10)));
    }
}
