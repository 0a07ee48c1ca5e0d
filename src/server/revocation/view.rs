//! The positions that are set, in memory.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use roaring::RoaringBitmap;
use tokio::time::timeout;

use crate::{
    clock::{Stopwatch, Timestamp},
    server::{
        model::{Damaged, Revocation, StatusListId, StatusSpan},
        store::{self, LEAP, Store},
        telemetry,
    },
};

/// How long after the end of a revocation its positions stay set: this node's clock may be ahead.
const AFTER_END: Duration = Duration::from_secs(120);

/// What a look at the database found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// The epoch of revocations.
    pub(crate) epoch: i64,
    /// When it was read, by the steady clock.
    pub(crate) read_at: Timestamp,
    /// The same by the wall clock.
    pub(crate) now: Timestamp,
    /// Whether the look before failed.
    pub(crate) was_blind: bool,
    /// Whether the wall clock can be trusted.
    pub(crate) clock_is_right: bool,
}

/// The revocations that this node knows, and how far it has read those that it does not know yet.
#[derive(Debug)]
pub(super) struct Known {
    shown: Lists,
    /// All revocations, as far as they have been read again. It is shown once all are read.
    again: Option<Lists>,
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
    /// Positions that were revoked together, and the ends of their revocations.
    revoked: HashMap<StatusListId, Vec<(Range<u32>, Timestamp)>>,
    /// The minute in which revocations that had ended were last dropped.
    dropped_in: Option<i64>,
    /// The positions, shared with the view.
    sets: Arc<HashMap<StatusListId, Arc<RoaringBitmap>>>,
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

/// The revocations as they are read: replaced as a whole.
#[derive(Debug)]
pub(super) struct View {
    pub(super) epoch: i64,
    /// When the database last held exactly these revocations, by the steady clock.
    pub(super) read_at: Timestamp,
    /// The same by the wall clock.
    confirmed_at: Timestamp,
    sets: Arc<HashMap<StatusListId, Arc<RoaringBitmap>>>,
}

/// One list at one time.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// The positions that are set.
    pub(crate) set: Arc<RoaringBitmap>,
    /// The epoch of revocations that they show.
    pub(crate) epoch: i64,
    /// When they were last known to be all, by the wall clock.
    pub(crate) confirmed_at: Timestamp,
}

impl Known {
    /// Reads all revocations. `epoch` was read before, at `confirmed_at`; `read_at` is now.
    pub(super) async fn read(store: &Store, epoch: i64, read_at: Timestamp, confirmed_at: Timestamp) -> Result<Self, store::Error> {
        let mut known = Self { shown: Lists::default(), again: Some(Lists::default()), seen: epoch, read_at, confirmed_at };
        known.read_on(store, Pace::AT_START, epoch).await?;
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

    /// Drops revocations that have ended.
    pub(super) fn drop_expired(&mut self, now: Timestamp) {
        self.shown.drop_expired(now);
    }

    pub(super) fn view(&self) -> View {
        let Self { shown, read_at, confirmed_at, .. } = self;
        View { epoch: shown.epoch, read_at: *read_at, confirmed_at: *confirmed_at, sets: Arc::clone(&shown.sets) }
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
            self.revoked.entry(span.list).or_default().push((positions, expires_at));
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

impl View {
    pub(super) fn is_set(&self, list: &StatusListId, index: u32) -> bool {
        self.sets.get(list).is_some_and(|set| set.contains(index))
    }

    /// Whether at least half of a span is set.
    pub(super) fn is_half_set(&self, span: &StatusSpan) -> bool {
        let Some(set) = self.sets.get(&span.list).filter(|set| !set.is_empty()) else { return false };
        set.range_cardinality(span.positions()) * 2 >= u64::from(span.width)
    }

    pub(super) fn ids(&self) -> Vec<StatusListId> {
        self.sets.keys().cloned().collect()
    }

    pub(super) fn snapshot(&self, list: &StatusListId) -> Option<Snapshot> {
        let set = Arc::clone(self.sets.get(list)?);
        Some(Snapshot { set, epoch: self.epoch, confirmed_at: self.confirmed_at })
    }

    /// A list that was made after this view was read: nothing of it was revoked then.
    pub(super) fn snapshot_of_new(&self) -> Snapshot {
        Snapshot { set: Arc::default(), epoch: self.epoch, confirmed_at: self.confirmed_at }
    }

    pub(super) fn counts(&self) -> (u64, usize) {
        (self.sets.values().map(|set| set.len()).sum(), self.sets.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_seconds(1_795_500_000);

    fn list() -> StatusListId {
        "di5G35ZktxQQIXjO7RRStA".parse().unwrap()
    }

    fn revoked(epoch: i64, start: u32, width: u32, expires_at: Timestamp) -> Result<Revocation, Damaged> {
        Ok(Revocation { epoch, span: StatusSpan { list: list(), start, width }, expires_at })
    }

    fn known() -> Known {
        Known { shown: Lists::default(), again: None, seen: 0, read_at: NOON, confirmed_at: NOON }
    }

    fn look(epoch: i64) -> Look {
        Look { epoch, read_at: NOON, now: NOON, was_blind: false, clock_is_right: true }
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
                known.drop_expired(NOON + seconds * second + phase);
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
}
