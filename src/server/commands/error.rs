use std::{io, path::PathBuf};

use super::NotRevoked;
use crate::{
    protocol::ClientId,
    server::{keys, model::CredentialId, restore, store, workers::WorkError},
};

/// Why a command failed. The text says what to do.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(Cause);

impl Error {
    /// Whether it is certain that nothing was changed. Otherwise the database may have committed the change without saying so.
    pub(crate) fn has_changed_nothing(&self) -> bool {
        match &self.0 {
            Cause::Missing { .. } | Cause::Open(_) => true,
            Cause::Store(error) => matches!(error, store::Error::Exists { .. } | store::Error::Missing(_) | store::Error::Refused(_)),
            _ => false,
        }
    }

    /// The client and the last secret or key by which it can authenticate, if the command was refused for that reason.
    pub(crate) fn last_credential(&self) -> Option<(ClientId, CredentialId)> {
        match &self.0 {
            Cause::Store(store::Error::LastCredential { client, credential }) => Some((client.clone(), credential.clone())),
            _ => None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    #[error("there is no {missing}{}", nearest.as_ref().map(|name| format!("; did you mean {name}?")).unwrap_or_default())]
    Missing { missing: store::Missing, nearest: Option<String> },
    #[error(transparent)]
    Open(store::OpenError),
    #[error(transparent)]
    Store(store::Error),
    #[error(transparent)]
    Keys(keys::Error),
    #[error("{0}; nothing was changed")]
    KeyRequest(keys::RequestError),
    #[error("{} is not imported: {why}; nothing was changed", path.display())]
    KeyFile { path: PathBuf, why: keys::Refused },
    #[error("the key is not imported: {0}; nothing was changed")]
    Import(keys::NotImported),
    #[error(transparent)]
    NotExported(keys::NotExported),
    #[error("the keys were not written to {}: {source}", path.display())]
    Export { path: PathBuf, source: io::Error },
    #[error("the token was not revoked: {0}")]
    Token(NotRevoked),
    #[error(transparent)]
    Restore(restore::Error),
    #[error("the password cannot be used: {0}")]
    Password(String),
    #[error("the password could not be hashed: {0}")]
    Hashing(WorkError),
    #[error("the thread that hashes passwords could not be started: {0}")]
    Thread(io::Error),
    #[error("the backup {} was not created: {source}", path.display())]
    Backup { path: PathBuf, source: io::Error },
    #[error(
        "`backup` copies SQLite databases only. For PostgreSQL, `pg_dump --format=custom --file=FILE DATABASE` makes a copy; `dropdb`, `createdb` and `pg_restore --exit-on-error --single-transaction --dbname=DATABASE FILE` restore it; run `sealwright restored` before the server starts again"
    )]
    BackupOfPostgres,
}

macro_rules! from {
    ($($cause:ident: $error:ty),+ $(,)?) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self(Cause::$cause(error))
            }
        })+
    };
}

from! { Open: store::OpenError, Store: store::Error, Keys: keys::Error, Import: keys::NotImported, NotExported: keys::NotExported, Restore: restore::Error, Token: NotRevoked, Hashing: WorkError }

impl From<keys::RequestError> for Error {
    fn from(error: keys::RequestError) -> Self {
        Self(match error {
            keys::RequestError::Keys(error) => Cause::Keys(error),
            keys::RequestError::Store(error) => Cause::Store(error),
            refused => Cause::KeyRequest(refused),
        })
    }
}

impl From<Cause> for Error {
    fn from(cause: Cause) -> Self {
        Self(cause)
    }
}
