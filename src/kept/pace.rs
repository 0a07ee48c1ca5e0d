//! When an issuer is asked: ahead of time, when somebody needs it, never too often. Pure.

use std::time::Duration;

use crate::{clock::Timestamp, entropy};

/// The pause after the first attempt that gets no answer; it doubles with every further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How an issuer is asked for one kind of value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manners {
    /// At least so long lie between one attempt that somebody provokes, although the next is planned for later, and the attempt before
    /// it: no flood of those becomes a flood of fetches.
    pub(crate) cool_down: Duration,
    /// At least so long lie between an attempt that succeeded and the next that is planned.
    pub(crate) shortest_life: Duration,
    /// So long the issuer is left alone when it answers with something useless, at least and at most.
    pub(crate) quiet: (Duration, Duration),
    /// Those who wait for an attempt at most; one more is refused at once.
    pub(crate) waiting: usize,
    /// Whether that quiet binds who needs the value as well, and not only what is planned.
    pub(crate) patient: bool,
    /// Whether a value is fetched ahead of its end.
    pub(crate) ahead: Ahead,
    /// Whether a value's time begins with the request for it, since the answer counts from its own making.
    pub(crate) counts_from_request: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ahead {
    Always,
    /// If it was used since it came.
    WhenUsed,
    /// Only when somebody asks.
    Never,
}

impl Manners {
    /// How long after a value came the next is fetched: ahead of its end by a fifth, and by up to a tenth of that again so that many
    /// do not come at the same moment.
    pub(super) fn until_renewal(&self, fresh: Duration) -> Duration {
        let ahead = fresh * 4 / 5;
        (ahead - entropy::jitter(ahead / 10)).max(self.shortest_life)
    }
}

/// Where the fetching of one value stands.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    manners: Manners,
    /// Somebody waits for an attempt that has not begun.
    wanted: bool,
    in_flight: bool,
    begun_at: Option<Timestamp>,
    next_at: Timestamp,
    /// Attempts in a row that brought nothing.
    failures: u32,
    /// Attempts that are over.
    finished: u64,
    /// Whether the last of them came to no end.
    abandoned: bool,
}

/// What somebody gets who needs a value that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// An attempt is under way or about to be: it is over when more than so many are finished.
    Wait(u64),
    /// The last attempt was too short a time ago to ask again.
    CoolingDown,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With a value that is to be fetched anew after so long.
    Fetched(Duration),
    /// The issuer answered, but with nothing useful; it may have said after how long to come again.
    Useless(Duration),
    /// No answer.
    Unreachable,
}

impl Pace {
    /// The first attempt is due at once.
    pub(super) const fn new(manners: Manners, now: Timestamp) -> Self {
        Self { manners, wanted: false, in_flight: false, begun_at: None, next_at: now, failures: 0, finished: 0, abandoned: false }
    }

    /// Somebody needs a value that is not there.
    pub(super) fn ask(&mut self, now: Timestamp) -> Turn {
        // A clock that was set back must not keep the value away until it has caught up.
        let cooling = self.begun_at.is_some_and(|begun| begun <= now && now < begun + self.manners.cool_down);
        let patient = self.is_patient() && self.begun_at.is_some_and(|begun| begun <= now);
        if !self.in_flight && (cooling || patient) && now < self.next_at {
            return Turn::CoolingDown;
        }
        self.wanted |= !self.in_flight;
        Turn::Wait(self.finished)
    }

    pub(super) const fn is_in_flight(&self) -> bool {
        self.in_flight
    }

    pub(super) const fn is_wanted(&self) -> bool {
        self.wanted
    }

    pub(super) const fn has_finished_more_than(&self, attempts: u64) -> bool {
        self.finished > attempts
    }

    /// When the next attempt is planned, whether or not anybody asks.
    pub(super) const fn next_at(&self) -> Timestamp {
        self.next_at
    }

    /// After how long it is worth asking again: a whole number of seconds, at least one.
    pub(super) fn retry_after(&self, now: Timestamp) -> Duration {
        let askable = self.begun_at.map_or(now, |begun| begun + self.manners.cool_down);
        let askable = if self.is_patient() { self.next_at } else { self.next_at.min(askable) };
        let wait = askable.since(now);
        Duration::from_secs(wait.as_millis().div_ceil(1000).clamp(1, 3600) as u64)
    }

    const fn is_patient(&self) -> bool {
        self.manners.patient && self.failures > 0
    }

    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    /// An attempt begins. True when somebody provoked it: what the issuer has now is wanted, not what a cache on the way has.
    pub(super) fn begin(&mut self, now: Timestamp) -> bool {
        self.in_flight = true;
        self.begun_at = Some(now);
        std::mem::take(&mut self.wanted)
    }

    pub(super) fn end(&mut self, now: Timestamp, outcome: Outcome) {
        let pause = match outcome {
            Outcome::Fetched(pause) => pause,
            Outcome::Useless(_) | Outcome::Unreachable => {
                let longest = FIRST_PAUSE.saturating_mul(1 << self.failures.min(5)).min(LONGEST_PAUSE);
                let shortest = match outcome {
                    Outcome::Useless(wait) => wait.clamp(self.manners.quiet.0, self.manners.quiet.1),
                    _ => FIRST_PAUSE,
                };
                (longest - entropy::jitter(longest / 2)).max(shortest)
            }
        };
        self.failures = if matches!(outcome, Outcome::Fetched(_)) { 0 } else { self.failures.saturating_add(1) };
        self.next_at = now + pause;
        self.in_flight = false;
        self.finished += 1;
        self.abandoned = false;
    }

    /// Who runs the attempts is gone. True: amid one, which counts as any other, so that whoever comes next does not begin again
    /// at once.
    pub(super) fn abandon(&mut self) -> bool {
        let amid = std::mem::replace(&mut self.in_flight, false);
        if self.manners.patient {
            // Who waits has done nothing to wait longer for: they begin it anew, each in their own runtime.
            self.next_at = self.begun_at.unwrap_or(self.next_at);
        } else if let Some(begun) = self.begun_at.filter(|_| amid) {
            self.failures = self.failures.saturating_add(1);
            self.next_at = begun + self.manners.cool_down;
        }
        self.finished += 1;
        self.abandoned = true;
        amid
    }

    /// Whether what was waited for came to no end.
    pub(super) const fn was_abandoned(&self) -> bool {
        self.abandoned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_seconds(1_795_500_000);

    const KEYS: Manners = Manners {
        cool_down: Duration::from_secs(10),
        shortest_life: Duration::from_secs(10),
        quiet: (Duration::from_secs(10), Duration::from_secs(30)),
        waiting: 4096,
        patient: false,
        ahead: Ahead::Always,
        counts_from_request: false,
    };

    fn after(seconds: u64) -> Timestamp {
        START + Duration::from_secs(seconds)
    }

    #[test]
    fn one_attempt_serves_everybody_who_asks_meanwhile_and_nobody_waits_while_it_cools_down() {
        let mut pace = Pace::new(KEYS, START);
        assert_eq!(pace.ask(START), Turn::Wait(0));
        assert!(pace.begin(START), "a token provoked it");
        assert_eq!(pace.ask(after(4)), Turn::Wait(0));
        pace.end(after(4), Outcome::Fetched(Duration::from_secs(600)));
        assert!(!pace.is_wanted() && pace.has_finished_more_than(0));
        assert_eq!(pace.ask(after(9)), Turn::CoolingDown);
        assert_eq!(pace.retry_after(after(9)), Duration::from_secs(1));
        assert_eq!(pace.ask(after(10)), Turn::Wait(1));
    }

    #[test]
    fn who_asks_when_an_attempt_is_due_waits_for_it() {
        let mut pace = Pace::new(KEYS, START);
        pace.begin(START);
        pace.end(START, Outcome::Unreachable);
        assert_eq!(pace.ask(START), Turn::CoolingDown);
        let wait = pace.retry_after(START);
        assert_eq!((wait, pace.ask(START + wait)), (Duration::from_secs(1), Turn::Wait(1)));
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nobody_waiting() {
        let mut pace = Pace::new(KEYS, after(3600));
        pace.begin(after(3600));
        pace.end(after(3600), Outcome::Fetched(Duration::from_secs(600)));
        assert_eq!(pace.ask(START), Turn::Wait(1));
    }

    #[test]
    fn a_value_is_fetched_ahead_of_its_end_at_times_that_differ() {
        let planned: std::collections::BTreeSet<Duration> = (0..50).map(|_| KEYS.until_renewal(Duration::from_secs(1000))).collect();
        assert!(planned.first().unwrap().as_secs() >= 720 && planned.last().unwrap().as_secs() <= 800, "{planned:?}");
        assert!(planned.len() > 20, "they differ: {planned:?}");
        let kept_from_us = KEYS.until_renewal(Duration::ZERO);
        assert_eq!(kept_from_us.as_secs(), 10, "an issuer that forbids keeping its keys is not asked in a circle");
    }

    #[test]
    fn pauses_grow_from_a_second_to_half_a_minute_and_an_issuer_that_answers_is_not_pressed() {
        let mut pace = Pace::new(KEYS, START);
        let mut pauses = Vec::new();
        for _ in 0..40 {
            pace.begin(START);
            pace.end(START, Outcome::Unreachable);
            pauses.push(pace.next_at().since(START).as_secs_f64());
        }
        for (pause, longest) in pauses.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]) {
            assert!((1.0..=longest).contains(pause) && *pause >= longest / 2.0, "{pauses:?}");
        }
        assert!(pauses[6..].iter().all(|pause| (15.0..=30.0).contains(pause)));
        pace.end(START, Outcome::Fetched(Duration::from_secs(600)));
        pace.end(START, Outcome::Useless(Duration::ZERO));
        assert_eq!(pace.next_at(), after(10));
        pace.end(START, Outcome::Useless(Duration::from_secs(20)));
        assert_eq!(pace.next_at(), after(20), "as the issuer wants it");
        pace.end(START, Outcome::Useless(Duration::from_secs(86_400)));
        assert_eq!(pace.next_at(), after(30), "within reason");
    }

    #[test]
    fn who_is_patient_lets_a_refusal_stand_for_as_long_as_it_is_to() {
        let mut pace = Pace::new(Manners { patient: true, quiet: (FIRST_PAUSE, Duration::from_secs(3600)), ..KEYS }, START);
        pace.begin(START);
        pace.end(START, Outcome::Useless(Duration::from_secs(60)));
        assert_eq!((pace.ask(after(59)), pace.retry_after(after(20))), (Turn::CoolingDown, Duration::from_secs(40)));
        assert_eq!(pace.ask(after(60)), Turn::Wait(1));
        assert_eq!(pace.ask(START - Duration::from_secs(9)), Turn::Wait(1), "a clock that is set back keeps nobody waiting");
    }

    #[test]
    fn an_attempt_that_came_to_no_end_is_not_begun_again_at_once() {
        let mut pace = Pace::new(KEYS, START);
        pace.begin(START);
        assert!(pace.abandon() && pace.was_abandoned() && pace.has_finished_more_than(0));
        assert_eq!((pace.next_at(), pace.ask(after(1))), (after(10), Turn::CoolingDown));
        pace.end(after(10), Outcome::Fetched(Duration::from_secs(1000)));
        let planned = pace.next_at();
        assert!(!pace.abandon() && pace.next_at() == planned, "between two attempts nothing is lost");
    }
}
