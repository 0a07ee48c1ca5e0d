//! Sees to it that there is a key to sign with.

use tokio::task::spawn_blocking;

use super::{Error, Policy, SealingKeys, opened, sealing::Sealed, signer};
use crate::{
    clock::Timestamp,
    protocol::Algorithm,
    server::{model::SigningKeyRow, store::Store},
};

/// Makes a first key where no key can sign, active at once: there is no verifier yet that could know another.
///
/// Several nodes may do so at the same time; the (algorithm, generation) of one of them wins.
pub(super) async fn ensure_active_key(policy: &Policy, sealing: &SealingKeys, store: &Store, now: Timestamp) -> Result<(), Error> {
    // A key becomes readable only after it is there; once is enough unless the new row is damaged as well.
    let rows = opened::read_rows(store).await?;
    if opened::Keys::open(rows.clone(), sealing).active(now).is_some() {
        return Ok(());
    }
    let generation = rows.iter().map(|row| row.generation).max().unwrap_or(0) + 1;
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
    if store.insert_signing_key(row).await? {
        tracing::info!(key.id = kid, key.generation = generation, "made a signing key");
    }
    Ok(())
}
