//! The revocations in memory, as they are read from the database.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use roaring::RoaringBitmap;
use tokio::time::timeout;

use super::{
    resting::{Positions, Resting},
    view::View,
};
use crate::{
    clock::{Stopwatch, Timestamp},
    server::{
        keys::SKEW,
        model::{Damaged, Revocation, StatusListId},
        store::{self, LEAP, Store},
        telemetry,
    },
};

/// How long after the end of a revocation its positions stay set: this node's clock may be ahead.
const AFTER_END: Duration = SKEW.saturating_mul(2);
const MINUTE: Duration = Duration::from_secs(60);

// The database counts a position as free when each node does so too.
const _: () = assert!(AFTER_END.as_secs() + MINUTE.as_secs() + Resting::AT_MOST.as_secs() <= Revocation::REUSED_AFTER.as_secs());

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

/// Revocations, and how far they have been read.
#[derive(Debug, Default)]
struct Lists {
    /// All revocations up to this epoch have been read.
    epoch: i64,
    /// The highest epoch of those that have been read.
    newest: i64,
    /// The place after which reading goes on; see [`Store::list_revocations`].
    cursor: (i64, String, i64),
    /// Positions that were revoked together, and the ends of their revocations: 16 bytes each. How many a client can have is bounded by
    /// [`StatusSpan::AT_ONCE`](crate::server::model::StatusSpan::AT_ONCE).
    revoked: HashMap<StatusListId, Vec<(Range<u32>, Timestamp)>>,
    /// The minute in which revocations that had ended were last dropped.
    dropped_in: Option<i64>,
    /// The positions, shared with the view: at most 128 KiB per list.
    sets: Arc<Positions>,
}

/// How long a read may take.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// The time limit of a query.
    query: Duration,
    /// After this time, the rest is left to the next read.
    share: Duration,
}

impl Pace {
    /// A node serves nothing before it has read everything.
    const AT_START: Self = Self { query: Duration::MAX, share: Duration::MAX };
    const OF_LOOK: Self = Self { query: Duration::from_secs(2), share: Duration::from_secs(1) };
}

/// Waits for the database no longer than `limit`.
pub(super) async fn within<T>(limit: Duration, query: impl Future<Output = Result<T, store::Error>>) -> Result<T, store::Error> {
    timeout(limit, query).await.unwrap_or(Err(store::Error::Silent(limit)))
}

impl Known {
    /// Reads all revocations after the first look. `seen` is the highest epoch that an earlier run of this node has read.
    pub(super) async fn read(store: &Store, look: &Look, seen: i64) -> Result<Self, store::Error> {
        let Look { epoch, read_at, now: confirmed_at, .. } = *look;
        let (shown, again) = (Lists::default(), Some(Lists::default()));
        let mut known = Self { shown, again, resting: Resting::default(), seen: seen.max(epoch), read_at, confirmed_at };
        known.read_on(store, Pace::AT_START, epoch).await?;
        // Among them are some that have ended.
        let all = known.view();
        known.drop_expired(look, &all);
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

    /// Drops revocations that have ended, after a look. The positions of `before`, the view until now, that are not shown any more rest.
    pub(super) fn drop_expired(&mut self, look: &Look, before: &View) {
        // By clocks that are not ahead: no revocation ends while its tokens are still valid, and no rest while lists are still used.
        self.shown.drop_expired(look.cautious_now);
        self.resting.end(look.monotonic);
        self.resting.begin(&before.sets, &self.shown.sets, look.monotonic);
    }

    pub(super) fn view(&self) -> View {
        let Self { shown, resting, read_at, confirmed_at, .. } = self;
        let (sets, resting) = (Arc::clone(&shown.sets), resting.all());
        View { epoch: shown.epoch, read_at: *read_at, confirmed_at: *confirmed_at, sets, resting }
    }
}

impl Lists {
    /// Reads pages of revocations from the cursor, at least one. Returns whether the last was read.
    async fn read_on(&mut self, store: &Store, pace: Pace, epoch: i64) -> Result<bool, store::Error> {
        let begun = Stopwatch::start();
        loop {
            let (page, next) = within(pace.query, store.list_revocations(&self.cursor)).await?;
            // A page is added only when nothing can fail any more: the next read begins at the same place.
            let Some(next) = next else {
                // After the revocations: one that was read is in a list that exists, and would never be read again.
                let existing = within(pace.query, store.list_status_lists()).await?;
                self.add(page);
                self.complete(epoch, existing);
                return Ok(true);
            };
            self.add(page);
            self.cursor = next;
            if begun.elapsed() >= pace.share {
                return Ok(false);
            }
        }
    }

    fn add(&mut self, page: Vec<Result<Revocation, Damaged>>) {
        let sets = Arc::make_mut(&mut self.sets);
        for read in page {
            let Revocation { epoch, span, expires_at } = match read {
                Ok(revocation) => revocation,
                Err(damaged) => {
                    tracing::error!(
                        error = damaged.0,
                        "a row of the table revocations is damaged: tokens that it revoked are valid again; revoke them again"
                    );
                    continue;
                }
            };
            self.newest = self.newest.max(epoch);
            let positions = span.positions();
            Arc::make_mut(sets.entry(span.list.clone()).or_default()).insert_range(positions.clone());
            let revoked = self.revoked.entry(span.list).or_default();
            if span.width > 1 {
                // Those of single tokens of the span add nothing, and may be many.
                revoked.retain(|(single, end)| !positions.contains(&single.start) || *end > expires_at);
            }
            revoked.push((positions, expires_at));
        }
    }

    /// Records that all revocations up to `epoch` were read, and then the lists.
    fn complete(&mut self, epoch: i64, existing: Vec<StatusListId>) {
        let existing: HashSet<StatusListId> = existing.into_iter().collect();
        self.revoked.retain(|id, _| existing.contains(id));
        let sets = Arc::make_mut(&mut self.sets);
        sets.retain(|id, _| existing.contains(id));
        for id in existing {
            sets.entry(id).or_default();
        }
        self.newest = self.newest.max(epoch);
        self.epoch = self.newest;
        // The epochs of all others are higher: the row of the epoch is locked until a change commits.
        self.cursor = (self.epoch.saturating_add(1), String::new(), -1);
    }

    /// Drops revocations that have ended: no token names their positions any more. Nodes do so by the same minutes, so that their lists, which are
    /// of the same epoch, have the same content.
    fn drop_expired(&mut self, now: Timestamp) {
        let minute = now.seconds().div_euclid(60);
        if self.dropped_in.replace(minute) == Some(minute) {
            return;
        }
        let ended = Timestamp::from_seconds(minute * 60) - AFTER_END;
        for (id, revoked) in &mut self.revoked {
            let before = revoked.len();
            revoked.retain(|(_, expires_at)| *expires_at > ended);
            if revoked.len() < before {
                // Revocations may overlap.
                let mut set = RoaringBitmap::new();
                for (positions, _) in &*revoked {
                    set.insert_range(positions.clone());
                }
                Arc::make_mut(&mut self.sets).insert(id.clone(), Arc::new(set));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::model::StatusSpan;

    const NOON: Timestamp = Timestamp::from_seconds(1_795_500_000);

    fn list() -> StatusListId {
        "di5G35ZktxQQIXjO7RRStA".parse().unwrap()
    }

    fn revoked(epoch: i64, start: u32, width: u32, expires_at: Timestamp) -> Result<Revocation, Damaged> {
        Ok(Revocation { epoch, span: StatusSpan { list: list(), start, width }, expires_at })
    }

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
    fn all_nodes_drop_ended_revocations_at_the_same_whole_minutes() {
        let second = Duration::from_secs(1);
        for phase in [0, 100, 499].map(Duration::from_millis) {
            let mut known = known();
            known.shown.add(vec![revoked(1, 7, 1, NOON), revoked(1, 8, 1, NOON + second), revoked(2, 6, 2, NOON + 60 * second)]);
            let mut shown_after = |seconds: u32| {
                known.shown.drop_expired(NOON + seconds * second + phase);
                positions(&known.view())
            };
            assert_eq!(shown_after(0), [6, 7, 8], "{phase:?}");
            assert_eq!(shown_after(119), [6, 7, 8], "{phase:?}");
            assert_eq!(shown_after(120), [6, 7, 8], "{phase:?}: another revocation of 7 goes on");
            assert_eq!(shown_after(179), [6, 7, 8], "{phase:?}");
            assert_eq!(shown_after(180), Vec::<u32>::new(), "{phase:?}");
        }
    }

    #[test]
    fn the_positions_of_a_page_are_shown_at_once_and_the_epoch_when_all_pages_were_read() {
        let mut known = known();
        known.shown.complete(1, vec![list()]);
        known.shown.add(vec![revoked(2, 7, 1, NOON), Err(Damaged("a row".to_owned()))]);
        assert_eq!((known.view().epoch, positions(&known.view())), (1, vec![7]));
        known.shown.add(vec![revoked(2, 8, 1, NOON), revoked(4, 9, 1, NOON)]);
        assert_eq!((known.view().epoch, positions(&known.view())), (1, vec![7, 8, 9]));
        known.shown.complete(3, vec![list()]);
        assert_eq!((known.view().epoch, positions(&known.view())), (4, vec![7, 8, 9]), "one came while they were read");
        known.shown.complete(5, Vec::new());
        assert_eq!((known.view().epoch, known.view().counts()), (5, (0, 0)), "the list is gone");
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
        let before = known.view();
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
        let before = known.view();
        known.shown = Lists::default();
        known.shown.add(vec![revoked(1, 8, 1, NOON + 60 * MINUTE)]);
        known.drop_expired(&look(1), &before);
        assert_eq!(after_look(&mut known, 239), (vec![8], vec![7, 8]));
        assert_eq!(after_look(&mut known, 240), (vec![8], vec![8]));
    }

    #[test]
    fn a_revocation_of_a_whole_span_takes_the_place_of_those_of_its_tokens() {
        let mut known = known();
        let singles = [16, 31, 32].map(|start| revoked(1, start, 1, NOON));
        known.shown.add(singles.into());
        known.shown.add(vec![revoked(2, 16, 16, NOON + MINUTE)]);
        assert_eq!(known.shown.revoked[&list()], [(32..33, NOON), (16..32, NOON + MINUTE)]);
        assert_eq!(positions(&known.view()), (16..33).collect::<Vec<u32>>());
    }
}
