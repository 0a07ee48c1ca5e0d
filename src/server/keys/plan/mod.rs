//! What has to be done about the signing keys: a pure function of the keys, the schedule and the time.
//!
//! ```text
//!          published_at       activates_at                         retires_at             expires_at        7 days later
//! key n         |---- lead --------|============ signs =============|--- still published ------|---------------|  row deleted
//! key n+1                               published_at |---- lead ----|============ signs =============|
//! ```

mod forecast;
mod snapshot;

use std::time::Duration;

pub(crate) use forecast::{KeyEvent, KeyEventKind};
pub(super) use forecast::{forecast, next_activations};
pub(super) use snapshot::{Snapshot, SnapshotKey};

use super::SKEW;
use crate::{
    clock::Timestamp,
    protocol::Algorithm,
    server::model::{KeyState, SigningKeyRow, TokenLifetime},
};

/// The times of the rotation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    /// How long a key signs.
    pub(super) period: Duration,
    /// How long a key is published before it signs.
    pub(super) lead: Duration,
    /// Maximum difference between the clocks of nodes and verifiers.
    pub(super) skew: Duration,
    /// The longest time for which verifiers may cache the JWKS, whatever the lead.
    pub(super) longest_max_age: Duration,
    /// How long after its signature the last verifier may accept a token: the longest lifetime and the longest leeway.
    longest_use: Duration,
    /// How long a row is kept after its key was withdrawn.
    keep: Duration,
}

impl Schedule {
    pub(super) const fn new(period: Duration, lead: Duration) -> Self {
        /// The longest leeway of a verifier, in seconds.
        const LEEWAY: u64 = 300;
        Self {
            period,
            lead,
            skew: SKEW,
            longest_max_age: Duration::from_secs(3600),
            longest_use: Duration::from_secs(TokenLifetime::MAX.seconds() + LEEWAY),
            keep: Duration::from_secs(7 * 24 * 3600),
        }
    }

    /// The same rotation at a multiple of its speed, to rehearse it.
    pub(super) fn at_speed(self, speed: u32) -> Self {
        Self {
            period: self.period / speed,
            lead: self.lead / speed,
            skew: self.skew / speed,
            longest_max_age: self.longest_max_age / speed,
            longest_use: self.longest_use / speed,
            keep: self.keep / speed,
        }
    }

    /// The time at which a key may be withdrawn that retires at `retires_at`.
    ///
    /// A node whose clock is behind signs with it for a while longer, a verifier whose clock is behind accepts the last token for longer, and a
    /// node whose clock is ahead withdraws the key early. The first is part of the token's own times; the other two are twice the skew.
    pub(super) fn expiry_of(&self, retires_at: Timestamp) -> Timestamp {
        retires_at + self.longest_use + 2 * self.skew
    }

    /// When a key must begin to sign in the database if it is to sign at once, also on a node whose clock is behind.
    pub(super) fn at_once(&self, now: Timestamp) -> Timestamp {
        now - 2 * self.skew
    }
}

/// How much a plan may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occasion {
    /// A server starts: only what it cannot start without.
    Start,
    /// A server runs.
    Running,
    /// A server runs whose clock may be ahead: nothing that can wait.
    Doubt,
    /// A server runs whose clock is wrong: only the replacement of lost keys.
    WrongClock,
}

impl Occasion {
    fn allows(self, step: &Step) -> bool {
        let cause = match step {
            Step::Create { cause, .. } => Some(*cause),
            _ => None,
        };
        let can_wait = cause == Some(Cause::Rotation) || matches!(step, Step::Retire { .. } | Step::Delete { .. });
        match self {
            Self::Start => matches!(cause, Some(Cause::First | Cause::Lost)) || matches!(step, Step::Activate { .. }),
            Self::Running => true,
            Self::Doubt => !can_wait,
            Self::WrongClock => cause == Some(Cause::Lost) || matches!(step, Step::Activate { .. }),
        }
    }
}

/// How long an unplanned key is published before it signs, so that every node has read it when the first one signs with it.
pub(super) const SHORT_LEAD: Duration = Duration::from_secs(2);
/// The algorithm of tokens whose resource uses one that has no key yet. It is always in use.
pub(super) const FALLBACK: Algorithm = Algorithm::Rs256;

/// A signing key of the database.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownKey<'a> {
    pub(super) row: &'a SigningKeyRow,
    /// Whether this node can sign with it.
    pub(super) opens: bool,
    /// Whether its row is damaged: it opened before the damage, if at all.
    pub(super) damaged: bool,
}

/// The signing keys of one algorithm in the database.
#[derive(Debug, Clone)]
pub(super) struct KnownKeys<'a> {
    pub(super) algorithm: Algorithm,
    /// Those whose row can be read.
    pub(super) keys: Vec<KnownKey<'a>>,
    /// The highest generation of any row, readable or not. Zero if there is none.
    pub(super) newest_generation: i64,
    /// Whether a row that may have been a key of this algorithm cannot be read.
    pub(super) unreadable: bool,
    /// The kids of other rows that cannot be read, and until when they are published.
    pub(super) ended: Vec<(String, Timestamp)>,
    /// Whether resources use the algorithm.
    pub(super) in_use: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Create a key that signs from `activates_at`. The keys before it retire then.
    Create { algorithm: Algorithm, generation: i64, activates_at: Timestamp, cause: Cause },
    /// Let a key that is published already sign from `activates_at`, because those before it are lost.
    Activate { kid: String, algorithm: Algorithm, generation: i64, activates_at: Timestamp },
    /// Retire the keys of an algorithm that no resource uses any more.
    Retire { algorithm: Algorithm, retires_at: Timestamp, expires_at: Timestamp },
    /// Delete the row of a key that was withdrawn long ago.
    Delete { kid: String },
}

/// Why a key is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The issuer has none.
    First,
    /// A resource uses an algorithm that has none.
    NewAlgorithm,
    /// The current one is due for replacement.
    Rotation,
    /// Those that should sign are damaged or revoked.
    Lost,
}

impl KnownKey<'_> {
    fn usable(&self) -> bool {
        self.opens && self.row.revoked_at.is_none()
    }

    fn signs(&self, now: Timestamp) -> bool {
        self.opens && self.row.state(now) == KeyState::Active
    }

    /// Whether it is going to sign.
    fn will_sign(&self, now: Timestamp) -> bool {
        let superseded = self.row.retires_at.is_some_and(|retires| retires <= self.row.activates_at);
        self.opens && self.row.state(now) == KeyState::Published && !superseded
    }

    /// Whether it should sign now or could still be needed, and cannot be used.
    fn is_lost(&self, now: Timestamp) -> bool {
        // One that was revoked before its time has never signed.
        let never_signed = self.row.revoked_at.is_some_and(|revoked| revoked < self.row.activates_at);
        !self.usable() && !never_signed && self.row.retires_at.is_none_or(|retires| retires > now)
    }
}

impl KnownKeys<'_> {
    fn has_lost(&self, now: Timestamp, before: i64) -> bool {
        self.unreadable || self.keys.iter().any(|key| key.row.generation < before && key.is_lost(now))
    }

    /// The next key, if it is time to create it.
    fn next(&self, schedule: Schedule, first: First, now: Timestamp) -> Option<Step> {
        let create = |cause, lead| {
            let (algorithm, generation, activates_at) = (self.algorithm, self.newest_generation.saturating_add(1), now + lead);
            Some(Step::Create { algorithm, generation, activates_at, cause })
        };
        let signing = self.keys.iter().filter(|key| key.signs(now)).max_by_key(|key| key.row.generation);
        let successor = self.keys.iter().filter(|key| key.will_sign(now)).max_by_key(|key| key.row.generation);
        match (signing, successor) {
            (Some(_), Some(_)) => None,
            (Some(key), None) => {
                let due = key.row.activates_at + schedule.period.saturating_sub(schedule.lead);
                // A key that retires although its successor is gone needs another one. So does one that will not open again.
                if due <= now || key.row.retires_at.is_some() || key.damaged { create(Cause::Rotation, schedule.lead) } else { None }
            }
            // Verifiers may know it already. The fallback does not wait, whatever became of the key before it.
            (None, Some(KnownKey { row, .. }))
                if self.has_lost(now, row.generation) || self.algorithm == FALLBACK && row.activates_at > now + 2 * schedule.skew =>
            {
                let activates_at = now + SHORT_LEAD;
                let (kid, algorithm, generation) = (row.kid.clone(), row.algorithm, row.generation);
                let early = activates_at < row.activates_at;
                early.then_some(Step::Activate { kid, algorithm, generation, activates_at })
            }
            // It is the first one and waits for its time, or this clock is a little behind.
            (None, Some(_)) => None,
            // The fallback always has a key once it had one.
            (None, None) if self.has_lost(now, i64::MAX) || self.algorithm == FALLBACK && self.newest_generation > 0 => {
                create(Cause::Lost, SHORT_LEAD)
            }
            (None, None) => match first {
                First::OfIssuer => create(Cause::First, Duration::ZERO),
                First::Again => create(Cause::Lost, SHORT_LEAD),
                First::AtOnce => create(Cause::NewAlgorithm, SHORT_LEAD),
                First::AfterCaches => create(Cause::NewAlgorithm, schedule.longest_max_age + 2 * schedule.skew + SHORT_LEAD),
            },
        }
    }

    /// The end of its keys, if it is not planned yet.
    fn end(&self, schedule: Schedule, now: Timestamp) -> Option<Step> {
        // Nodes that have not read the change of the resource yet still sign with them.
        let retires_at = now + 2 * schedule.skew;
        let open = self.keys.iter().any(|key| key.usable() && key.row.retires_at.is_none_or(|planned| planned > retires_at));
        open.then(|| Step::Retire { algorithm: self.algorithm, retires_at, expires_at: schedule.expiry_of(retires_at) })
    }

    fn old(&self, schedule: Schedule, now: Timestamp) -> impl Iterator<Item = Step> {
        let withdrawn = move |key: &KnownKey<'_>| key.row.revoked_at.map(|revoked| schedule.expiry_of(revoked)).or(key.row.expires_at);
        // The newest row is kept, because it holds the count of generations.
        let old = move |key: &&KnownKey<'_>| {
            key.row.generation < self.newest_generation && withdrawn(key).is_some_and(|withdrawn| withdrawn + schedule.keep <= now)
        };
        let unreadable = self.ended.iter().filter(move |(_, end)| *end + schedule.keep <= now).map(|(kid, _)| kid);
        self.keys.iter().filter(old).map(|key| &key.row.kid).chain(unreadable).map(|kid| Step::Delete { kid: kid.clone() })
    }
}

/// When the first key of an algorithm may sign.
#[derive(Debug, Clone, Copy)]
enum First {
    /// It is the first key of the issuer: no verifier can have cached a JWKS.
    OfIssuer,
    /// All keys of a running server were deleted.
    Again,
    /// The issuer is being set up, or has no other key to sign with.
    AtOnce,
    /// When no verifier has a cached JWKS without it. Until then, tokens are signed with [`FALLBACK`].
    AfterCaches,
}

impl First {
    fn of(issuer: &[KnownKeys<'_>], schedule: Schedule, occasion: Occasion, now: Timestamp) -> Self {
        let published = issuer.iter().flat_map(|known| &known.keys).map(|key| key.row.published_at).min();
        let fallback = issuer.iter().filter(|known| known.algorithm == FALLBACK).flat_map(|known| &known.keys);
        if issuer.iter().all(|known| known.newest_generation == 0 && !known.unreadable) {
            if occasion == Occasion::Start { Self::OfIssuer } else { Self::Again }
        } else if published.is_none_or(|first| now.since(first) < schedule.longest_max_age)
            || !fallback.into_iter().any(|key| key.signs(now))
        {
            Self::AtOnce
        } else {
            Self::AfterCaches
        }
    }
}

/// The steps that are due at `now`. `issuer` has an entry for every algorithm that has a key or is in use.
pub(super) fn plan(issuer: &[KnownKeys<'_>], schedule: Schedule, occasion: Occasion, now: Timestamp) -> Vec<Step> {
    let first = First::of(issuer, schedule, occasion, now);
    let mut steps = Vec::new();
    for known in issuer {
        steps.extend(if known.in_use { known.next(schedule, first, now) } else { known.end(schedule, now) });
        steps.extend(known.old(schedule, now));
    }
    steps.retain(|step| occasion.allows(step));
    steps
}

#[cfg(test)]
mod tests;
