//! Executes the plan of the signing keys. Every node does so, without a leader: the unique (algorithm, generation) lets one of them win.

use tokio::task::spawn_blocking;

use super::{
    Error, Policy, SKEW, SealingKeys,
    opened::Keys,
    plan::{Cause, FALLBACK, Occasion, Snapshot, Step, plan},
    sealing::Sealed,
    signer::{self, NewKey},
};
use crate::{
    clock::{Stopwatch, Timestamp},
    protocol::Algorithm,
    server::{act::Act, model::SigningKeyRow, store::Store},
};

/// Opens the keys of the database. Creates those that are missing.
///
/// A key of the future means that the clock of this machine is behind. A server that started nevertheless would create a key that no verifier
/// knows, and all nodes would sign with it.
pub(super) async fn open_or_create(policy: &Policy, sealing: &SealingKeys, store: &Store, now: Timestamp) -> Result<Keys, Error> {
    let stored = store.list_signing_keys().await?;
    let keys = Keys::open(&stored, sealing, &Keys::default());
    report_quarantined(&keys, &Keys::default());
    if let Some(published_at) = keys.newest().filter(|published_at| *published_at > now + 2 * SKEW) {
        return Err(Error::ClockBehind { now, published_at });
    }
    let snapshot = keys.snapshot(&stored, store.list_algorithms_in_use().await?);
    if execute(policy, sealing, store, &snapshot, Occasion::Start, now).await? == 0 {
        return Ok(keys);
    }
    let keys = Keys::open(&store.list_signing_keys().await?, sealing, &keys);
    if keys.newest().is_none() {
        return Err(Error::NotCreated);
    }
    Ok(keys)
}

/// Executes the steps that are due, and returns their number.
pub(super) async fn execute(
    policy: &Policy,
    sealing: &SealingKeys,
    store: &Store,
    snapshot: &Snapshot,
    occasion: Occasion,
    now: Timestamp,
) -> Result<usize, Error> {
    let act = Act::of_server(now);
    let schedule = policy.schedule();
    let steps = plan(&snapshot.known(now), schedule, occasion, now);
    let count = steps.len();
    for step in steps {
        match step {
            Step::Create { algorithm, generation, activates_at, cause } => {
                let taken = Stopwatch::start();
                let mut row = create(policy, sealing, algorithm, generation, now, activates_at).await?;
                if matches!(cause, Cause::Lost | Cause::NewAlgorithm) {
                    // It is published from now on, and a large RSA key takes seconds.
                    row.activates_at = (activates_at + taken.elapsed()).to_whole_second();
                }
                let (kid, activates_at) = (row.kid.clone(), row.activates_at);
                if store.insert_signing_key(&act, "key.create", row, schedule.expiry_of(activates_at)).await? {
                    report_created(cause, algorithm, generation, &kid, activates_at);
                }
            }
            Step::Activate { kid, algorithm, generation, activates_at } => {
                let activates_at = activates_at.to_whole_second();
                let key = (&*kid, algorithm, generation);
                if store.activate_signing_key(&act, key, activates_at, schedule.expiry_of(activates_at)).await? {
                    tracing::error!(key.id = kid, "the signing key in use was lost or revoked; the next one signs early");
                }
            }
            Step::Retire { algorithm, retires_at, expires_at } => {
                store.retire_signing_keys(&act, algorithm, retires_at, expires_at).await?
            }
            Step::Delete { kid } => store.delete_signing_key(&act, &kid).await?,
        }
    }
    Ok(count)
}

/// Lets a published key sign at once.
pub(super) async fn activate_at_once(policy: &Policy, store: &Store, act: &Act, key: (&str, Algorithm, i64)) -> Result<(), Error> {
    let schedule = policy.schedule();
    // A server may have noticed that the key before it is revoked, and may have been first.
    store.activate_signing_key(act, key, schedule.at_once(act.now), schedule.expiry_of(act.now)).await?;
    Ok(())
}

pub(super) async fn create(
    policy: &Policy,
    sealing: &SealingKeys,
    algorithm: Algorithm,
    generation: i64,
    now: Timestamp,
    activates_at: Timestamp,
) -> Result<SigningKeyRow, Error> {
    let bits = policy.rsa_bits;
    let key = spawn_blocking(move || signer::generate(algorithm, bits)).await.map_err(|e| Error::Generation(e.to_string()))??;
    sealed(sealing, &key, generation, now, activates_at)
}

/// The row of a key that is published at `now`.
pub(super) fn sealed(
    sealing: &SealingKeys,
    key: &NewKey,
    generation: i64,
    now: Timestamp,
    activates_at: Timestamp,
) -> Result<SigningKeyRow, Error> {
    let (kid, algorithm) = (key.public_jwk.kid().to_owned(), key.public_jwk.algorithm());
    let sealed = sealing.seal(Sealed { kid: &kid, generation, algorithm: Some(algorithm) }, &key.pkcs8)?;
    Ok(SigningKeyRow {
        kid,
        algorithm,
        generation,
        public_jwk: serde_json::to_string(&key.public_jwk).map_err(|e| Error::Generation(e.to_string()))?,
        sealed,
        published_at: now,
        activates_at,
        retires_at: None,
        expires_at: None,
        revoked_at: None,
    })
}

fn report_created(cause: Cause, algorithm: Algorithm, generation: i64, kid: &str, activates_at: Timestamp) {
    let (alg, activates_at_s) = (algorithm.as_str(), activates_at.seconds());
    match cause {
        Cause::First => tracing::info!(key.id = kid, alg, key.generation = generation, "created the first signing key"),
        Cause::NewAlgorithm => {
            tracing::info!(
                key.id = kid,
                alg,
                key.generation = generation,
                activates_at_s,
                "created a signing key for an algorithm that had none"
            )
        }
        Cause::Rotation => tracing::info!(key.id = kid, alg, key.generation = generation, activates_at_s, "created the next signing key"),
        Cause::Lost => tracing::error!(
            key.id = kid,
            alg,
            key.generation = generation,
            "no signing key could be used; created one, which signs before all verifiers know it"
        ),
    }
}

/// Reports the damaged keys that were not damaged `before`.
pub(super) fn report_quarantined(keys: &Keys, before: &Keys) {
    for quarantined in keys.quarantined().iter().filter(|quarantined| !before.quarantined().contains(quarantined)) {
        tracing::error!(key.id = quarantined.kid, error = quarantined.why, "a signing key is damaged and is not used");
    }
}

/// Checks whether the signing keys of a database can be used: how many there are, or how many are damaged.
pub(crate) async fn check(sealing: &SealingKeys, store: &Store, now: Timestamp) -> Result<String, String> {
    let stored = store.list_signing_keys().await.map_err(|error| error.to_string())?;
    let keys = Keys::open(&stored, sealing, &Keys::default());
    let all = stored.rows.len() + stored.damaged.len();
    let ahead = keys.newest().filter(|published_at| *published_at > now + 2 * SKEW);
    match (keys.len(), keys.will_sign(FALLBACK, now)) {
        _ if ahead.is_some() => Err("one was published in the future: the clock of this machine is behind".to_owned()),
        (usable, true) if usable < all => Err(format!("{} of {all} are damaged and are not used", all - usable)),
        (usable, true) if keys.active(FALLBACK, now).is_some() => Ok(format!("{usable}, of which one signs")),
        (usable, true) => Ok(format!("{usable}, of which one signs soon")),
        (_, false) => Err("none can sign; a server creates one when it starts".to_owned()),
    }
}
