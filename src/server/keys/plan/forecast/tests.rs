use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::server::{keys::plan::Cause, store::StoredKeys};

const NOW: Timestamp = Timestamp::from_seconds(1_795_500_000);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const SCHEDULE: Schedule = Schedule::new(Duration::from_secs(30 * 24 * 3600), DAY);
/// The longest lifetime of a token, the longest leeway of a verifier, and twice the skew.
const PUBLISHED_AFTER: Duration = Duration::from_secs(24 * 3600 + 300 + 120);

fn snapshot(keys: Vec<SnapshotKey>, in_use: &[Algorithm]) -> Snapshot {
    Snapshot::new(keys, &StoredKeys { rows: Vec::new(), damaged: Vec::new() }, in_use.to_vec())
}

fn key(algorithm: Algorithm, generation: i64, activates_at: Timestamp) -> SnapshotKey {
    let row = SigningKeyRow {
        kid: format!("{algorithm}-{generation}"),
        algorithm,
        generation,
        public_jwk: String::new(),
        sealed: String::new(),
        published_at: activates_at,
        activates_at,
        retires_at: None,
        expires_at: None,
        revoked_at: None,
    };
    SnapshotKey { row, opens: true, damaged: false }
}

fn rs256(generation: i64, activates_at: Timestamp) -> SnapshotKey {
    key(Algorithm::Rs256, generation, activates_at)
}

/// The events, each as one line: how long after `NOW` in days and minutes, what, and why.
fn lines(events: &[KeyEvent]) -> Vec<String> {
    let line = |event: &KeyEvent| {
        let minutes = event.at.since(NOW).as_secs() / 60;
        let (days, minutes, generation) = (minutes / 1440, minutes % 1440, event.generation.unwrap_or_default());
        format!("{days}d {minutes}m: {} {} #{generation}: {}", event.kind, event.algorithm, event.why)
    };
    events.iter().map(line).collect()
}

#[test]
fn a_key_is_replaced_after_its_period_and_deleted_a_week_after_its_last_token_has_expired() {
    let events = forecast(snapshot(vec![rs256(1, NOW)], &[Algorithm::Rs256]), SCHEDULE, NOW, NOW + 59 * DAY);
    assert_eq!(
        lines(&events),
        [
            "29d 0m: publish RS256 #2: the next key; it signs in 1day",
            "30d 0m: activate RS256 #2: published 1day ago: no cached JWKS lacks it",
            "30d 0m: retire RS256 #1: RS256 #2 signs",
            "31d 7m: expire RS256 #1: the last token that it signed has expired everywhere",
            "38d 7m: delete RS256 #1: it expired 7days ago",
            "59d 0m: publish RS256 #3: the next key; it signs in 1day",
        ]
    );
    let kids: Vec<_> = events.iter().map(|event| event.kid.as_deref()).collect();
    let existing = Some("RS256-1");
    assert_eq!(kids, [None, None, existing, existing, existing, None], "a key that does not exist yet has no kid");
}

#[test]
fn a_year_has_as_many_keys_as_periods_and_a_short_period_counts_as_the_lead() {
    let published = |schedule| {
        let events = forecast(snapshot(vec![rs256(1, NOW)], &[Algorithm::Rs256]), schedule, NOW, NOW + 365 * DAY);
        events.iter().filter(|event| event.kind == KeyEventKind::Publish).count()
    };
    assert_eq!(published(SCHEDULE), 12);
    assert_eq!(published(Schedule::new(DAY, 30 * DAY)), 13);
    assert_eq!(published(Schedule::new(DAY, 2 * HOUR)), 365);
}

#[test]
fn what_is_lost_unused_or_new_changes_at_once() {
    let lost = SnapshotKey { opens: false, damaged: true, ..rs256(4, NOW - DAY) };
    let unused = key(Algorithm::Ps256, 1, NOW - DAY);
    let events = forecast(snapshot(vec![lost, unused], &[Algorithm::Rs256, Algorithm::Es256]), SCHEDULE, NOW, NOW + PUBLISHED_AFTER);
    assert_eq!(
        lines(&events),
        [
            "0d 0m: publish RS256 #5: those that should sign are damaged, revoked or deleted",
            "0d 0m: publish ES256 #1: a resource uses the algorithm, which has no key",
            "0d 0m: activate RS256 #5: no other key can sign, so it does not wait until every verifier knows it",
            "0d 0m: activate ES256 #1: no other key can sign, so it does not wait until every verifier knows it",
            "0d 2m: retire PS256 #1: no resource uses PS256",
        ]
    );
    assert!(matches!(events[0].why, Why::Created { cause: Cause::Lost, .. }));
}

#[test]
fn the_next_activation_is_that_of_a_published_key_or_of_one_that_will_be_published() {
    let next = |keys: Vec<SnapshotKey>, in_use: &[Algorithm]| next_activations(snapshot(keys, in_use), SCHEDULE, NOW);
    let alone = || rs256(1, NOW - 10 * DAY);
    assert_eq!(next(vec![alone()], &[Algorithm::Rs256]), [(Algorithm::Rs256, NOW + 20 * DAY)]);
    let published = SnapshotKey { row: SigningKeyRow { published_at: NOW, ..rs256(2, NOW + HOUR).row }, ..alone() };
    let retiring = SnapshotKey { row: SigningKeyRow { retires_at: Some(NOW + HOUR), ..alone().row }, ..alone() };
    assert_eq!(next(vec![retiring, published], &[Algorithm::Rs256]), [(Algorithm::Rs256, NOW + HOUR)]);
    let overdue = rs256(1, NOW - 60 * DAY);
    assert_eq!(next(vec![overdue], &[Algorithm::Rs256]), [(Algorithm::Rs256, NOW + DAY)], "it is published now");
    let both = next(vec![alone(), key(Algorithm::Ps256, 1, NOW - DAY)], &[Algorithm::Rs256, Algorithm::Es256]);
    let first = NOW + Duration::from_secs(3600 + 120 + 2);
    assert_eq!(both, [(Algorithm::Es256, first), (Algorithm::Rs256, NOW + 20 * DAY)], "not of an algorithm that is not in use");
}

/// What becomes of the keys when servers look at them every so often: the last state of each row, and when rows were deleted.
struct Executed {
    rows: BTreeMap<(&'static str, i64), SigningKeyRow>,
    deleted: BTreeMap<(&'static str, i64), Timestamp>,
}

const LOOK_EVERY: Duration = Duration::from_secs(600);

fn execute(snapshot: &mut Snapshot, schedule: Schedule, from: Timestamp, until: Timestamp) -> Executed {
    let mut executed = Executed { rows: BTreeMap::new(), deleted: BTreeMap::new() };
    let mut now = from;
    while now <= until {
        for step in plan(&snapshot.known(now), schedule, Occasion::Running, now) {
            if let Step::Delete { kid } = &step {
                let row = &snapshot.keys.iter().find(|key| key.row.kid == *kid).unwrap().row;
                executed.deleted.insert(name(row), now);
            }
            snapshot.apply(&step, schedule, now);
        }
        executed.rows.extend(snapshot.keys.iter().map(|key| (name(&key.row), key.row.clone())));
        now = now + LOOK_EVERY;
    }
    executed
}

/// What happens to the keys by hand before the forecast.
#[derive(Debug, Clone, Copy)]
enum Incident {
    None,
    NewestRevoked,
    NewestDoesNotOpen,
    NewestDamagedButOpen,
    AllDeleted,
}

fn incidents() -> impl Strategy<Value = Incident> {
    prop_oneof![
        3 => Just(Incident::None),
        1 => Just(Incident::NewestRevoked),
        1 => Just(Incident::NewestDoesNotOpen),
        1 => Just(Incident::NewestDamagedButOpen),
        1 => Just(Incident::AllDeleted),
    ]
}

impl Incident {
    fn befall(self, snapshot: &mut Snapshot, now: Timestamp) {
        let Some(newest) = snapshot.keys.iter_mut().max_by_key(|key| key.row.generation) else { return };
        match self {
            Self::None => {}
            Self::NewestRevoked => newest.row.revoked_at = Some(now),
            Self::NewestDoesNotOpen => (newest.opens, newest.damaged) = (false, true),
            Self::NewestDamagedButOpen => newest.damaged = true,
            Self::AllDeleted => snapshot.keys.clear(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(32) })]

    /// Each look is late by up to its interval, and each generation inherits that.
    #[test]
    fn a_forecast_agrees_with_what_servers_do_that_look_at_the_plan_again_and_again(
        (period, lead) in (1_u32..10, 2_u32..72),
        history in 0_u32..1000,
        incident in incidents(),
        (es256_before, es256_after) in (any::<bool>(), any::<bool>()),
    ) {
        let schedule = Schedule::new(period * DAY, lead * HOUR);
        let in_use = |es256: bool| if es256 { vec![Algorithm::Rs256, Algorithm::Es256] } else { vec![Algorithm::Rs256] };
        let mut snapshot = snapshot(Vec::new(), &in_use(es256_before));
        let from = NOW + history * LOOK_EVERY;
        execute(&mut snapshot, schedule, NOW, from - LOOK_EVERY);
        snapshot.in_use = in_use(es256_after);
        incident.befall(&mut snapshot, from);
        let before: BTreeMap<_, _> = snapshot.keys.iter().map(|key| (name(&key.row), key.row.clone())).collect();

        let until = from + 20 * DAY;
        let events = forecast(snapshot.clone(), schedule, from, until);
        let executed = execute(&mut snapshot, schedule, from, until + 2 * DAY);

        let mut newest = BTreeMap::new();
        for event in &events {
            let key = (event.algorithm.as_str(), event.generation.unwrap());
            let first = *newest.entry(key.0).or_insert(key.1);
            let late = LOOK_EVERY * u32::try_from(key.1.saturating_sub(first)).unwrap_or(0).saturating_add(2);
            let row = &executed.rows[&key];
            let happened = match event.kind {
                KeyEventKind::Publish => Some(row.published_at),
                KeyEventKind::Activate => Some(row.activates_at),
                KeyEventKind::Retire => row.retires_at,
                KeyEventKind::Expire => row.expires_at,
                KeyEventKind::Delete => executed.deleted.get(&key).copied(),
            };
            let in_time = happened.is_some_and(|happened| event.at <= happened && happened <= event.at + late);
            // What happens after the end of the execution is not known.
            prop_assert!(in_time || event.at + late > until, "{event:?}: {happened:?}, {row:?}");
        }

        let foreseen = |key: &(&'static str, i64), kind| {
            events.iter().any(|event| (event.algorithm.as_str(), event.generation.unwrap()) == *key && event.kind == kind)
        };
        let within = |time: Timestamp| from <= time && time <= until;
        for (key, row) in &executed.rows {
            let is_new = !before.contains_key(key);
            if is_new && within(row.published_at) {
                prop_assert!(foreseen(key, KeyEventKind::Publish), "{:?}", row);
            }
            let signs = row.retires_at.is_none_or(|retires| retires > row.activates_at);
            let usable = snapshot.keys.iter().all(|key| key.row.kid != row.kid || key.opens && key.row.revoked_at.is_none());
            if usable && signs && from < row.activates_at && within(row.activates_at) {
                prop_assert!(foreseen(key, KeyEventKind::Activate), "{:?}", row);
            }
        }
        for (key, at) in &executed.deleted {
            if within(*at) {
                prop_assert!(foreseen(key, KeyEventKind::Delete), "{:?}", key);
            }
        }
    }
}
