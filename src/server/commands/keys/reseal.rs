use std::path::PathBuf;

use super::Keys;
use crate::{
    clock::Timestamp,
    server::{
        commands::{Act, Error},
        keys::{Begun, Reseal, Resealed, Retired},
    },
};

/// How to replace the sealing key.
#[derive(Debug)]
pub(crate) struct NewSealing {
    /// Whether the sealing key and a copy of the database may be known, so that signing keys and MAC keys are replaced as well.
    pub(crate) compromised: bool,
    /// The file to write the new set of keys to, if the place of the keys cannot be changed.
    pub(crate) output: Option<PathBuf>,
}

impl Keys<'_> {
    /// Whether a run with `compromised` was interrupted, so that the next one continues it whatever it is given.
    pub(crate) async fn is_replacing_all_keys(&self) -> Result<bool, Error> {
        let canary = self.store.find_canary().await?;
        Ok(canary.and_then(|canary| canary.successor).is_some_and(|successor| successor.replaces))
    }

    /// Adds a new sealing key, or continues with the one that was added before.
    pub(crate) async fn begin_reseal(&self, act: &Act, new: &NewSealing) -> Result<Begun, Error> {
        Ok(Reseal::begin(self.policy, self.store, new.compromised, new.output.as_deref(), act.now).await?)
    }

    /// Whether a running server cannot open the new sealing key yet.
    pub(crate) async fn is_any_server_behind(&self, reseal: &Reseal, now: Timestamp) -> Result<bool, Error> {
        Ok(!reseal.behind(self.store, now).await?.is_empty())
    }

    /// Rewrites everything under the new sealing key, and publishes new signing keys if the present ones have to be replaced. Refused while a
    /// server is behind. If [`Reseal::replaces_all_keys`], [`Self::withdraw_known_keys`] follows once every node has read the new signing keys.
    pub(crate) async fn rewrite_sealed(&self, act: &Act, reseal: &Reseal) -> Result<Resealed, Error> {
        let mut done = reseal.rewrite(self.store, act, Resealed::default()).await?;
        if reseal.replaces_all_keys() {
            done.next = reseal.create_signing_keys(self.policy, self.store, act).await?;
        }
        Ok(done)
    }

    /// Withdraws the signing keys that may be known. [`Self::finish_reseal`] follows once every node has read that: the new ones sign only when
    /// the JWKS of every node is without them.
    pub(crate) async fn withdraw_known_keys(&self, act: &Act, reseal: &Reseal, mut done: Resealed) -> Result<Resealed, Error> {
        reseal.withdraw_signing_keys(self.store, act, &mut done).await?;
        Ok(done)
    }

    /// Lets the new signing keys sign, and retires the old sealing key.
    pub(crate) async fn finish_reseal(
        &self,
        act: &Act,
        reseal: Reseal,
        mut done: Resealed,
        new: &NewSealing,
    ) -> Result<(Resealed, Retired), Error> {
        let (policy, store) = (self.policy, self.store);
        if reseal.replaces_all_keys() {
            reseal.activate_signing_keys(policy, store, act, &done.next).await?;
            // Those that are withdrawn are sealed again like all others.
            done = reseal.rewrite(store, act, done).await?;
        }
        let retired = reseal.end(policy, store, new.output.as_deref()).await?;
        Ok((done, retired))
    }
}
