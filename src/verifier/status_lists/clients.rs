//! The HTTP clients that fetch the lists of one issuer.

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
    outbound::{self, RequestError},
    verifier::fetch::KeySource,
};

/// How long a connection is kept without a request: longer than the pause between two fetches with the usual `ttl`.
const KEPT_FOR: Duration = Duration::from_secs(15);
/// Maximum number of runtimes with a client. Beyond it, the oldest client is dropped.
const MAX_RUNTIMES: usize = 16;

/// One client per runtime, because a connection that is kept makes progress only in the runtime that opened it.
#[derive(Debug, Default)]
pub(super) struct Clients(Mutex<Vec<(Id, Arc<OnceCell<Client>>)>>);

impl Clients {
    /// The client of the current runtime. Built on first use, because reading the system's trust roots takes tens of milliseconds.
    pub(super) async fn get(&self, source: &KeySource) -> Result<Client, RequestError> {
        let begin = || {
            let agent = source.user_agent.clone();
            // One connection: with more, each list would keep its own.
            let begin = move || Client::builder().user_agent(agent).pool_max_idle_per_host(1).pool_idle_timeout(KEPT_FOR);
            outbound::http_client(&source.issuer, begin)
        };
        self.of_runtime(Handle::current().id()).get_or_try_init(begin).await.cloned()
    }

    fn of_runtime(&self, runtime: Id) -> Arc<OnceCell<Client>> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = clients.iter().find(|(id, _)| *id == runtime) {
            return Arc::clone(client);
        }
        if clients.len() >= MAX_RUNTIMES {
            clients.remove(0);
        }
        let client = Arc::new(OnceCell::new());
        clients.push((runtime, Arc::clone(&client)));
        client
    }
}
