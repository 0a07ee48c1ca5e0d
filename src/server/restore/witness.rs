//! Keeps the record up to date while a server runs.

use std::{collections::BTreeSet, io, mem};

use tokio::task::{JoinHandle, spawn_blocking};

use super::record::{Record, RecordFile};
use crate::server::{
    model::Change,
    store::{self, Epochs, Store},
};

/// What a running server has seen of its database, and the file in which it says so.
#[derive(Debug)]
pub(crate) struct Witness {
    file: RecordFile,
    record: Record,
    /// Whether the database was found older than it was.
    set_back: bool,
    /// Whether there is something that was not written yet.
    changed: bool,
    /// The writing that is under way: a slow disk holds up nothing else.
    writing: Option<JoinHandle<io::Result<()>>>,
    /// Whether the last write failed: that is reported once.
    failed: bool,
}

/// The database is older than it was.
#[derive(Debug, thiserror::Error)]
#[error("the database is older than this server has seen it: it was restored; run `sealwright restored`")]
pub(crate) struct SetBack;

impl Witness {
    /// Goes on with `record`, or begins one, and takes in what was changed since.
    pub(crate) async fn open(
        file: RecordFile,
        record: Option<Record>,
        store: &Store,
        epochs: Epochs,
        kids: BTreeSet<String>,
    ) -> Result<Self, store::Error> {
        let canary = store.find_canary().await?.map(|canary| canary.sealed).unwrap_or_default();
        // What an earlier server recorded may be listed as well; its number is known to be taken.
        let begin = || Record::new(&canary, epochs, (epochs.changes - Record::JOURNAL_LEN as i64).max(0));
        let mut record = record.filter(|record| record.is_of(&canary)).unwrap_or_else(begin);
        let mut after = record.newest_change();
        while after < epochs.changes {
            let changes = store.list_changes(after, epochs.changes).await?;
            record.note(&changes);
            after = changes.last().map_or(epochs.changes, |change| change.number);
        }
        let mut witness = Self { file, record, set_back: false, changed: true, writing: None, failed: false };
        witness.note(epochs, kids);
        witness.save().await;
        witness.settle().await;
        Ok(witness)
    }

    /// Refuses epochs from before what was seen, and from then on all until `restored` has run: changes that are made meanwhile may
    /// bring the epochs back to numbers that stood for something else.
    pub(crate) fn require_not_set_back(&mut self, epochs: &Epochs) -> Result<(), SetBack> {
        let seen = &self.record.seen;
        self.set_back = if self.set_back { !seen.is_left_behind_by(epochs) } else { seen.is_ahead_of(epochs) };
        if self.set_back { Err(SetBack) } else { Ok(()) }
    }

    /// Takes in changes, the oldest first.
    pub(crate) fn note_changes(&mut self, changes: &[Change]) {
        self.record.note(changes);
        self.changed |= !changes.is_empty();
    }

    /// Takes in the epochs and the signing keys that are in use.
    pub(crate) fn note(&mut self, epochs: Epochs, kids: BTreeSet<String>) {
        // Changes that could not be read yet are read by a later look.
        let epochs = Epochs { changes: epochs.changes.max(self.record.seen.changes), ..epochs };
        self.changed |= self.record.seen != epochs.into() || self.record.signing_keys != kids;
        self.record.seen = epochs.into();
        self.record.signing_keys = kids;
    }

    /// Begins to write down what is new, unless the write before is still under way: then the next call does.
    pub(crate) async fn save(&mut self) {
        if self.writing.as_ref().is_some_and(|writing| !writing.is_finished()) {
            return;
        }
        self.settle().await;
        if mem::take(&mut self.changed) {
            let (file, record) = (self.file.clone(), self.record.clone());
            self.writing = Some(spawn_blocking(move || file.update(record)));
        }
    }

    async fn settle(&mut self) {
        let Some(writing) = self.writing.take() else { return };
        let written = writing.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        match &written {
            Err(error) if !self.failed => tracing::warn!(
                %error,
                record = %self.file.path().display(),
                "what this node has seen of its database cannot be written down: a restore of an older database would not be noticed"
            ),
            Ok(()) if self.failed => {
                tracing::info!(record = %self.file.path().display(), "what this node sees of its database is written down again")
            }
            _ => {}
        }
        self.failed = written.is_err();
        self.changed |= self.failed;
    }
}
