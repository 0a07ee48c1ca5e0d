//! Knows who may ask: which client this is, and whether its secret is right.

mod attempts;
mod authentication;
mod known_sources;
mod last_use;
mod limits;
mod network;
mod password_hashing;
mod password_rules;
mod sign_in;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use moka::future::Cache;

pub(crate) use attempts::{Attempts, Limited, Policy as AttemptsPolicy};
pub(crate) use authentication::{AuthenticationError, Credentials};
pub(crate) use limits::Policy as LimitsPolicy;
pub(crate) use network::Network;
pub(crate) use password_hashing::{PasswordHasher, Policy as HashingPolicy, Verdict};
pub(crate) use password_rules::Policy as PasswordRules;
pub(crate) use sign_in::{SignIn, SignInError};

use known_sources::KnownSources;
use last_use::LastUse;
use limits::Limits;

use crate::{
    clock::{SharedClock, Timestamp},
    protocol::ClientId,
    server::{
        keys::MacKey,
        meters::{Guess, Meters},
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
    pub(crate) limits: LimitsPolicy,
    pub(crate) hashing: HashingPolicy,
}

/// The clients, as fresh as the last look at the database.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    policy: Policy,
    clock: SharedClock,
    store: Store,
    meters: Arc<Meters>,
    /// Keyed by the epoch in which the reading began: a change raises the epoch, and what was read before is not found any
    /// more. Unknown names are remembered too, so that asking for one costs what asking for a known one costs.
    clients: Cache<(i64, ClientId), Option<Arc<Client>>>,
    seen: Arc<ArcSwap<Seen>>,
    /// Whether an older database was put in place of the one that was read.
    set_back: Arc<AtomicBool>,
    last_use: Arc<LastUse>,
    /// Wrong secrets, per client and source.
    failed_secrets: Attempts,
    passwords: Passwords,
}

/// What checking passwords needs.
#[derive(Debug, Clone)]
struct Passwords {
    hasher: PasswordHasher,
    limits: Limits,
}

/// The last look at the epochs.
#[derive(Debug)]
struct Seen {
    epoch: i64,
    /// By the steady clock.
    read_at: Timestamp,
}

/// Why it cannot be said who a client is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The database has been out of reach for longer than what is known may be trusted.
    #[error("the registry was last read {} s ago, which is too long to rely on", .0.as_secs())]
    Stale(Duration),
    #[error("the database did not answer within {} s", .0.as_secs())]
    Slow(Duration),
    #[error(transparent)]
    Store(Arc<store::Error>),
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl Error {
    /// Whether the same call may succeed a little later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Stale(_) | Self::Slow(_) => true,
            Self::Store(error) => error.is_transient(),
        }
    }
}

impl Registry {
    /// The name of the key for marks of sign-in sources.
    pub(crate) const SOURCE_KEY: &str = KnownSources::KEY;

    /// A registry that was read at `now`, in `epoch`.
    pub(crate) fn open(
        policy: Policy,
        store: Store,
        meters: Arc<Meters>,
        source_key: MacKey,
        clock: &SharedClock,
        epoch: i64,
        now: Timestamp,
    ) -> io::Result<Self> {
        let known = KnownSources::new(store.clone(), source_key, Arc::clone(clock));
        let hasher = PasswordHasher::start(policy.hashing, Arc::clone(&meters))?;
        Ok(Self {
            store,
            clients: Cache::builder().max_capacity(policy.cached_clients).build(),
            seen: Arc::new(ArcSwap::from_pointee(Seen { epoch, read_at: now })),
            set_back: Arc::default(),
            last_use: Arc::default(),
            failed_secrets: Attempts::new(policy.limits.attempts, Arc::clone(clock)),
            passwords: Passwords { hasher, limits: Limits::new(policy.limits, known, clock) },
            clock: Arc::clone(clock),
            policy,
            meters,
        })
    }

    /// Notes that at `read_at` the registry was in `epoch`.
    pub(crate) fn confirm(&self, epoch: i64, read_at: Timestamp) {
        if self.seen.load().epoch != epoch {
            // Not needed while epochs only rise; a database that was set back may come to this epoch again.
            self.clients.invalidate_all();
        }
        self.seen.store(Arc::new(Seen { epoch, read_at }));
    }

    /// Notes whether the database is older than it was: then it is not read, and what was read before ages.
    pub(crate) fn note_set_back(&self, set_back: bool) {
        self.set_back.store(set_back, Relaxed);
    }

    /// Whether the last look found the database older than it was.
    pub(crate) fn is_set_back(&self) -> bool {
        self.set_back.load(Relaxed)
    }

    /// How long ago the last look at the database was.
    pub(crate) fn age(&self) -> Duration {
        self.clock.steady().since(self.seen.load().read_at)
    }

    /// How many password hashes wait for a thread.
    pub(crate) fn hashes_waiting(&self) -> usize {
        self.passwords.hasher.waiting()
    }

    /// Notes that an attempt was refused because too many before it had failed.
    fn count_limited(&self, kind: &'static str) {
        self.meters.limited.get_or_create(&Guess { kind }).inc();
    }

    /// Whether the last look at the database is too long ago to decide by.
    pub(crate) fn is_stale(&self) -> bool {
        self.age() > self.policy.stale_for
    }

    /// Why the database takes no writes, while it takes none.
    pub(crate) fn write_failure(&self) -> Option<&'static str> {
        self.store.write_failure().map(store::WriteFailure::as_str)
    }

    /// The client of this name, from memory where it is there.
    async fn find_client(&self, id: &ClientId) -> Result<Option<Arc<Client>>, Error> {
        let (epoch, age) = {
            let seen = self.seen.load();
            (seen.epoch, self.clock.steady().since(seen.read_at))
        };
        if age > self.policy.stale_for {
            return Err(Error::Stale(age));
        }
        let read = async {
            self.meters.client_reads.inc();
            self.store.find_client(id).await.map(|client| client.map(Arc::new))
        };
        self.clients.try_get_with((epoch, id.clone()), read).await.map_err(Error::Store)
    }

    /// Writes down when secrets were last used, some hundred in one write.
    pub(crate) async fn stamp_last_use(&self) {
        const AT_ONCE: usize = 500;
        let used = self.last_use.take();
        for (index, batch) in used.chunks(AT_ONCE).enumerate() {
            if let Err(error) = self.store.stamp_secrets_used(batch.to_vec()).await {
                tracing::warn!(%error, "when client secrets were last used could not be noted; it will be tried again");
                return self.last_use.put_back(&used[index * AT_ONCE..]);
            }
        }
    }
}
