//! Knows who may ask: which client this is, and whether its secret is right.

mod authentication;
mod last_use;
mod registration;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use moka::future::Cache;

pub(crate) use authentication::{AuthenticationError, Credentials};
pub(crate) use registration::{NewSecret, add_secret, register_client};

use last_use::LastUse;

use crate::{
    clock::Timestamp,
    protocol::ClientId,
    server::{
        meters::Meters,
        model::Client,
        store::{self, Store},
    },
};

/// What the registry obeys.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// For how long known clients are served while the database cannot be read.
    pub(crate) stale_for: Duration,
    /// Clients kept in memory at most.
    pub(crate) cached_clients: u64,
}

/// The clients, as fresh as the last look at the database.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    policy: Policy,
    store: Store,
    meters: Arc<Meters>,
    /// Keyed by the epoch in which the reading began: a change raises the epoch, and what was read before is not found any
    /// more. Unknown names are remembered too, so that asking for one costs what asking for a known one costs.
    clients: Cache<(i64, ClientId), Option<Arc<Client>>>,
    seen: Arc<ArcSwap<Seen>>,
    last_use: Arc<LastUse>,
}

/// The last look at the epochs.
#[derive(Debug)]
struct Seen {
    epoch: i64,
    read_at: Timestamp,
}

/// Why it cannot be said who a client is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The database has been out of reach for longer than what is known may be trusted.
    #[error("the registry was last read {} s ago, which is too long to rely on", .0.as_secs())]
    Stale(Duration),
    #[error(transparent)]
    Store(Arc<store::Error>),
}

impl Registry {
    pub(crate) fn new(policy: Policy, store: Store, meters: Arc<Meters>, epoch: i64, now: Timestamp) -> Self {
        let clients = Cache::builder().max_capacity(policy.cached_clients).build();
        let seen = Arc::new(ArcSwap::from_pointee(Seen { epoch, read_at: now }));
        Self { policy, store, meters, clients, seen, last_use: Arc::default() }
    }

    /// Notes that at `read_at` the registry was in `epoch`.
    pub(crate) fn confirm(&self, epoch: i64, read_at: Timestamp) {
        self.seen.store(Arc::new(Seen { epoch, read_at }));
    }

    /// Whether the last look at the database is too long ago to decide by.
    pub(crate) fn is_stale(&self, now: Timestamp) -> bool {
        now.since(self.seen.load().read_at) > self.policy.stale_for
    }

    /// The client of this name, from memory where it is there.
    async fn find_client(&self, id: &ClientId, now: Timestamp) -> Result<Option<Arc<Client>>, Error> {
        let seen = self.seen.load();
        if self.is_stale(now) {
            return Err(Error::Stale(now.since(seen.read_at)));
        }
        let read = async {
            self.meters.client_reads.increment();
            self.store.find_client(id).await.map(|client| client.map(Arc::new))
        };
        self.clients.try_get_with((seen.epoch, id.clone()), read).await.map_err(Error::Store)
    }

    /// Writes down when secrets were last used.
    pub(crate) async fn stamp_last_use(&self) {
        let used = self.last_use.take();
        if used.is_empty() {
            return;
        }
        if let Err(error) = self.store.stamp_secrets_used(used.clone()).await {
            tracing::warn!(%error, "when client secrets were last used could not be noted; it will be tried again");
            self.last_use.put_back(used);
        }
    }
}
