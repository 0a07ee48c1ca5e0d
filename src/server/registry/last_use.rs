use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use crate::{clock::Timestamp, server::secret::SecretId};

/// When secrets were last used. Collected here until it is written to the database in a batch.
#[derive(Debug, Default)]
pub(super) struct LastUse(Mutex<BTreeMap<SecretId, Timestamp>>);

impl LastUse {
    /// Maximum number of secrets between two batches. Uses beyond it are not recorded: the time is informative only.
    const MAX: usize = 10_000;

    pub(super) fn note(&self, id: &SecretId, at: Timestamp) {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = used.get_mut(id) {
            *last = at.max(*last);
        } else if used.len() < Self::MAX {
            used.insert(id.clone(), at);
        }
    }

    pub(super) fn take(&self) -> Vec<(SecretId, Timestamp)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_iter().collect()
    }

    pub(super) fn put_back(&self, used: &[(SecretId, Timestamp)]) {
        for (id, at) in used {
            self.note(id, *at);
        }
    }
}
