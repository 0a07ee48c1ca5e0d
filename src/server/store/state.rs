//! The state of a database, before anything is created or changed in it.

use std::{fs, io, path::Path, sync::Arc};

use sqlx::Row;

use super::{Epochs, Error, OpenError, Opening, Policy, Store, sqlite_files};
use crate::server::model::Change;

/// The state of a database.
#[derive(Debug)]
pub(crate) enum State {
    /// There is no file.
    Missing,
    /// There is a database without an issuer.
    Empty,
    Founded(Founded),
}

/// An issuer's database.
#[derive(Debug)]
pub(crate) struct Founded {
    pub(crate) epochs: Epochs,
    /// The sealed text that identifies the issuer; see [`Canary::identity`](super::Canary::identity).
    pub(crate) canary: String,
    /// Whether it is an SQLite file.
    pub(crate) file: bool,
    /// Whether it is a file that `sealwright backup` created and that is not in use yet.
    pub(crate) backup: bool,
    /// The change with the requested number, if it exists.
    pub(crate) change: Option<Change>,
}

impl State {
    /// Inspects the database at the policy's URL, and reads the change with this number.
    pub(crate) async fn inspect(policy: &Policy, change: i64) -> Result<Self, OpenError> {
        let failed = |source| OpenError { url: policy.url.to_string(), source };
        if let Some(path) = policy.url.sqlite_path()
            && is_missing(path).map_err(|error| failed(Error::File(Arc::new(error))))?
        {
            return Ok(Self::Missing);
        }
        let store = Store::open(policy, Opening::Inspect).await?;
        let state = store.state(policy, change).await;
        store.close().await;
        state.map_err(failed)
    }
}

/// Whether the file is missing or empty, in a folder that exists.
fn is_missing(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len() == 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match path.parent().map(fs::metadata) {
            Some(Ok(folder)) if folder.is_dir() => Ok(true),
            _ => Err(error),
        },
        Err(error) => Err(error),
    }
}

impl Store {
    async fn state(&self, policy: &Policy, change: i64) -> Result<State, Error> {
        // A schema of an earlier version has no further columns.
        let canary = match sqlx::query("SELECT * FROM sealing_canary WHERE id = 1").fetch_optional(&self.pool).await {
            Ok(Some(row)) => match row.try_get::<Option<String>, _>("first_sealed") {
                Ok(Some(first)) => first,
                Ok(None) | Err(sqlx::Error::ColumnNotFound(_)) => row.try_get("sealed")?,
                Err(error) => return Err(error.into()),
            },
            Ok(None) => return Ok(State::Empty),
            Err(error) if lacks_table(&error) => return Ok(State::Empty),
            Err(error) => return Err(error.into()),
        };
        let epochs = self.read_epochs().await?;
        let change = match self.list_changes(change - 1, change).await {
            Ok(mut changes) => changes.pop(),
            // A schema from before there was a change log.
            Err(Error::Database(error)) if lacks_table(&error) => None,
            Err(error) => return Err(error),
        };
        let backup = policy.url.sqlite_path().is_some_and(sqlite_files::is_backup);
        Ok(State::Founded(Founded { epochs, canary, file: self.is_file(), backup, change }))
    }
}

fn lacks_table(error: &sqlx::Error) -> bool {
    let Some(error) = error.as_database_error() else { return false };
    error.code().as_deref() == Some("42P01") || error.message().starts_with("no such table")
}
