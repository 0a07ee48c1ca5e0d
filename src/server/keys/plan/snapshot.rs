//! The signing keys of the database as a value: a plan is made of it, and its steps can be tried on it.

use super::{FALLBACK, KnownKey, KnownKeys, Schedule, Step};
use crate::{
    clock::Timestamp,
    protocol::Algorithm,
    server::{
        model::SigningKeyRow,
        store::{DamagedKey, StoredKeys},
    },
};

/// All signing keys of the database, and the algorithms that resources use.
#[derive(Debug, Clone)]
pub(in crate::server::keys) struct Snapshot {
    pub(super) keys: Vec<SnapshotKey>,
    unreadable: Vec<UnreadableKey>,
    /// The generation of every row, readable as a whole or not.
    generations: Vec<(Algorithm, i64)>,
    pub(super) in_use: Vec<Algorithm>,
}

/// A key whose row can be read, or could be when this process opened it.
#[derive(Debug, Clone)]
pub(in crate::server::keys) struct SnapshotKey {
    pub(in crate::server::keys) row: SigningKeyRow,
    /// Whether this node can sign with it.
    pub(in crate::server::keys) opens: bool,
    /// Whether its row is damaged: it opened before the damage, if at all.
    pub(in crate::server::keys) damaged: bool,
}

/// What can be read of a row that cannot be read as a whole.
#[derive(Debug, Clone)]
pub(super) struct UnreadableKey {
    pub(super) kid: Option<String>,
    pub(super) algorithm: Option<Algorithm>,
    pub(super) generation: Option<i64>,
    pub(super) retires_at: Option<Timestamp>,
    pub(super) expires_at: Option<Timestamp>,
}

impl UnreadableKey {
    fn of(damaged: &DamagedKey) -> Self {
        let DamagedKey { ref kid, algorithm, generation, retires_at, expires_at, .. } = *damaged;
        Self { kid: kid.clone(), algorithm, generation, retires_at, expires_at }
    }

    fn retired(&self, now: Timestamp) -> bool {
        self.retires_at.is_some_and(|retires| retires <= now)
    }
}

impl Snapshot {
    /// `keys` are those of `stored` that can be read, or could be once.
    pub(in crate::server::keys) fn new(keys: Vec<SnapshotKey>, stored: &StoredKeys, in_use: Vec<Algorithm>) -> Self {
        let is_known = |kid: &str| keys.iter().any(|key| key.row.kid == kid);
        let unreadable = stored.damaged.iter().filter(|key| key.kid.as_deref().is_none_or(|kid| !is_known(kid)));
        let unreadable = unreadable.map(UnreadableKey::of).collect();
        Self { unreadable, generations: stored.generations().collect(), keys, in_use }
    }

    pub(super) fn newest_generation(&self, algorithm: Algorithm) -> i64 {
        let keys = self.keys.iter().map(|key| (key.row.algorithm, key.row.generation));
        let of = keys.chain(self.generations.iter().copied()).filter(|(of, _)| *of == algorithm);
        of.map(|(_, generation)| generation).max().unwrap_or(0)
    }

    /// The keys as the plan sees them at `now`, by algorithm.
    pub(in crate::server::keys) fn known(&self, now: Timestamp) -> Vec<KnownKeys<'_>> {
        let keys: Vec<_> =
            self.keys.iter().map(|SnapshotKey { row, opens, damaged }| KnownKey { row, opens: *opens, damaged: *damaged }).collect();
        // Each may have been the key of the algorithm that tokens are signed with in the end.
        let any_lost = self.unreadable.iter().any(|key| !key.retired(now)) || keys.iter().any(|key| !key.opens);
        let lost = |algorithm| {
            let of = self.unreadable.iter().any(|key| key.algorithm == Some(algorithm) && !key.retired(now));
            of || algorithm == FALLBACK && any_lost
        };
        let ended = |algorithm| {
            let of = self.unreadable.iter().filter(move |key| key.algorithm == Some(algorithm));
            of.filter_map(|key| Some((key.kid.clone()?, key.expires_at?))).collect()
        };
        let mut algorithms = self.in_use.clone();
        for algorithm in keys.iter().map(|key| key.row.algorithm).chain(self.unreadable.iter().filter_map(|key| key.algorithm)) {
            if !algorithms.contains(&algorithm) {
                algorithms.push(algorithm);
            }
        }
        let known = |algorithm| KnownKeys {
            algorithm,
            keys: keys.iter().filter(|key| key.row.algorithm == algorithm).copied().collect(),
            newest_generation: self.newest_generation(algorithm),
            unreadable: lost(algorithm),
            ended: ended(algorithm),
            in_use: self.in_use.contains(&algorithm),
        };
        algorithms.into_iter().map(known).collect()
    }

    /// Changes the rows as the execution of `step` at `now` does. A key that is created has no private half here, and a made-up kid.
    pub(super) fn apply(&mut self, step: &Step, schedule: Schedule, now: Timestamp) {
        match *step {
            Step::Create { algorithm, generation, activates_at, .. } => {
                self.retire_before(algorithm, generation, [now, activates_at], schedule.expiry_of(activates_at));
                let row = SigningKeyRow {
                    kid: format!("{algorithm} #{generation}"),
                    algorithm,
                    generation,
                    public_jwk: String::new(),
                    sealed: String::new(),
                    published_at: now,
                    activates_at,
                    retires_at: None,
                    expires_at: None,
                    revoked_at: None,
                };
                self.keys.push(SnapshotKey { row, opens: true, damaged: false });
            }
            Step::Activate { ref kid, algorithm, generation, activates_at } => {
                for key in self.keys.iter_mut().filter(|key| key.row.kid == *kid) {
                    key.row.activates_at = activates_at;
                }
                self.retire_before(algorithm, generation, [now, activates_at], schedule.expiry_of(activates_at));
            }
            Step::Retire { algorithm, retires_at, expires_at } => {
                let open = |row: &SigningKeyRow| row.retires_at.is_none_or(|planned| planned > retires_at) && row.revoked_at.is_none();
                for row in self.rows_of(algorithm).filter(|row| open(row)) {
                    (row.retires_at, row.expires_at) = (Some(retires_at), Some(expires_at));
                }
            }
            Step::Delete { ref kid } => {
                self.keys.retain(|key| key.row.kid != *kid);
                self.unreadable.retain(|key| key.kid.as_ref() != Some(kid));
            }
        }
    }

    fn rows_of(&mut self, algorithm: Algorithm) -> impl Iterator<Item = &mut SigningKeyRow> {
        self.keys.iter_mut().map(|key| &mut key.row).filter(move |row| row.algorithm == algorithm)
    }

    /// As the database does it when a key of `generation` is inserted or signs early.
    fn retire_before(&mut self, algorithm: Algorithm, generation: i64, [now, retires_at]: [Timestamp; 2], expires_at: Timestamp) {
        let expires_at = Some(expires_at);
        let open = |planned: Option<Timestamp>| planned.is_none_or(|planned| planned > now);
        for row in self.rows_of(algorithm).filter(|row| row.generation < generation && open(row.retires_at)) {
            let retires_at = if row.activates_at > now { now } else { retires_at };
            (row.retires_at, row.expires_at) = (Some(retires_at), expires_at);
        }
        let unreadable = self.unreadable.iter_mut().filter(|key| key.algorithm == Some(algorithm) && open(key.retires_at));
        for key in unreadable.filter(|key| key.generation.is_some_and(|earlier| earlier < generation)) {
            (key.retires_at, key.expires_at) = (Some(retires_at), expires_at);
        }
    }

    /// What ends at which time, of rows that cannot be read.
    pub(super) fn unreadable(&self) -> &[UnreadableKey] {
        &self.unreadable
    }
}
