use sqlx::Row;

use super::{Error, Store};

/// A known text, encrypted under the sealing key of the issuer of this database.
#[derive(Debug, Clone)]
pub(crate) struct Canary {
    /// The text, as a JWE; its header names the sealing key.
    pub(crate) sealed: String,
    /// Where the sealing key was first stored, as a hint for an operator who has to find it again.
    pub(crate) origin: String,
}

impl Store {
    pub(crate) async fn find_canary(&self) -> Result<Option<Canary>, Error> {
        let row = sqlx::query("SELECT sealed, origin FROM sealing_canary WHERE id = 1").fetch_optional(&self.pool).await?;
        row.map(|row| Ok(Canary { sealed: row.try_get("sealed")?, origin: row.try_get("origin")? })).transpose()
    }

    /// Inserts the canary. One that exists already stays.
    pub(crate) async fn insert_canary_unless_there(&self, canary: Canary) -> Result<(), Error> {
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query("INSERT INTO sealing_canary (id, sealed, origin) VALUES (1, $1, $2) ON CONFLICT DO NOTHING")
                    .bind(canary.sealed)
                    .bind(canary.origin)
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }
}
