//! Updates the record while a server runs.

use std::{collections::BTreeSet, io, mem};

use tokio::task::{JoinHandle, spawn_blocking};

use super::record::{Record, RecordFile};
use crate::server::{
    model::Change,
    store::{self, Epochs, Store},
};

/// The state of the database as a running server has seen it, and the file that records it.
#[derive(Debug)]
pub(crate) struct Witness {
    file: RecordFile,
    record: Record,
    /// Whether the database is an SQLite file.
    of_file: bool,
    /// Whether the database became older than it was.
    set_back: bool,
    /// Whether the record has unwritten changes.
    changed: bool,
    /// The write in progress. It runs in the background, so a slow disk delays nothing else.
    writing: Option<JoinHandle<io::Result<()>>>,
    /// Whether the last write failed. It is reported once.
    failed: bool,
}

/// The database became older than it was.
#[derive(Debug, thiserror::Error)]
#[error("the database is older than this server last saw it: it was restored; run `sealwright restored`")]
pub(crate) struct SetBack;

impl Witness {
    /// Continues `record`, or starts a new one, and adds the changes since.
    pub(crate) async fn open(
        file: RecordFile,
        record: Option<Record>,
        store: &Store,
        epochs: Epochs,
        kids: BTreeSet<String>,
    ) -> Result<Self, store::Error> {
        let canary = store.find_canary().await?.map(|canary| canary.identity().to_owned()).unwrap_or_default();
        // The journal may include changes from before this node ran; their numbers are known to be taken.
        let start = || Record::new(&canary, epochs, (epochs.changes - Record::JOURNAL_LEN as i64).max(0));
        let mut record = record.filter(|record| record.is_of(&canary)).unwrap_or_else(start);
        let mut after = record.newest_change();
        while after < epochs.changes {
            let changes = store.list_changes(after, epochs.changes).await?;
            record.note(&changes);
            after = changes.last().map_or(epochs.changes, |change| change.number);
        }
        let mut witness = Self { file, record, of_file: store.is_file(), set_back: false, changed: true, writing: None, failed: false };
        witness.note(epochs, kids);
        witness.save().await;
        witness.settle().await;
        Ok(witness)
    }

    /// Refuses epochs that are older than those seen, and from then on all epochs until `restored` has run: further changes may raise the
    /// epochs to numbers that stood for other changes.
    pub(crate) fn require_not_set_back(&mut self, epochs: &Epochs) -> Result<(), SetBack> {
        let seen = &self.record.seen;
        self.set_back = if self.set_back { !seen.is_left_behind_by(epochs) } else { seen.is_ahead_of(epochs, self.of_file) };
        if self.set_back { Err(SetBack) } else { Ok(()) }
    }

    /// Adds changes to the record, oldest first.
    pub(crate) fn note_changes(&mut self, changes: &[Change]) {
        self.record.note(changes);
        self.changed |= !changes.is_empty();
    }

    /// Updates the epochs and the signing keys in use.
    pub(crate) fn note(&mut self, epochs: Epochs, kids: BTreeSet<String>) {
        // Changes that could not be read yet are read by a later poll.
        let epochs = Epochs { changes: epochs.changes.max(self.record.seen.changes), ..epochs };
        self.changed |= self.record.seen != epochs.into() || self.record.signing_keys != kids;
        self.record.seen = epochs.into();
        self.record.signing_keys = kids;
    }

    /// Starts to write the record if it has changed. If the previous write is still in progress, the next call writes.
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
                "the record of the database's state cannot be written: a restore of an older database would not be detected"
            ),
            Ok(()) if self.failed => {
                tracing::info!(record = %self.file.path().display(), "the record of the database's state can be written again")
            }
            _ => {}
        }
        self.failed = written.is_err();
        self.changed |= self.failed;
    }
}
