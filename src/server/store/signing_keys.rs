use sqlx::{Row, any::AnyRow};

use super::{
    Error, Store, changes,
    epochs::{self, Kind},
    row::{parsed, text, time, time_if_any},
};
use crate::server::{
    act::Act,
    model::{Detail, SigningKeyRow, facts},
};

impl Store {
    /// All signing keys, newest generation first. An invalid row does not hide the others.
    pub(crate) async fn list_signing_keys(&self) -> Result<Vec<Result<SigningKeyRow, Error>>, Error> {
        let rows = sqlx::query(
            "SELECT kid, algorithm, generation, public_jwk, sealed, published_at, activates_at, retires_at, expires_at, revoked_at
             FROM signing_keys ORDER BY algorithm, generation DESC",
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.iter().map(read).collect())
    }

    /// Inserts a key as the next generation of its algorithm. Returns false if another node was first; its key stays.
    pub(crate) async fn insert_signing_key(&self, act: &Act, key: SigningKeyRow) -> Result<bool, Error> {
        let act = act.clone();
        self.write(move |connection| {
            Box::pin(async move {
                epochs::raise(connection, Kind::Keys).await?;
                let kid = key.kid.clone();
                let facts = facts([("algorithm", key.algorithm.as_str().into()), ("generation", key.generation.into())]);
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
                .execute(&mut *connection)
                .await?;
                if inserted.rows_affected() == 0 {
                    return Ok(false);
                }
                changes::record(connection, &act, "key.create", &kid, Detail::added(facts)).await?;
                Ok(true)
            })
        })
        .await
    }
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
