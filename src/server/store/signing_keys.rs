use sqlx::{AnyConnection, Row, any::AnyRow};

use super::{
    Error, Store, changes,
    epochs::{self, Kind},
    row::{parsed, text, time, time_if_any},
    sealed,
};
use crate::{
    clock::Timestamp,
    protocol::Algorithm,
    server::{
        act::Act,
        model::{Detail, SigningKeyRow, facts},
    },
};

/// All signing keys of the database.
#[derive(Debug)]
pub(crate) struct StoredKeys {
    /// Newest generation first.
    pub(crate) rows: Vec<SigningKeyRow>,
    pub(crate) damaged: Vec<DamagedKey>,
}

/// A row that cannot be read as a whole, and what can be read of it.
#[derive(Debug)]
pub(crate) struct DamagedKey {
    pub(crate) kid: Option<String>,
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) generation: Option<i64>,
    pub(crate) published_at: Option<Timestamp>,
    pub(crate) activates_at: Option<Timestamp>,
    pub(crate) retires_at: Option<Timestamp>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) revoked_at: Option<Timestamp>,
    pub(crate) error: Error,
}

impl StoredKeys {
    /// The highest generation of an algorithm that a row has, damaged or not. Zero if there is none.
    pub(crate) fn newest_generation(&self, algorithm: Algorithm) -> i64 {
        self.generations().filter(|(of, _)| *of == algorithm).map(|(_, generation)| generation).max().unwrap_or(0)
    }

    /// The algorithm and the generation of every row that has both, damaged or not: the database holds each generation once.
    pub(crate) fn generations(&self) -> impl Iterator<Item = (Algorithm, i64)> {
        let readable = self.rows.iter().map(|row| (row.algorithm, row.generation));
        readable.chain(self.damaged.iter().filter_map(|key| Some((key.algorithm?, key.generation?))))
    }
}

impl Store {
    /// All signing keys. A damaged row does not hide the others.
    pub(crate) async fn list_signing_keys(&self) -> Result<StoredKeys, Error> {
        let rows = sqlx::query(
            "SELECT kid, algorithm, generation, public_jwk, sealed, published_at, activates_at, retires_at, expires_at, revoked_at
             FROM signing_keys ORDER BY algorithm, generation DESC",
        )
        .fetch_all(&self.pool)
        .await?;
        let mut stored = StoredKeys { rows: Vec::new(), damaged: Vec::new() };
        for row in &rows {
            match read(row) {
                Ok(key) => stored.rows.push(key),
                Err(error) => stored.damaged.push(read_damaged(row, error)),
            }
        }
        Ok(stored)
    }

    /// Inserts a key as the next generation of its algorithm. From the time it signs, the earlier ones do not, and they are published until
    /// `predecessors_expire_at`. Returns false if another node was first; its key stays. The same if the sealing key was replaced since the key was
    /// sealed. `action` is the name of the change.
    pub(crate) async fn insert_signing_key(
        &self,
        act: &Act,
        action: &'static str,
        key: SigningKeyRow,
        predecessors_expire_at: Timestamp,
    ) -> Result<bool, Error> {
        let act = act.clone();
        self.write(move |connection| {
            Box::pin(async move {
                epochs::raise(connection, Kind::Keys).await?;
                if !sealed::is_under_the_sealing_key(connection, &key.sealed).await? {
                    return Ok(false);
                }
                let (kid, algorithm, generation) = (key.kid.clone(), key.algorithm.as_str(), key.generation);
                let facts = facts([("algorithm", algorithm.into()), ("generation", generation.into())]);
                let times = [key.published_at, key.activates_at, predecessors_expire_at];
                if !insert(connection, key).await? {
                    return Ok(false);
                }
                retire_before(connection, algorithm, generation, times).await?;
                changes::record(connection, &act, action, &kid, Detail::added(facts)).await?;
                Ok(true)
            })
        })
        .await
    }

    /// Lets a key sign earlier than planned, and the earlier ones retire then. Returns false if another node was first.
    pub(crate) async fn activate_signing_key(
        &self,
        act: &Act,
        (kid, algorithm, generation): (&str, Algorithm, i64),
        activates_at: Timestamp,
        predecessors_expire_at: Timestamp,
    ) -> Result<bool, Error> {
        let (act, kid) = (act.clone(), kid.to_owned());
        self.write(move |connection| {
            Box::pin(async move {
                epochs::raise(connection, Kind::Keys).await?;
                let activated =
                    sqlx::query("UPDATE signing_keys SET activates_at = $2 WHERE kid = $1 AND activates_at > $2 AND revoked_at IS NULL")
                        .bind(kid.clone())
                        .bind(activates_at.seconds())
                        .execute(&mut *connection)
                        .await?;
                if activated.rows_affected() > 0 {
                    let times = [act.now, activates_at, predecessors_expire_at];
                    retire_before(connection, algorithm.as_str(), generation, times).await?;
                    changes::record(connection, &act, "key.activate", &kid, Detail::default()).await?;
                }
                Ok(activated.rows_affected() > 0)
            })
        })
        .await
    }

    /// Plans the end of all keys of an algorithm that have none, or a later one.
    pub(crate) async fn retire_signing_keys(
        &self,
        act: &Act,
        algorithm: Algorithm,
        retires_at: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), Error> {
        let act = act.clone();
        self.write(move |connection| {
            Box::pin(async move {
                epochs::raise(connection, Kind::Keys).await?;
                let retired = sqlx::query(
                    "UPDATE signing_keys SET retires_at = $2, expires_at = $3
                     WHERE algorithm = $1 AND (retires_at IS NULL OR retires_at > $2) AND revoked_at IS NULL",
                )
                .bind(algorithm.as_str())
                .bind(retires_at.seconds())
                .bind(expires_at.seconds())
                .execute(&mut *connection)
                .await?;
                // Another node may have been first.
                if retired.rows_affected() > 0 {
                    changes::record(connection, &act, "key.retire", algorithm.as_str(), Detail::default()).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Withdraws a key at once. The key that would have retired when this one signs signs on. Returns false if there is no such key, or it is
    /// revoked already.
    pub(crate) async fn revoke_signing_key(&self, act: &Act, kid: &str) -> Result<bool, Error> {
        let (act, kid) = (act.clone(), kid.to_owned());
        self.write(move |connection| {
            Box::pin(async move {
                epochs::raise(connection, Kind::Keys).await?;
                let revoked = sqlx::query("UPDATE signing_keys SET revoked_at = $2 WHERE kid = $1 AND revoked_at IS NULL")
                    .bind(kid.clone())
                    .bind(act.now.seconds())
                    .execute(&mut *connection)
                    .await?;
                if revoked.rows_affected() > 0 {
                    sqlx::query(
                        "UPDATE signing_keys SET retires_at = NULL, expires_at = NULL
                         WHERE revoked_at IS NULL AND retires_at > $2 AND EXISTS (
                             SELECT 1 FROM signing_keys AS successor WHERE successor.kid = $1
                             AND successor.algorithm = signing_keys.algorithm AND successor.activates_at = signing_keys.retires_at)",
                    )
                    .bind(kid.clone())
                    .bind(act.now.seconds())
                    .execute(&mut *connection)
                    .await?;
                    changes::record(connection, &act, "key.revoke", &kid, Detail::default()).await?;
                }
                Ok(revoked.rows_affected() > 0)
            })
        })
        .await
    }

    /// Deletes a key that is no longer published.
    pub(crate) async fn delete_signing_key(&self, act: &Act, kid: &str) -> Result<(), Error> {
        let (act, kid) = (act.clone(), kid.to_owned());
        self.write(move |connection| {
            Box::pin(async move {
                epochs::raise(connection, Kind::Keys).await?;
                let deleted = sqlx::query("DELETE FROM signing_keys WHERE kid = $1").bind(kid.clone()).execute(&mut *connection).await?;
                if deleted.rows_affected() > 0 {
                    changes::record(connection, &act, "key.delete", &kid, Detail::default()).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// When a key was last revoked, whether or not its row still exists.
    pub(crate) async fn find_key_revocation(&self, kid: &str) -> Result<Option<Timestamp>, Error> {
        let row = sqlx::query("SELECT at FROM changes WHERE action = 'key.revoke' AND target = $1 ORDER BY n DESC LIMIT 1");
        row.bind(kid.to_owned()).fetch_optional(&self.pool).await?.map(|row| time(&row, "at")).transpose()
    }

    /// The newest time at which a server was alive, by its own clock. Not by the connection that is reserved for the epochs: the poll must not
    /// wait for this.
    pub(crate) async fn find_heartbeat(&self) -> Result<Option<Timestamp>, Error> {
        let row = sqlx::query("SELECT n FROM epochs WHERE kind = 'heartbeat'").fetch_optional(&self.pool).await?;
        row.map(|row| time(&row, "n")).transpose()
    }

    /// The newest time that a server took for certain: see [`Self::beat`]. Servers of earlier versions write only the heartbeat.
    pub(crate) async fn find_cautious_heartbeat(&self) -> Result<Option<Timestamp>, Error> {
        let row = sqlx::query("SELECT n FROM epochs WHERE kind IN ('heartbeat', 'cautious_heartbeat') ORDER BY n LIMIT 1");
        row.fetch_optional(&self.pool).await?.map(|row| time(&row, "n")).transpose()
    }
}

/// Returns false if there is a key of that generation already.
async fn insert(connection: &mut AnyConnection, key: SigningKeyRow) -> Result<bool, Error> {
    let inserted = sqlx::query(
        "INSERT INTO signing_keys (kid, algorithm, generation, public_jwk, sealed, published_at, activates_at, retires_at, expires_at, revoked_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
    )
    .bind(key.kid)
    .bind(key.algorithm.as_str())
    .bind(key.generation)
    .bind(key.public_jwk)
    .bind(key.sealed)
    .bind(key.published_at.seconds())
    .bind(key.activates_at.seconds())
    .bind(key.retires_at.map(|t| t.seconds()))
    .bind(key.expires_at.map(|t| t.seconds()))
    .bind(key.revoked_at.map(|t| t.seconds()))
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() > 0)
}

/// Lets the generations before one retire and expire. A key that has retired by `now` already expires when it was planned to, and one that has not
/// signed yet never will.
async fn retire_before(
    connection: &mut AnyConnection,
    algorithm: &'static str,
    generation: i64,
    [now, retires_at, expires_at]: [Timestamp; 3],
) -> Result<(), Error> {
    // SQLite takes a damaged time for 0 by this addition, so that a key in use is not retired at once.
    sqlx::query(
        "UPDATE signing_keys SET retires_at = CASE WHEN activates_at + 0 > $5 THEN $5 ELSE $3 END, expires_at = $4
         WHERE algorithm = $1 AND generation < $2 AND (retires_at IS NULL OR retires_at > $5)",
    )
    .bind(algorithm)
    .bind(generation)
    .bind(retires_at.seconds())
    .bind(expires_at.seconds())
    .bind(now.seconds())
    .execute(connection)
    .await?;
    Ok(())
}

fn read(row: &AnyRow) -> Result<SigningKeyRow, Error> {
    Ok(SigningKeyRow {
        kid: text(row, "kid")?,
        algorithm: parsed(row, "algorithm")?,
        generation: row.try_get("generation")?,
        public_jwk: text(row, "public_jwk")?,
        sealed: text(row, "sealed")?,
        published_at: time(row, "published_at")?,
        activates_at: time(row, "activates_at")?,
        retires_at: time_if_any(row, "retires_at")?,
        expires_at: time_if_any(row, "expires_at")?,
        revoked_at: time_if_any(row, "revoked_at")?,
    })
}

fn read_damaged(row: &AnyRow, error: Error) -> DamagedKey {
    let time = |column| time_if_any(row, column).ok().flatten();
    DamagedKey {
        kid: text(row, "kid").ok(),
        algorithm: parsed(row, "algorithm").ok(),
        generation: row.try_get("generation").ok(),
        published_at: time("published_at"),
        activates_at: time("activates_at"),
        retires_at: time("retires_at"),
        expires_at: time("expires_at"),
        revoked_at: time("revoked_at"),
        error,
    }
}
