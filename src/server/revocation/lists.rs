//! Revocations in memory, as they are read from the database page by page.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use roaring::RoaringBitmap;

use super::resting::{Positions, Resting};
use crate::{
    clock::{Stopwatch, Timestamp},
    server::{
        keys::SKEW,
        model::{Damaged, Revocation, StatusListId},
        store::{self, Store, within},
    },
};

/// How long after the end of a revocation its positions stay set: this node's clock may be ahead.
const AFTER_END: Duration = SKEW.saturating_mul(2);
const MINUTE: Duration = Duration::from_secs(60);

// The database counts a position as free when each node does so too.
const _: () = assert!(AFTER_END.as_secs() + MINUTE.as_secs() + Resting::AT_MOST.as_secs() <= Revocation::REUSED_AFTER.as_secs());

/// Revocations, and how far they have been read.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// All revocations up to this epoch have been read.
    pub(super) epoch: i64,
    /// The highest epoch of those that have been read.
    pub(super) newest: i64,
    /// The place after which reading goes on; see [`Store::list_revocations`].
    cursor: (i64, String, i64),
    /// Positions that were revoked together, and the ends of their revocations: 16 bytes each. How many a client can have is bounded by
    /// [`StatusSpan::AT_ONCE`](crate::server::model::StatusSpan::AT_ONCE).
    revoked: HashMap<StatusListId, Vec<(Range<u32>, Timestamp)>>,
    /// The minute in which revocations that had ended were last dropped.
    dropped_in: Option<i64>,
    /// The positions, shared with the view: at most 128 KiB per list.
    pub(super) sets: Arc<Positions>,
}

/// How long a read may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// The time limit of a query.
    pub(super) query: Duration,
    /// After this time, the rest is left to the next read.
    share: Duration,
}

impl Pace {
    /// A node serves nothing before it has read everything.
    pub(super) const AT_START: Self = Self { query: Duration::MAX, share: Duration::MAX };
    pub(super) const OF_LOOK: Self = Self { query: Duration::from_secs(2), share: Duration::from_secs(1) };
}

impl Lists {
    /// Reads pages of revocations from the cursor, at least one. Returns whether the last was read.
    pub(super) async fn read_on(&mut self, store: &Store, pace: Pace, epoch: i64) -> Result<bool, store::Error> {
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

    pub(super) fn add(&mut self, page: Vec<Result<Revocation, Damaged>>) {
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
    pub(super) fn drop_expired(&mut self, now: Timestamp) {
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
pub(super) mod tests {
    use super::*;
    use crate::server::model::StatusSpan;

    pub(in crate::server::revocation) const NOON: Timestamp = Timestamp::from_seconds(1_795_500_000);

    pub(in crate::server::revocation) fn list() -> StatusListId {
        "di5G35ZktxQQIXjO7RRStA".parse().unwrap()
    }

    pub(in crate::server::revocation) fn revoked(epoch: i64, start: u32, width: u32, expires_at: Timestamp) -> Result<Revocation, Damaged> {
        Ok(Revocation { epoch, span: StatusSpan { list: list(), start, width }, expires_at })
    }

    fn positions(lists: &Lists) -> Vec<u32> {
        lists.sets.get(&list()).map(|set| set.iter().collect()).unwrap_or_default()
    }

    #[test]
    fn all_nodes_drop_ended_revocations_at_the_same_whole_minutes() {
        let second = Duration::from_secs(1);
        for phase in [0, 100, 499].map(Duration::from_millis) {
            let mut lists = Lists::default();
            lists.add(vec![revoked(1, 7, 1, NOON), revoked(1, 8, 1, NOON + second), revoked(2, 6, 2, NOON + 60 * second)]);
            let mut shown_after = |seconds: u32| {
                lists.drop_expired(NOON + seconds * second + phase);
                positions(&lists)
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
        let mut lists = Lists::default();
        lists.complete(1, vec![list()]);
        lists.add(vec![revoked(2, 7, 1, NOON), Err(Damaged("a row".to_owned()))]);
        assert_eq!((lists.epoch, positions(&lists)), (1, vec![7]));
        lists.add(vec![revoked(2, 8, 1, NOON), revoked(4, 9, 1, NOON)]);
        assert_eq!((lists.epoch, positions(&lists)), (1, vec![7, 8, 9]));
        lists.complete(3, vec![list()]);
        assert_eq!((lists.epoch, positions(&lists)), (4, vec![7, 8, 9]), "one came while they were read");
        lists.complete(5, Vec::new());
        assert_eq!((lists.epoch, lists.sets.len()), (5, 0), "the list is gone");
    }

    #[test]
    fn a_revocation_of_a_whole_span_takes_the_place_of_those_of_its_tokens() {
        let mut lists = Lists::default();
        let singles = [16, 31, 32].map(|start| revoked(1, start, 1, NOON));
        lists.add(singles.into());
        lists.add(vec![revoked(2, 16, 16, NOON + MINUTE)]);
        assert_eq!(lists.revoked[&list()], [(32..33, NOON), (16..32, NOON + MINUTE)]);
        assert_eq!(positions(&lists), (16..33).collect::<Vec<u32>>());
    }
}
