//! What is tidied up beside the work: the last use of secrets and the server's heartbeat are noted, logins that are long over are forgotten. Nothing that
//! is waited for waits for it.

use std::time::Duration;

use tokio::time::timeout;

use super::{registry::Registry, store::Store, telemetry};
use crate::clock::SharedClock;

/// How often the last use of secrets is noted.
const STAMP_EVERY: Duration = Duration::from_secs(10);
/// How often logins that are long over are forgotten.
const PURGE_EVERY: Duration = Duration::from_secs(3600);
/// How long a login is kept when it is over: longer than any token that it issued.
const KEEP_LOGINS: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long the record of a change is kept: an audit looks back a year.
const KEEP_CHANGES: Duration = Duration::from_secs(400 * 24 * 3600);
/// How long the source of a sign-in is kept after its last use.
const KEEP_SOURCES: Duration = Duration::from_secs(90 * 24 * 3600);
/// How often it is noted that a server is alive.
const BEAT_EVERY: Duration = Duration::from_secs(60);
/// How far the wall clock may be behind the steady clock before it is reported: what a time server corrects is less.
const SET_BACK: Duration = Duration::from_secs(60);
/// How long one of these may take before it is given up until the next time.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Housekeeping {
    clock: SharedClock,
    store: Store,
    registry: Registry,
}

impl Housekeeping {
    pub(super) const fn new(clock: SharedClock, store: Store, registry: Registry) -> Self {
        Self { clock, store, registry }
    }

    /// Tidies up again and again, until it is dropped.
    pub(super) async fn run(self) {
        let (mut purged, mut beaten, mut set_back) = (None, None, false);
        loop {
            let (now, steady) = (self.clock.now(), self.clock.steady());
            if set_back != (steady.since(now) > SET_BACK) {
                set_back = !set_back;
                report_set_back(set_back, steady.since(now));
            }
            if beaten.is_none_or(|last| steady.since(last) >= BEAT_EVERY) {
                // Without it a restore is noticed by what else has changed; the database's outage is reported elsewhere.
                if let Ok(Err(error)) = timeout(PATIENCE, self.store.beat(now)).await {
                    tracing::debug!(%error, "the heartbeat could not be written");
                }
                beaten = Some(steady);
            }
            if purged.is_none_or(|last| steady.since(last) >= PURGE_EVERY) {
                match timeout(PATIENCE, self.store.purge_logins(now - KEEP_LOGINS)).await {
                    Ok(Ok(0)) => {}
                    Ok(Ok(count)) => tracing::info!(count, "forgot logins that have long been over"),
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "logins that have long been over could not be forgotten; it will be tried again")
                    }
                    Err(_) => tracing::warn!("logins that have long been over could not be forgotten in time; it will be tried again"),
                }
                match timeout(PATIENCE, self.store.purge_changes(now - KEEP_CHANGES)).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => tracing::warn!(%error, "old records of changes could not be forgotten; it will be tried again"),
                    Err(_) => tracing::warn!("old records of changes could not be forgotten in time; it will be tried again"),
                }
                match timeout(PATIENCE, self.store.purge_sign_in_sources(now - KEEP_SOURCES)).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => tracing::warn!(%error, "old sources of sign-ins could not be deleted; the next run tries again"),
                    Err(_) => tracing::warn!("old sources of sign-ins could not be deleted in time; the next run tries again"),
                }
                purged = Some(steady);
            }
            self.clock.sleep_until(now + STAMP_EVERY).await;
            if timeout(PATIENCE, self.registry.stamp_last_use()).await.is_err() {
                tracing::warn!("when client secrets were last used could not be noted in time");
            }
        }
    }
}

/// Reports that the wall clock was set back, or that it has caught up with the steady clock. Nothing else changes: this node goes on, and
/// what it ends may end earlier than it should, but nothing is revived.
fn report_set_back(set_back: bool, by: Duration) {
    if set_back {
        tracing::error!(
            target: telemetry::SECURITY,
            event = "clock.set_back",
            by_s = by.as_secs(),
            "the clock of this machine was set back: if it is right now, restart this server, whose logins and secrets end too early until then"
        );
    } else {
        tracing::info!(target: telemetry::SECURITY, event = "clock.caught_up", "the clock of this machine has caught up");
    }
}
