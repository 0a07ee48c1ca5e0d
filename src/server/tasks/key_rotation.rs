//! Creates the next signing keys, ahead of the time at which they sign, and deletes old ones.

use std::{convert::Infallible, sync::Arc, time::Duration};

use tokio::time::timeout;

use super::Task;
use crate::{
    clock::SharedClock,
    server::{
        keys::{self, ClockCheck, ClockFault, KeyRing},
        meters::Meters,
        parts::Parts,
        store::{self, Store},
        telemetry,
    },
};

/// The interval between looks at the keys. A resource with a new algorithm waits that long for its key to be published.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Time limit of one look. Generating an RSA key of 4096 bits takes seconds.
const TIME_LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(in crate::server) struct KeyRotation {
    clock: SharedClock,
    store: Store,
    keys: KeyRing,
    meters: Arc<Meters>,
    clock_check: ClockCheck,
    /// Why the last look changed nothing. It is reported when it begins and when it ends.
    paused: Option<Paused>,
}

#[derive(Debug, thiserror::Error)]
enum Paused {
    #[error(transparent)]
    Clock(#[from] ClockFault),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Keys(#[from] keys::Error),
    #[error("the keys could not be read or written within {} s", TIME_LIMIT.as_secs())]
    Slow(#[from] tokio::time::error::Elapsed),
}

impl KeyRotation {
    pub(in crate::server) fn new(parts: &Parts) -> Self {
        Self {
            clock: Arc::clone(&parts.clock),
            store: parts.store.clone(),
            keys: parts.keys.clone(),
            meters: Arc::clone(&parts.meters),
            clock_check: ClockCheck::default(),
            paused: None,
        }
    }

    async fn look(&mut self) -> Result<(), Paused> {
        let newest = timeout(TIME_LIMIT, self.store.find_newest_time()).await??;
        self.clock_check.check(&*self.clock, newest)?;
        timeout(TIME_LIMIT, self.keys.rotate(self.clock.now())).await??;
        Ok(())
    }

    fn report(&self, outcome: &Result<(), Paused>) {
        match (&self.paused, outcome) {
            (None, Err(why @ Paused::Clock(_))) => {
                tracing::error!(target: telemetry::SECURITY, event = "key.rotation_paused", %why, "signing keys are not rotated: {why}");
            }
            (None, Err(error)) => tracing::warn!(%error, "the signing keys could not be looked at; retrying"),
            (Some(_), Ok(())) => tracing::info!("signing keys are rotated again"),
            _ => {}
        }
    }
}

impl Task for KeyRotation {
    const NAME: &'static str = "key rotation";
    const WHEN_IT_ENDS: &'static str = "signing keys are not replaced any more";

    async fn run(mut self) -> Infallible {
        loop {
            self.clock.sleep_until(Self::NAME, self.clock.now() + LOOK_EVERY).await;
            let outcome = self.look().await;
            self.report(&outcome);
            self.meters.rotation_paused.set(outcome.is_err().into());
            self.paused = outcome.err();
        }
    }
}
