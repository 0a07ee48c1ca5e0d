//! Symmetric keys that all nodes of the issuer share, for tokens and marks that are verified by MAC and not stored.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::{Error, SealingKeys, sealing::Sealed};
use crate::{entropy, server::store::Store};

/// 256 random bits for HMAC-SHA-256 (RFC 2104), sealed in the database. All clones share the key: [`Self::reload`]
/// replaces it for all of them.
#[derive(Clone)]
pub(crate) struct MacKey {
    name: &'static str,
    key: Arc<ArcSwap<hmac::Key>>,
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey")
    }
}

impl MacKey {
    /// Opens the key of this name. Creates it if there is none; if several nodes do so at once, one key wins.
    pub(crate) async fn open(name: &'static str, sealing: &SealingKeys, store: &Store) -> Result<Self, Error> {
        if store.find_mac_key(name).await?.is_none() {
            store.insert_mac_key_unless_there(name, Self::generate_sealed(name, sealing)?).await?;
        }
        let key = Self::read(name, sealing, store).await?;
        Ok(Self { name, key: Arc::new(ArcSwap::from_pointee(key)) })
    }

    /// Generates and seals a new key of this name.
    pub(crate) fn generate_sealed(name: &str, sealing: &SealingKeys) -> Result<String, Error> {
        let key = Zeroizing::new(entropy::bytes::<32>());
        sealing.seal(Sealed { kid: name, generation: 0, algorithm: None }, key.as_ref())
    }

    /// Reads the key from the database again: it may have been replaced.
    pub(crate) async fn reload(&self, sealing: &SealingKeys, store: &Store) -> Result<(), Error> {
        self.key.store(Arc::new(Self::read(self.name, sealing, store).await?));
        Ok(())
    }

    async fn read(name: &'static str, sealing: &SealingKeys, store: &Store) -> Result<hmac::Key, Error> {
        let sealed = store.find_mac_key(name).await?.ok_or(Error::NotInitialized)?;
        let key = sealing.open(Sealed { kid: name, generation: 0, algorithm: None }, &sealed)?;
        Ok(hmac::Key::new(hmac::HMAC_SHA256, &key))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 32] {
        let mut mac = [0; 32];
        mac.copy_from_slice(hmac::sign(&self.key.load(), message).as_ref());
        mac
    }

    /// Whether `mac` is the MAC of `message`. Runs in constant time.
    pub(crate) fn verifies(&self, message: &[u8], mac: &[u8]) -> bool {
        hmac::verify(&self.key.load(), message, mac).is_ok()
    }

    #[cfg(test)]
    pub(crate) fn random() -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &entropy::bytes::<32>());
        Self { name: "random", key: Arc::new(ArcSwap::from_pointee(key)) }
    }
}
