use std::{io, path::PathBuf};

use super::{Commands, Error};
use crate::{
    clock::Timestamp,
    server::{
        keys::{self, SealingKeys},
        restore::{self, RecordFile},
    },
};

/// The state of the record of what this node has seen of its database.
#[derive(Debug)]
pub(crate) enum RecordState {
    /// The database contains all of it, up to this change.
    Matches { path: PathBuf, newest_change: i64 },
    /// There is none yet.
    Missing { path: PathBuf },
    /// It cannot be written.
    Unwritable { path: PathBuf, error: io::Error },
}

impl Commands {
    /// The URL of the database, without its password.
    pub(crate) fn database(&self) -> String {
        self.policy.store.url.to_string()
    }

    /// Checks that the sealing key opens this database, and returns where it is stored. Also reports the state of the signing keys.
    pub(crate) async fn check_keys(&self, now: Timestamp) -> Result<(String, Result<String, String>), Error> {
        let sealing = SealingKeys::open_existing(&self.policy.keys, &self.store).await?;
        Ok((sealing.place(), keys::check(&sealing, &self.store, now).await))
    }

    /// Checks that the database is the one that this node last saw, and that the record of that can be written.
    pub(crate) async fn check_record(&self) -> Result<RecordState, Error> {
        let record = restore::require_known(&self.policy.store, &self.policy.keys).await?;
        let file = RecordFile::of(&self.policy.keys);
        let path = file.path().to_owned();
        Ok(match (file.require_writable(), record) {
            (Err(error), _) => RecordState::Unwritable { path, error },
            (Ok(()), Some(record)) => RecordState::Matches { path, newest_change: record.newest_change() },
            (Ok(()), None) => RecordState::Missing { path },
        })
    }
}
