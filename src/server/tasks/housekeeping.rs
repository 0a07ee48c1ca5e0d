//! Background work: records the last use of secrets and the server's heartbeat, and deletes old rows. No request waits for it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use tokio::time::timeout;

use super::purge::Purges;
use crate::{
    clock::{SharedClock, Timestamp},
    server::{keys::ClockCheck, parts::Parts, process::Task, registry::Registry, store::Store, telemetry},
};

/// The interval for recording the last use of secrets, and for deleting old rows.
const ROUND_EVERY: Duration = Duration::from_secs(10);
/// The interval of heartbeats.
const BEAT_EVERY: Duration = Duration::from_secs(60);
/// How far the wall clock may be behind the steady clock before it is reported: time servers correct by less.
const SET_BACK: Duration = Duration::from_secs(60);
/// Time limit of each of these operations; the next run retries.
const TIME_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(in crate::server) struct Housekeeping {
    clock: SharedClock,
    store: Store,
    registry: Registry,
    clock_check: ClockCheck,
    purges: Purges,
}

impl Housekeeping {
    /// `heartbeat` is the cautious one of the database, before this server wrote its own.
    pub(in crate::server) fn new(parts: &Parts, heartbeat: Option<Timestamp>) -> Self {
        Self {
            clock: Arc::clone(&parts.clock),
            store: parts.store.clone(),
            registry: parts.registry.clone(),
            clock_check: ClockCheck::new(&*parts.clock, heartbeat),
            purges: Purges::new(),
        }
    }
}

impl Task for Housekeeping {
    const NAME: &'static str = "housekeeping";
    const WHEN_IT_ENDS: &'static str = "old rows are not deleted any more, and the last use of secrets is not recorded";

    async fn run(mut self) -> Infallible {
        let (mut beaten, mut set_back) = (None, false);
        loop {
            let (now, steady) = (self.clock.now(), self.clock.steady());
            let cautious_now = self.clock_check.cautious_now(&*self.clock);
            if set_back != (steady.since(now) > SET_BACK) {
                set_back = !set_back;
                report_set_back(set_back, steady.since(now));
            }
            if beaten.is_none_or(|last| steady.since(last) >= BEAT_EVERY) {
                // Without heartbeats, a restore is still detected by other changes; outages of the database are reported elsewhere.
                if let Ok(Err(error)) = timeout(TIME_LIMIT, self.store.beat(now, cautious_now)).await {
                    tracing::debug!(%error, "the heartbeat could not be written");
                }
                beaten = Some(steady);
            }
            // By a clock that is ahead, a revocation would end while its tokens are still valid.
            self.purges.round(&self.store, cautious_now, steady).await;
            self.clock.sleep_until(Self::NAME, now + ROUND_EVERY).await;
            if timeout(TIME_LIMIT, self.registry.stamp_last_use()).await.is_err() {
                tracing::warn!("the last use of client secrets could not be recorded in time; the next run goes on");
            }
        }
    }
}

/// Reports that the wall clock was set back, or that it has caught up with the steady clock. This node keeps running: logins and secrets may
/// expire too early, but none is revived, and what cannot be known about a token is not guessed.
fn report_set_back(set_back: bool, by: Duration) {
    if set_back {
        tracing::error!(
            target: telemetry::SECURITY,
            event = "clock.set_back",
            by_s = by.as_secs(),
            "the clock of this machine was set back: if it is right now, restart this server, because until then logins and secrets expire too early, \
             and the introspection of new tokens is answered with 503"
        );
    } else {
        tracing::info!(target: telemetry::SECURITY, event = "clock.caught_up", "the clock of this machine has caught up");
    }
}
