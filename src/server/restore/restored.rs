//! The changes that are made once to a restored database.

use std::collections::{BTreeMap, BTreeSet};

use super::{Error, LostChange, RecordFile, record::Record};
use crate::server::{
    act::Act,
    keys::{MacKey, SealingKeys},
    logins::Logins,
    model::Change,
    store::{Epochs, Founded, LEAP, Restoring, Store},
};

/// What was done, and what is left for the operator to do.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) logins_ended: u64,
    /// Signing keys of the database that had been withdrawn when this node last saw it.
    pub(crate) keys_withdrawn: Vec<String>,
    /// Signing keys that this node has seen and the database lacks.
    pub(crate) keys_lost: Vec<String>,
    /// The changes that this node has seen and the database lacks, oldest first.
    pub(crate) changes_lost: Vec<LostChange>,
    /// The number of further lost changes, which the journal no longer contains.
    pub(crate) changes_forgotten: i64,
    /// Whether this node had a record to compare with.
    pub(crate) recorded: bool,
    /// Why the record could not be written, after everything else was done.
    pub(crate) record_failed: Option<String>,
}

/// Makes a restored database safe to use. `founded` is its state before.
pub(crate) async fn restored(
    store: &Store,
    sealing: &SealingKeys,
    founded: &Founded,
    file: &RecordFile,
    record: Option<Record>,
    act: &Act,
) -> Result<Report, Error> {
    let recorded = record.is_some();
    let known = record.filter(|record| record.is_of(&founded.canary));
    let present: BTreeSet<String> = live_kids(store).await?;
    // A database that is not older than the record may contain keys that the record lacks.
    let older = known.as_ref().filter(|record| record.is_ahead_of(founded) || founded.backup);
    let only_in = |one: &BTreeSet<String>, other: &BTreeSet<String>| one.difference(other).cloned().collect::<Vec<_>>();
    let keys_withdrawn = older
        .filter(|record| record.seen.keys >= founded.epochs.keys)
        .map_or_else(Vec::new, |record| only_in(&present, &record.signing_keys));
    let keys_lost = older.map_or_else(Vec::new, |record| only_in(&record.signing_keys, &present));
    let changes_lost = match &known {
        Some(record) => lost_changes(store, record, founded.epochs.changes).await?,
        None => Vec::new(),
    };
    // Changes are numbered consecutively, except for the leaps of earlier restores.
    let changes_forgotten = known.as_ref().map_or(0, |record| (record.journal_after - founded.epochs.changes).max(0) % LEAP);
    let seen = known.as_ref().map_or(founded.epochs, |record| Epochs::from(record.seen));
    let restoring =
        Restoring { mac_key: (Logins::KEY, MacKey::generate_sealed(Logins::KEY, sealing)?), withdrawn: keys_withdrawn.clone(), seen };
    let logins_ended = store.restore(act, restoring).await?;

    let epochs = store.read_epochs().await?;
    let mut fresh = Record::new(&founded.canary, epochs, epochs.changes - 1);
    fresh.note(&store.list_changes(epochs.changes - 1, epochs.changes).await?);
    fresh.signing_keys = live_kids(store).await?;
    let place = file.clone();
    let written = tokio::task::spawn_blocking(move || place.replace(&fresh)).await;
    let record_failed = match written {
        Ok(written) => written.err().map(|error| error.to_string()),
        Err(error) => Some(error.to_string()),
    };
    Ok(Report { logins_ended, keys_withdrawn, keys_lost, changes_lost, changes_forgotten, recorded, record_failed })
}

/// The changes of the journal that the database lacks. Those older than its oldest one do not count: it deleted them by age.
async fn lost_changes(store: &Store, record: &Record, newest: i64) -> Result<Vec<LostChange>, Error> {
    let mut held: BTreeMap<i64, Change> = BTreeMap::new();
    let mut after = record.journal_after;
    loop {
        let changes = store.list_changes(after, record.newest_change()).await?;
        let Some(last) = changes.last() else { break };
        after = last.number;
        held.extend(changes.into_iter().map(|change| (change.number, change)));
    }
    let oldest = held.keys().next().copied().unwrap_or(newest);
    let is_lost = |number: i64| match held.get(&number) {
        Some(change) => record.contradicts(change),
        None => number > oldest,
    };
    Ok(record.journal.iter().filter(|entry| is_lost(entry.number)).map(LostChange::from).collect())
}

/// The key ids of the signing keys that are not withdrawn.
async fn live_kids(store: &Store) -> Result<BTreeSet<String>, Error> {
    let rows = store.list_signing_keys().await?.rows.into_iter();
    Ok(rows.filter(|row| row.revoked_at.is_none()).map(|row| row.kid).collect())
}
