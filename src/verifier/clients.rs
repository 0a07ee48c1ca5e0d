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
/// handshake, and shorter than the cool-down of keys, so that fetches that are not as regular follow changes of the issuer's DNS records.
const KEPT_FOR: Duration = Duration::from_secs(9);
/// How many connections are kept: the keys are fetched while a list is. With more, each list would keep its own.
const KEPT: usize = 2;
/// Maximum number of runtimes with clients. Beyond it, the oldest clients are dropped.
const MAX_RUNTIMES: usize = 16;

/// The clients of each runtime, because a connection that is kept makes progress only in the runtime that opened it.
#[derive(Debug)]
pub(super) struct Clients {
    user_agent: String,
    clock: SharedClock,
    of_runtimes: Mutex<Vec<(Id, Arc<OfRuntime>)>>,
    /// Until then, by the steady clock, no connection is kept or used again.
    apart_until: Mutex<Option<Timestamp>>,
}

/// Built on first use, because reading the system's trust roots takes tens of milliseconds.
#[derive(Debug, Default)]
struct OfRuntime {
    keeping: OnceCell<Client>,
    /// Opens a connection for each request.
    connecting: OnceCell<Client>,
}

impl Clients {
    pub(super) fn new(user_agent: String, clock: SharedClock) -> Self {
        Self { user_agent, clock, of_runtimes: Mutex::default(), apart_until: Mutex::default() }
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
    /// to nodes, they would lead to the same node for ever, also if it has lost its database. `in_flight`: how long a request may take, after which
    /// its connection is kept.
    pub(super) fn reconnect(&self, in_flight: Duration) {
        *self.apart_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.clock.steady() + in_flight + KEPT_FOR);
    }

    fn are_apart(&self) -> bool {
        let until = *self.apart_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| self.clock.steady() < until)
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
