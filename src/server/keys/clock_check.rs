//! Whether the clock of this node can be trusted to rotate keys.

use std::time::Duration;

use super::SKEW;
use crate::clock::{Clock, Timestamp};

/// How long rotation is paused after the clock was set forward. An operator or a time server that did so by mistake has this long to correct it;
/// the lead is longer.
const SETTLES_AFTER: Duration = Duration::from_secs(3600);

/// Why the clock cannot be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClockFault {
    #[error("the clock was set back by {} s; if it is right now, restart this server", .0.as_secs())]
    SetBack(Duration),
    #[error("the clock was set forward by {} s; if it is right now, rotation resumes within an hour", .0.as_secs())]
    SetForward(Duration),
    #[error("the database contains a time that is {} s ahead of this clock: the clock of this node is behind, or that of another was ahead", .0.as_secs())]
    Behind(Duration),
}

/// Compares the wall clock with the monotonic clock and with the newest time of the database.
#[derive(Debug, Default)]
pub(crate) struct ClockCheck {
    /// The wall clock and the monotonic clock at the last check.
    last: Option<(Timestamp, Duration)>,
    /// By how much the clock was set forward, and when, by the monotonic clock.
    set_forward: Option<(Duration, Duration)>,
}

impl ClockCheck {
    /// Checks `clock`. `newest` is the newest time of the database.
    pub(crate) fn check(&mut self, clock: &dyn Clock, newest: Option<Timestamp>) -> Result<(), ClockFault> {
        let (now, monotonic) = (clock.now(), clock.monotonic());
        if let Some((wall, then)) = self.last.replace((now, monotonic)) {
            let forward = now.since(wall + monotonic.saturating_sub(then));
            if forward > SKEW {
                self.set_forward = Some((forward, monotonic));
            }
        }
        self.set_forward = self.set_forward.filter(|(_, then)| monotonic.saturating_sub(*then) < SETTLES_AFTER);
        let back = clock.steady().since(now);
        let behind = newest.map_or(Duration::ZERO, |newest| newest.since(now));
        if back > SKEW {
            Err(ClockFault::SetBack(back))
        } else if behind > 2 * SKEW {
            Err(ClockFault::Behind(behind))
        } else if let Some((forward, _)) = self.set_forward {
            Err(ClockFault::SetForward(forward))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_clock_that_was_set_or_that_disagrees_with_the_database_is_not_trusted() {
        let clock = ManualClock::at(Timestamp::from_seconds(1_795_500_000));
        let mut check = ClockCheck::default();
        assert_eq!(check.check(&clock, None), Ok(()));
        clock.advance(24 * HOUR);
        assert_eq!(check.check(&clock, Some(clock.now() + 2 * SKEW)), Ok(()), "time passes, and clocks differ");
        assert_eq!(check.check(&clock, Some(clock.now() + HOUR)), Err(ClockFault::Behind(HOUR)));

        clock.set_forward(30 * 24 * HOUR);
        assert_eq!(check.check(&clock, None), Err(ClockFault::SetForward(30 * 24 * HOUR)));
        clock.advance(HOUR - Duration::from_secs(1));
        assert_eq!(check.check(&clock, None), Err(ClockFault::SetForward(30 * 24 * HOUR)));
        clock.advance(Duration::from_secs(1));
        assert_eq!(check.check(&clock, None), Ok(()));

        clock.set_back(HOUR);
        assert_eq!(check.check(&clock, None), Err(ClockFault::SetBack(HOUR)));
        clock.set_forward(HOUR);
        assert_eq!(check.check(&clock, None), Err(ClockFault::SetForward(HOUR)), "it was corrected, which is noticed too");
    }
}
