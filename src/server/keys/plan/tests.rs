use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::server::store::StoredKeys;

const NOW: Timestamp = Timestamp::from_seconds(1_795_500_000);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const SCHEDULE: Schedule = Schedule::new(Duration::from_secs(30 * 24 * 3600), DAY);
const KEEP: Duration = SCHEDULE.keep;

fn row(algorithm: Algorithm, generation: i64, activates_at: Timestamp) -> SigningKeyRow {
    SigningKeyRow {
        kid: format!("{algorithm}-{generation}"),
        algorithm,
        generation,
        public_jwk: String::new(),
        sealed: String::new(),
        published_at: activates_at - SCHEDULE.lead,
        activates_at,
        retires_at: None,
        expires_at: None,
        revoked_at: None,
    }
}

fn rsa(generation: i64, activates_at: Timestamp) -> SigningKeyRow {
    row(Algorithm::Rs256, generation, activates_at)
}

fn known(rows: &[(SigningKeyRow, bool)], in_use: &[Algorithm]) -> Vec<KnownKeys<'static>> {
    let mut issuer: Vec<KnownKeys<'static>> = Vec::new();
    let entry = |algorithm| KnownKeys {
        algorithm,
        keys: Vec::new(),
        newest_generation: 0,
        unreadable: false,
        ended: Vec::new(),
        in_use: in_use.contains(&algorithm),
    };
    let mut algorithms = in_use.to_vec();
    algorithms.extend(rows.iter().map(|(row, _)| row.algorithm).filter(|algorithm| !in_use.contains(algorithm)));
    for algorithm in algorithms {
        let mut known = entry(algorithm);
        for (row, opens) in rows.iter().filter(|(row, _)| row.algorithm == algorithm) {
            known.newest_generation = known.newest_generation.max(row.generation);
            known.keys.push(KnownKey { row: Box::leak(Box::new(row.clone())), opens: *opens, damaged: !opens });
        }
        issuer.push(known);
    }
    issuer
}

#[test]
fn a_start_and_a_wrong_clock_change_only_what_cannot_wait() {
    let rotation = [(rsa(1, NOW - SCHEDULE.period), true)];
    let expired = SigningKeyRow { retires_at: Some(NOW - 20 * DAY), expires_at: Some(NOW - KEEP), ..rsa(1, NOW - 30 * DAY) };
    let old = [(rsa(2, NOW - DAY), true), (expired, true)];
    let lost = [(rsa(1, NOW - DAY), false)];
    for (occasion, allowed) in [
        (Occasion::Running, [true, true, true, true]),
        (Occasion::Doubt, [false, false, true, true]),
        (Occasion::Start, [false, false, true, false]),
        (Occasion::WrongClock, [false, false, true, false]),
    ] {
        let planned =
            |rows: &[(SigningKeyRow, bool)], in_use: &[Algorithm]| !plan(&known(rows, in_use), SCHEDULE, occasion, NOW).is_empty();
        let (one, two) = ([Algorithm::Rs256], [Algorithm::Rs256, Algorithm::Es256]);
        let found = [planned(&rotation, &one), planned(&old, &one), planned(&lost, &one), planned(&[(rsa(1, NOW), true)], &two)];
        assert_eq!(found, allowed, "{occasion:?}");
    }
}

#[test]
fn the_keys_of_a_running_server_that_were_all_deleted_are_replaced_after_two_seconds() {
    let first = |occasion| plan(&known(&[], &[Algorithm::Rs256]), SCHEDULE, occasion, NOW);
    assert!(matches!(first(Occasion::Start)[..], [Step::Create { activates_at: NOW, cause: Cause::First, .. }]));
    let Step::Create { activates_at, cause: Cause::Lost, .. } = first(Occasion::Running)[0] else { panic!("it is not the first start") };
    assert_eq!(activates_at, NOW + SHORT_LEAD);
}

/// The steps for keys of RS256: `(generation, lead, cause)` of each new key.
fn created(rows: &[(SigningKeyRow, bool)]) -> Vec<(i64, Duration, Cause)> {
    let steps = plan(&known(rows, &[Algorithm::Rs256]), SCHEDULE, Occasion::Running, NOW);
    steps
        .into_iter()
        .filter_map(|step| match step {
            Step::Create { generation, activates_at, cause, .. } => Some((generation, activates_at.since(NOW), cause)),
            _ => None,
        })
        .collect()
}

#[test]
fn the_next_key_is_published_a_lead_before_its_time() {
    assert_eq!(created(&[(rsa(1, NOW), true)]), []);
    let due = SCHEDULE.period - SCHEDULE.lead;
    assert_eq!(created(&[(rsa(1, NOW - due + Duration::from_secs(1)), true)]), []);
    assert_eq!(created(&[(rsa(1, NOW - due), true)]), [(2, DAY, Cause::Rotation)]);
    assert_eq!(created(&[(rsa(1, NOW - due), true), (rsa(2, NOW + HOUR), true)]), [], "it has been created");
}

#[test]
fn ky2_a_lost_key_is_replaced_by_one_that_signs_after_two_seconds() {
    let lost = |generation| [(generation, SHORT_LEAD, Cause::Lost)];
    let revoked = SigningKeyRow { revoked_at: Some(NOW - HOUR), ..rsa(1, NOW - DAY) };
    assert_eq!(created(&[(rsa(1, NOW - DAY), false)]), lost(2));
    assert_eq!(created(&[(revoked.clone(), true)]), lost(2));
    let steps = plan(&known(&[(revoked, true), (rsa(2, NOW + HOUR), true)], &[Algorithm::Rs256]), SCHEDULE, Occasion::Running, NOW);
    let early = matches!(steps[..], [Step::Activate { generation: 2, activates_at, .. }] if activates_at == NOW + SHORT_LEAD);
    assert!(early, "its successor is published already: {steps:?}");
    assert_eq!(created(&[(rsa(2, NOW - DAY), false), (rsa(1, NOW - 2 * DAY), true)]), [], "an older one is still there");
    let mut damaged = known(&[], &[Algorithm::Rs256]);
    (damaged[0].newest_generation, damaged[0].unreadable) = (4, true);
    let steps = plan(&damaged, SCHEDULE, Occasion::Running, NOW);
    assert!(matches!(steps[..], [Step::Create { generation: 5, cause: Cause::Lost, .. }]), "{steps:?}");
}

#[test]
fn ky2_a_key_that_is_open_and_whose_row_was_damaged_gets_a_successor_as_in_a_rotation() {
    let mut known = known(&[(rsa(1, NOW - DAY), true)], &[Algorithm::Rs256]);
    known[0].keys[0].damaged = true;
    let steps = plan(&known, SCHEDULE, Occasion::Running, NOW);
    assert!(matches!(steps[..], [Step::Create { generation: 2, cause: Cause::Rotation, .. }]), "{steps:?}");
}

#[test]
fn ky1_a_key_that_does_not_sign_yet_is_not_replaced() {
    assert_eq!(created(&[(rsa(1, NOW + DAY), true)]), []);
    let steps = plan(&known(&[(rsa(1, NOW + 2 * SKEW), true)], &[Algorithm::Rs256]), SCHEDULE, Occasion::Running, NOW);
    assert_eq!(steps, [], "clocks differ");
    let steps = plan(&known(&[(rsa(2, NOW + DAY), true)], &[Algorithm::Rs256]), SCHEDULE, Occasion::Running, NOW);
    assert!(matches!(steps[..], [Step::Activate { generation: 2, .. }]), "the row of the one before was deleted: {steps:?}");
}

#[test]
fn the_first_key_of_a_further_algorithm_waits_until_no_cached_jwks_lacks_it() {
    let lead = |founded: Timestamp| {
        let first = SigningKeyRow { published_at: founded, ..rsa(1, founded) };
        let known = known(&[(first, true)], &[Algorithm::Rs256, Algorithm::Es256]);
        let steps = plan(&known, SCHEDULE, Occasion::Running, NOW);
        let [Step::Create { algorithm: Algorithm::Es256, generation: 1, activates_at, .. }] = steps[..] else { panic!("{steps:?}") };
        activates_at.since(NOW)
    };
    assert_eq!(lead(NOW - 2 * DAY), HOUR + 2 * SKEW + SHORT_LEAD);
    assert_eq!(lead(NOW - HOUR / 2), SHORT_LEAD, "an issuer that is being set up");
}

#[test]
fn the_key_of_an_algorithm_that_no_resource_uses_retires() {
    let known = known(&[(rsa(1, NOW - DAY), true), (row(Algorithm::Es256, 1, NOW - DAY), true)], &[Algorithm::Rs256]);
    let steps = plan(&known, SCHEDULE, Occasion::Running, NOW);
    let retires_at = NOW + 2 * SKEW;
    assert_eq!(steps, [Step::Retire { algorithm: Algorithm::Es256, retires_at, expires_at: SCHEDULE.expiry_of(retires_at) }]);
}

#[test]
fn the_row_of_a_withdrawn_key_is_deleted_after_a_week_except_for_the_newest() {
    let expired =
        |generation| SigningKeyRow { retires_at: Some(NOW - 20 * DAY), expires_at: Some(NOW - KEEP), ..rsa(generation, NOW - 30 * DAY) };
    let steps = |rows: &[(SigningKeyRow, bool)]| plan(&known(rows, &[Algorithm::Rs256]), SCHEDULE, Occasion::Running, NOW);
    assert_eq!(steps(&[(rsa(2, NOW - DAY), true), (expired(1), true)]), [Step::Delete { kid: "RS256-1".to_owned() }]);
    let recent = SigningKeyRow { expires_at: Some(NOW - KEEP + HOUR), ..expired(1) };
    assert_eq!(steps(&[(rsa(2, NOW - DAY), true), (recent, true)]), []);
    assert!(matches!(steps(&[(expired(1), true)])[..], [Step::Create { generation: 2, .. }]), "nothing is deleted");
}

/// A database that several nodes use, whose clocks differ.
struct World {
    rows: Vec<SigningKeyRow>,
    schedule: Schedule,
    /// JWKS that verifiers have cached: the kids, and until when.
    cached: Vec<(Vec<String>, Timestamp)>,
    /// Signed tokens: the kid, and until when the last verifier accepts it.
    tokens: BTreeMap<String, Timestamp>,
    in_use: Vec<Algorithm>,
}

impl World {
    fn published(&self, now: Timestamp) -> Vec<String> {
        self.rows.iter().filter(|row| row.state(now).is_published()).map(|row| row.kid.clone()).collect()
    }

    fn execute(&mut self, now: Timestamp) {
        let keys = self.rows.drain(..).map(|row| SnapshotKey { row, opens: true, damaged: false }).collect();
        let none = StoredKeys { rows: Vec::new(), damaged: Vec::new() };
        let mut snapshot = Snapshot::new(keys, &none, self.in_use.clone());
        for step in plan(&snapshot.known(now), self.schedule, Occasion::Running, now) {
            assert!(!matches!(step, Step::Activate { .. }), "no key is lost");
            snapshot.apply(&step, self.schedule, now);
        }
        self.rows = snapshot.keys.into_iter().map(|key| key.row).collect();
    }

    /// One node looks at the plan, signs a token with the longest lifetime per algorithm, and answers a verifier that fetches the JWKS.
    fn run(&mut self, skew: i64, time: Timestamp) {
        let now = if skew < 0 { time - Duration::from_secs(skew.unsigned_abs()) } else { time + Duration::from_secs(skew.unsigned_abs()) };
        self.execute(now);
        self.cached.retain(|(_, until)| *until > time);
        self.tokens.retain(|_, until| *until > time);
        for &algorithm in &self.in_use {
            let active = self.rows.iter().filter(|row| row.algorithm == algorithm && row.state(now) == KeyState::Active);
            let active: Vec<_> = active.map(|row| row.kid.clone()).collect();
            // Until the first key of a further algorithm signs, the fallback does.
            assert!(active.len() == 1 || active.is_empty() && algorithm != FALLBACK, "{algorithm}: {active:?} sign at once");
            for kid in active {
                for (kids, _) in &self.cached {
                    assert!(kids.contains(&kid), "a cached JWKS lacks {kid}, which signs");
                }
                let until = now + DAY + Duration::from_secs(300) + SKEW;
                self.tokens.entry(kid).and_modify(|last| *last = (*last).max(until)).or_insert(until);
            }
        }
        let kids = self.published(now);
        for kid in self.tokens.keys() {
            assert!(kids.contains(kid), "{kid} was withdrawn, and a token that it signed is valid");
        }
        let max_age = (self.schedule.lead - 2 * SKEW).min(HOUR);
        self.cached.push((kids, time + max_age));
    }
}

/// How much time passes before the next step.
#[derive(Debug, Clone, Copy)]
enum Pause {
    Seconds(u32),
    /// Until this many seconds after the next time of a key, or before.
    NextEvent(i64),
}

fn pauses() -> impl Strategy<Value = Pause> {
    prop_oneof![
        3 => (1_u32..600).prop_map(Pause::Seconds),
        1 => (600_u32..300_000).prop_map(Pause::Seconds),
        4 => (-130_i64..130).prop_map(Pause::NextEvent),
    ]
}

impl World {
    fn after(&self, time: Timestamp, pause: Pause) -> Timestamp {
        let seconds = |seconds: i64| Duration::from_secs(seconds.unsigned_abs());
        match pause {
            Pause::Seconds(pause) => time + Duration::from_secs(pause.into()),
            Pause::NextEvent(offset) => {
                let next_rotation = |row: &SigningKeyRow| row.activates_at + self.schedule.period.saturating_sub(self.schedule.lead);
                let events =
                    self.rows.iter().flat_map(|row| [Some(row.activates_at), row.retires_at, row.expires_at, Some(next_rotation(row))]);
                let shifted = events.flatten().map(|event| if offset < 0 { event - seconds(offset) } else { event + seconds(offset) });
                shifted.filter(|event| *event > time).min().unwrap_or(time + DAY)
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    /// Clocks differ by a minute either way, nodes stop for hours or days, and a resource changes its algorithm again and again.
    #[test]
    fn jk2_jk3_one_key_signs_no_cached_jwks_lacks_it_and_it_is_published_while_its_tokens_are_valid(
        skews in prop::collection::vec(prop_oneof![Just(-60_i64), Just(60), -60_i64..=60], 2..5),
        (period, lead) in (1_u32..40, 2_u32..72),
        steps in prop::collection::vec((pauses(), 0_usize..5, 0_u32..40), 300),
    ) {
        let schedule = Schedule::new(period * DAY, lead * HOUR);
        let mut world = World { rows: Vec::new(), schedule, cached: Vec::new(), tokens: BTreeMap::new(), in_use: vec![Algorithm::Rs256] };
        // The issuer has been set up for a while when the first verifier caches anything.
        world.execute(NOW);
        let mut time = NOW + 2 * HOUR;
        for (pause, node, change) in steps {
            time = world.after(time, pause);
            match change {
                0 | 1 if !world.in_use.contains(&Algorithm::Es256) => world.in_use.push(Algorithm::Es256),
                2 => world.in_use.truncate(1),
                _ => {}
            }
            // Sometimes one node is up, sometimes all are.
            for skew in if change % 2 == 0 { &skews[..] } else { &skews[node % skews.len()..][..1] } {
                world.run(*skew, time);
            }
        }
    }
}
