use std::path::PathBuf;

use super::{Act, Error, Policy};
use crate::server::{
    keys::SealingKeys,
    restore::{self, Record, RecordFile, Report},
    store::{self, Opening, State, Store},
};

/// The outcome of [`restored`].
#[derive(Debug)]
pub(crate) struct Restored {
    /// The URL of the database, without its password.
    pub(crate) database: String,
    /// The file of this node's record.
    pub(crate) record: PathBuf,
    /// Why the earlier record could not be read, and so does not show what was lost. It holds even if the rest failed.
    pub(crate) record_unreadable: Option<restore::Error>,
    pub(crate) report: Result<Report, Error>,
}

/// Prepares a database that was restored from a copy. It runs once, before the server starts.
pub(crate) async fn restored(policy: &Policy, act: &Act) -> Result<Restored, Error> {
    let file = RecordFile::of(&policy.keys);
    let (record, record_unreadable) = match file.read() {
        Ok(record) => (record, None),
        // The record cannot tell what was lost; it is replaced.
        Err(error @ (restore::Error::Unreadable { .. } | restore::Error::NewerRecord { .. })) => (None, Some(error)),
        Err(error) => return Err(error.into()),
    };
    let report = prepare(policy, &file, record, act).await;
    Ok(Restored { database: policy.store.url.to_string(), report, record: file.path().to_owned(), record_unreadable })
}

async fn prepare(policy: &Policy, file: &RecordFile, record: Option<Record>, act: &Act) -> Result<Report, Error> {
    let newest = record.as_ref().map_or(0, Record::newest_change);
    let founded = match State::inspect(&policy.store, newest).await? {
        State::Founded(founded) => founded,
        State::Missing => return Err(store::Error::NoFile.into()),
        State::Empty => return Err(store::Error::NotFounded.into()),
    };
    // Migrates a copy from an older version, as a start of the server does.
    let store = Store::open(&policy.store, Opening::CreateIfMissing).await?;
    let outcome = async {
        let sealing = SealingKeys::open_existing(&policy.keys, &store).await?;
        Ok::<_, Error>(restore::restored(&store, &sealing, &founded, file, record, act).await?)
    };
    let outcome = outcome.await;
    store.close().await;
    outcome
}
