//! What will happen to the signing keys, and when: the plan executed on a copy of them, from one moment to the next at which anything changes.

mod event;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use event::{KeyEvent, KeyEventKind, Why};

use super::{
    Occasion, Schedule, Step, plan,
    snapshot::{Snapshot, SnapshotKey},
};
use crate::{
    clock::Timestamp,
    protocol::Algorithm,
    server::model::{KeyState, SigningKeyRow},
};

/// What happens from `from` to `until` if servers run all the time and nothing is changed by hand, in the order of time.
pub(in crate::server::keys) fn forecast(snapshot: Snapshot, schedule: Schedule, from: Timestamp, until: Timestamp) -> Vec<KeyEvent> {
    let moments = Moments::new(snapshot, schedule, from);
    moments.take_while(|(at, _)| *at <= until).flat_map(|(_, events)| events).collect()
}

/// For each algorithm in use, when the next key that does not sign yet will.
pub(in crate::server::keys) fn next_activations(snapshot: Snapshot, schedule: Schedule, now: Timestamp) -> Vec<(Algorithm, Timestamp)> {
    // One rotation, and a first key that waits until verifiers know it.
    let horizon = now + schedule.period + 2 * schedule.lead + schedule.keep;
    let in_use = snapshot.in_use.clone();
    let mut found: Vec<(Algorithm, Timestamp)> = Vec::new();
    for (_, events) in Moments::new(snapshot, schedule, now).take_while(|(at, _)| *at <= horizon) {
        for event in events.into_iter().filter(|event| event.kind == KeyEventKind::Activate && in_use.contains(&event.algorithm)) {
            if found.iter().all(|(algorithm, _)| *algorithm != event.algorithm) {
                found.push((event.algorithm, event.at));
            }
        }
        if found.len() == in_use.len() {
            break;
        }
    }
    found
}

/// The moments at which anything changes, with what happens at each.
struct Moments {
    snapshot: Snapshot,
    schedule: Schedule,
    /// `None` after the last one.
    next: Option<Timestamp>,
    /// The state of each key at the moment before, by algorithm and generation.
    states: BTreeMap<(&'static str, i64), KeyState>,
    /// The kids that do not exist yet.
    future: BTreeSet<String>,
}

impl Moments {
    fn new(snapshot: Snapshot, schedule: Schedule, from: Timestamp) -> Self {
        // As in the database, times are whole seconds.
        let from = Timestamp::from_seconds(from.seconds());
        let states = snapshot.keys.iter().map(|key| (name(&key.row), key.row.state(from))).collect();
        Self { snapshot, schedule, next: Some(from), states, future: BTreeSet::new() }
    }

    fn happens_at(&mut self, now: Timestamp) -> Vec<KeyEvent> {
        let steps = plan(&self.snapshot.known(now), self.schedule, Occasion::Running, now);
        let mut events = Vec::new();
        for step in &steps {
            if let Step::Delete { kid } = step {
                events.extend(self.deleted(kid, now));
            }
            self.snapshot.apply(step, self.schedule, now);
            if let Step::Create { algorithm, generation, activates_at, cause } = *step {
                self.states.insert((algorithm.as_str(), generation), KeyState::Published);
                self.future.insert(format!("{algorithm} #{generation}"));
                let why = Why::Created { cause, lead: activates_at.since(now) };
                events.push(KeyEvent { at: now, algorithm, generation: Some(generation), kid: None, kind: KeyEventKind::Publish, why });
            }
        }
        for SnapshotKey { row, opens, .. } in &self.snapshot.keys {
            let state = row.state(now);
            let before = self.states.insert(name(row), state);
            // A key that does not open is neither published nor signs.
            if *opens && before != Some(state) {
                events.extend(self.changed(row, state, now));
            }
        }
        events.sort_by_key(|event| event.kind);
        events
    }

    /// What it means that a key is in this state from `now` on.
    fn changed(&self, row: &SigningKeyRow, state: KeyState, now: Timestamp) -> Option<KeyEvent> {
        let SigningKeyRow { algorithm, generation, .. } = *row;
        let successor =
            self.snapshot.keys.iter().map(|key| &key.row).filter(|key| key.algorithm == algorithm && key.generation > generation);
        let (kind, why) = match state {
            KeyState::Active => (KeyEventKind::Activate, Why::published_for(now.since(row.published_at), self.schedule.longest_max_age)),
            KeyState::Retired => {
                let signs = successor.filter(|key| key.state(now) == KeyState::Active).map(|key| key.generation).max();
                (KeyEventKind::Retire, signs.map_or(Why::Unused { algorithm }, |generation| Why::Succeeded { algorithm, generation }))
            }
            KeyState::Expired => (KeyEventKind::Expire, Why::TokensExpired),
            KeyState::Published | KeyState::Revoked => return None,
        };
        Some(KeyEvent { at: now, algorithm, generation: Some(generation), kid: self.existing(&row.kid), kind, why })
    }

    fn deleted(&self, kid: &str, now: Timestamp) -> Option<KeyEvent> {
        let readable = self.snapshot.keys.iter().find(|key| key.row.kid == kid).map(|key| (key.row.algorithm, Some(key.row.generation)));
        let unreadable = || {
            let key = self.snapshot.unreadable().iter().find(|key| key.kid.as_deref() == Some(kid))?;
            Some((key.algorithm?, key.generation))
        };
        let (algorithm, generation) = readable.or_else(unreadable)?;
        Some(KeyEvent {
            at: now,
            algorithm,
            generation,
            kid: self.existing(kid),
            kind: KeyEventKind::Delete,
            why: Why::Old(self.schedule.keep),
        })
    }

    /// The kid of a key that exists.
    fn existing(&self, kid: &str) -> Option<String> {
        (!self.future.contains(kid)).then(|| kid.to_owned())
    }

    /// The next time at which the plan may have a step, or a key has another state.
    fn after(&self, now: Timestamp) -> Option<Timestamp> {
        let Schedule { period, lead, keep, .. } = self.schedule;
        let of_row = |row: &SigningKeyRow| {
            let end = row.revoked_at.map(|revoked| self.schedule.expiry_of(revoked)).or(row.expires_at);
            let due = row.activates_at + period.saturating_sub(lead);
            [Some(row.activates_at), Some(due), row.retires_at, row.expires_at, end.map(|end| end + keep)]
        };
        let rows = self.snapshot.keys.iter().flat_map(|key| of_row(&key.row));
        let unreadable = self.snapshot.unreadable().iter().flat_map(|key| [key.retires_at, key.expires_at.map(|end| end + keep)]);
        rows.chain(unreadable).flatten().filter(|time| *time > now).min()
    }
}

impl Iterator for Moments {
    type Item = (Timestamp, Vec<KeyEvent>);

    fn next(&mut self) -> Option<Self::Item> {
        let now = self.next?;
        let events = self.happens_at(now);
        self.next = self.after(now);
        Some((now, events))
    }
}

fn name(row: &SigningKeyRow) -> (&'static str, i64) {
    (row.algorithm.as_str(), row.generation)
}
