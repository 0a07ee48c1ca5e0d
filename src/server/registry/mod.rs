//! Clients and users: how they authenticate, and limits on failed attempts.

mod authentication;
mod last_use;
mod sign_in;
mod versions;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};

pub(crate) use authentication::{AuthenticationError, Credentials, Proof};
pub(crate) use sign_in::{SignIn, SignInError};
pub(crate) use versions::Changed;

use authentication::FirstUses;
use last_use::LastUse;
use versions::{VersionedCache, Versions};

use crate::{
    clock::{SharedClock, Timestamp},
    protocol::{Audience, ClientId, Issuer},
    server::{
        keys::MacKey,
        limits::{self, Attempts, KnownSources, LookUpError, PasswordLimits},
        meters::{Guess, Meters},
        model::{Client, ReadSpan, Resource},
        passwords::{HashingPolicy, PasswordHasher},
        settings::{self, Setting, Values, duration, number, setting},
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
    pub(crate) limits: limits::Policy,
    pub(crate) hashing: HashingPolicy,
}

impl Policy {
    pub(crate) const SETTINGS: &'static [Setting] = &[
        setting(
            "registry_stale_for",
            Some("10s"),
            "how long cached clients are served while the database is unreachable",
            "a duration from 1s to 1h",
        ),
        setting("cached_clients", Some("10000"), "maximum number of clients cached in memory", "a number from 1 to 1000000"),
    ];

    pub(crate) fn read(values: &Values) -> Result<Self, settings::Error> {
        Ok(Self {
            stale_for: values.parse("registry_stale_for", duration(Duration::from_secs(1), Duration::from_secs(3600)))?,
            cached_clients: values.parse("cached_clients", number(1, 1_000_000))?,
            limits: limits::Policy::read(values)?,
            hashing: HashingPolicy::read(values)?,
        })
    }
}

/// The cached clients and resources, as of the last read of the epochs except for [`Client::span`]. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Registry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    policy: Policy,
    clock: SharedClock,
    store: Store,
    meters: Arc<Meters>,
    /// Unknown client ids are cached too, so that they cost the same as known ones.
    clients: VersionedCache<ClientId, Client>,
    resources: VersionedCache<Audience, Resource>,
    last_read: ArcSwap<LastRead>,
    /// Whether the database was replaced by an older one.
    set_back: AtomicBool,
    last_use: LastUse,
    /// Failed proofs of clients, per client and source.
    failed_proofs: Attempts,
    first_uses: FirstUses,
    /// The audience of assertions.
    issuer: Issuer,
    passwords: Passwords,
}

/// The parts that check passwords.
#[derive(Debug)]
struct Passwords {
    hasher: PasswordHasher,
    limits: PasswordLimits,
}

/// The last read of the epochs.
#[derive(Debug)]
struct LastRead {
    epoch: i64,
    versions: Versions,
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

impl From<LookUpError> for Error {
    fn from(error: LookUpError) -> Self {
        match error {
            LookUpError::Slow(limit) => Self::Slow(limit),
            LookUpError::Store(error) => Self::Store(error),
        }
    }
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
    /// Maximum number of cached resources.
    const CACHED_RESOURCES: u64 = 10_000;

    /// Opens a registry of the clients of `issuer`. `epoch` was read at `read_at`.
    pub(crate) fn open(
        policy: Policy,
        store: Store,
        meters: Arc<Meters>,
        source_key: MacKey,
        clock: &SharedClock,
        issuer: Issuer,
        (epoch, read_at): (i64, Timestamp),
    ) -> io::Result<Self> {
        let known = KnownSources::new(store.clone(), source_key, Arc::clone(clock));
        let hasher = PasswordHasher::start(policy.hashing, Arc::clone(&meters))?;
        Ok(Self(Arc::new(Inner {
            store,
            clients: VersionedCache::new(policy.cached_clients),
            resources: VersionedCache::new(Self::CACHED_RESOURCES),
            last_read: ArcSwap::from_pointee(LastRead { epoch, versions: Versions::new(epoch), read_at }),
            set_back: AtomicBool::default(),
            last_use: LastUse::default(),
            first_uses: FirstUses::new(),
            failed_proofs: Attempts::new(policy.limits.attempts, Arc::clone(clock)),
            passwords: Passwords { hasher, limits: PasswordLimits::new(policy.limits, known, clock) },
            clock: Arc::clone(clock),
            issuer,
            policy,
            meters,
        })))
    }

    /// Records that the registry was in `epoch` at `read_at`, and what changed since the epoch of the previous call.
    pub(crate) fn confirm(&self, epoch: i64, changed: &Changed, read_at: Timestamp) {
        let last = self.0.last_read.load();
        let versions = if epoch == last.epoch { last.versions.clone() } else { last.versions.after(changed, epoch) };
        if versions.is_empty() && epoch != last.epoch {
            // Epochs only rise, but an older database may reach the same epoch with other data.
            self.0.clients.clear();
            self.0.resources.clear();
        }
        self.0.last_read.store(Arc::new(LastRead { epoch, versions, read_at }));
    }

    /// Records whether the database was replaced by an older one. While it is, nothing is confirmed and cached data ages.
    pub(crate) fn note_set_back(&self, set_back: bool) {
        self.0.set_back.store(set_back, Relaxed);
    }

    /// Whether the database was replaced by an older one.
    pub(crate) fn is_set_back(&self) -> bool {
        self.0.set_back.load(Relaxed)
    }

    /// The time since the epochs were last read.
    pub(crate) fn age(&self) -> Duration {
        self.0.clock.steady().since(self.0.last_read.load().read_at)
    }

    /// The number of password hashes that wait for a thread.
    pub(crate) fn hashes_waiting(&self) -> usize {
        self.0.passwords.hasher.waiting()
    }

    /// Counts an attempt that was refused because of earlier failures.
    fn count_limited(&self, kind: &'static str) {
        self.0.meters.limited.get_or_create(&Guess { kind }).inc();
    }

    /// Whether the epochs were last read too long ago to serve cached data.
    pub(crate) fn is_stale(&self) -> bool {
        self.age() > self.0.policy.stale_for
    }

    /// Why the database accepts no writes, if it does not.
    pub(crate) fn write_failure(&self) -> Option<&'static str> {
        self.0.store.write_failure().map(store::WriteFailure::as_str)
    }

    /// Finds a client, in the cache if it is there.
    async fn find_client(&self, id: &ClientId) -> Result<Option<Arc<Client>>, Error> {
        let version = self.fresh()?.versions.client(id);
        let read = async {
            self.0.meters.client_reads.inc();
            let read_at = self.0.clock.steady();
            let found = self.0.store.find_client_and_span(id).await?;
            Ok(found.map(|(client, span)| Client { span: span.map(|span| ReadSpan { span, read_at }), ..client }))
        };
        self.0.clients.find(version, id, read).await.map_err(Error::Store)
    }

    /// Finds a resource, in the cache if it is there.
    pub(crate) async fn find_resource(&self, audience: &Audience) -> Result<Option<Arc<Resource>>, Error> {
        let version = self.fresh()?.versions.resource(audience);
        self.0.resources.find(version, audience, self.0.store.find_resource(audience)).await.map_err(Error::Store)
    }

    /// The last read of the epochs, unless it is too long ago.
    fn fresh(&self) -> Result<Guard<Arc<LastRead>>, Error> {
        let last = self.0.last_read.load();
        let age = self.0.clock.steady().since(last.read_at);
        if age > self.0.policy.stale_for { Err(Error::Stale(age)) } else { Ok(last) }
    }

    /// Writes to the database when secrets and keys were last used, in batches. What is not written, even because the caller stopped waiting, is left for
    /// the next run.
    pub(crate) async fn stamp_last_use(&self) {
        for batch in self.0.last_use.batches() {
            if let Err(error) = self.0.store.stamp_credentials_used(batch.used().to_vec()).await {
                return tracing::warn!(%error, "the last use of secrets and keys of clients could not be recorded; the next run tries again");
            }
            batch.was_written();
        }
    }
}
