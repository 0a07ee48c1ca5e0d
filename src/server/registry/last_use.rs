use std::{
    collections::BTreeMap,
    mem,
    ops::Bound::{Excluded, Unbounded},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{clock::Timestamp, protocol::ClientId, server::model::CredentialId};

/// A secret or a key of a client.
pub(super) type Used = (ClientId, CredentialId);

/// When secrets and keys were last used. Collected here until it is written to the database in batches.
#[derive(Debug, Default)]
pub(super) struct LastUse(Mutex<Collected>);

#[derive(Debug, Default)]
struct Collected {
    used: BTreeMap<Used, Timestamp>,
    /// The last one of the last batch. The next one begins after it, so that all have their turn if not all can be written.
    last: Option<Used>,
}

/// Some of them, which are being written. If that fails or takes too long, they are dropped, and so put back.
#[derive(Debug)]
pub(super) struct Batch<'l> {
    of: &'l LastUse,
    used: Vec<(Used, Timestamp)>,
}

impl LastUse {
    /// Maximum number of them that are collected. Uses beyond it are not recorded: the time is informative only.
    const MAX: usize = 10_000;
    /// The number of them in a batch.
    const AT_ONCE: usize = 500;

    pub(super) fn note(&self, used: Used, at: Timestamp) {
        let mut collected = self.collected();
        if let Some(last) = collected.used.get_mut(&used) {
            *last = at.max(*last);
        } else if collected.used.len() < Self::MAX {
            collected.used.insert(used, at);
        }
    }

    /// Those that are collected now, batch by batch, as they are asked for.
    pub(super) fn batches(&self) -> impl Iterator<Item = Batch<'_>> {
        let count = self.collected().used.len().div_ceil(Self::AT_ONCE);
        (0..count).map(|_| Batch { of: self, used: self.collected().take(Self::AT_ONCE) })
    }

    fn collected(&self) -> MutexGuard<'_, Collected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collected {
    fn take(&mut self, count: usize) -> Vec<(Used, Timestamp)> {
        let after = self.last.as_ref().map_or(Unbounded, Excluded);
        let ids = self.used.range((after, Unbounded)).chain(&self.used).map(|(id, _)| id.clone()).take(count.min(self.used.len()));
        // The second time that one comes, it is gone.
        let taken: Vec<_> = ids.collect::<Vec<_>>().into_iter().filter_map(|id| self.used.remove_entry(&id)).collect();
        self.last = taken.last().map(|(id, _)| id.clone());
        taken
    }
}

impl Batch<'_> {
    pub(super) fn used(&self) -> &[(Used, Timestamp)] {
        &self.used
    }

    pub(super) fn was_written(mut self) {
        mem::take(&mut self.used);
    }
}

impl Drop for Batch<'_> {
    /// Beyond the maximum, if others have taken the places meanwhile.
    fn drop(&mut self) {
        let mut collected = self.of.collected();
        for (id, at) in self.used.drain(..) {
            let last = collected.used.entry(id).or_insert(at);
            *last = at.max(*last);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOON: Timestamp = Timestamp::from_seconds(1_795_500_000);

    fn id(number: usize) -> Used {
        ("billing".parse().unwrap(), CredentialId::Secret(format!("{number:016x}").parse().unwrap()))
    }

    fn ids(batches: &[Batch<'_>]) -> Vec<Used> {
        batches.iter().flat_map(|batch| batch.used()).map(|(id, _)| id.clone()).collect()
    }

    #[test]
    fn a_batch_that_was_not_written_is_written_after_the_others_with_what_was_used_since() {
        let last_use = LastUse::default();
        (0..LastUse::MAX).for_each(|number| last_use.note(id(number), NOON));
        last_use.note(id(LastUse::MAX), NOON);
        let mut batches = last_use.batches();
        batches.next().unwrap().was_written();
        let failed = batches.next().unwrap();
        last_use.note(id(600), NOON + Duration::from_secs(1));
        // Others take the places of those that are being written.
        (LastUse::MAX..LastUse::MAX + 2000).for_each(|number| last_use.note(id(number), NOON));
        drop((failed, batches));

        let rest: Vec<_> = last_use.batches().collect();
        assert!(rest.iter().all(|batch| batch.used().len() <= LastUse::AT_ONCE));
        let expected: Vec<_> = (1000..LastUse::MAX + 999).chain(500..1000).map(id).collect();
        assert_eq!(ids(&rest), expected, "none is lost, and the failed ones come last");
        let again = rest.iter().flat_map(|batch| batch.used()).find(|(used, _)| *used == id(600));
        assert_eq!(again.unwrap().1, NOON + Duration::from_secs(1));
        rest.into_iter().for_each(Batch::was_written);
        assert!(last_use.batches().next().is_none());
    }
}
