//! Tracks whether the database accepts writes. Reads still work when its disk is full or when it is read-only, so nothing else shows it.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Error, Store};

/// Why writes fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteFailure {
    DiskFull,
    ReadOnly,
    /// The log has details.
    Storage,
}

impl WriteFailure {
    /// The text for operators, in the readiness response.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::DiskFull => "the database takes no writes: its disk is full",
            Self::ReadOnly => "the database takes no writes: it is read-only",
            Self::Storage => "the database takes no writes: its storage fails",
        }
    }

    /// What an error implies for the database as a whole. Errors of load, of the network or of a single statement imply nothing.
    fn of(error: &Error) -> Option<Self> {
        if matches!(error, Error::ReadOnly(_)) {
            return Some(Self::ReadOnly);
        }
        let code = error.code()?;
        // SQLite's errors are numbers whose lowest byte is the primary code; PostgreSQL's have five characters.
        if code.len() == 5 {
            return match code.as_str() {
                "53100" => Some(Self::DiskFull),
                "58030" => Some(Self::Storage),
                _ => None,
            };
        }
        match code.parse::<i32>().ok()? & 0xff {
            13 => Some(Self::DiskFull),
            8 => Some(Self::ReadOnly),
            10 | 11 | 26 => Some(Self::Storage),
            _ => None,
        }
    }
}

/// The outcome of the latest writes.
#[derive(Debug, Clone, Default)]
pub(super) struct WriteHealth(Arc<Mutex<Option<WriteFailure>>>);

impl WriteHealth {
    fn get(&self) -> Option<WriteFailure> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, now: Option<WriteFailure>, error: Option<&Error>) {
        let before = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), now);
        match (before, error) {
            (None, Some(error)) => tracing::error!(%error, "writes to the database fail; this node is not ready until they succeed"),
            (Some(_), None) => tracing::info!("writes to the database succeed again"),
            _ => {}
        }
    }

    /// Records a failed write. A successful write proves little, because many change nothing; see [`Store::probe_write`].
    pub(super) fn note_write<T>(&self, outcome: &Result<T, Error>) {
        if let Err(error) = outcome
            && let Some(failure) = WriteFailure::of(error)
        {
            self.set(Some(failure), Some(error));
        }
    }

    /// Records what a read implies for writes: connections to a read-only server are refused.
    pub(super) fn note_read<T>(&self, outcome: &Result<T, Error>) {
        if let Err(error @ Error::ReadOnly(_)) = outcome {
            self.set(Some(WriteFailure::ReadOnly), Some(error));
        }
    }
}

impl Store {
    /// Why writes currently fail, if they do.
    pub(crate) fn write_failure(&self) -> Option<WriteFailure> {
        self.writer.health.get()
    }

    /// Writes and deletes a row that needs space on the disk.
    pub(crate) async fn probe_write(&self) -> Result<(), Error> {
        let probe = self.write(|connection| {
            Box::pin(async move {
                // Longer than any valid audience, so that it cannot be that of a resource.
                let name = "probe ".repeat(400);
                sqlx::query("INSERT INTO resources (audience, created_at) VALUES ($1, 0)")
                    .bind(name.clone())
                    .execute(&mut *connection)
                    .await?;
                sqlx::query("DELETE FROM resources WHERE audience = $1").bind(name).execute(connection).await?;
                Ok(())
            })
        });
        let outcome = probe.await;
        if outcome.is_ok() {
            self.writer.health.set(None, None);
        }
        outcome
    }
}
