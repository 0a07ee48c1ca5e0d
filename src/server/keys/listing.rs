//! The signing keys of a database as an operator sees them: what they are, which are damaged, and what will happen to them.

use std::{cmp::Reverse, time::Duration};

use super::{
    Error, Policy, SKEW, SealingKeys,
    opened::Keys,
    plan::{KeyEvent, Snapshot, SnapshotKey, forecast},
};
use crate::{
    clock::Timestamp,
    protocol::Algorithm,
    server::{
        model::{SigningKeyRow, rfc3339},
        store::{DamagedKey, Store, StoredKeys},
    },
};

/// All signing keys of a database, by algorithm, the newest generation first.
#[derive(Debug)]
pub(crate) struct ListedKeys {
    pub(crate) keys: Vec<ListedKey>,
    /// Why the private keys were not opened, so that damage to them is not known.
    pub(crate) not_opened: Option<Error>,
}

#[derive(Debug)]
pub(crate) enum ListedKey {
    Whole(SigningKeyRow),
    Quarantined(QuarantinedKey),
}

/// A damaged key, as far as it can be read.
#[derive(Debug)]
pub(crate) struct QuarantinedKey {
    pub(crate) kid: Option<String>,
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) generation: Option<i64>,
    pub(crate) published_at: Option<Timestamp>,
    pub(crate) activates_at: Option<Timestamp>,
    pub(crate) retires_at: Option<Timestamp>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) revoked_at: Option<Timestamp>,
    pub(crate) why: String,
}

impl From<DamagedKey> for QuarantinedKey {
    fn from(key: DamagedKey) -> Self {
        let DamagedKey { kid, algorithm, generation, published_at, activates_at, retires_at, expires_at, revoked_at, error } = key;
        Self { kid, algorithm, generation, published_at, activates_at, retires_at, expires_at, revoked_at, why: error.to_string() }
    }
}

impl ListedKey {
    fn quarantined(row: SigningKeyRow, why: String) -> Self {
        Self::Quarantined(QuarantinedKey {
            kid: Some(row.kid),
            algorithm: Some(row.algorithm),
            generation: Some(row.generation),
            published_at: Some(row.published_at),
            activates_at: Some(row.activates_at),
            retires_at: row.retires_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            why,
        })
    }

    fn algorithm(&self) -> Option<Algorithm> {
        match self {
            Self::Whole(row) => Some(row.algorithm),
            Self::Quarantined(key) => key.algorithm,
        }
    }

    fn generation(&self) -> Option<i64> {
        match self {
            Self::Whole(row) => Some(row.generation),
            Self::Quarantined(key) => key.generation,
        }
    }

    /// `RS256 #4`: short, and also for a key that does not exist yet.
    pub(crate) fn name(&self) -> String {
        let algorithm = self.algorithm().map_or("?", Algorithm::as_str);
        name_of_key(algorithm, self.generation())
    }
}

/// The short name of a key: its algorithm and its generation.
pub(crate) fn name_of_key(algorithm: &str, generation: Option<i64>) -> String {
    let generation = generation.map_or_else(|| "?".to_owned(), |generation| generation.to_string());
    format!("{algorithm} #{generation}")
}

/// The keys of `stored` that open, or why they cannot be opened.
async fn open(policy: &Policy, store: &Store, stored: &StoredKeys) -> Result<Result<Keys, Error>, Error> {
    match SealingKeys::open_existing(policy, store).await {
        Ok(sealing) => Ok(Ok(Keys::open(stored, &sealing, &Keys::default()))),
        Err(error @ Error::Store(_)) => Err(error),
        Err(error) => Ok(Err(error)),
    }
}

/// All signing keys, also those that are damaged.
pub(crate) async fn list(policy: &Policy, store: &Store) -> Result<ListedKeys, Error> {
    let stored = store.list_signing_keys().await?;
    let opened = open(policy, store, &stored).await?;
    let why = |row: &SigningKeyRow| {
        let quarantined = opened.as_ref().map(Keys::quarantined).unwrap_or_default();
        quarantined.iter().find(|key| key.kid == row.kid).map(|key| key.why.clone())
    };
    let readable = stored.rows.into_iter().map(|row| match why(&row) {
        Some(why) => ListedKey::quarantined(row, why),
        None => ListedKey::Whole(row),
    });
    let mut keys: Vec<_> = readable.chain(stored.damaged.into_iter().map(|key| ListedKey::Quarantined(key.into()))).collect();
    // Those whose algorithm cannot be read come last.
    keys.sort_by_key(|key| (key.algorithm().map_or("~", Algorithm::as_str), Reverse(key.generation())));
    Ok(ListedKeys { keys, not_opened: opened.err() })
}

/// What will happen to the signing keys.
#[derive(Debug)]
pub(crate) struct KeyPlan {
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
    /// How long a key signs, and how long it is published before, by the settings of this process.
    pub(crate) period: Duration,
    pub(crate) lead: Duration,
    pub(crate) events: Vec<KeyEvent>,
    pub(crate) warnings: Vec<PlanWarning>,
}

/// Why the plan may not come true.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanWarning {
    #[error("no server has been alive on this database yet: the first start creates the keys")]
    NeverAlive,
    #[error(
        "no server has been alive since {}: only a running server replaces keys, so this plan holds if one starts now, and what is due waits for an hour after the start",
        rfc3339(*.0)
    )]
    NotAlive(Timestamp),
    #[error(
        "a server is alive at a time that is {} s ahead of the clock of this machine: one of the two clocks is wrong, and this plan starts from this one",
        .0.as_secs()
    )]
    ClockBehind(Duration),
    #[error(
        "a key was published at {}, which is in the future by the clock of this machine: a server with such a clock does not start",
        rfc3339(*.0)
    )]
    PublishedInFuture(Timestamp),
    #[error("the private keys were not opened, so this plan assumes that all of them can sign: {0}")]
    NotOpened(Error),
    #[error(
        "damaged keys: {0}. This plan assumes that a server starts now; one that runs and opened a key before the damage signs with it until its successor does, see `sealwright key list`"
    )]
    Quarantined(usize),
}

/// What will happen to the signing keys within `duration` if servers run all the time and nothing is changed by hand.
pub(crate) async fn plan(policy: &Policy, store: &Store, now: Timestamp, duration: Duration) -> Result<KeyPlan, Error> {
    let stored = store.list_signing_keys().await?;
    let in_use = store.list_algorithms_in_use().await?;
    let mut warnings = warnings_of_clocks(&stored, store.find_heartbeat().await?, now);
    let snapshot = match open(policy, store, &stored).await? {
        Ok(keys) => {
            let damaged = keys.quarantined().len();
            warnings.extend((damaged > 0).then_some(PlanWarning::Quarantined(damaged)));
            keys.snapshot(&stored, in_use)
        }
        Err(error) => {
            warnings.push(PlanWarning::NotOpened(error));
            let keys = stored.rows.iter().map(|row| SnapshotKey { row: row.clone(), opens: true, damaged: false });
            Snapshot::new(keys.collect(), &stored, in_use)
        }
    };
    let schedule = policy.schedule();
    let until = now + duration;
    let events = forecast(snapshot, schedule, now, until);
    Ok(KeyPlan { from: now, until, period: schedule.period, lead: schedule.lead, events, warnings })
}

fn warnings_of_clocks(stored: &StoredKeys, heartbeat: Option<Timestamp>, now: Timestamp) -> Vec<PlanWarning> {
    let alive = match heartbeat {
        None => Some(PlanWarning::NeverAlive),
        // A server that is alive writes it every minute.
        Some(heartbeat) if now.since(heartbeat) > 3 * SKEW => Some(PlanWarning::NotAlive(heartbeat)),
        Some(heartbeat) if heartbeat.since(now) > 2 * SKEW => Some(PlanWarning::ClockBehind(heartbeat.since(now))),
        Some(_) => None,
    };
    let newest = stored.rows.iter().map(|row| row.published_at).max();
    let future = newest.filter(|published| *published > now + 2 * SKEW).map(PlanWarning::PublishedInFuture);
    alive.into_iter().chain(future).collect()
}
