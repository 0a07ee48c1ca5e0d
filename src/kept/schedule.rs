//! Decides when an issuer is asked: ahead of expiry, on demand, and never too often. Does no I/O.

use std::time::Duration;

use crate::{clock::Timestamp, entropy};

/// The pause after the first attempt without an answer. It doubles with every further one.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// How one kind of value is refreshed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RefreshPolicy {
    /// Minimum time between the start of one attempt and the next attempt on demand, so that a flood of requests does not become a
    /// flood of fetches.
    pub(crate) cool_down: Duration,
    /// Minimum time between a successful attempt and the next planned one.
    pub(crate) min_interval: Duration,
    /// Minimum and maximum pause after an unusable answer.
    pub(crate) retry_bounds: (Duration, Duration),
    /// Maximum pause after attempts that failed, unless the issuer asks for a longer one.
    pub(crate) max_backoff: Duration,
    /// Maximum number of callers that wait for an attempt. Further callers are refused at once.
    pub(crate) max_waiters: usize,
    /// Whether the pause after a failure applies to attempts on demand as well as to planned ones.
    pub(crate) demand_backs_off: bool,
    /// Whether a value is fetched ahead of its expiry.
    pub(crate) prefetch: Prefetch,
    /// Whether a lifetime counts from the request rather than from the answer.
    pub(crate) lifetime_from_request: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prefetch {
    Always,
    /// Only if the value was used since it was fetched.
    WhenUsed,
    Never,
}

impl RefreshPolicy {
    /// The time from a fetch to the next planned one: four fifths of the value's life, less a random part of up to a tenth of that, so that
    /// many processes do not fetch at the same moment.
    pub(super) fn until_refresh(&self, fresh: Duration) -> Duration {
        let ahead = fresh * 4 / 5;
        (ahead - entropy::jitter(ahead / 10)).max(self.min_interval)
    }

    /// The pause after an attempt that ended so, after this number of consecutive failures.
    pub(crate) fn pause(&self, failures: u32, outcome: Outcome) -> Duration {
        let shortest = match outcome {
            Outcome::Fetched(pause) => return pause,
            Outcome::Unusable(wait) => wait.clamp(self.retry_bounds.0, self.retry_bounds.1),
            Outcome::Unreachable => FIRST_BACKOFF,
        };
        let longest = FIRST_BACKOFF.saturating_mul(1 << failures.min(5)).min(self.max_backoff);
        (longest - entropy::jitter(longest / 2)).max(shortest)
    }
}

/// The state of the attempts to fetch one value.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    policy: RefreshPolicy,
    /// A caller waits for an attempt that has not begun.
    demanded: bool,
    /// The value must be confirmed, although no caller waits for it.
    unconfirmed: bool,
    in_flight: bool,
    /// The start of the last attempt that the cool-down counts from: not one that only confirmed the value.
    begun_at: Option<Timestamp>,
    /// The start of the last attempt.
    last_begun_at: Option<Timestamp>,
    next_at: Timestamp,
    /// Consecutive attempts that failed.
    failures: u32,
    /// Number of attempts that have ended.
    finished: u64,
    /// Whether the last of them was abandoned.
    abandoned: bool,
    /// Whether one of them was not.
    has_outcome: bool,
}

/// The answer to a caller that demands a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    /// An attempt is in flight or about to begin. It has ended when more than this number are finished.
    Pending(u64),
    /// The last attempt is too recent to make another.
    CoolingDown,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With a value that is to be refreshed after this time.
    Fetched(Duration),
    /// With an unusable answer, and the pause that the issuer asked for, if any.
    Unusable(Duration),
    /// Without an answer.
    Unreachable,
}

impl Schedule {
    /// The first attempt is due at once.
    pub(super) const fn new(policy: RefreshPolicy, now: Timestamp) -> Self {
        Self {
            policy,
            demanded: false,
            unconfirmed: false,
            in_flight: false,
            begun_at: None,
            last_begun_at: None,
            next_at: now,
            failures: 0,
            finished: 0,
            abandoned: false,
            has_outcome: false,
        }
    }

    /// A caller needs a value that is not cached.
    pub(super) fn demand(&mut self, now: Timestamp) -> Demand {
        if !self.permits_demand(now) {
            return Demand::CoolingDown;
        }
        self.demanded |= !self.in_flight;
        Demand::Pending(self.finished)
    }

    /// Whether an attempt is in flight, or may begin on demand.
    pub(super) fn permits_demand(&self, now: Timestamp) -> bool {
        // After the clock was set back, callers must not wait until it has caught up.
        let cooling = self.begun_at.is_some_and(|begun| begun <= now && now < begun + self.policy.cool_down);
        let backing_off = self.demand_backs_off() && self.begun_at.is_some_and(|begun| begun <= now);
        self.in_flight || self.unconfirmed || !(cooling || backing_off) || now >= self.next_at
    }

    /// The value must be confirmed, unless an attempt began less than `age` ago. The cool-down is for the demands of strangers and does not
    /// apply. Returns whether an attempt is due at once.
    pub(super) fn confirm(&mut self, age: Duration, now: Timestamp) -> bool {
        let recent = self.last_begun_at.is_some_and(|begun| begun <= now && now < begun + age);
        self.unconfirmed |= !self.in_flight && !recent;
        self.unconfirmed
    }

    pub(super) const fn is_in_flight(&self) -> bool {
        self.in_flight
    }

    /// Whether an attempt must begin at once.
    pub(super) const fn is_demanded(&self) -> bool {
        self.demanded || self.unconfirmed
    }

    pub(super) const fn has_finished_more_than(&self, attempts: u64) -> bool {
        self.finished > attempts
    }

    /// When the next attempt is planned, with or without demand.
    pub(super) const fn next_at(&self) -> Timestamp {
        self.next_at
    }

    /// The time after which an attempt on demand is possible: whole seconds, at least one.
    pub(super) fn retry_after(&self, now: Timestamp) -> Duration {
        let on_demand_at = self.begun_at.map_or(now, |begun| begun + self.policy.cool_down);
        let possible_at = if self.demand_backs_off() { self.next_at } else { self.next_at.min(on_demand_at) };
        let wait = possible_at.since(now);
        Duration::from_secs(wait.as_millis().div_ceil(1000).clamp(1, 3600) as u64)
    }

    const fn demand_backs_off(&self) -> bool {
        self.policy.demand_backs_off && self.failures > 0
    }

    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    /// Begins an attempt. Returns whether it was demanded: then the issuer's current value is needed, not that of a cache on the way.
    pub(super) fn begin(&mut self, now: Timestamp) -> bool {
        let (demanded, unconfirmed) = (std::mem::take(&mut self.demanded), std::mem::take(&mut self.unconfirmed));
        self.in_flight = true;
        self.last_begun_at = Some(now);
        if demanded || !unconfirmed {
            self.begun_at = Some(now);
        }
        demanded || unconfirmed
    }

    pub(super) fn end(&mut self, now: Timestamp, outcome: Outcome) {
        let pause = self.policy.pause(self.failures, outcome);
        self.failures = if matches!(outcome, Outcome::Fetched(_)) { 0 } else { self.failures.saturating_add(1) };
        self.next_at = now + pause;
        self.in_flight = false;
        self.finished += 1;
        self.abandoned = false;
        self.has_outcome = true;
    }

    /// Notes that the background task has ended. Returns whether an attempt was in flight. Where a demand does not back off, it counts as failed,
    /// so that the next caller does not start another at once.
    pub(super) fn abandon(&mut self) -> bool {
        let in_flight = std::mem::replace(&mut self.in_flight, false);
        match self.last_begun_at.filter(|_| in_flight) {
            // The waiters did not cause the failure, so they may retry at once, each in its own runtime.
            Some(begun) if self.policy.demand_backs_off => self.next_at = begun,
            Some(begun) => {
                self.failures = self.failures.saturating_add(1);
                self.next_at = begun + self.policy.cool_down;
            }
            None => {}
        }
        self.finished += 1;
        self.abandoned = true;
        in_flight
    }

    /// Whether the last attempt ended with its task instead of with an outcome.
    pub(super) const fn was_abandoned(&self) -> bool {
        self.abandoned
    }

    /// Whether an attempt has ended with an outcome.
    pub(super) const fn has_outcome(&self) -> bool {
        self.has_outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_seconds(1_795_500_000);

    const KEYS: RefreshPolicy = RefreshPolicy {
        cool_down: Duration::from_secs(10),
        min_interval: Duration::from_secs(10),
        retry_bounds: (Duration::from_secs(10), Duration::from_secs(30)),
        max_backoff: Duration::from_secs(30),
        max_waiters: 4096,
        demand_backs_off: false,
        prefetch: Prefetch::Always,
        lifetime_from_request: false,
    };

    fn after(seconds: u64) -> Timestamp {
        START + Duration::from_secs(seconds)
    }

    #[test]
    fn one_attempt_serves_all_callers_and_none_waits_during_the_cool_down() {
        let mut schedule = Schedule::new(KEYS, START);
        assert_eq!(schedule.demand(START), Demand::Pending(0));
        assert!(schedule.begin(START), "a caller demanded it");
        assert_eq!(schedule.demand(after(4)), Demand::Pending(0));
        schedule.end(after(4), Outcome::Fetched(Duration::from_secs(600)));
        assert!(!schedule.is_demanded() && schedule.has_finished_more_than(0));
        assert_eq!(schedule.demand(after(9)), Demand::CoolingDown);
        assert_eq!(schedule.retry_after(after(9)), Duration::from_secs(1));
        assert_eq!(schedule.demand(after(10)), Demand::Pending(1));
    }

    #[test]
    fn a_caller_waits_for_an_attempt_that_is_due() {
        let mut schedule = Schedule::new(KEYS, START);
        schedule.begin(START);
        schedule.end(START, Outcome::Unreachable);
        assert_eq!(schedule.demand(START), Demand::CoolingDown);
        let wait = schedule.retry_after(START);
        assert_eq!((wait, schedule.demand(START + wait)), (Duration::from_secs(1), Demand::Pending(1)));
    }

    #[test]
    fn a_clock_that_is_set_back_delays_no_caller() {
        let mut schedule = Schedule::new(KEYS, after(3600));
        schedule.begin(after(3600));
        schedule.end(after(3600), Outcome::Fetched(Duration::from_secs(600)));
        assert_eq!(schedule.demand(START), Demand::Pending(1));
    }

    #[test]
    fn a_value_is_refreshed_ahead_of_its_expiry_at_random_times() {
        let planned: std::collections::BTreeSet<Duration> = (0..50).map(|_| KEYS.until_refresh(Duration::from_secs(1000))).collect();
        assert!(planned.first().unwrap().as_secs() >= 720 && planned.last().unwrap().as_secs() <= 800, "{planned:?}");
        assert!(planned.len() > 20, "they differ: {planned:?}");
        let uncacheable = KEYS.until_refresh(Duration::ZERO);
        assert_eq!(uncacheable.as_secs(), 10, "an issuer that forbids caching is not asked in a loop");
    }

    #[test]
    fn the_backoff_grows_from_1_to_30_s_and_respects_retry_after() {
        let mut schedule = Schedule::new(KEYS, START);
        let mut pauses = Vec::new();
        for _ in 0..40 {
            schedule.begin(START);
            schedule.end(START, Outcome::Unreachable);
            pauses.push(schedule.next_at().since(START).as_secs_f64());
        }
        for (pause, longest) in pauses.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]) {
            assert!((1.0..=longest).contains(pause) && *pause >= longest / 2.0, "{pauses:?}");
        }
        assert!(pauses[6..].iter().all(|pause| (15.0..=30.0).contains(pause)));
        schedule.end(START, Outcome::Fetched(Duration::from_secs(600)));
        schedule.end(START, Outcome::Unusable(Duration::ZERO));
        assert_eq!(schedule.next_at(), after(10));
        schedule.end(START, Outcome::Unusable(Duration::from_secs(20)));
        assert_eq!(schedule.next_at(), after(20), "as the issuer asks");
        schedule.end(START, Outcome::Unusable(Duration::from_secs(86_400)));
        assert_eq!(schedule.next_at(), after(30), "within the bounds");
    }

    #[test]
    fn a_refusal_stands_for_its_whole_pause_where_demand_backs_off() {
        let mut schedule = Schedule::new(
            RefreshPolicy { demand_backs_off: true, retry_bounds: (FIRST_BACKOFF, Duration::from_secs(3600)), ..KEYS },
            START,
        );
        schedule.begin(START);
        schedule.end(START, Outcome::Unusable(Duration::from_secs(60)));
        assert_eq!((schedule.demand(after(59)), schedule.retry_after(after(20))), (Demand::CoolingDown, Duration::from_secs(40)));
        assert_eq!(schedule.demand(after(60)), Demand::Pending(1));
        assert_eq!(schedule.demand(START - Duration::from_secs(9)), Demand::Pending(1), "a clock that is set back delays no caller");
    }

    #[test]
    fn ky3_a_value_is_confirmed_in_time_and_callers_may_still_demand_it() {
        let mut schedule = Schedule::new(KEYS, START);
        schedule.begin(START);
        schedule.end(START, Outcome::Fetched(Duration::from_secs(600)));
        let age = Duration::from_secs(5);
        assert!(!schedule.confirm(age, after(4)) && !schedule.is_demanded());
        assert!(schedule.confirm(age, after(5)) && schedule.is_demanded(), "although the cool-down has not ended");
        assert!(schedule.begin(after(5)), "a cache on the way must not answer");
        assert!(!schedule.confirm(age, after(11)), "an attempt is in flight");
        schedule.end(after(5), Outcome::Unreachable);
        assert!(!schedule.confirm(age, after(9)), "a failed attempt counts");
        // The cool-down counts from the attempt before: an unknown key is looked up although the keys were confirmed just now.
        schedule.end(after(5), Outcome::Fetched(Duration::from_secs(600)));
        assert_eq!(schedule.demand(after(10)), Demand::Pending(3));
    }

    #[test]
    fn an_abandoned_attempt_is_not_repeated_at_once() {
        let mut schedule = Schedule::new(KEYS, START);
        schedule.begin(START);
        assert!(schedule.abandon() && schedule.was_abandoned() && schedule.has_finished_more_than(0));
        assert_eq!((schedule.next_at(), schedule.demand(after(1))), (after(10), Demand::CoolingDown));
        schedule.end(after(10), Outcome::Fetched(Duration::from_secs(1000)));
        let planned = schedule.next_at();
        assert!(!schedule.abandon() && schedule.next_at() == planned, "no attempt was in flight");

        // Nor is one that only confirmed the value, however long ago the attempt before it was.
        assert!(schedule.confirm(Duration::from_secs(5), after(600)));
        schedule.begin(after(600));
        assert!(schedule.abandon());
        assert_eq!(schedule.next_at(), after(610));
    }

    #[test]
    fn an_abandoned_attempt_has_no_outcome_and_where_demand_backs_off_its_callers_may_retry_at_once() {
        let mut schedule = Schedule::new(RefreshPolicy { demand_backs_off: true, ..KEYS }, START);
        schedule.begin(START);
        assert!(schedule.abandon() && !schedule.has_outcome() && schedule.failures() == 0);
        assert_eq!(schedule.demand(after(1)), Demand::Pending(1));
        schedule.begin(after(1));
        schedule.end(after(1), Outcome::Unusable(Duration::from_secs(20)));
        assert!(schedule.has_outcome());
        assert!(!schedule.abandon() && schedule.demand(after(2)) == Demand::CoolingDown, "the end of a runtime does not shorten a pause");
    }
}
