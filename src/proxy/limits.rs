use std::time::Duration;

/// How long a forwarder waits for each side. They end a wait, never a transfer that makes progress.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeLimits {
    /// For a connection to the upstream: its name, TCP and TLS. Over HTTP/2, then also for a stream, of which the upstream allows only so
    /// many at once.
    pub(super) connect: Duration,
    /// For the head of the answer, from the end of the request.
    pub(super) answer: Duration,
    /// For the next piece of a body, for its receiver to take it, and for either side of an upgraded connection to send something.
    pub(super) idle: Duration,
}

impl TimeLimits {
    /// `None` if one of them is zero: nothing could be forwarded.
    pub(crate) fn new(connect: Duration, answer: Duration, idle: Duration) -> Option<Self> {
        let valid = [connect, answer, idle].iter().all(|limit| !limit.is_zero());
        valid.then_some(Self { connect, answer, idle })
    }

    /// How long nothing may move on the connection to a caller that has a request under way. It is longer than all that this room waits for,
    /// so that the caller gets the answer about what took too long instead of a closed connection.
    pub(crate) fn quiet(self) -> Duration {
        /// For what the user of this room does before a request is forwarded.
        const BEFORE: Duration = Duration::from_secs(30);
        self.head().max(self.idle).saturating_add(BEFORE)
    }

    /// How long a second attempt to send a request may take to get the head of the answer, if the first one took so long: both together take
    /// no longer than one may.
    pub(super) fn left_after(self, first: Duration) -> Duration {
        self.head().saturating_sub(first)
    }

    /// For the head of the answer to a request without a body.
    fn head(self) -> Duration {
        self.connect.saturating_mul(2).saturating_add(self.answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gd2_time_limits_are_not_zero_and_end_before_the_connection_to_the_caller() {
        let [zero, second, hour] = [0, 1, 3600].map(Duration::from_secs);
        for (connect, answer, idle) in [(zero, second, second), (second, zero, second), (second, second, zero)] {
            assert!(TimeLimits::new(connect, answer, idle).is_none());
        }
        for (connect, answer, idle) in [(second, hour, second), (second, second, hour), (hour, second, second)] {
            let limits = TimeLimits::new(connect, answer, idle).unwrap();
            assert!(limits.quiet() > connect + connect + answer && limits.quiet() > idle);
            for first in [Duration::ZERO, second, connect + answer, connect + connect + answer] {
                assert!(limits.quiet() > first + limits.left_after(first), "a second attempt ends before, too: {first:?}");
            }
        }
        assert_eq!(TimeLimits::new(Duration::MAX, Duration::MAX, Duration::MAX).unwrap().quiet(), Duration::MAX);
    }
}
