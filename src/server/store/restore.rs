//! Backups of a database, and the changes that a restored database needs.

use std::path::Path;

use sqlx::{AnyConnection, Connection, Executor};

use super::{DatabaseUrl, Epochs, Error, LEAP, Store, changes, revocations, sealed::is_under_the_sealing_key, sqlite_files::BACKUP_MARK};
use crate::{
    clock::Timestamp,
    server::{
        act::Act,
        model::{Detail, Ending, facts},
    },
};

/// The changes to make in a restored database.
#[derive(Debug)]
pub(crate) struct Restoring {
    /// Name and sealed text of the new MAC key.
    pub(crate) mac_key: (&'static str, String),
    /// Signing keys that must no longer be used.
    pub(crate) withdrawn: Vec<String>,
    /// The newest epochs that were seen before the restore. The database's epochs continue above them.
    pub(crate) seen: Epochs,
}

impl Store {
    /// Whether the database is an SQLite file.
    pub(crate) const fn is_file(&self) -> bool {
        self.file.is_some()
    }

    /// Copies a snapshot of the database into the empty file `to` (SQLite only). Writers are not blocked.
    pub(crate) async fn backup(&self, to: &Path) -> Result<(), Error> {
        let name = to.to_str().ok_or_else(|| Error::Refused("the name of the backup is not UTF-8".to_owned()))?;
        sqlx::query("VACUUM INTO $1").bind(name.to_owned()).execute(&self.pool).await?;
        let mut copy = AnyConnection::connect(&DatabaseUrl::Sqlite(to.to_owned()).to_connect()).await?;
        // The mark lets the next start recognize a copy, wherever it is.
        copy.execute(sqlx::AssertSqlSafe(format!("PRAGMA user_version = {BACKUP_MARK}"))).await?;
        Ok(copy.close().await?)
    }

    /// Ends all logins, forgets all status lists, replaces a MAC key, withdraws signing keys, and raises all epochs above those that were seen, in one
    /// transaction. Returns the number of logins ended.
    pub(crate) async fn restore(&self, act: &Act, restoring: Restoring) -> Result<u64, Error> {
        let sqlite = self.file.is_some();
        let act = act.clone();
        self.write(move |connection| {
            Box::pin(async move {
                let Restoring { mac_key: (name, sealed), withdrawn, seen } = restoring;
                let now = act.now;
                raise_above(connection, "registry", seen.registry + LEAP).await?;
                raise_above(connection, "keys", seen.keys + LEAP).await?;
                // After the epoch of keys was raised.
                if !is_under_the_sealing_key(connection, &sealed).await? {
                    return Err(Error::Resealed);
                }
                if !sqlite {
                    // There may be millions of logins, and no request waits for this.
                    sqlx::query("SET LOCAL statement_timeout = 0").execute(&mut *connection).await?;
                }
                // Nodes that run have clients of the lost database: for those, they issue nothing more.
                sqlx::query("UPDATE clients SET tokens_since = tokens_since + $1").bind(LEAP).execute(&mut *connection).await?;
                let ended = sqlx::query("UPDATE logins SET ended_at = $1, ended_because = $2 WHERE ended_at IS NULL")
                    .bind(now.seconds())
                    .bind(Ending::Restored.as_str())
                    .execute(&mut *connection)
                    .await?;
                // The restored copy lacks the revocations since, and it is unknown which.
                revocations::forget_all(connection).await?;
                // In the order of all writes: see `epochs::raise`.
                raise_above(connection, "revocations", seen.revocations + LEAP).await?;
                raise_above(connection, "changes", seen.changes + LEAP).await?;
                raise_above(connection, "heartbeat", seen.heartbeat.max(now.seconds())).await?;
                raise_above(connection, "cautious_heartbeat", now.seconds()).await?;
                sqlx::query(
                    "INSERT INTO mac_keys (name, sealed) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed",
                )
                .bind(name)
                .bind(sealed)
                .execute(&mut *connection)
                .await?;
                for kid in withdrawn.clone() {
                    sqlx::query("UPDATE signing_keys SET revoked_at = $2 WHERE kid = $1 AND revoked_at IS NULL")
                        .bind(kid)
                        .bind(now.seconds())
                        .execute(&mut *connection)
                        .await?;
                }
                if sqlite {
                    connection.execute("PRAGMA user_version = 0").await?;
                }
                let ended = ended.rows_affected();
                let detail = Detail::added(facts([("logins_ended", ended.into()), ("signing_keys_withdrawn", withdrawn.into())]));
                changes::record(connection, &act, "database.restored", "all logins", detail).await?;
                Ok(ended)
            })
        })
        .await
    }

    /// Records that a server is alive at `now`, by its own clock. It distinguishes the database from an older copy even if nothing else has changed since.
    /// `cautious_now` is what that server takes for certain: the same, unless its clock may be ahead.
    pub(crate) async fn beat(&self, now: Timestamp, cautious_now: Timestamp) -> Result<(), Error> {
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO epochs (kind, n) VALUES ('heartbeat', $1), ('cautious_heartbeat', $2)
                     ON CONFLICT (kind) DO UPDATE SET n = excluded.n WHERE epochs.n < excluded.n",
                )
                .bind(now.seconds())
                .bind(cautious_now.seconds())
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
    }
}

/// Raises an epoch to `n`, or by one if it is as high already.
async fn raise_above(connection: &mut AnyConnection, kind: &'static str, n: i64) -> Result<(), Error> {
    let raise = sqlx::query(
        "INSERT INTO epochs (kind, n) VALUES ($1, $2) ON CONFLICT (kind)
         DO UPDATE SET n = CASE WHEN epochs.n < excluded.n THEN excluded.n ELSE epochs.n + 1 END",
    );
    raise.bind(kind).bind(n).execute(connection).await?;
    Ok(())
}
