//! Copies of a database, and what has to change in a database that was one.

use std::path::Path;

use sqlx::{AnyConnection, Connection, Executor};

use super::{DatabaseUrl, Epochs, Error, Store, sqlite_files::BACKUP_MARK};
use crate::{clock::Timestamp, server::model::Ending};

/// What is to be done to a database that was restored.
#[derive(Debug)]
pub(crate) struct Restoring {
    /// The new key of this name, sealed.
    pub(crate) mac_key: (&'static str, String),
    /// Signing keys that must not be used any more.
    pub(crate) withdrawn: Vec<String>,
    /// The newest epochs that were seen before the restore: those of the database go on beyond them.
    pub(crate) seen: Epochs,
    pub(crate) now: Timestamp,
}

/// How far the epochs are raised by a restore: beyond what any node can have seen of the database that was lost, whether or not it
/// keeps a record, so that those that run go on.
pub(crate) const LEAP: i64 = 1_000_000;

impl Store {
    /// Whether it is an SQLite file.
    pub(crate) const fn is_file(&self) -> bool {
        self.file.is_some()
    }

    /// Copies the database, as it is at one point in time, into the empty file `to` (SQLite alone). Writers go on meanwhile.
    pub(crate) async fn backup(&self, to: &Path) -> Result<(), Error> {
        let name = to.to_str().ok_or_else(|| Error::Refused("the name of the backup is not UTF-8".to_owned()))?;
        sqlx::query("VACUUM INTO $1").bind(name.to_owned()).execute(&self.pool).await?;
        let mut copy = AnyConnection::connect(&DatabaseUrl::Sqlite(to.to_owned()).to_connect()).await?;
        // The mark tells the next start that it finds a copy, wherever that is.
        copy.execute(sqlx::AssertSqlSafe(format!("PRAGMA user_version = {BACKUP_MARK}"))).await?;
        Ok(copy.close().await?)
    }

    /// Ends every login, replaces a MAC key, withdraws signing keys, and raises all epochs beyond those that were seen, in one
    /// transaction. Returns how many logins were ended.
    pub(crate) async fn restore(&self, restoring: Restoring) -> Result<u64, Error> {
        let sqlite = self.file.is_some();
        let recorder = self.recorder.clone();
        self.write(move |connection| {
            Box::pin(async move {
                let Restoring { mac_key: (name, sealed), withdrawn, seen, now } = restoring;
                for (kind, n) in [
                    ("registry", seen.registry + LEAP),
                    ("keys", seen.keys + LEAP),
                    ("changes", seen.changes + LEAP),
                    ("heartbeat", seen.heartbeat.max(now.seconds())),
                ] {
                    sqlx::query(
                        "INSERT INTO epochs (kind, n) VALUES ($1, $2) ON CONFLICT (kind)
                         DO UPDATE SET n = CASE WHEN epochs.n < excluded.n THEN excluded.n ELSE epochs.n + 1 END",
                    )
                    .bind(kind)
                    .bind(n)
                    .execute(&mut *connection)
                    .await?;
                }
                if !sqlite {
                    // There may be millions of logins, and no request waits for this.
                    sqlx::query("SET LOCAL statement_timeout = 0").execute(&mut *connection).await?;
                }
                let ended = sqlx::query("UPDATE logins SET ended_at = $1, ended_because = $2 WHERE ended_at IS NULL")
                    .bind(now.seconds())
                    .bind(Ending::Restored.as_str())
                    .execute(&mut *connection)
                    .await?;
                sqlx::query(
                    "INSERT INTO mac_keys (name, sealed) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed",
                )
                .bind(name)
                .bind(sealed)
                .execute(&mut *connection)
                .await?;
                for kid in withdrawn {
                    sqlx::query("UPDATE signing_keys SET revoked_at = $2 WHERE kid = $1 AND revoked_at IS NULL")
                        .bind(kid)
                        .bind(now.seconds())
                        .execute(&mut *connection)
                        .await?;
                }
                if sqlite {
                    connection.execute("PRAGMA user_version = 0").await?;
                }
                recorder.record(connection, "database.restored", "all logins").await?;
                Ok(ended.rows_affected())
            })
        })
        .await
    }

    /// Notes that a server is alive at `now`: by that, a copy of the database is told from the database itself even when nothing else
    /// changed between them.
    pub(crate) async fn beat(&self, now: Timestamp) -> Result<(), Error> {
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO epochs (kind, n) VALUES ('heartbeat', $1)
                     ON CONFLICT (kind) DO UPDATE SET n = excluded.n WHERE epochs.n < excluded.n",
                )
                .bind(now.seconds())
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
    }
}
