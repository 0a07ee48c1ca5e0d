//! Clients and users: how they authenticate, and limits on failed attempts.

mod attempts;
mod authentication;
mod known_sources;
mod last_use;
mod limits;
mod network;
mod password_hashing;
mod password_rules;
mod registration;
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
pub(crate) use password_hashing::{Comparison, PasswordHasher, Policy as HashingPolicy};
pub(crate) use password_rules::Policy as PasswordRules;
pub(crate) use registration::{NewSecret, RegistrationError, add_secret, register_client, register_user, set_password};
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

/// The settings of the registry.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// How long cached clients are served while the database cannot be read.
    pub(crate) stale_for: Duration,
    /// Maximum number of cached clients.
    pub(crate) cached_clients: u64,
    pub(crate) limits: LimitsPolicy,
    pub(crate) hashing: HashingPolicy,
}

/// The cached clients, as of the last read of the epochs.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    policy: Policy,
    clock: SharedClock,
    store: Store,
    meters: Arc<Meters>,
    /// Keyed by the epoch in which the read began, so that a change makes older entries unreachable. Unknown client ids are cached too, so
    /// that they cost the same as known ones.
    clients: Cache<(i64, ClientId), Option<Arc<Client>>>,
    last_read: Arc<ArcSwap<LastRead>>,
    /// Whether the database was replaced by an older one.
    set_back: Arc<AtomicBool>,
    last_use: Arc<LastUse>,
    /// Failed secrets, per client and source.
    failed_secrets: Attempts,
    passwords: Passwords,
}

/// The parts that check passwords.
#[derive(Debug, Clone)]
struct Passwords {
    hasher: PasswordHasher,
    limits: Limits,
}

/// The last read of the epochs.
#[derive(Debug)]
struct LastRead {
    epoch: i64,
    /// By the steady clock.
    read_at: Timestamp,
}

/// Why a client or user could not be looked up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The database has been unreachable for longer than cached data is used.
    #[error("the registry was last read {} s ago, which is too long ago", .0.as_secs())]
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
    /// Whether a retry of the same call may succeed.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Stale(_) | Self::Slow(_) => true,
            Self::Store(error) => error.is_transient(),
        }
    }
}

impl Registry {
    /// The name, in the database, of the MAC key for marks of sign-in sources.
    pub(crate) const SOURCE_KEY: &str = KnownSources::KEY;

    /// Opens a registry. `epoch` was read at `now`.
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
            last_read: Arc::new(ArcSwap::from_pointee(LastRead { epoch, read_at: now })),
            set_back: Arc::default(),
            last_use: Arc::default(),
            failed_secrets: Attempts::new(policy.limits.attempts, Arc::clone(clock)),
            passwords: Passwords { hasher, limits: Limits::new(policy.limits, known, clock) },
            clock: Arc::clone(clock),
            policy,
            meters,
        })
    }

    /// Records that the registry was in `epoch` at `read_at`.
    pub(crate) fn confirm(&self, epoch: i64, read_at: Timestamp) {
        if self.last_read.load().epoch != epoch {
            // Epochs only rise, but an older database may reach the same epoch with other data.
            self.clients.invalidate_all();
        }
        self.last_read.store(Arc::new(LastRead { epoch, read_at }));
    }

    /// Records whether the database was replaced by an older one. While it is, nothing is confirmed and cached data ages.
    pub(crate) fn note_set_back(&self, set_back: bool) {
        self.set_back.store(set_back, Relaxed);
    }

    /// Whether the database was replaced by an older one.
    pub(crate) fn is_set_back(&self) -> bool {
        self.set_back.load(Relaxed)
    }

    /// The time since the epochs were last read.
    pub(crate) fn age(&self) -> Duration {
        self.clock.steady().since(self.last_read.load().read_at)
    }

    /// The number of password hashes that wait for a thread.
    pub(crate) fn hashes_waiting(&self) -> usize {
        self.passwords.hasher.waiting()
    }

    /// Counts an attempt that was refused because of earlier failures.
    fn count_limited(&self, kind: &'static str) {
        self.meters.limited.get_or_create(&Guess { kind }).inc();
    }

    /// Whether the epochs were last read too long ago to serve cached data.
    pub(crate) fn is_stale(&self) -> bool {
        self.age() > self.policy.stale_for
    }

    /// Why the database accepts no writes, if it does not.
    pub(crate) fn write_failure(&self) -> Option<&'static str> {
        self.store.write_failure().map(store::WriteFailure::as_str)
    }

    /// Finds a client, from the cache if it is there.
    async fn find_client(&self, id: &ClientId) -> Result<Option<Arc<Client>>, Error> {
        let (epoch, age) = {
            let last_read = self.last_read.load();
            (last_read.epoch, self.clock.steady().since(last_read.read_at))
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

    /// Writes to the database when secrets were last used, in batches.
    pub(crate) async fn stamp_last_use(&self) {
        const AT_ONCE: usize = 500;
        let used = self.last_use.take();
        for (index, batch) in used.chunks(AT_ONCE).enumerate() {
            if let Err(error) = self.store.stamp_secrets_used(batch.to_vec()).await {
                tracing::warn!(%error, "the last use of client secrets could not be recorded; the next run tries again");
                return self.last_use.put_back(&used[index * AT_ONCE..]);
            }
        }
    }
}
