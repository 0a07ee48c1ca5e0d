//! Whether a server may start although the database was last used at a later time than its clock shows.

use std::time::Duration;

use super::Error;
use crate::{
    clock::Clock,
    server::{model::rfc3339, store::Store},
};

/// A server this far behind signs tokens that have expired elsewhere, and with keys that other nodes have replaced.
const REFUSED_FROM: Duration = Duration::from_secs(2 * 3600);
/// A server that is alive writes a heartbeat every minute.
const OBSERVED_FOR: Duration = Duration::from_secs(70);
const SLEEPER: &str = "start";

/// Refuses a start whose clock is hours behind that of a server that is alive. To find that out takes a minute; it is needed only if the database
/// has a later heartbeat.
///
/// Such a heartbeat alone refuses nothing: the clock of the server that wrote it may have been ahead, and has been corrected since.
pub(crate) async fn refuse_beside_later_servers(store: &Store, clock: &dyn Clock) -> Result<(), Error> {
    let Some(first) = store.find_heartbeat().await?.filter(|heartbeat| heartbeat.since(clock.now()) > REFUSED_FROM) else { return Ok(()) };
    let (now, heartbeat) = (rfc3339(clock.now()), rfc3339(first));
    tracing::warn!(
        "a server was alive at {heartbeat}, and the clock of this machine shows {now}: waiting {} s to see whether it still is",
        OBSERVED_FOR.as_secs()
    );
    let begun = clock.monotonic();
    while clock.monotonic().saturating_sub(begun) < OBSERVED_FOR {
        clock.sleep_until(SLEEPER, clock.now() + Duration::from_secs(1)).await;
        if let Some(alive_at) = store.find_heartbeat().await?.filter(|heartbeat| *heartbeat > first) {
            return Err(Error::ClockBehindServer { now: clock.now(), alive_at });
        }
    }
    tracing::warn!("no other server is alive: the clock that showed {heartbeat} is taken to have been ahead");
    Ok(())
}
