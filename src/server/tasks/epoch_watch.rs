//! Polls the database, so that changes of other processes take effect within half a second.

use std::{convert::Infallible, mem, sync::Arc, time::Duration};

use crate::{
    clock::{SharedClock, Timestamp},
    server::{
        keys::{self, ClockCheck, KeyRing, MacKey, SealingKeys},
        meters::Meters,
        model::Change,
        parts::{LastSeen, Parts},
        process::Task,
        registry::{Changed, Registry},
        restore::{SetBack, Witness},
        revocation::{Look, Revocations},
        store::{self, Epochs, Store},
        telemetry,
    },
};

/// The interval between polls of the epochs.
const POLL_EVERY: Duration = Duration::from_millis(500);
/// The interval between test writes while writes fail.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// Time limit of each read.
const TIME_LIMIT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(in crate::server) struct EpochWatch {
    clock: SharedClock,
    store: Store,
    keys: KeyRing,
    registry: Registry,
    revocations: Revocations,
    mac_keys: [MacKey; 2],
    sealing: SealingKeys,
    meters: Arc<Meters>,
    known: Epochs,
    witness: Witness,
    clock_check: ClockCheck,
    /// Whether the database failed in the last poll: since then, another may have taken its place.
    was_lost: bool,
    /// Whether the last poll failed. An outage is reported when it begins and when it ends.
    blind: bool,
}

#[derive(Debug, thiserror::Error)]
enum PollError {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Keys(#[from] keys::Error),
    #[error(transparent)]
    SetBack(#[from] SetBack),
    #[error("the database did not answer within {} s", TIME_LIMIT.as_secs())]
    Slow(#[from] tokio::time::error::Elapsed),
}

impl PollError {
    /// Whether the database failed. For a key that does not open, not all revocations are read again at every poll.
    const fn is_of_database(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Keys(keys::Error::Store(_)) | Self::SetBack(_) | Self::Slow(_))
    }
}

impl EpochWatch {
    pub(in crate::server) fn new(parts: &Parts, LastSeen { epochs, witness, clock_check, .. }: LastSeen) -> Self {
        Self {
            clock: Arc::clone(&parts.clock),
            store: parts.store.clone(),
            keys: parts.keys.clone(),
            registry: parts.registry.clone(),
            revocations: parts.revocations.clone(),
            mac_keys: parts.mac_keys.clone(),
            sealing: parts.sealing.clone(),
            meters: Arc::clone(&parts.meters),
            known: epochs,
            witness,
            clock_check,
            was_lost: false,
            blind: false,
        }
    }

    /// The changes since the last poll, or the first of them if there are many.
    async fn list_changes(&self, newest: i64) -> Result<Vec<Change>, PollError> {
        if self.known.changes == newest {
            return Ok(Vec::new());
        }
        Ok(tokio::time::timeout(TIME_LIMIT, self.store.list_changes(self.known.changes, newest)).await??)
    }

    /// Logs the changes since the last poll, made by any process. `changes` are the first of them.
    async fn log_changes(&mut self, mut changes: Vec<Change>, newest: i64) -> Result<(), PollError> {
        while self.known.changes != newest {
            // A gap at the end: rows were deleted, or the database was restored from an older copy.
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

    /// Reads the epochs and reloads what has changed since the last poll. `now` is before the read: what is confirmed was true at least then.
    async fn poll(&mut self, now: Timestamp) -> Result<(), PollError> {
        let (wall, monotonic, was_blind) = (self.clock.now(), self.clock.monotonic(), mem::take(&mut self.was_lost));
        let epochs = tokio::time::timeout(TIME_LIMIT, self.store.read_epochs()).await??;
        let set_back = self.witness.require_not_set_back(&epochs);
        self.registry.note_set_back(set_back.is_err());
        set_back?;
        let cautious_now = self.clock_check.cautious_now(&*self.clock);
        let changes = self.list_changes(epochs.changes).await;
        let Self { keys, registry, revocations, mac_keys, sealing, .. } = &*self;
        // Without all of the changes, everything is read again; also after an outage, because a failover may have lost changes and given
        // their numbers to others.
        let changed = match &changes {
            Ok(changes) if !self.blind => Changed::of(changes, self.known.changes, epochs.changes, epochs.registry - self.known.registry),
            _ => Changed::Anything,
        };
        registry.confirm(epochs.registry, &changed, now);
        // Each of its reads has a time limit: a large revocation takes several polls.
        let look = Look { epoch: epochs.revocations, read_at: now, now: wall, monotonic, cautious_now, was_blind };
        let revoked = revocations.confirm(look).await;
        if epochs.keys == self.known.keys {
            keys.confirm(now, wall);
        } else {
            // The sealing key may have been replaced. If it cannot be read, the one in memory may still open the keys, and the sealing watch
            // reports why.
            let _ = tokio::time::timeout(TIME_LIMIT, sealing.refresh(&self.store)).await?;
            tokio::time::timeout(TIME_LIMIT, keys.reload(now, wall)).await??;
            for key in mac_keys {
                tokio::time::timeout(TIME_LIMIT, key.reload(sealing, &self.store)).await??;
            }
        }
        // Keys are read even if revocations cannot be.
        revoked?;
        self.known = Epochs { changes: self.known.changes, ..epochs };
        // Last, and failures are only logged: changes take effect even if they cannot be recorded.
        let logged = match changes {
            Ok(changes) => self.log_changes(changes, epochs.changes).await,
            Err(error) => Err(error),
        };
        if let Err(error) = logged {
            self.was_lost = true;
            tracing::warn!(%error, "the change log could not be read; retrying");
        }
        self.witness.note(self.known, self.keys.live_kids(now));
        self.witness.save().await;
        self.meters.epoch_looks.inc();
        Ok(())
    }
}

impl Task for EpochWatch {
    const NAME: &'static str = "epoch watch";
    const WHEN_IT_ENDS: &'static str = "changes are not noticed any more, and requests are refused once the data in memory is too old";

    async fn run(mut self) -> Infallible {
        let mut probed = self.clock.steady();
        loop {
            self.clock.sleep_until(Self::NAME, self.clock.now() + POLL_EVERY).await;
            let now = self.clock.steady();
            let outcome = self.poll(now).await;
            if outcome.is_ok() && self.store.write_failure().is_some() && now.since(probed) >= PROBE_EVERY {
                probed = now;
                // The store records the outcome; a probe that times out has failed too.
                let _ = tokio::time::timeout(TIME_LIMIT, self.store.probe_write()).await;
            }
            match &outcome {
                Ok(()) if self.blind => tracing::info!("the database can be read again"),
                Err(error) if !self.blind => tracing::error!(%error, "the database cannot be read; serving from memory"),
                _ => {}
            }
            self.blind = outcome.is_err();
            self.was_lost |= outcome.is_err_and(|error| error.is_of_database());
        }
    }
}
