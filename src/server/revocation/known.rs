//! The revocations that this node knows, look by look.

use std::{sync::Arc, time::Duration};

use super::{
    lists::{Lists, Pace},
    resting::{Positions, Resting},
    view::View,
};
use crate::{
    clock::Timestamp,
    server::{
        store::{self, LEAP, Store, within},
        telemetry,
    },
};

/// What a look at the database found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// The epoch of revocations.
    pub(crate) epoch: i64,
    /// When it was read, by the steady clock.
    pub(crate) read_at: Timestamp,
    /// The same by the wall clock.
    pub(crate) now: Timestamp,
    /// The same by the monotonic clock.
    pub(crate) monotonic: Duration,
    /// The time by which revocations end: that of the wall clock, unless that may be ahead.
    pub(crate) cautious_now: Timestamp,
    /// Whether the look before failed.
    pub(crate) was_blind: bool,
}

/// The revocations that this node knows, and how far it has read those that it does not know yet.
#[derive(Debug)]
pub(super) struct Known {
    shown: Lists,
    /// All revocations, as far as they have been read again. It is shown once all are read.
    again: Option<Lists>,
    /// The positions that were shown until recently.
    resting: Resting,
    /// The highest epoch that was read, of the database or of a revocation.
    seen: i64,
    /// When the database last held exactly the revocations that are shown, by the steady clock.
    read_at: Timestamp,
    /// The same by the wall clock.
    confirmed_at: Timestamp,
}

impl Known {
    /// Reads all revocations after the first look. `seen` is the highest epoch that an earlier run of this node has read.
    pub(super) async fn read(store: &Store, look: &Look, seen: i64) -> Result<Self, store::Error> {
        let Look { epoch, read_at, now: confirmed_at, .. } = *look;
        let (shown, again) = (Lists::default(), Some(Lists::default()));
        let mut known = Self { shown, again, resting: Resting::default(), seen: seen.max(epoch), read_at, confirmed_at };
        known.read_on(store, Pace::AT_START, epoch).await?;
        known.drop_expired(look, &Positions::default());
        Ok(known)
    }

    /// Whether the database may hold other revocations under epochs that were read, because a copy without the latest changes took its place.
    pub(super) fn may_differ(&self, look: &Look) -> bool {
        // Another node may have been the first to find the epoch lower than before, and has raised it.
        let was_raised = look.epoch.saturating_sub(self.seen) >= LEAP / 2;
        look.was_blind || look.epoch < self.seen || was_raised
    }

    /// Has all revocations read again. What is shown stays until that is done, however many looks it takes.
    pub(super) fn read_again(&mut self) {
        self.again = Some(Lists::default());
    }

    /// Reads the revocations that are new at a look. If there are many, the next looks go on.
    pub(super) async fn follow(&mut self, store: &Store, look: &Look) -> Result<(), store::Error> {
        if look.epoch < self.seen {
            // Verifiers have seen the higher epoch, and take nothing older. The next look reads under the one that is above it.
            within(Pace::OF_LOOK.query, store.raise_revocations_above(self.seen)).await?;
            tracing::error!(
                target: telemetry::SECURITY,
                event = "revocations.lost",
                epoch = look.epoch,
                seen = self.seen,
                "the database has lost the latest revocations, as after a failover: tokens that they concern are valid again"
            );
            return Ok(());
        }
        self.seen = look.epoch;
        let is_known = self.again.is_none() && self.shown.epoch == look.epoch;
        if is_known || self.read_on(store, Pace::OF_LOOK, look.epoch).await? {
            self.read_at = look.read_at;
            self.confirmed_at = look.now;
        }
        Ok(())
    }

    /// Goes on reading. Returns whether all revocations are shown then.
    async fn read_on(&mut self, store: &Store, pace: Pace, epoch: i64) -> Result<bool, store::Error> {
        let lists = self.again.as_mut().unwrap_or(&mut self.shown);
        let outcome = lists.read_on(store, pace, epoch).await;
        self.seen = self.seen.max(lists.newest);
        let is_complete = outcome?;
        if is_complete && let Some(again) = self.again.take() {
            self.shown = again;
        }
        Ok(is_complete)
    }

    /// Drops revocations that have ended, after a look. The positions that were set `before`, in the view until now, and are not shown any more rest.
    pub(super) fn drop_expired(&mut self, look: &Look, before: &Positions) {
        // Some may have ended before this node read them: other nodes have shown them.
        let read = Arc::clone(&self.shown.sets);
        // By clocks that are not ahead: no revocation ends while its tokens are still valid, and no rest while lists are still used.
        self.shown.drop_expired(look.cautious_now);
        self.resting.end(look.monotonic);
        for earlier in [before, &*read] {
            self.resting.begin(earlier, &self.shown.sets, look.monotonic);
        }
    }

    pub(super) fn view(&self) -> View {
        let Self { shown, resting, read_at, confirmed_at, .. } = self;
        let (sets, resting) = (Arc::clone(&shown.sets), resting.all());
        View { epoch: shown.epoch, read_at: *read_at, confirmed_at: *confirmed_at, sets, resting }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::lists::tests::{NOON, list, revoked},
        *,
    };

    const MINUTE: Duration = Duration::from_secs(60);

    fn known() -> Known {
        Known { shown: Lists::default(), again: None, resting: Resting::default(), seen: 0, read_at: NOON, confirmed_at: NOON }
    }

    fn look(epoch: i64) -> Look {
        Look { epoch, read_at: NOON, now: NOON, monotonic: Duration::ZERO, cautious_now: NOON, was_blind: false }
    }

    fn positions(view: &View) -> Vec<u32> {
        view.snapshot(&list()).map(|snapshot| snapshot.set.iter().collect()).unwrap_or_default()
    }

    #[test]
    fn all_are_read_again_when_another_database_may_have_answered() {
        let mut known = known();
        known.seen = 10;
        assert!(!known.may_differ(&look(10)) && !known.may_differ(&look(10_000)));
        assert!(known.may_differ(&Look { was_blind: true, ..look(10) }), "it was not seen for a while");
        assert!(known.may_differ(&look(9)), "the latest revocations are lost");
        assert!(known.may_differ(&look(8 + LEAP)), "another node noticed first");

        known.shown.add(vec![revoked(1, 7, 1, NOON)]);
        known.read_again();
        known.again.as_mut().unwrap().add(vec![revoked(1, 8, 1, NOON)]);
        assert_eq!(positions(&known.view()), [7], "until all are read");
    }

    /// The positions that are shown after a look, when some seconds have passed since noon, and those that no token gets.
    fn after_look(known: &mut Known, seconds: u32) -> (Vec<u32>, Vec<u32>) {
        after_look_at(known, seconds, seconds)
    }

    /// The same. The time by which revocations end is `time` seconds after noon.
    fn after_look_at(known: &mut Known, passed: u32, time: u32) -> (Vec<u32>, Vec<u32>) {
        let seconds = |seconds: u32| seconds * Duration::from_secs(1);
        let before = known.view().sets;
        known.drop_expired(&Look { monotonic: seconds(passed), cautious_now: NOON + seconds(time), ..look(1) }, &before);
        let (view, list) = (known.view(), list());
        let is_taken = view.taken(&list);
        (positions(&view), (0..16).filter(|index| is_taken(*index)).collect())
    }

    #[test]
    fn a_position_rests_for_some_minutes_after_its_revocation_was_dropped() {
        let mut known = known();
        known.shown.add(vec![revoked(1, 7, 1, NOON), revoked(1, 8, 1, NOON + 60 * MINUTE)]);
        assert_eq!(after_look(&mut known, 119), (vec![7, 8], vec![7, 8]));
        for seconds in [120, 180, 359] {
            assert_eq!(after_look(&mut known, seconds), (vec![8], vec![7, 8]), "{seconds}");
        }
        assert_eq!(after_look(&mut known, 360), (vec![8], vec![8]));
    }

    #[test]
    fn a_position_rests_as_long_as_ever_when_the_time_by_which_revocations_end_leaps() {
        let mut known = known();
        known.shown.add(vec![revoked(1, 7, 1, NOON), revoked(1, 8, 1, NOON + 60 * MINUTE)]);
        assert_eq!(after_look_at(&mut known, 120, 120), (vec![8], vec![7, 8]));
        for (passed, time) in [(121, 90_000), (180, 59), (359, 90_238)] {
            assert_eq!(after_look_at(&mut known, passed, time), (vec![], vec![7, 8]), "{passed}: they are set in lists of verifiers");
        }
        assert_eq!(after_look_at(&mut known, 360, 90_239), (vec![], vec![]));
    }

    #[test]
    fn a_position_rests_whose_revocation_is_gone_when_all_are_read_again() {
        let mut known = known();
        known.shown.add(vec![revoked(1, 7, 1, NOON + 60 * MINUTE), revoked(1, 8, 1, NOON + 60 * MINUTE)]);
        let before = known.view().sets;
        known.shown = Lists::default();
        known.shown.add(vec![revoked(1, 8, 1, NOON + 60 * MINUTE)]);
        known.drop_expired(&look(1), &before);
        assert_eq!(after_look(&mut known, 239), (vec![8], vec![7, 8]));
        assert_eq!(after_look(&mut known, 240), (vec![8], vec![8]));
    }

    #[test]
    fn a_position_rests_whose_revocation_came_and_ended_while_this_node_could_not_read_it() {
        let mut known = known();
        known.shown.add(vec![revoked(1, 8, 1, NOON + 60 * MINUTE)]);
        let before = known.view().sets;
        known.shown = Lists::default();
        known.shown.add(vec![revoked(1, 8, 1, NOON + 60 * MINUTE), revoked(2, 7, 1, NOON - 3 * MINUTE)]);
        known.drop_expired(&look(2), &before);
        assert_eq!(after_look(&mut known, 239), (vec![8], vec![7, 8]));
        assert_eq!(after_look(&mut known, 240), (vec![8], vec![8]));
    }
}
