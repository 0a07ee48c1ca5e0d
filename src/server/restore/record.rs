//! The record of the database's last known state: a small file beside the sealing key.

use std::{
    collections::{BTreeSet, VecDeque},
    fs, io,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::Error;
use crate::server::{
    keys,
    model::Change,
    store::{Epochs, Founded},
};

/// The state of the database as this node last saw it. It contains nothing secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    format: u32,
    /// Identifies the issuer: the SHA-256 of its first canary.
    issuer: String,
    pub(super) seen: Seen,
    /// The key ids of the signing keys that were not withdrawn.
    pub(super) signing_keys: BTreeSet<String>,
    /// The journal contains the changes after this number.
    pub(super) journal_after: i64,
    pub(super) journal: VecDeque<JournalEntry>,
}

/// The newest epochs that were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) registry: i64,
    pub(super) keys: i64,
    /// Compared only for a file: a failover to a replica may lose the latest ones. See [`Record::newest_revocations`].
    #[serde(default)]
    pub(super) revocations: i64,
    pub(super) changes: i64,
    pub(super) heartbeat: i64,
}

/// A change that was seen, without its actor and details, which stay in the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JournalEntry {
    pub(super) number: i64,
    /// Seconds since 1970.
    pub(super) at: i64,
    pub(super) action: String,
    pub(super) target: String,
}

impl From<&Change> for JournalEntry {
    fn from(change: &Change) -> Self {
        let Change { number, at, action, target, .. } = change;
        Self { number: *number, at: at.seconds(), action: action.clone(), target: target.clone() }
    }
}

impl From<Epochs> for Seen {
    fn from(epochs: Epochs) -> Self {
        let Epochs { registry, keys, revocations, changes, heartbeat } = epochs;
        Self { registry, keys, revocations, changes, heartbeat }
    }
}

impl From<Seen> for Epochs {
    fn from(seen: Seen) -> Self {
        let Seen { registry, keys, revocations, changes, heartbeat } = seen;
        Self { registry, keys, revocations, changes, heartbeat }
    }
}

impl Seen {
    /// A heartbeat older by more than this counts as lost. A failover to a replica may lose the latest ones.
    const HEARTBEAT_MARGIN: i64 = 120;

    /// Whether a database with these epochs is older than the one seen. `file` says whether it is an SQLite file.
    pub(super) fn is_ahead_of(&self, epochs: &Epochs, file: bool) -> bool {
        self.registry > epochs.registry
            || (file && self.revocations > epochs.revocations)
            || self.keys > epochs.keys
            || self.changes > epochs.changes
            || self.heartbeat > epochs.heartbeat.saturating_add(Self::HEARTBEAT_MARGIN)
    }

    /// Whether `restored` has run on a database with these epochs since: only that raises all of them above those that were seen.
    pub(super) fn is_left_behind_by(&self, epochs: &Epochs) -> bool {
        self.registry < epochs.registry && self.keys < epochs.keys && self.changes < epochs.changes
    }
}

impl Record {
    const FORMAT: u32 = 1;
    /// Maximum length of the journal; backups older than that many changes are rare.
    pub(super) const JOURNAL_LEN: usize = 1000;

    /// A record of an issuer with an empty journal, which starts after a number.
    pub(super) fn new(canary: &str, epochs: Epochs, journal_after: i64) -> Self {
        Self {
            format: Self::FORMAT,
            issuer: issuer(canary),
            seen: epochs.into(),
            signing_keys: BTreeSet::new(),
            journal_after,
            journal: VecDeque::new(),
        }
    }

    pub(super) fn is_of(&self, canary: &str) -> bool {
        self.issuer == issuer(canary)
    }

    /// Whether this node saw another change under the same number.
    pub(super) fn contradicts(&self, change: &Change) -> bool {
        let entry = self.journal.iter().find(|entry| entry.number == change.number);
        entry.is_some_and(|entry| *entry != JournalEntry::from(change))
    }

    /// Whether a database is older than this record, or has diverged from it.
    pub(super) fn is_ahead_of(&self, founded: &Founded) -> bool {
        self.seen.is_ahead_of(&founded.epochs, founded.file) || founded.change.as_ref().is_some_and(|change| self.contradicts(change))
    }

    /// The number of the newest change that was seen.
    pub(crate) fn newest_change(&self) -> i64 {
        self.journal.back().map_or(self.journal_after, |entry| entry.number)
    }

    /// The highest epoch of revocations that was seen. Verifiers have seen it too, and take no list of a lower one.
    pub(crate) fn newest_revocations(&self) -> i64 {
        self.seen.revocations
    }

    pub(super) fn note(&mut self, changes: &[Change]) {
        let newest = self.newest_change();
        self.journal.extend(changes.iter().filter(|change| change.number > newest).map(JournalEntry::from));
        while self.journal.len() > Self::JOURNAL_LEN {
            self.journal_after = self.journal.pop_front().map_or(self.journal_after, |dropped| dropped.number);
        }
    }

    /// Merges what another process with the same folder has seen beyond this record.
    fn merge(&mut self, other: Self) {
        if other.issuer != self.issuer {
            return;
        }
        if other.seen.changes > self.seen.changes {
            (self.journal_after, self.journal) = (other.journal_after, other.journal);
        }
        if other.seen.keys > self.seen.keys {
            self.signing_keys = other.signing_keys;
        }
        self.seen = Seen {
            registry: self.seen.registry.max(other.seen.registry),
            keys: self.seen.keys.max(other.seen.keys),
            revocations: self.seen.revocations.max(other.seen.revocations),
            changes: self.seen.changes.max(other.seen.changes),
            heartbeat: self.seen.heartbeat.max(other.seen.heartbeat),
        };
    }
}

fn issuer(canary: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, canary.as_bytes()))
}

/// The file of the record.
#[derive(Debug, Clone)]
pub(crate) struct RecordFile(PathBuf);

impl RecordFile {
    const NAME: &str = "database-record.json";
    /// Maximum size in bytes: a thousand changes take a third of a megabyte.
    const MAX_LEN: u64 = 8 * 1024 * 1024;

    pub(crate) fn of(policy: &keys::Policy) -> Self {
        let dir = std::path::absolute(&policy.dir).unwrap_or_else(|_| policy.dir.clone());
        Self(dir.join(Self::NAME))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn read(&self) -> Result<Option<Record>, Error> {
        let unreadable = |why: String| Error::Unreadable { place: self.0.clone(), why };
        let mut text = Vec::new();
        match fs::File::open(&self.0) {
            Ok(file) => file.take(Self::MAX_LEN).read_to_end(&mut text).map_err(|error| unreadable(error.to_string()))?,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
            Err(error) => return Err(unreadable(error.to_string())),
        };
        /// The part that all formats share.
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
        if format > Record::FORMAT {
            return Err(Error::NewerRecord { place: self.0.clone(), format });
        }
        serde_json::from_slice(&text).map(Some).map_err(|error| unreadable(error.to_string()))
    }

    /// Checks that a record can be written.
    pub(crate) fn require_writable(&self) -> io::Result<()> {
        let folder = self.0.parent().ok_or(io::ErrorKind::NotFound)?;
        tempfile::NamedTempFile::new_in(folder).map(drop)
    }

    /// Replaces the record atomically, merged with what another process has seen.
    pub(super) fn update(&self, mut record: Record) -> io::Result<()> {
        if let Ok(Some(other)) = self.read() {
            record.merge(other);
        }
        self.replace(&record)
    }

    pub(super) fn replace(&self, record: &Record) -> io::Result<()> {
        let folder = self.0.parent().ok_or(io::ErrorKind::NotFound)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        // Root may run `restored` for the server, which must be able to read the file. Other users cannot change the owner.
        #[cfg(unix)]
        {
            use std::os::unix::fs::{MetadataExt, fchown};
            let owner = fs::metadata(folder)?;
            let _ = fchown(file.as_file(), Some(owner.uid()), Some(owner.gid()));
        }
        serde_json::to_writer(&mut file, record)?;
        file.flush()?;
        file.as_file().sync_all()?;
        file.persist(&self.0)?;
        fs::File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn change(number: i64) -> Change {
        Change {
            number,
            at: Timestamp::from_seconds(number),
            actor: "a".to_owned(),
            action: "client.update".to_owned(),
            target: "billing".to_owned(),
        }
    }

    #[test]
    fn hd12_the_journal_is_bounded_and_states_where_it_starts() {
        let mut record = Record::new("canary", Epochs::default(), 0);
        let changes: Vec<_> = (1..=Record::JOURNAL_LEN as i64 + 5).map(change).collect();
        record.note(&changes);
        record.note(&changes[10..20]);
        assert_eq!((record.journal.len(), record.journal_after), (Record::JOURNAL_LEN, 5));
        assert!(!record.contradicts(&change(6)));
        assert!(record.contradicts(&Change { target: "shop".to_owned(), ..change(6) }), "another change with the same number");
    }

    #[test]
    fn hd12_revocations_that_are_lost_show_that_a_file_is_older_and_other_databases_may_have_failed_over() {
        let epochs = |revocations| Epochs { registry: 1, keys: 1, revocations, changes: 1, heartbeat: 0 };
        let seen = Seen::from(epochs(5));
        for (revocations, file, ahead) in [(4, true, true), (4, false, false), (5, true, false), (6, true, false)] {
            assert_eq!(seen.is_ahead_of(&epochs(revocations), file), ahead, "{revocations} {file}");
        }
    }

    #[test]
    fn hd12_two_processes_that_share_a_record_keep_the_newest_state() {
        let folder = tempfile::tempdir().unwrap();
        let file = RecordFile(folder.path().join(RecordFile::NAME));
        let epochs = |changes, keys| Epochs { registry: 1, keys, revocations: 1, changes, heartbeat: 0 };
        let (mut ahead, mut behind) = (Record::new("canary", epochs(2, 1), 0), Record::new("canary", epochs(1, 2), 0));
        ahead.note(&[change(1), change(2)]);
        behind.note(&[change(1)]);
        behind.signing_keys.insert("new".to_owned());
        file.update(ahead).unwrap();
        file.update(behind).unwrap();
        let read = file.read().unwrap().unwrap();
        assert_eq!((read.journal.len(), read.seen.changes, read.seen.keys), (2, 2, 2));
        assert!(read.signing_keys.contains("new"));
        // The record of another issuer is not merged.
        file.update(Record::new("other", epochs(0, 0), 0)).unwrap();
        assert_eq!(file.read().unwrap().unwrap().seen.changes, 0);
    }
}
