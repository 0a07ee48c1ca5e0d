//! Signing keys that an operator replaces or revokes, outside the schedule.

use std::time::Duration;

use super::{Error, Policy, SKEW, SealingKeys, opened::Keys, rotation};
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
    #[error("no key for {0} signs, or it is damaged: `sealwright key list` says more")]
    NoKey(Algorithm),
    #[error("the next key for {algorithm}, {kid}, is published already and signs from {} on: wait until then, or revoke it and rotate again", rfc3339(*activates_at))]
    NextIsPublished { algorithm: Algorithm, kid: String, activates_at: Timestamp },
    #[error(
        "a lead of {} is too short: verifiers may cache the JWKS for {}, and clocks differ, so that some would refuse the tokens of a key that signs earlier; the lead must be at least {}. If the key in use is compromised, `rotate --now --compromised` does not wait",
        spelled(*.lead), spelled(*.max_age), spelled(*.least)
    )]
    LeadTooShort { lead: Duration, max_age: Duration, least: Duration },
    #[error("a lead of {} is too long: at most {} are allowed", spelled(*.0), spelled(Policy::LONGEST_LEAD))]
    LeadTooLong(Duration),
    #[error("no resource uses {0}: the servers retire its keys")]
    Unused(Algorithm),
    #[error("the key {0} was not revoked: its row is damaged or was deleted; `sealwright key list` says more")]
    NotRevoked(String),
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

/// Every node has read a change of the keys after this long: it looks for changes twice a second.
pub(crate) const READ_WITHIN: Duration = Duration::from_millis(700);

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
    /// When a server was last alive, if that is long ago. Either none is, or the clock of this machine is ahead, and the key signs late.
    pub(crate) not_alive_since: Option<Timestamp>,
}

/// A key that is to be revoked.
#[derive(Debug)]
pub struct Condemned {
    pub(crate) kid: String,
    /// The key that signs in its place, if it is the one that signs.
    pub(crate) successor: Option<Successor>,
    /// For how long verifiers that honour `max-age` may accept its tokens.
    pub(crate) max_age: Duration,
}

/// The keys of a database as an operator may change them.
#[derive(Debug)]
pub(crate) struct KeyRequests<'a> {
    pub(super) policy: &'a Policy,
    pub(super) store: &'a Store,
    pub(super) sealing: SealingKeys,
    pub(super) stored: StoredKeys,
    pub(super) keys: Keys,
    /// The algorithms that resources use.
    pub(super) in_use: Vec<Algorithm>,
    /// When a server was last alive, by its own clock.
    last_alive: Option<Timestamp>,
    pub(super) now: Timestamp,
}

impl<'a> KeyRequests<'a> {
    /// Reads the keys.
    pub(crate) async fn read(policy: &'a Policy, store: &'a Store, now: Timestamp) -> Result<Self, RequestError> {
        let sealing = SealingKeys::open_existing(policy, store).await?;
        let stored = store.list_signing_keys().await?;
        let keys = Keys::open(&stored, &sealing, &Keys::default());
        let (last_alive, in_use) = (store.find_heartbeat().await?, store.list_algorithms_in_use().await?);
        Ok(Self { policy, store, sealing, stored, keys, in_use, last_alive, now })
    }

    /// Refuses a clock that is behind: a key that signs after a lead by such a clock would sign before verifiers know it.
    fn require_current_clock(&self) -> Result<(), RequestError> {
        let now = self.now;
        if let Some(published_at) = self.keys.newest().filter(|published_at| *published_at > now + 2 * SKEW) {
            return Err(Error::ClockBehind { now, published_at }.into());
        }
        match self.last_alive.filter(|alive_at| *alive_at > now + 2 * SKEW) {
            Some(alive_at) => Err(RequestError::ClockBehind { alive_at, now }),
            None => Ok(()),
        }
    }

    /// When a server was last alive, if that is long ago. Either none is, or the clock of this machine is ahead.
    fn not_alive_since(&self) -> Option<Timestamp> {
        // A server that is alive writes a heartbeat every minute.
        self.last_alive.filter(|last| self.now.since(*last) > 3 * SKEW)
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
        self.require_current_clock()?;
        let schedule = self.policy.schedule();
        let lead = lead.unwrap_or(schedule.lead);
        let least = self.policy.shortest_lead();
        if lead < least {
            return Err(RequestError::LeadTooShort { lead, max_age: schedule.longest_max_age, least });
        }
        if lead > Policy::LONGEST_LEAD {
            return Err(RequestError::LeadTooLong(lead));
        }
        let predecessor = self.signing(algorithm)?.kid.clone();
        if !self.in_use.contains(&algorithm) {
            return Err(RequestError::Unused(algorithm));
        }
        if let Some(row) = self.keys.successor_row(algorithm, self.now) {
            let (kid, activates_at) = (row.kid.clone(), row.activates_at);
            return Err(RequestError::NextIsPublished { algorithm, kid, activates_at });
        }
        Ok(self.successor(algorithm, None, predecessor, self.now + lead))
    }

    /// Publishes the next key of an algorithm, which signs after the lead.
    pub(crate) async fn rotate(&self, act: &Act, algorithm: Algorithm, lead: Option<Duration>) -> Result<Successor, RequestError> {
        let planned = self.rotation(algorithm, lead)?;
        self.take_over(act, planned).await
    }

    /// What revoking a key would do.
    pub(crate) fn condemned(&self, kid: &str) -> Result<Condemned, RequestError> {
        let schedule = self.policy.schedule();
        let max_age = schedule.lead.saturating_sub(2 * schedule.skew).min(schedule.longest_max_age);
        let kid = kid.to_owned();
        let Some(row) = self.stored.rows.iter().find(|row| row.kid == kid) else {
            let damaged = self.stored.damaged.iter().any(|key| key.kid.as_deref() == Some(&kid));
            return if damaged { Ok(Condemned { kid, successor: None, max_age }) } else { Err(RequestError::NoSuchKey(kid)) };
        };
        let (algorithm, state) = (row.algorithm, row.state(self.now));
        if !state.is_published() {
            return Err(RequestError::NotPublished { kid, state });
        }
        // A damaged key may be open in a server, which signs with it.
        let later = self.keys.active_row(algorithm, self.now).is_some_and(|active| active.generation > row.generation);
        let successor = (state == KeyState::Active && !later).then(|| {
            let next = self.keys.successor_row(algorithm, self.now).map(|row| row.kid.clone());
            self.successor(algorithm, next, kid.clone(), self.now + schedule.lead)
        });
        Ok(Condemned { kid, successor, max_age })
    }

    /// Publishes a key that can sign in place of one that is to be revoked, if that is the one that signs. Then it waits for its time as in a
    /// rotation, so that nothing is lost if the operator is interrupted.
    ///
    /// The key is revoked then, and [`Self::activate`] follows after [`READ_WITHIN`]. The `kid` of the successor makes verifiers fetch
    /// the JWKS. If that still had the compromised key, they would keep it until they fetch again, which can take an hour and longer. For
    /// about a second no key signs, and requests are answered with 503.
    pub(crate) async fn replace(&self, act: &Act, kid: &str) -> Result<Condemned, RequestError> {
        let condemned = self.condemned(kid)?;
        let successor = match condemned.successor {
            Some(successor) if successor.kid.is_none() => Some(self.take_over(act, successor).await?),
            published => published,
        };
        Ok(Condemned { successor, ..condemned })
    }

    /// Lets a key that is published sign at once.
    pub(crate) async fn activate(&self, act: &Act, kid: &str) -> Result<(), RequestError> {
        let row = self.stored.rows.iter().find(|row| row.kid == kid);
        let SigningKeyRow { algorithm, generation, .. } = *row.ok_or_else(|| RequestError::NoSuchKey(kid.to_owned()))?;
        Ok(rotation::activate_at_once(self.policy, self.store, act, (kid, algorithm, generation)).await?)
    }

    fn successor(&self, algorithm: Algorithm, kid: Option<String>, predecessor: String, activates_at: Timestamp) -> Successor {
        Successor {
            kid,
            algorithm,
            activates_at,
            predecessor,
            predecessor_expires_at: self.policy.schedule().expiry_of(activates_at),
            not_alive_since: self.not_alive_since(),
        }
    }

    async fn take_over(&self, act: &Act, planned: Successor) -> Result<Successor, RequestError> {
        let Successor { algorithm, activates_at, .. } = planned;
        let generation = self.stored.newest_generation(algorithm).saturating_add(1);
        let taken = Stopwatch::start();
        let mut row = rotation::create(self.policy, &self.sealing, algorithm, generation, self.now, activates_at).await?;
        // It is published from now on, and a large RSA key takes seconds.
        row.activates_at = (activates_at + taken.elapsed()).to_whole_second();
        let (kid, activates_at) = (row.kid.clone(), row.activates_at);
        let predecessor_expires_at = self.policy.schedule().expiry_of(activates_at);
        if !self.store.insert_signing_key(act, "key.create", row, predecessor_expires_at).await? {
            return Err(RequestError::Raced);
        }
        Ok(Successor { kid: Some(kid), activates_at, predecessor_expires_at, ..planned })
    }
}
