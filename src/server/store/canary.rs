use sqlx::{Row, any::AnyRow};

use super::{Error, Store};

/// A known text, encrypted under the sealing key of the issuer of this database. The sealing key is the one that it is under.
#[derive(Debug, Clone)]
pub(crate) struct Canary {
    /// The text, as a JWE; its header names the sealing key.
    pub(crate) sealed: String,
    /// Where the sealing key was first stored, as a hint for an operator who has to find it again.
    pub(crate) origin: String,
    /// The first one of this issuer, if the sealing key was replaced since.
    first_sealed: Option<String>,
    /// The key that replaces the sealing key, while that is in progress.
    pub(crate) successor: Option<Successor>,
}

/// A sealing key that replaces the present one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Successor {
    pub(crate) kid: String,
    /// Whether signing keys and MAC keys are replaced, too.
    pub(crate) replaces: bool,
}

impl Canary {
    /// The canary of a new issuer.
    pub(crate) const fn first(sealed: String, origin: String) -> Self {
        Self { sealed, origin, first_sealed: None, successor: None }
    }

    /// The text that identifies the issuer; it stays the same when the sealing key is replaced.
    pub(crate) fn identity(&self) -> &str {
        self.first_sealed.as_deref().unwrap_or(&self.sealed)
    }

    pub(super) fn read(row: &AnyRow) -> Result<Self, Error> {
        let successor = match row.try_get::<Option<String>, _>("successor_kid")? {
            Some(kid) => Some(Successor { kid, replaces: row.try_get::<Option<i64>, _>("successor_replaces")? == Some(1) }),
            None => None,
        };
        Ok(Self { sealed: row.try_get("sealed")?, origin: row.try_get("origin")?, first_sealed: row.try_get("first_sealed")?, successor })
    }
}

impl Store {
    pub(crate) async fn find_canary(&self) -> Result<Option<Canary>, Error> {
        let row = sqlx::query("SELECT sealed, origin, first_sealed, successor_kid, successor_replaces FROM sealing_canary WHERE id = 1");
        row.fetch_optional(&self.pool).await?.as_ref().map(Canary::read).transpose()
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

    /// Records which key replaces the sealing key. Refused if another process has changed that since `canary` was read.
    pub(crate) async fn set_successor(&self, canary: &Canary, successor: Option<Successor>) -> Result<(), Error> {
        let (sealed, before) = (canary.sealed.clone(), canary.successor.as_ref().map(|key| key.kid.clone()));
        self.write(move |connection| {
            Box::pin(async move {
                let replaces = successor.as_ref().map(|key| i64::from(key.replaces));
                let set = sqlx::query(
                    "UPDATE sealing_canary SET successor_kid = $3, successor_replaces = $4
                     WHERE id = 1 AND sealed = $1 AND COALESCE(successor_kid, '') = $2",
                )
                .bind(sealed)
                .bind(before.unwrap_or_default())
                .bind(successor.map(|key| key.kid))
                .bind(replaces)
                .execute(connection)
                .await?;
                if set.rows_affected() == 1 { Ok(()) } else { Err(Error::Resealed) }
            })
        })
        .await
    }
}
