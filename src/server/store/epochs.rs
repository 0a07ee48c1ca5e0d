use std::time::Duration;

use sqlx::{AnyConnection, Row};

use super::{Error, Store};
use crate::clock::Timestamp;

/// By how much a restore raises the epochs: above anything that a node can have seen of the lost database, whether or not it keeps a
/// record, so that running nodes continue.
pub(crate) const LEAP: i64 = 1_000_000;

/// How far the heartbeat may lift the time of a revocation.
const LIFT: Duration = Duration::from_secs(24 * 3600);

/// A kind of data whose changes are counted. Nodes cache the first three in memory.
#[derive(Debug, Clone, Copy, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Kind {
    Registry,
    Keys,
    Revocations,
    Withdrawals,
}

/// For each kind of data, a counter of its changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Epochs {
    pub(crate) registry: i64,
    pub(crate) keys: i64,
    pub(crate) revocations: i64,
    /// The number of the last change.
    pub(crate) changes: i64,
    /// When a server last wrote its heartbeat; see [`Store::beat`].
    pub(crate) heartbeat: i64,
}

impl Store {
    /// Reads all epochs, in one statement.
    pub(crate) async fn read_epochs(&self) -> Result<Epochs, Error> {
        let outcome = self.select_epochs().await;
        self.writer.health.note_read(&outcome);
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
                "revocations" => epochs.revocations = n,
                "changes" => epochs.changes = n,
                "heartbeat" => epochs.heartbeat = n,
                _ => {}
            }
        }
        Ok(epochs)
    }
}

/// Raises the epoch of a kind of data, in the transaction that changes the data, and returns it.
///
/// It comes first in every write: on PostgreSQL the lock on this row serializes the changes of a kind, so that what a write reads stays
/// true until it commits. Only those of withdrawals and of revocations, whose rows depend on no others, come late: a write locks the epoch
/// of the registry or of keys, users, clients, spans, the number of withdrawals, logins, the epoch of revocations, and the number of changes,
/// in this order, so that no two writes wait for each other.
pub(super) async fn raise(connection: &mut AnyConnection, kind: Kind) -> Result<i64, Error> {
    let raised = sqlx::query("UPDATE epochs SET n = n + 1 WHERE kind = $1 RETURNING n").bind(<&str>::from(kind));
    Ok(raised.fetch_one(connection).await?.try_get("n")?)
}

/// Locks the epoch of a kind of data as [`raise`] does, and leaves it as it is.
pub(super) async fn lock(connection: &mut AnyConnection, kind: Kind) -> Result<(), Error> {
    sqlx::query("UPDATE epochs SET n = n WHERE kind = $1").bind(<&str>::from(kind)).execute(connection).await?;
    Ok(())
}

/// The epoch of revocations of one write: it is raised once, whatever the write does.
#[derive(Debug, Default)]
pub(super) struct RevocationEpoch(Option<i64>);

impl RevocationEpoch {
    /// Raises the epoch at the first call, and returns it.
    pub(super) async fn raise(&mut self, connection: &mut AnyConnection) -> Result<i64, Error> {
        match self.0 {
            Some(epoch) => Ok(epoch),
            None => Ok(*self.0.insert(raise(connection, Kind::Revocations).await?)),
        }
    }
}

/// The time of a write that revokes tokens: not before the last heartbeat. The clock of an operator's machine may be behind those of the
/// servers, and a revocation that began too early would end while its tokens are still valid. A heartbeat of a server whose clock was far ahead
/// stays for as long, and must not make all revocations last for as long.
pub(super) async fn not_before_heartbeat(connection: &mut AnyConnection, now: Timestamp) -> Result<Timestamp, Error> {
    let row = sqlx::query("SELECT n FROM epochs WHERE kind = 'heartbeat'").fetch_optional(connection).await?;
    let heartbeat = row.map(|row| row.try_get("n")).transpose()?.map(Timestamp::from_seconds);
    Ok(heartbeat.map_or(now, |heartbeat| heartbeat.min(now + LIFT).max(now)))
}
