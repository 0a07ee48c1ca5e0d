//! The HTTP clients that fetch the keys and the status lists of one issuer.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reqwest::Client;
use tokio::{
    runtime::{Handle, Id},
    sync::OnceCell,
};

use crate::{
    clock::{SharedClock, Timestamp},
    outbound::{self, RequestError},
    protocol::Issuer,
};

/// How long a connection is kept without a request: longer than the 8 s between two fetches of a list with the usual `ttl`, so that they need no
/// handshake.
const KEPT_FOR: Duration = Duration::from_secs(9);
/// After how long new connections are opened anyway: requests that are regular keep one for ever, to an address that the issuer's DNS records or a load
/// balancer no longer give.
const RECONNECT_AFTER: Duration = Duration::from_secs(300);
/// How many connections are kept: the keys are fetched while a list is. With more, each list would keep its own.
const KEPT: usize = 2;
/// Maximum number of runtimes with clients. Beyond it, the oldest clients are dropped.
const MAX_RUNTIMES: usize = 16;

/// The clients of each runtime, because a connection that is kept makes progress only in the runtime that opened it.
#[derive(Debug)]
pub(super) struct Clients {
    user_agent: String,
    /// How long a request may take, after which its connection is kept.
    timeout: Duration,
    clock: SharedClock,
    of_runtimes: Mutex<Vec<(Id, Arc<OfRuntime>)>>,
    /// Since when, by the steady clock, connections are kept and used again. It may be in the future.
    kept_since: Mutex<Timestamp>,
}

/// Built on first use, because reading the system's trust roots takes tens of milliseconds.
#[derive(Debug, Default)]
struct OfRuntime {
    keeping: OnceCell<Client>,
    /// Opens a connection for each request.
    connecting: OnceCell<Client>,
}

impl Clients {
    /// `timeout`: how long a request may take.
    pub(super) fn new(user_agent: String, timeout: Duration, clock: SharedClock) -> Self {
        let kept_since = Mutex::new(clock.steady());
        Self { user_agent, timeout, clock, of_runtimes: Mutex::default(), kept_since }
    }

    /// The client for the next request in the current runtime.
    pub(super) async fn get(&self, issuer: &Issuer) -> Result<Client, RequestError> {
        let clients = self.of_runtime(Handle::current().id());
        let (client, kept) = if self.are_apart() { (&clients.connecting, 0) } else { (&clients.keeping, KEPT) };
        let begin = || {
            let agent = self.user_agent.clone();
            let begin = move || Client::builder().user_agent(agent).pool_max_idle_per_host(kept).pool_idle_timeout(KEPT_FOR);
            outbound::http_client(issuer, begin)
        };
        client.get_or_try_init(begin).await.cloned()
    }

    /// Has every request open a connection of its own until the connections that are kept have ended. Behind a load balancer that assigns connections
    /// to nodes, they would lead to the same node for longer, also if it has lost its database.
    pub(super) fn reconnect(&self) {
        *self.kept_since.lock().unwrap_or_else(PoisonError::into_inner) = self.all_ended_at(self.clock.steady());
    }

    /// Whether the next request opens a connection of its own.
    fn are_apart(&self) -> bool {
        let now = self.clock.steady();
        let mut kept_since = self.kept_since.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= *kept_since + RECONNECT_AFTER {
            *kept_since = self.all_ended_at(now);
        }
        now < *kept_since
    }

    /// When every connection that is kept at `now` or used by a request has ended, unless it is used again.
    fn all_ended_at(&self, now: Timestamp) -> Timestamp {
        now + self.timeout + KEPT_FOR
    }

    fn of_runtime(&self, runtime: Id) -> Arc<OfRuntime> {
        let mut clients = self.of_runtimes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = clients.iter().find(|(id, _)| *id == runtime) {
            return Arc::clone(client);
        }
        if clients.len() >= MAX_RUNTIMES {
            clients.remove(0);
        }
        let client = Arc::new(OfRuntime::default());
        clients.push((runtime, Arc::clone(&client)));
        client
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn new_connections_are_opened_after_a_failure_and_every_five_minutes() {
        let clock = ManualClock::at(Timestamp::from_seconds(1_795_500_000));
        let clients = Clients::new("test".to_owned(), Duration::from_secs(5), Arc::new(clock.clone()));
        let are_apart_after = |seconds| {
            clock.advance(Duration::from_secs(seconds));
            clients.are_apart()
        };
        assert!(!are_apart_after(0) && !are_apart_after(299));
        for _ in 0..2 {
            assert!(are_apart_after(1) && are_apart_after(13), "until those that are kept have ended");
            assert!(!are_apart_after(1) && !are_apart_after(299));
        }
        clients.reconnect();
        assert!(are_apart_after(13) && !are_apart_after(1));
        // Without a request for a long time.
        assert!(are_apart_after(3600) && !are_apart_after(14));
    }
}
