//! The change log. Every entry is written in the transaction of its change, so that no change lacks an entry.

use futures_util::future::BoxFuture;
use sqlx::{AnyConnection, Row, any::AnyRow};

use super::{
    Error, Store,
    page::{text_or_empty, time_or_zero},
    row::{readable, text, time},
};
use crate::server::{
    act::Act,
    model::{Change, ChangeFilter, Detail, DetailedChange, Username},
};

impl Store {
    /// Maximum number of changes that one query reads.
    const AT_ONCE: i64 = 1000;

    /// Runs a write of an operator and records it, with the detail that `write` returns.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        act: &Act,
        action: &'static str,
        target: impl ToString,
        write: impl for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<(T, Detail), Error>> + Clone + Send + 'static,
    ) -> Result<T, Error> {
        let (act, target) = (act.clone(), target.to_string());
        self.write(move |connection| {
            Box::pin(async move {
                let (done, detail) = write(connection).await?;
                record(connection, &act, action, &target, detail).await?;
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
        rows.iter().map(read).collect()
    }

    /// The newest changes with their details, newest first. An empty text or a zero in place of a filter selects all.
    pub(crate) async fn list_newest_changes(&self, filter: &ChangeFilter) -> Result<Vec<DetailedChange>, Error> {
        let rows = sqlx::query(
            "SELECT n, at, actor, action, target, detail FROM changes
             WHERE ($2 = '' OR actor = $2)
               AND ($3 = '' OR action = $3 OR SUBSTR(action, 1, LENGTH($3) + 1) = $3 || '.')
               AND ($4 = '' OR target = $4 OR target = $6 OR SUBSTR(target, 1, LENGTH($4) + 1) = $4 || ' ')
               AND at >= $5
             ORDER BY n DESC LIMIT $1",
        );
        let rows = rows
            .bind(i64::from(filter.limit))
            .bind(text_or_empty(filter.actor.as_ref()))
            .bind(text_or_empty(filter.action.as_ref()))
            .bind(text_or_empty(filter.target.as_ref()))
            .bind(time_or_zero(filter.since))
            .bind(text_or_empty(filter.target.as_ref().and_then(|target| target.parse::<Username>().ok())))
            .fetch_all(&self.pool)
            .await?;
        let detail = |row: &AnyRow| {
            let detail = row.try_get::<Option<String>, _>("detail")?.map(|text| serde_json::from_str(&text)).transpose();
            detail.map_err(|error| Error::Corrupt { what: "detail of a change", why: error.to_string() })
        };
        rows.iter().map(|row| Ok(DetailedChange { change: read(row)?, detail: readable(detail(row))? })).collect()
    }
}

/// Records a change. It comes last in its transaction: numbers are consecutive, so on PostgreSQL changes commit one after the other.
pub(super) async fn record(connection: &mut AnyConnection, act: &Act, action: &str, target: &str, mut detail: Detail) -> Result<(), Error> {
    detail.request = act.request.as_deref().map(str::to_owned);
    let detail = serde_json::to_string(&detail).map_err(|error| Error::Refused(error.to_string()))?;
    let numbered = sqlx::query("UPDATE epochs SET n = n + 1 WHERE kind = 'changes' RETURNING n");
    let number: i64 = numbered.fetch_one(&mut *connection).await?.try_get("n")?;
    sqlx::query("INSERT INTO changes (n, at, actor, action, target, detail) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(number)
        .bind(act.now.seconds())
        .bind(act.actor.to_string())
        .bind(action.to_owned())
        .bind(target.to_owned())
        .bind(detail)
        .execute(connection)
        .await?;
    Ok(())
}

fn read(row: &AnyRow) -> Result<Change, Error> {
    Ok(Change {
        number: row.try_get("n")?,
        at: time(row, "at")?,
        actor: text(row, "actor")?,
        action: text(row, "action")?,
        target: text(row, "target")?,
    })
}
