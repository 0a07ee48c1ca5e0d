//! Notices within half a second what another process changed in the database.

use std::{sync::Arc, time::Duration};

use super::{
    keys::{self, KeyRing, MacKey, SealingKeys},
    meters::Meters,
    model::Change,
    registry::{Changed, Registry},
    restore::{SetBack, Witness},
    store::{self, Epochs, Store},
    telemetry,
};
use crate::clock::{SharedClock, Timestamp};

/// How often the epochs are read.
const EVERY: Duration = Duration::from_millis(500);
/// How often a write is tried while writes fail.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// How long one look may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct EpochWatch {
    clock: SharedClock,
    store: Store,
    watched: Watched,
    meters: Arc<Meters>,
    known: Epochs,
    witness: Witness,
    /// Whether the last look failed: an outage is reported when it begins and when it ends.
    blind: bool,
}

/// What is read again when its epoch has moved.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) keys: KeyRing,
    pub(super) registry: Registry,
    pub(super) refresh_tokens: MacKey,
    pub(super) sealing: SealingKeys,
}

#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Keys(#[from] keys::Error),
    #[error(transparent)]
    SetBack(#[from] SetBack),
    #[error("the database did not answer within {} s", PATIENCE.as_secs())]
    Slow(#[from] tokio::time::error::Elapsed),
}

impl EpochWatch {
    pub(super) fn new(clock: SharedClock, store: Store, watched: Watched, meters: Arc<Meters>, known: Epochs, witness: Witness) -> Self {
        Self { clock, store, watched, meters, known, witness, blind: false }
    }

    /// Looks again and again, until it is dropped.
    pub(super) async fn run(mut self) {
        let mut probed = self.clock.steady();
        loop {
            self.clock.sleep_until(self.clock.now() + EVERY).await;
            let now = self.clock.steady();
            let outcome = self.look(now).await;
            if outcome.is_ok() && self.store.write_failure().is_some() && now.since(probed) >= PROBE_EVERY {
                probed = now;
                // It notes what came of it; one that takes too long has failed too.
                let _ = tokio::time::timeout(PATIENCE, self.store.probe_write()).await;
            }
            match &outcome {
                Ok(()) if self.blind => tracing::info!("the database can be read again"),
                Err(error) if !self.blind => tracing::error!(%error, "the database cannot be read; serving from memory"),
                _ => {}
            }
            self.blind = outcome.is_err();
        }
    }

    /// The changes since the last look, or the first of them if there are many.
    async fn list_changes(&self, newest: i64) -> Result<Vec<Change>, LookError> {
        if self.known.changes == newest {
            return Ok(Vec::new());
        }
        Ok(tokio::time::timeout(PATIENCE, self.store.list_changes(self.known.changes, newest)).await??)
    }

    /// Logs what was changed since the last look, by whichever process; `changes` are the first.
    async fn tell_changes(&mut self, mut changes: Vec<Change>, newest: i64) -> Result<(), LookError> {
        while self.known.changes != newest {
            // A gap at the end: somebody forgot rows, or the database was set back.
            self.known.changes = changes.last().map_or(newest, |change| change.number);
            self.witness.note_changes(&changes);
            for Change { at, actor, action, target, .. } in changes {
                let at_s = at.seconds();
                tracing::info!(target: telemetry::SECURITY, event = action, actor, target, at_s, outcome = "ok", "{action} {target}");
            }
            changes = self.list_changes(newest).await?;
        }
        Ok(())
    }

    /// Reads the epochs, and anew what has changed since the last look. `now` is before the reading: what is confirmed held
    /// at least then.
    async fn look(&mut self, now: Timestamp) -> Result<(), LookError> {
        let epochs = tokio::time::timeout(PATIENCE, self.store.read_epochs()).await??;
        let set_back = self.witness.require_not_set_back(&epochs);
        self.watched.registry.note_set_back(set_back.is_err());
        set_back?;
        let changes = self.list_changes(epochs.changes).await;
        let Watched { keys, registry, refresh_tokens, sealing } = &self.watched;
        // Without the changes, everything is read again.
        let changed = Changed::of(changes.as_deref().unwrap_or_default(), epochs.registry - self.known.registry);
        registry.confirm(epochs.registry, &changed, now);
        if epochs.keys == self.known.keys {
            keys.confirm(now);
        } else {
            tokio::time::timeout(PATIENCE, keys.reload(now)).await??;
            tokio::time::timeout(PATIENCE, refresh_tokens.reload(sealing, &self.store)).await??;
        }
        self.known = Epochs { changes: self.known.changes, ..epochs };
        // Last, and whatever comes of it: what is in force does not wait for its record.
        let told = match changes {
            Ok(changes) => self.tell_changes(changes, epochs.changes).await,
            Err(error) => Err(error),
        };
        if let Err(error) = told {
            tracing::warn!(%error, "the record of changes could not be read; it will be tried again");
        }
        self.witness.note(self.known, self.watched.keys.live_kids(now));
        self.witness.save().await;
        self.meters.epoch_looks.inc();
        Ok(())
    }
}
