//! The servers that run on this database, and the sealing keys that each of them has.

use std::time::Duration;

use super::{
    Error, Store,
    row::{text, time},
};
use crate::clock::Timestamp;

/// A server that runs, as it last reported.
#[derive(Debug, Clone)]
pub(crate) struct RunningServer {
    /// Its machine and its address, for people.
    pub(crate) name: String,
    /// The kids of its sealing keys.
    pub(crate) sealing_kids: Vec<String>,
    pub(crate) seen_at: Timestamp,
}

impl Store {
    /// How long a row of a server that was killed is kept.
    const KEEP_SERVERS: Duration = Duration::from_secs(3600);

    /// Records that the server with this id runs, and forgets those that were killed long ago.
    pub(crate) async fn report_server(&self, id: &str, server: &RunningServer) -> Result<(), Error> {
        let (id, RunningServer { name, sealing_kids, seen_at }) = (id.to_owned(), server.clone());
        let kids = serde_json::to_string(&sealing_kids).map_err(|error| Error::Refused(error.to_string()))?;
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query("DELETE FROM servers WHERE seen_at < $1")
                    .bind((seen_at - Self::KEEP_SERVERS).seconds())
                    .execute(&mut *connection)
                    .await?;
                sqlx::query(
                    "INSERT INTO servers (id, name, sealing_kids, seen_at) VALUES ($1, $2, $3, $4)
                     ON CONFLICT (id) DO UPDATE SET name = excluded.name, sealing_kids = excluded.sealing_kids, seen_at = excluded.seen_at",
                )
                .bind(id)
                .bind(name)
                .bind(kids)
                .bind(seen_at.seconds())
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// Records that the server with this id has stopped.
    pub(crate) async fn forget_server(&self, id: &str) -> Result<(), Error> {
        let id = id.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query("DELETE FROM servers WHERE id = $1").bind(id).execute(connection).await?;
                Ok(())
            })
        })
        .await
    }

    /// The servers that reported at `since` or later.
    pub(crate) async fn list_servers(&self, since: Timestamp) -> Result<Vec<RunningServer>, Error> {
        let rows = sqlx::query("SELECT name, sealing_kids, seen_at FROM servers WHERE seen_at >= $1 ORDER BY name, id");
        let rows = rows.bind(since.seconds()).fetch_all(&self.pool).await?;
        let read = |row| {
            let sealing_kids = serde_json::from_str(&text(row, "sealing_kids")?);
            let sealing_kids = sealing_kids.map_err(|error| Error::Corrupt { what: "list of sealing keys", why: error.to_string() })?;
            Ok(RunningServer { name: text(row, "name")?, sealing_kids, seen_at: time(row, "seen_at")? })
        };
        rows.iter().map(read).collect()
    }
}
