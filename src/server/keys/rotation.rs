//! Ensures that there is a key to sign with.

use tokio::task::spawn_blocking;

use super::{
    Error, Policy, SealingKeys,
    opened::{self, Keys},
    plan::{Step, plan},
    sealing::Sealed,
    signer,
};
use crate::{
    clock::Timestamp,
    protocol::Algorithm,
    server::{act::Act, model::SigningKeyRow, store::Store},
};

/// Opens the keys of the database. If none can sign, creates one that is active at once. No verifier can have cached other keys before
/// the very first one. After damage to the last key, verifiers that cached the old set refuse the new tokens until they fetch the
/// JWKS again; to issue no tokens at all would be worse.
///
/// Several nodes may do so at the same time; the unique (algorithm, generation) lets one of them win.
pub(super) async fn open_or_create(policy: &Policy, sealing: &SealingKeys, store: &Store, now: Timestamp) -> Result<Keys, Error> {
    let rows = opened::read_rows(store).await?;
    let keys = Keys::open(&rows, sealing, None);
    let steps = plan(&keys.known(&rows), &store.list_algorithms_in_use().await?, now);
    if steps.is_empty() {
        return Ok(keys);
    }
    for Step::Create { algorithm, generation } in steps {
        create(policy, sealing, store, algorithm, generation, now).await?;
    }
    Ok(Keys::open(&opened::read_rows(store).await?, sealing, None))
}

/// Creates a key that is active at once.
async fn create(
    policy: &Policy,
    sealing: &SealingKeys,
    store: &Store,
    algorithm: Algorithm,
    generation: i64,
    now: Timestamp,
) -> Result<(), Error> {
    let bits = policy.rsa_bits;
    let key = spawn_blocking(move || signer::generate(algorithm, bits)).await.map_err(|e| Error::Generation(e.to_string()))??;
    let kid = key.public_jwk.kid().to_owned();
    let sealed = sealing.seal(Sealed { kid: &kid, generation, algorithm: Some(algorithm) }, &key.pkcs8)?;
    let row = SigningKeyRow {
        kid: kid.clone(),
        algorithm,
        generation,
        public_jwk: serde_json::to_string(&key.public_jwk).map_err(|e| Error::Generation(e.to_string()))?,
        sealed,
        published_at: now,
        activates_at: now,
        retires_at: None,
        expires_at: None,
        revoked_at: None,
    };
    if store.insert_signing_key(&Act::of_server(now), row).await? {
        if generation == 1 {
            tracing::info!(key.id = kid, key.generation = generation, "created the first signing key");
        } else {
            tracing::error!(
                key.id = kid,
                key.generation = generation,
                "no signing key could be used; created one, which signs before verifiers know it"
            );
        }
    }
    Ok(())
}

/// Checks whether the signing keys of a database can be used: how many there are, or how many are damaged.
pub(crate) async fn check(sealing: &SealingKeys, store: &Store, now: Timestamp) -> Result<String, String> {
    let rows = store.list_signing_keys().await.map_err(|error| error.to_string())?;
    let readable: Vec<_> = rows.iter().filter_map(|row| row.as_ref().ok()).cloned().collect();
    let keys = Keys::open(&readable, sealing, None);
    match (keys.len(), rows.len(), keys.active(Algorithm::Rs256, now)) {
        (_, _, None) => Err("none can sign; the next start creates one".to_owned()),
        (usable, all, Some(_)) if usable < all => Err(format!("{} of {all} are damaged and are not used", all - usable)),
        (usable, ..) => Ok(format!("{usable}, of which one signs")),
    }
}
