//! Who changed what: recorded with the change itself, so that there is none without a record.

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

/// Who makes changes by way of this store, and what time it is.
#[derive(Debug, Clone)]
pub(super) struct Recorder {
    pub(super) actor: Arc<str>,
    pub(super) clock: SharedClock,
}

impl Store {
    /// Changes that one look reads at most.
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

    /// The changes after one number and up to another, in their order; some at a time. Read on the reserved connection, like the epochs.
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

    /// Forgets changes that were made before `since`, and says how many.
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
    /// Records a change, last in its transaction. Changes are numbered one by one, so on PostgreSQL they also commit one by one.
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
