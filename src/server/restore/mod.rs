//! Detects that a database is not the one that this node last saw, and makes a restored database safe to use.
//!
//! An older database revives what was invalidated since: used refresh tokens, dropped secrets, withdrawn keys.
//! So every node keeps a [`Record`] beside its sealing key, and `serve` refuses a database that is older than that until
//! `sealwright restored` has run.

mod lost;
mod record;
mod restored;
mod witness;

use std::path::PathBuf;

pub(crate) use lost::LostChange;
pub(crate) use record::{Record, RecordFile};
pub(crate) use restored::{Report, restored};
pub(crate) use witness::{SetBack, Witness};

use crate::server::{
    keys::{self, SealingKeys},
    store::{self, Founded, State},
};

/// Why a database is refused. Nothing was changed or created.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "the database {url} {state}, but a sealing key exists ({key}): the database of that issuer is lost, or it is elsewhere. Restore it from a backup{}, or give its location with --database-url; to abandon the earlier issuer and start over, run `serve --found-new-issuer` once. Nothing was changed",
        if *copied { " (a copy of the .db file alone lacks the data of the -wal file: `sealwright backup FILE` makes a complete one)" } else { "" }
    )]
    Lost { url: String, key: String, state: &'static str, copied: bool },
    #[error(
        "the database {url} is a copy that `sealwright backup` created: run `sealwright restored` once, then start again; nothing was changed"
    )]
    Backup { url: String },
    #[error(
        "the database {url} is older than this node last saw it (record {}): it was restored from a copy. Run `sealwright restored` once, then start again; nothing was changed", record.display()
    )]
    Older { url: String, record: PathBuf },
    #[error(
        "the database {url} belongs to another issuer than the one that this node last saw (record {}): give the right one with --database-url; if this one is right, run `sealwright restored` once, then start again; nothing was changed", record.display()
    )]
    OtherIssuer { url: String, record: PathBuf },
    #[error(
        "the record of the database's last known state, {}, cannot be read: {why}. If the database was restored, run `sealwright restored`; if not, remove the record, then start again", place.display()
    )]
    Unreadable { place: PathBuf, why: String },
    #[error(
        "the record of the database's last known state, {}, was written by a newer version of sealwright (format {format}): use that version; if the database was not restored meanwhile, the record may be removed instead", place.display()
    )]
    NewerRecord { place: PathBuf, format: u32 },
    #[error(transparent)]
    Keys(#[from] keys::Error),
    #[error(transparent)]
    Database(#[from] store::OpenError),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Refuses a database that is lost, a copy, or older than this node last saw it. Returns the node's record.
pub(crate) async fn require_known(store: &store::Policy, keys: &keys::Policy) -> Result<Option<Record>, Error> {
    let url = || store.url.to_string();
    let file = RecordFile::of(keys);
    let record = file.read()?;
    let key = SealingKeys::find_place(keys)?;
    let turn = match key {
        // Another process may be about to create the issuer of this key.
        Some(_) => SealingKeys::lock_folder(keys).await,
        None => None,
    };
    let state = State::inspect(store, record.as_ref().map_or(0, Record::newest_change)).await?;
    drop(turn);
    let founded = match state {
        State::Founded(founded) => founded,
        State::Missing | State::Empty if keys.found_new_issuer || SealingKeys::is_first_start_unfinished(keys)? => return Ok(None),
        State::Missing => return key.map_or(Ok(None), |key| Err(Error::Lost { url: url(), key, state: "is missing", copied: false })),
        State::Empty => {
            let copied = url().starts_with("sqlite:");
            return key.map_or(Ok(None), |key| Err(Error::Lost { url: url(), key, state: "contains no issuer", copied }));
        }
    };
    check_against_record(&founded, record.as_ref(), &file, url())?;
    Ok(record)
}

/// Checks that the database contains everything that the record has seen.
fn check_against_record(founded: &Founded, record: Option<&Record>, file: &RecordFile, url: String) -> Result<(), Error> {
    let place = || file.path().to_owned();
    match record {
        _ if founded.backup => Err(Error::Backup { url }),
        Some(record) if !record.is_of(&founded.canary) => Err(Error::OtherIssuer { url, record: place() }),
        Some(record) if record.is_ahead_of(founded) => Err(Error::Older { url, record: place() }),
        _ => Ok(()),
    }
}
