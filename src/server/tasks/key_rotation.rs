//! Creates the next signing keys, ahead of the time at which they sign, and deletes old ones.

use std::{convert::Infallible, mem::discriminant, sync::Arc, time::Duration};

use tokio::time::timeout;

use crate::{
    clock::{SharedClock, Timestamp},
    protocol::Algorithm,
    server::{
        keys::{self, ClockCheck, ClockFault, KeyRing},
        meters::{KeyAlgorithm, Meters},
        parts::Parts,
        process::Task,
        store::{self, Store},
        telemetry,
    },
};

/// Time limit of one look. Generating an RSA key of 4096 bits takes seconds, and much longer on a busy machine.
const TIME_LIMIT: Duration = Duration::from_secs(300);

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
    /// `heartbeat` is the cautious one of the database, before this server wrote its own.
    pub(in crate::server) fn new(parts: &Parts, heartbeat: Option<Timestamp>) -> Self {
        Self {
            clock: Arc::clone(&parts.clock),
            store: parts.store.clone(),
            keys: parts.keys.clone(),
            meters: Arc::clone(&parts.meters),
            clock_check: ClockCheck::new(&*parts.clock, heartbeat),
            paused: None,
        }
    }

    async fn look(&mut self) -> Result<(), Paused> {
        let heartbeat = timeout(TIME_LIMIT, self.store.find_heartbeat()).await??;
        let clock = self.clock_check.check(&*self.clock, heartbeat);
        self.meters.clock_behind.set(self.clock_check.behind(&*self.clock).as_secs_f64());
        self.meters.clock_set_forward.set(self.clock_check.set_forward().as_secs_f64());
        let next = timeout(TIME_LIMIT, self.keys.rotate(clock, self.clock.now())).await??;
        // By a clock that is wrong, nothing goes as planned.
        if matches!(clock, Ok(()) | Err(ClockFault::Unconfirmed(_))) {
            self.meter_next_activations(&next);
        }
        Ok(clock?)
    }

    fn meter_next_activations(&self, next: &[(Algorithm, Timestamp)]) {
        let meter = &self.meters.next_activation;
        meter.clear();
        for (algorithm, at) in next {
            meter.get_or_create(&KeyAlgorithm { alg: algorithm.as_str() }).set(at.seconds());
        }
    }

    fn report(&self, outcome: &Result<(), Paused>) {
        let kind = |paused: &Paused| match paused {
            Paused::Clock(fault) => (discriminant(paused), Some(discriminant(fault))),
            _ => (discriminant(paused), None),
        };
        if self.paused.as_ref().map(kind) == outcome.as_ref().err().map(kind) {
            return;
        }
        match outcome {
            Err(Paused::Clock(why @ ClockFault::Unconfirmed(_))) => tracing::info!("{why}"),
            Err(Paused::Clock(why)) => {
                tracing::error!(target: telemetry::SECURITY, event = "key.rotation_paused", %why, "signing keys are not rotated: {why}");
            }
            Err(error) => tracing::warn!(%error, "signing keys are not rotated; retrying"),
            Ok(()) => tracing::info!("signing keys are rotated again"),
        }
    }
}

impl Task for KeyRotation {
    const NAME: &'static str = "key rotation";
    const WHEN_IT_ENDS: &'static str = "signing keys are not replaced any more";

    async fn run(mut self) -> Infallible {
        loop {
            self.clock.sleep_until(Self::NAME, self.clock.now() + self.keys.look_every()).await;
            let outcome = self.look().await;
            self.report(&outcome);
            let waits = matches!(outcome, Ok(()) | Err(Paused::Clock(ClockFault::Unconfirmed(_))));
            self.meters.rotation_paused.set((!waits).into());
            self.paused = outcome.err();
        }
    }
}
