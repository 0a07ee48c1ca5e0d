use sqlx::{AnyConnection, Row};

use super::{Error, Store};
use crate::clock::Timestamp;

/// A kind of data that nodes cache in memory.
#[derive(Debug, Clone, Copy, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Kind {
    Registry,
    Keys,
}

/// For each kind of data, a counter of its changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Epochs {
    pub(crate) registry: i64,
    pub(crate) keys: i64,
    /// The number of the last change.
    pub(crate) changes: i64,
    /// When a server last wrote its heartbeat; see [`Store::beat`].
    pub(crate) heartbeat: i64,
}

impl Epochs {
    /// The heartbeat as a time; `None` if no server has written one.
    pub(crate) fn heartbeat_at(&self) -> Option<Timestamp> {
        (self.heartbeat > 0).then(|| Timestamp::from_seconds(self.heartbeat))
    }
}

impl Store {
    /// Reads all epochs, in one statement.
    pub(crate) async fn read_epochs(&self) -> Result<Epochs, Error> {
        let outcome = self.select_epochs().await;
        self.write_health.note_read(&outcome);
        outcome
    }

    async fn select_epochs(&self) -> Result<Epochs, Error> {
        if let Some(file) = &self.file {
            file.require_same()?;
        }
        let mut epochs = Epochs::default();
        for row in sqlx::query("SELECT kind, n FROM epochs").fetch_all(&self.reserved).await? {
            let (kind, n): (String, i64) = (row.try_get("kind")?, row.try_get("n")?);
            match kind.as_str() {
                "registry" => epochs.registry = n,
                "keys" => epochs.keys = n,
                "changes" => epochs.changes = n,
                "heartbeat" => epochs.heartbeat = n,
                _ => {}
            }
        }
        Ok(epochs)
    }
}

/// Raises the epoch of a kind of data, in the transaction that changes the data.
///
/// It comes first in every write: on PostgreSQL the lock on this row serializes the changes of a kind, so that what a write
/// reads stays true until it commits.
pub(super) async fn raise(connection: &mut AnyConnection, kind: Kind) -> Result<(), Error> {
    sqlx::query("UPDATE epochs SET n = n + 1 WHERE kind = $1").bind(<&str>::from(kind)).execute(connection).await?;
    Ok(())
}
