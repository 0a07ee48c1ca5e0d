//! Background work: records the last use of secrets and the server's heartbeat, and deletes old logins, changes and sign-in sources. No
//! request waits for it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use tokio::time::timeout;

use super::Task;
use crate::{
    clock::SharedClock,
    server::{parts::Parts, registry::Registry, store::Store, telemetry},
};

/// The interval for recording the last use of secrets.
const STAMP_EVERY: Duration = Duration::from_secs(10);
/// The interval for deleting old rows.
const PURGE_EVERY: Duration = Duration::from_secs(3600);
/// How long a login is kept after its end: longer than the lifetime of any token that it issued.
const KEEP_LOGINS: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long an entry of the change log is kept: audits cover a year.
const KEEP_CHANGES: Duration = Duration::from_secs(400 * 24 * 3600);
/// How long the source of a sign-in is kept after its last use.
const KEEP_SOURCES: Duration = Duration::from_secs(90 * 24 * 3600);
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
}

impl Housekeeping {
    pub(in crate::server) fn new(parts: &Parts) -> Self {
        Self { clock: Arc::clone(&parts.clock), store: parts.store.clone(), registry: parts.registry.clone() }
    }
}

impl Task for Housekeeping {
    const NAME: &'static str = "housekeeping";
    const WHEN_IT_ENDS: &'static str = "old rows are not deleted any more, and the last use of secrets is not recorded";

    async fn run(self) -> Infallible {
        let (mut purged, mut beaten, mut set_back) = (None, None, false);
        loop {
            let (now, steady) = (self.clock.now(), self.clock.steady());
            if set_back != (steady.since(now) > SET_BACK) {
                set_back = !set_back;
                report_set_back(set_back, steady.since(now));
            }
            if beaten.is_none_or(|last| steady.since(last) >= BEAT_EVERY) {
                // Without heartbeats, a restore is still detected by other changes; outages of the database are reported elsewhere.
                if let Ok(Err(error)) = timeout(TIME_LIMIT, self.store.beat(now)).await {
                    tracing::debug!(%error, "the heartbeat could not be written");
                }
                beaten = Some(steady);
            }
            if purged.is_none_or(|last| steady.since(last) >= PURGE_EVERY) {
                match timeout(TIME_LIMIT, self.store.purge_logins(now - KEEP_LOGINS)).await {
                    Ok(Ok(0)) => {}
                    Ok(Ok(count)) => tracing::info!(count, "deleted old logins"),
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "old logins could not be deleted; the next run tries again")
                    }
                    Err(_) => tracing::warn!("old logins could not be deleted in time; the next run tries again"),
                }
                match timeout(TIME_LIMIT, self.store.purge_changes(now - KEEP_CHANGES)).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => tracing::warn!(%error, "old changes could not be deleted; the next run tries again"),
                    Err(_) => tracing::warn!("old changes could not be deleted in time; the next run tries again"),
                }
                match timeout(TIME_LIMIT, self.store.purge_sign_in_sources(now - KEEP_SOURCES)).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => tracing::warn!(%error, "old sources of sign-ins could not be deleted; the next run tries again"),
                    Err(_) => tracing::warn!("old sources of sign-ins could not be deleted in time; the next run tries again"),
                }
                purged = Some(steady);
            }
            self.clock.sleep_until(Self::NAME, now + STAMP_EVERY).await;
            if timeout(TIME_LIMIT, self.registry.stamp_last_use()).await.is_err() {
                tracing::warn!("the last use of client secrets could not be recorded in time");
            }
        }
    }
}

/// Reports that the wall clock was set back, or that it has caught up with the steady clock. This node keeps running: logins and secrets may
/// expire too early, but none is revived.
fn report_set_back(set_back: bool, by: Duration) {
    if set_back {
        tracing::error!(
            target: telemetry::SECURITY,
            event = "clock.set_back",
            by_s = by.as_secs(),
            "the clock of this machine was set back: if it is right now, restart this server, because until then logins and secrets expire too early"
        );
    } else {
        tracing::info!(target: telemetry::SECURITY, event = "clock.caught_up", "the clock of this machine has caught up");
    }
}
