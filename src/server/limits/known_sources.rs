//! The sources from which a user has signed in before. Only a MAC of each address is stored, so that a copy of the database does
//! not reveal the addresses of users.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use moka::future::Cache;
use tokio::{sync::Semaphore, time::timeout};

use super::network::Network;
use crate::{
    clock::{SharedClock, Timestamp},
    protocol::ClientId,
    server::{
        keys::MacKey,
        model::{UserId, Username},
        store::{self, SourceMark, Store},
    },
};

#[derive(Debug)]
pub(crate) struct KnownSources {
    store: Store,
    key: MacKey,
    clock: SharedClock,
    /// Recent look-ups by client and user name, so that an attack on one user name does not load the database.
    found: Cache<(ClientId, Username), Arc<Found>>,
    looking: Semaphore,
    /// A mark that matches no source.
    no_mark: (UserId, SourceMark),
}

#[derive(Debug)]
struct Found {
    read_at: Timestamp,
    marks: Vec<(UserId, SourceMark)>,
}

/// Why the known sources of a user could not be looked up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookUpError {
    #[error("the database did not answer within {} s", .0.as_secs())]
    Slow(Duration),
    #[error(transparent)]
    Store(Arc<store::Error>),
}

impl KnownSources {
    /// The name of the MAC key in the database.
    pub(crate) const KEY: &str = "sign_in_source";
    /// Domain separation: the MAC key signs only messages with this prefix.
    const PURPOSE: &str = "sign-in source";
    /// Maximum number of cached look-ups.
    const NAMES: u64 = 10_000;
    /// How long they are cached.
    const CACHED_FOR: Duration = Duration::from_secs(10);
    /// Maximum number of concurrent look-ups, so that most database connections stay free for other work; and the time limit of one,
    /// including the wait for its turn.
    const AT_ONCE: usize = 2;
    const TIME_LIMIT: Duration = Duration::from_secs(2);

    pub(crate) fn new(store: Store, key: MacKey, clock: SharedClock) -> Self {
        let found = Cache::builder().max_capacity(Self::NAMES).build();
        let no_mark = (UserId::generate(), SourceMark(BASE64_URL_SAFE_NO_PAD.encode([0; 32])));
        Self { store, key, clock, found, looking: Semaphore::new(Self::AT_ONCE), no_mark }
    }

    /// The mark to store when a user signs in from `network`.
    pub(crate) fn mark(&self, client: &ClientId, user: UserId, network: &Network) -> SourceMark {
        let mac = self.key.sign(message(client, user, network).as_bytes());
        SourceMark(BASE64_URL_SAFE_NO_PAD.encode(mac))
    }

    /// Whether the user of this name has signed in by this client from `network` before.
    pub(crate) async fn contain(&self, client: &ClientId, name: &Username, network: &Network) -> Result<bool, LookUpError> {
        let found = self.find(client, name).await?;
        // The number of checks is constant, so that the time does not reveal which user names exist.
        let marks = found.marks.iter().chain(std::iter::repeat(&self.no_mark)).take(Store::SIGN_IN_SOURCES);
        Ok(marks.fold(false, |known, (user, mark)| {
            let mac = BASE64_URL_SAFE_NO_PAD.decode(&mark.0).unwrap_or_default();
            self.key.verifies(message(client, *user, network).as_bytes(), &mac) | known
        }))
    }

    /// Drops the cached look-up of a user who has just signed in.
    pub(crate) async fn forget_cached(&self, client: &ClientId, name: &Username) {
        self.found.invalidate(&(client.clone(), name.clone())).await;
    }

    async fn find(&self, client: &ClientId, name: &Username) -> Result<Arc<Found>, LookUpError> {
        let now = self.clock.steady();
        let key = (client.clone(), name.clone());
        if let Some(found) = self.found.get(&key).await {
            if now.since(found.read_at) < Self::CACHED_FOR {
                return Ok(found);
            }
            self.found.invalidate(&key).await;
        }
        let look = async {
            let _turn = self.looking.acquire().await;
            let marks = self.store.find_sign_in_sources(client, name).await?;
            Ok(Arc::new(Found { read_at: now, marks }))
        };
        let found = timeout(Self::TIME_LIMIT, self.found.try_get_with(key, look)).await;
        found.map_err(|_| LookUpError::Slow(Self::TIME_LIMIT))?.map_err(LookUpError::Store)
    }
}

/// The signed message contains user and client, so that marks do not reveal whether two users share an address.
fn message(client: &ClientId, user: UserId, network: &Network) -> String {
    format!("{} {client} {user} {network}", KnownSources::PURPOSE)
}
