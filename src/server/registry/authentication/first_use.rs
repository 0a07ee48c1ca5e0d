//! Proofs that are accepted once.

use std::{net::IpAddr, time::Duration};

use moka::{policy::EvictionPolicy, sync::Cache};

use super::assertion::Once;
use crate::server::{
    limits::Network,
    model::Client,
    registry::{Error, Registry},
    store::{self, within},
    workers::{FairTurns, QueueShare},
};

/// How long the database may take to note that an assertion was used.
const USE_WITHIN: Duration = Duration::from_secs(5);

/// The assertions that were used on this node, so that a copy of one costs no write, and the turns at writing new ones.
#[derive(Debug)]
pub(in crate::server::registry) struct FirstUses {
    known: Cache<String, ()>,
    turns: FairTurns,
}

impl FirstUses {
    /// Maximum number of assertions that are known here. The database knows all.
    const KNOWN: u64 = 100_000;
    /// How many are being written at most, and how many wait for that.
    const AT_ONCE: usize = 256;
    const WAITING: usize = 1024;

    pub(in crate::server::registry) fn new() -> Self {
        let known = Cache::builder().max_capacity(Self::KNOWN).eviction_policy(EvictionPolicy::lru()).build();
        Self { known, turns: FairTurns::new(Self::AT_ONCE, Self::WAITING) }
    }
}

/// An assertion that may turn out to be used for the first time. Dropped before that, it may be sent again.
struct Claim<'k> {
    known: &'k Cache<String, ()>,
    name: String,
    is_decided: bool,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.is_decided {
            self.known.invalidate(&self.name);
        }
    }
}

impl Registry {
    /// Whether a proof that may be used once is used for the first time. No client and no source delays the others by what it sends.
    pub(super) async fn is_first_use(&self, client: &Client, once: Option<Once>, source: IpAddr) -> Result<bool, Error> {
        let Some(Once { digest, expires_at }) = once else { return Ok(true) };
        let FirstUses { known, turns } = &self.0.first_uses;
        // Of copies that arrive together, the first goes on. The time is part of it, as in the database.
        let name = format!("{} {digest}", expires_at.seconds());
        if !known.entry_by_ref(&name).or_insert(()).is_fresh() {
            return Ok(false);
        }
        let mut claim = Claim { known, name, is_decided: false };
        let share = QueueShare { client: client.id.to_string(), source: Network::of(source).to_string(), known_user: None };
        let written = within(USE_WITHIN, async {
            let _turn = turns.take(&share).await.map_err(|_| store::Error::Busy)?;
            self.0.store.use_assertion(digest, expires_at).await
        });
        let is_first = written.await?;
        claim.is_decided = true;
        Ok(is_first)
    }
}
