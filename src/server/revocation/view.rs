//! The positions that are set, as this node shows them.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::resting::Positions;
use crate::{
    clock::Timestamp,
    server::model::{StatusListId, StatusSpan},
};

/// The revocations as they are read: replaced as a whole.
#[derive(Debug)]
pub(super) struct View {
    pub(super) epoch: i64,
    /// When the database last held exactly these revocations, by the steady clock.
    pub(super) read_at: Timestamp,
    /// The same by the wall clock.
    pub(super) confirmed_at: Timestamp,
    /// The positions that are set.
    pub(super) sets: Arc<Positions>,
    /// Those that were set until recently.
    pub(super) resting: Arc<Positions>,
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

impl View {
    /// The positions of a list that no token gets: those that are set, and those that were until recently.
    pub(super) fn taken(&self, list: &StatusListId) -> impl Fn(u32) -> bool {
        let sets = [&self.sets, &self.resting].map(|sets| sets.get(list));
        move |index| sets.iter().flatten().any(|set| set.contains(index))
    }

    /// Whether at least half of a span is taken.
    pub(super) fn is_half_taken(&self, span: &StatusSpan) -> bool {
        let taken = |sets: &Positions| sets.get(&span.list).map_or(0, |set| set.range_cardinality(span.positions()));
        (taken(&self.sets) + taken(&self.resting)) * 2 >= u64::from(span.width)
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
