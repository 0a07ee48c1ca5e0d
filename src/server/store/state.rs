//! What a database is, before anything is made or changed in it.

use std::{fs, io, path::Path, sync::Arc};

use sqlx::Row;

use super::{Epochs, Error, OpenError, Opening, Policy, Store, sqlite_files};
use crate::{clock::SharedClock, server::model::Change};

/// What a database is.
#[derive(Debug)]
pub(crate) enum State {
    /// There is no file.
    Missing,
    /// There is a database, in which no issuer was founded.
    Empty,
    Founded(Founded),
}

/// An issuer's database.
#[derive(Debug)]
pub(crate) struct Founded {
    pub(crate) epochs: Epochs,
    /// The sealed text by which a sealing key is recognised: each issuer has its own.
    pub(crate) canary: String,
    /// Whether it is a file that `sealwright backup` made, not yet taken into use.
    pub(crate) backup: bool,
    /// The change of the number that was asked for, if it is there.
    pub(crate) change: Option<Change>,
}

impl State {
    /// Looks at the database at the policy's URL, and in it at the change of this number.
    pub(crate) async fn look(policy: &Policy, clock: SharedClock, change: i64) -> Result<Self, OpenError> {
        let failed = |source| OpenError { url: policy.url.to_string(), source };
        if let Some(path) = policy.url.sqlite_path()
            && is_missing(path).map_err(|error| failed(Error::File(Arc::new(error))))?
        {
            return Ok(Self::Missing);
        }
        let store = Store::open(policy, Opening::Look, clock).await?;
        let state = store.state(policy, change).await;
        store.close().await;
        state.map_err(failed)
    }
}

/// Whether there is no such file, in a folder that is there.
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
        let canary = match sqlx::query("SELECT sealed FROM sealing_canary WHERE id = 1").fetch_optional(&self.pool).await {
            Ok(Some(row)) => row.try_get("sealed")?,
            Ok(None) => return Ok(State::Empty),
            Err(error) if is_no_such_table(&error) => return Ok(State::Empty),
            Err(error) => return Err(error.into()),
        };
        let epochs = self.read_epochs().await?;
        let change = match self.list_changes(change - 1, change).await {
            Ok(mut changes) => changes.pop(),
            // A schema from before changes were recorded.
            Err(Error::Database(error)) if is_no_such_table(&error) => None,
            Err(error) => return Err(error),
        };
        let backup = policy.url.sqlite_path().is_some_and(sqlite_files::is_backup);
        Ok(State::Founded(Founded { epochs, canary, backup, change }))
    }
}

fn is_no_such_table(error: &sqlx::Error) -> bool {
    let Some(error) = error.as_database_error() else { return false };
    error.code().as_deref() == Some("42P01") || error.message().starts_with("no such table")
}
