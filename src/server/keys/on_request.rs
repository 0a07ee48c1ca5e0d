//! Signing keys that an operator replaces or revokes, outside the schedule.

use std::time::Duration;

use super::{
    Error, Policy, SKEW, SealingKeys,
    opened::Keys,
    plan::{SHORT_LEAD, Schedule},
    rotation,
};
use crate::{
    clock::{Stopwatch, Timestamp},
    protocol::Algorithm,
    server::{
        act::Act,
        model::{KeyState, SigningKeyRow, rfc3339},
        store::{self, Store, StoredKeys},
    },
};

/// Why a request of an operator is refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error(transparent)]
    Keys(#[from] Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("no key for {0} signs: a server creates one when a resource uses {0}")]
    NoKey(Algorithm),
    #[error("the next key for {algorithm}, {kid}, is published already and signs from {} on", rfc3339(*activates_at))]
    NextIsPublished { algorithm: Algorithm, kid: String, activates_at: Timestamp },
    #[error(
        "a lead of {} is too short: verifiers may cache the JWKS for {}, and clocks differ, so that some would refuse the tokens of a key that signs earlier; the lead must be at least {}. If the key in use is compromised, `rotate --now --compromised` does not wait",
        spelled(*.lead), spelled(*.max_age), spelled(*.least)
    )]
    LeadTooShort { lead: Duration, max_age: Duration, least: Duration },
    #[error("there is no signing key {0}: `sealwright key list` shows them all")]
    NoSuchKey(String),
    #[error("the key {kid} is {state} and no longer published: there is nothing to revoke")]
    NotPublished { kid: String, state: KeyState },
    #[error("the servers have just changed the keys: run the command again")]
    Raced,
    #[error(
        "a server was alive at {}, and the clock of this machine shows {}: set the clock that is wrong",
        rfc3339(*alive_at), rfc3339(*now)
    )]
    ClockBehind { alive_at: Timestamp, now: Timestamp },
}

fn spelled(duration: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(duration.as_secs()))
}

/// When to revoke a key whose successor signs from `activates_at` on: a moment before. The `kid` of the successor makes verifiers fetch the JWKS. If
/// that still had the compromised key, they would keep it until they fetch again, which can take an hour and longer. For less than a second no key
/// signs, and requests are answered with 503.
pub(crate) fn withdrawal_before(activates_at: Timestamp) -> Timestamp {
    /// Every node has read the withdrawal then: it looks for changes twice a second.
    const AHEAD: Duration = Duration::from_millis(700);
    activates_at - AHEAD
}

/// A key that takes over from the one that signs.
#[derive(Debug)]
pub struct Successor {
    /// `None` while it is not created yet.
    pub(crate) kid: Option<String>,
    pub(crate) algorithm: Algorithm,
    pub(crate) activates_at: Timestamp,
    /// The key that signs until then.
    pub(crate) predecessor: String,
    /// Until when the predecessor is published, unless it is revoked.
    pub(crate) predecessor_expires_at: Timestamp,
}

/// A key that is to be revoked.
#[derive(Debug)]
pub struct Condemned {
    pub(crate) kid: String,
    /// The key that signs in its place, if it is the one that signs.
    pub(crate) successor: Option<Successor>,
    /// For how long verifiers that honour `max-age` may accept its tokens.
    pub(crate) max_age: Duration,
    /// When a server was last alive, if that is long ago. Either none is, or the clock of this machine is ahead, and the successor would sign late.
    pub(crate) not_alive_since: Option<Timestamp>,
}

/// The keys of a database as an operator may change them.
#[derive(Debug)]
pub(crate) struct KeyRequests<'a> {
    pub(super) policy: &'a Policy,
    pub(super) store: &'a Store,
    pub(super) sealing: SealingKeys,
    pub(super) stored: StoredKeys,
    pub(super) keys: Keys,
    /// When a server was last alive, by its own clock.
    last_alive: Option<Timestamp>,
    pub(super) now: Timestamp,
}

impl<'a> KeyRequests<'a> {
    /// Reads the keys. Refuses a clock that is behind: a key that it creates would sign before verifiers know it.
    pub(crate) async fn read(policy: &'a Policy, store: &'a Store, now: Timestamp) -> Result<Self, RequestError> {
        let sealing = SealingKeys::open_existing(policy, store).await?;
        let stored = store.list_signing_keys().await?;
        let keys = Keys::open(&stored, &sealing, &Keys::default());
        if let Some(published_at) = keys.newest().filter(|published_at| *published_at > now + 2 * SKEW) {
            return Err(Error::ClockBehind { now, published_at }.into());
        }
        let last_alive = store.find_heartbeat().await?;
        if let Some(alive_at) = last_alive.filter(|alive_at| *alive_at > now + 2 * SKEW) {
            return Err(RequestError::ClockBehind { alive_at, now });
        }
        Ok(Self { policy, store, sealing, stored, keys, last_alive, now })
    }

    /// The algorithms that have a key that signs.
    pub(crate) fn algorithms(&self) -> Vec<Algorithm> {
        let mut found = Vec::new();
        for row in &self.stored.rows {
            if !found.contains(&row.algorithm) && self.keys.active_row(row.algorithm, self.now).is_some() {
                found.push(row.algorithm);
            }
        }
        found
    }

    /// The key of an algorithm that signs.
    pub(crate) fn signing(&self, algorithm: Algorithm) -> Result<&SigningKeyRow, RequestError> {
        self.keys.active_row(algorithm, self.now).ok_or(RequestError::NoKey(algorithm))
    }

    /// What [`Self::rotate`] would do.
    pub(crate) fn rotation(&self, algorithm: Algorithm, lead: Option<Duration>) -> Result<Successor, RequestError> {
        let schedule = self.policy.schedule();
        let lead = lead.unwrap_or(schedule.lead);
        let least = self.policy.shortest_lead();
        if lead < least {
            return Err(RequestError::LeadTooShort { lead, max_age: schedule.longest_max_age, least });
        }
        let predecessor = self.signing(algorithm)?.kid.clone();
        if let Some(row) = self.keys.successor_row(algorithm, self.now) {
            let (kid, activates_at) = (row.kid.clone(), row.activates_at);
            return Err(RequestError::NextIsPublished { algorithm, kid, activates_at });
        }
        Ok(self.successor(schedule, algorithm, None, predecessor, self.now + lead))
    }

    /// Publishes the next key of an algorithm, which signs after the lead.
    pub(crate) async fn rotate(&self, act: &Act, algorithm: Algorithm, lead: Option<Duration>) -> Result<Successor, RequestError> {
        let planned = self.rotation(algorithm, lead)?;
        self.take_over(act, planned).await
    }

    /// What revoking a key would do, or the key that signs if none is named.
    pub(crate) fn condemned(&self, kid: &str) -> Result<Condemned, RequestError> {
        let schedule = self.policy.schedule();
        let max_age = schedule.lead.saturating_sub(2 * schedule.skew).min(schedule.longest_max_age);
        // A server that is alive writes a heartbeat every minute.
        let not_alive_since = self.last_alive.filter(|last| self.now.since(*last) > 3 * SKEW);
        let kid = kid.to_owned();
        let Some(row) = self.stored.rows.iter().find(|row| row.kid == kid) else {
            let damaged = self.stored.damaged.iter().any(|key| key.kid.as_deref() == Some(&kid));
            return if damaged {
                Ok(Condemned { kid, successor: None, max_age, not_alive_since })
            } else {
                Err(RequestError::NoSuchKey(kid))
            };
        };
        let (algorithm, state) = (row.algorithm, row.state(self.now));
        if !state.is_published() {
            return Err(RequestError::NotPublished { kid, state });
        }
        let signs = self.keys.active_row(algorithm, self.now).is_some_and(|active| active.kid == kid);
        let successor = signs.then(|| {
            let next = self.keys.successor_row(algorithm, self.now).map(|row| row.kid.clone());
            self.successor(schedule, algorithm, next, kid.clone(), (self.now + SHORT_LEAD).to_whole_second())
        });
        Ok(Condemned { kid, successor, max_age, not_alive_since })
    }

    /// Lets another key sign in place of one that is to be revoked, if it is the one that signs. The other key is created unless it is published
    /// already. The key is revoked a moment before, see [`withdrawal_before`].
    pub(crate) async fn replace(&self, act: &Act, kid: &str) -> Result<Condemned, RequestError> {
        let condemned = self.condemned(kid)?;
        let successor = match condemned.successor {
            Some(successor) => Some(self.take_over(act, successor).await?),
            None => None,
        };
        Ok(Condemned { successor, ..condemned })
    }

    fn successor(
        &self,
        schedule: Schedule,
        algorithm: Algorithm,
        kid: Option<String>,
        predecessor: String,
        activates_at: Timestamp,
    ) -> Successor {
        Successor { kid, algorithm, activates_at, predecessor, predecessor_expires_at: schedule.expiry_of(activates_at) }
    }

    async fn take_over(&self, act: &Act, mut successor: Successor) -> Result<Successor, RequestError> {
        let Successor { algorithm, activates_at, predecessor_expires_at, .. } = successor;
        let (kid, first) = if let Some(kid) = successor.kid {
            let row = self.stored.rows.iter().find(|row| row.kid == kid);
            let generation = row.map_or(0, |row| row.generation);
            let first = self.store.activate_signing_key(act, (&kid, algorithm, generation), activates_at, predecessor_expires_at).await?;
            (kid, first)
        } else {
            let generation = self.stored.newest_generation(algorithm).saturating_add(1);
            let taken = Stopwatch::start();
            let mut row = rotation::create(self.policy, &self.sealing, algorithm, generation, self.now, activates_at).await?;
            // It is published from now on, and a large RSA key takes seconds.
            row.activates_at = (activates_at + taken.elapsed()).to_whole_second();
            successor.activates_at = row.activates_at;
            successor.predecessor_expires_at = self.policy.schedule().expiry_of(row.activates_at);
            (row.kid.clone(), self.store.insert_signing_key(act, "key.create", row, successor.predecessor_expires_at).await?)
        };
        if !first {
            return Err(RequestError::Raced);
        }
        Ok(Successor { kid: Some(kid), ..successor })
    }
}
