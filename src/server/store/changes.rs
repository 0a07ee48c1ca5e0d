//! The change log. Every entry is written in the transaction of its change, so that no change lacks an entry.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::{AnyConnection, Row};

use super::{
    Error, Store,
    row::{text, time},
};
use crate::{
    clock::{SharedClock, Timestamp},
    server::model::Change,
};

/// Writes change log entries: the actor and the clock.
#[derive(Debug, Clone)]
pub(super) struct Recorder {
    pub(super) actor: Arc<str>,
    pub(super) clock: SharedClock,
}

impl Store {
    /// Maximum number of changes that one query reads.
    const AT_ONCE: i64 = 1000;

    /// A write that somebody asked for by hand, and its record.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        action: &'static str,
        target: impl ToString,
        write: impl for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, Error>> + Clone + Send + 'static,
    ) -> Result<T, Error> {
        let (recorder, target) = (self.recorder.clone(), target.to_string());
        self.write(move |connection| {
            Box::pin(async move {
                let done = write(connection).await?;
                recorder.record(connection, action, &target).await?;
                Ok(done)
            })
        })
        .await
    }

    /// The changes numbered after `after` and up to `newest`, in order, at most [`Self::AT_ONCE`]. Read on the reserved connection, like
    /// the epochs.
    pub(crate) async fn list_changes(&self, after: i64, newest: i64) -> Result<Vec<Change>, Error> {
        let rows = sqlx::query("SELECT n, at, actor, action, target FROM changes WHERE n > $1 AND n <= $2 ORDER BY n LIMIT $3");
        let rows = rows.bind(after).bind(newest).bind(Self::AT_ONCE).fetch_all(&self.reserved).await?;
        let read = |row| {
            Ok(Change {
                number: Row::try_get(row, "n")?,
                at: time(row, "at")?,
                actor: text(row, "actor")?,
                action: text(row, "action")?,
                target: text(row, "target")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Deletes changes from before `since` and returns how many.
    pub(crate) async fn purge_changes(&self, since: Timestamp) -> Result<u64, Error> {
        self.write(move |connection| {
            Box::pin(async move {
                let purge = sqlx::query("DELETE FROM changes WHERE at < $1").bind(since.seconds());
                Ok(purge.execute(connection).await?.rows_affected())
            })
        })
        .await
    }
}

impl Recorder {
    /// Records a change. It comes last in its transaction: numbers are consecutive, so on PostgreSQL changes commit one after the other.
    pub(super) async fn record(&self, connection: &mut AnyConnection, action: &str, target: &str) -> Result<(), Error> {
        let numbered = sqlx::query("UPDATE epochs SET n = n + 1 WHERE kind = 'changes' RETURNING n");
        let number: i64 = numbered.fetch_one(&mut *connection).await?.try_get("n")?;
        sqlx::query("INSERT INTO changes (n, at, actor, action, target) VALUES ($1, $2, $3, $4, $5)")
            .bind(number)
            .bind(self.clock.now().seconds())
            .bind(self.actor.to_string())
            .bind(action.to_owned())
            .bind(target.to_owned())
            .execute(connection)
            .await?;
        Ok(())
    }
}
