//! Whether the clock of this node can be trusted to rotate keys, and by what time old data ends if it cannot.

use std::time::Duration;

use super::SKEW;
use crate::clock::{Clock, Timestamp};

/// How long rotation is paused after the clock was set forward. An operator or a time server that did so by mistake has this long to correct it;
/// the lead is longer.
const SETTLES_AFTER: Duration = Duration::from_secs(3600);

/// A server that is alive writes a heartbeat every minute. One that has not changed for this long was written by a clock that was ahead.
const HEARTBEAT_IS_STALE_AFTER: Duration = Duration::from_secs(600);

/// Why the clock cannot be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClockFault {
    #[error("the clock was set back by {} s; if it is right now, restart this server", .0.as_secs())]
    SetBack(Duration),
    #[error("the clock was set forward by {} s; if it is right now, rotation resumes within an hour", .0.as_secs())]
    SetForward(Duration),
    #[error("no server whose clock was certain has been alive for {} s by this clock: keys that can wait are not changed for an hour, in case it is ahead", .0.as_secs())]
    Unconfirmed(Duration),
    #[error("another server is alive at a time that is {} s ahead of this clock: one of the two clocks is wrong", .0.as_secs())]
    Behind(Duration),
}

/// Compares the wall clock with the monotonic clock and with the heartbeat of the servers.
#[derive(Debug, Default)]
pub(crate) struct ClockCheck {
    /// The wall clock and the monotonic clock at the last check.
    last: Option<(Timestamp, Duration)>,
    /// By how much the clock was set forward, and when, by the monotonic clock.
    set_forward: Option<(Duration, Duration)>,
    /// The heartbeat of the database, and when it was first seen, by the monotonic clock.
    heartbeat: Option<(Timestamp, Duration)>,
    /// How old the cautious heartbeat was when this node started, and when that was, by the monotonic clock.
    unconfirmed: Option<(Duration, Duration)>,
    /// While the clock may be ahead: a time from before that, and when it had certainly come, by the monotonic clock.
    before: Option<(Timestamp, Duration)>,
}

impl ClockCheck {
    /// For a node that starts when the database has this cautious heartbeat. It is behind a clock that may be ahead, so that a restart does not end the
    /// doubt.
    pub(crate) fn new(clock: &dyn Clock, heartbeat: Option<Timestamp>) -> Self {
        let (now, monotonic) = (clock.now(), clock.monotonic());
        let old = heartbeat.filter(|heartbeat| now.since(*heartbeat) > 3 * SKEW);
        let unconfirmed = old.map(|heartbeat| (now.since(heartbeat), monotonic));
        Self { unconfirmed, before: old.map(|heartbeat| (heartbeat, monotonic)), ..Self::default() }
    }

    /// Compares the wall clock with the monotonic clock.
    fn note(&mut self, clock: &dyn Clock) {
        let (now, monotonic) = (clock.now(), clock.monotonic());
        if let Some((wall, then)) = self.last.replace((now, monotonic)) {
            let forward = now.since(wall + monotonic.saturating_sub(then));
            if forward > SKEW {
                self.set_forward = Some((forward, monotonic));
                self.before.get_or_insert((wall, then));
            }
        }
        let recent = |(_, then): &(Duration, Duration)| monotonic.saturating_sub(*then) < SETTLES_AFTER;
        self.set_forward = self.set_forward.filter(recent);
        self.unconfirmed = self.unconfirmed.filter(recent);
        if self.set_forward.is_none() && self.unconfirmed.is_none() {
            self.before = None;
        }
    }

    /// Checks `clock`, also against the `heartbeat` of the database.
    pub(crate) fn check(&mut self, clock: &dyn Clock, heartbeat: Option<Timestamp>) -> Result<(), ClockFault> {
        self.note(clock);
        let (now, monotonic) = (clock.now(), clock.monotonic());
        if self.heartbeat.map(|(known, _)| known) != heartbeat {
            self.heartbeat = heartbeat.map(|heartbeat| (heartbeat, monotonic));
        }
        let back = clock.steady().since(now);
        let behind = self.behind(clock);
        if back > SKEW {
            Err(ClockFault::SetBack(back))
        } else if behind > 2 * SKEW {
            Err(ClockFault::Behind(behind))
        } else if let Some((forward, _)) = self.set_forward {
            Err(ClockFault::SetForward(forward))
        } else if let Some((age, _)) = self.unconfirmed {
            Err(ClockFault::Unconfirmed(age))
        } else {
            Ok(())
        }
    }

    /// Checks `clock`, and returns the time by which old data ends: that of the clock, unless that may be ahead. Then it is a time from before, plus what
    /// the monotonic clock has counted since, so that nothing ends early. By a clock that is behind, data ends late, which does little harm.
    pub(crate) fn cautious_now(&mut self, clock: &dyn Clock) -> Timestamp {
        self.note(clock);
        let now = clock.now();
        self.before.map_or(now, |(before, then)| now.min(before + clock.monotonic().saturating_sub(then)))
    }

    /// By how much `clock` was behind that of another server at the last check, if that server is alive.
    pub(crate) fn behind(&self, clock: &dyn Clock) -> Duration {
        let alive = self.heartbeat.filter(|(_, seen)| clock.monotonic().saturating_sub(*seen) < HEARTBEAT_IS_STALE_AFTER);
        alive.map_or(Duration::ZERO, |(heartbeat, _)| heartbeat.since(clock.now()))
    }

    /// By how much the clock was set forward within the last hour.
    pub(crate) fn set_forward(&self) -> Duration {
        self.set_forward.map_or(Duration::ZERO, |(forward, _)| forward)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_clock_that_was_set_or_that_disagrees_with_another_server_is_not_trusted() {
        let clock = ManualClock::at(Timestamp::from_seconds(1_795_500_000));
        let mut check = ClockCheck::default();
        assert_eq!(check.check(&clock, None), Ok(()));
        clock.advance(24 * HOUR);
        assert_eq!(check.check(&clock, Some(clock.now() + 2 * SKEW)), Ok(()), "time passes, and clocks differ");
        let ahead = clock.now() + HOUR;
        assert_eq!(check.check(&clock, Some(ahead)), Err(ClockFault::Behind(HOUR)));
        assert_eq!((check.behind(&clock), check.set_forward()), (HOUR, Duration::ZERO));
        clock.advance(HEARTBEAT_IS_STALE_AFTER);
        assert_eq!(check.check(&clock, Some(ahead)), Ok(()), "the clock that wrote it was ahead, and has been corrected");
        assert!(check.check(&clock, Some(ahead + SKEW)).is_err(), "it is alive");
        let mut check = ClockCheck::default();
        assert_eq!(check.check(&clock, None), Ok(()));

        clock.set_forward(30 * 24 * HOUR);
        assert_eq!(check.check(&clock, None), Err(ClockFault::SetForward(30 * 24 * HOUR)));
        clock.advance(HOUR - Duration::from_secs(1));
        assert_eq!(check.check(&clock, None), Err(ClockFault::SetForward(30 * 24 * HOUR)));
        assert_eq!((check.behind(&clock), check.set_forward()), (Duration::ZERO, 30 * 24 * HOUR));
        clock.advance(Duration::from_secs(1));
        assert_eq!((check.check(&clock, None), check.set_forward()), (Ok(()), Duration::ZERO));

        clock.set_back(HOUR);
        assert_eq!(check.check(&clock, None), Err(ClockFault::SetBack(HOUR)));
        clock.set_forward(HOUR);
        assert_eq!(check.check(&clock, None), Err(ClockFault::SetForward(HOUR)), "it was corrected, which is noticed too");
    }

    #[test]
    fn hd11_nothing_ends_by_a_clock_that_was_set_forward_before_an_hour_has_passed() {
        let clock = ManualClock::at(Timestamp::from_seconds(1_795_500_000));
        let (noon, mut check) = (clock.now(), ClockCheck::default());
        assert_eq!(check.cautious_now(&clock), noon);
        clock.advance(HOUR / 2);
        assert_eq!(check.cautious_now(&clock), noon + HOUR / 2);
        for minutes in [0_u32, 30] {
            clock.set_forward(24 * HOUR);
            let passed = HOUR / 2 + minutes * Duration::from_secs(60);
            assert_eq!(check.cautious_now(&clock), noon + passed, "also when it is set forward again");
            clock.advance(HOUR / 2);
            assert_eq!(check.cautious_now(&clock), noon + passed + HOUR / 2);
        }
        clock.advance(HOUR / 2);
        assert_eq!(check.cautious_now(&clock), clock.now(), "an hour after the last time");
    }

    #[test]
    fn hd11_data_ends_late_by_a_clock_that_was_set_back() {
        let clock = ManualClock::at(Timestamp::from_seconds(1_795_500_000));
        let mut check = ClockCheck::default();
        check.cautious_now(&clock);
        clock.set_back(HOUR);
        assert_eq!(check.cautious_now(&clock), clock.now());
        clock.advance(HOUR / 2);
        assert_eq!(check.cautious_now(&clock), clock.now(), "it goes on");
        clock.set_forward(2 * HOUR);
        assert_eq!(check.cautious_now(&clock), clock.now() - 2 * HOUR, "it may be wrong now");
    }

    #[test]
    fn a_start_after_a_long_time_goes_on_where_the_last_server_stopped_in_case_the_clock_is_ahead() {
        let clock = ManualClock::at(Timestamp::from_seconds(1_795_500_000));
        let last = clock.now() - 24 * HOUR;
        let mut check = ClockCheck::new(&clock, Some(last));
        assert_eq!(check.cautious_now(&clock), last);
        clock.advance(HOUR / 2);
        assert_eq!(check.cautious_now(&clock), last + HOUR / 2);
        clock.advance(HOUR / 2);
        assert_eq!(check.cautious_now(&clock), clock.now());
        // One that is a little older than now is that of a server which has just stopped.
        let mut check = ClockCheck::new(&clock, Some(clock.now() - 2 * SKEW));
        assert_eq!(check.cautious_now(&clock), clock.now());
    }

    #[test]
    fn a_start_after_a_long_time_may_be_a_clock_that_is_ahead() {
        let clock = ManualClock::at(Timestamp::from_seconds(1_795_500_000));
        let mut check = ClockCheck::new(&clock, Some(clock.now() - HOUR));
        assert_eq!(check.check(&clock, None), Err(ClockFault::Unconfirmed(HOUR)));
        clock.advance(HOUR);
        assert_eq!(check.check(&clock, None), Ok(()));
        for heartbeat in [None, Some(clock.now() - 2 * SKEW)] {
            assert_eq!(ClockCheck::new(&clock, heartbeat).check(&clock, heartbeat), Ok(()));
        }
    }
}
