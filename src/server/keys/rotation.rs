//! Sees to it that there is a key to sign with.

use tokio::task::spawn_blocking;

use super::{
    Error, Policy, SealingKeys,
    opened::{self, Keys},
    sealing::Sealed,
    signer,
};
use crate::{
    clock::Timestamp,
    protocol::Algorithm,
    server::{act::Act, model::SigningKeyRow, store::Store},
};

/// Opens the keys of the database, and makes one where none can sign, active at once. For the very first no verifier can know
/// another; after damage to the last one, verifiers that cached the old set refuse its tokens until they fetch anew, and no
/// tokens at all would be worse.
///
/// Several nodes may do so at the same time; the (algorithm, generation) of one of them wins.
pub(super) async fn open_or_make(policy: &Policy, sealing: &SealingKeys, store: &Store, now: Timestamp) -> Result<Keys, Error> {
    let rows = opened::read_rows(store).await?;
    let generation = rows.iter().map(|row| row.generation).max().unwrap_or(0) + 1;
    let keys = Keys::open(rows, sealing, None);
    if keys.active(now).is_some() {
        return Ok(keys);
    }
    let bits = policy.rsa_bits;
    let key = spawn_blocking(move || signer::generate(bits)).await.map_err(|e| Error::Generation(e.to_string()))??;
    let kid = key.public_jwk.kid().to_owned();
    let sealed = sealing.seal(Sealed { kid: &kid, generation }, &key.pkcs8)?;
    let row = SigningKeyRow {
        kid: kid.clone(),
        algorithm: Algorithm::Rs256,
        generation,
        public_jwk: key.public_jwk,
        sealed,
        published_at: now,
        activates_at: now,
        retires_at: None,
        expires_at: None,
        revoked_at: None,
    };
    if store.insert_signing_key(&Act::of_server(now), row).await? {
        if generation == 1 {
            tracing::info!(key.id = kid, key.generation = generation, "made the first signing key");
        } else {
            tracing::error!(
                key.id = kid,
                key.generation = generation,
                "no signing key could be used; made one that signs before verifiers know it"
            );
        }
    }
    Ok(Keys::open(opened::read_rows(store).await?, sealing, None))
}

/// Says whether the signing keys of a database can be used: how many there are, or which are damaged.
pub(crate) async fn check(sealing: &SealingKeys, store: &Store, now: Timestamp) -> Result<String, String> {
    let rows = store.list_signing_keys().await.map_err(|error| error.to_string())?;
    let readable: Vec<_> = rows.iter().filter_map(|row| row.as_ref().ok()).cloned().collect();
    let keys = Keys::open(readable, sealing, None);
    match (keys.len(), rows.len(), keys.active(now)) {
        (_, _, None) => Err("none can sign; the next start makes one".to_owned()),
        (usable, all, Some(_)) if usable < all => Err(format!("{} of {all} are damaged and stay out of use", all - usable)),
        (usable, ..) => Ok(format!("{usable}, of which one signs")),
    }
}
