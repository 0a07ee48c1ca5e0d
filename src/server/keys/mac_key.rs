//! A symmetric key that only this issuer's nodes have: for what they hand out and recognise again without remembering it.

use std::fmt;

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::{Error, SealingKeys, sealing::Sealed};
use crate::{entropy, server::store::Store};

/// 256 random bits for HMAC-SHA-256 (RFC 2104), sealed in the database.
#[derive(Clone)]
pub(crate) struct MacKey(hmac::Key);

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey")
    }
}

impl MacKey {
    /// The key of this name, made where there is none. Of several nodes that make it at once, one wins.
    pub(crate) async fn open(name: &'static str, sealing: &SealingKeys, store: &Store) -> Result<Self, Error> {
        let what = Sealed { kid: name, generation: 0 };
        if store.find_mac_key(name).await?.is_none() {
            let key = Zeroizing::new(entropy::bytes::<32>());
            store.insert_mac_key_unless_there(name, sealing.seal(what, key.as_ref())?).await?;
        }
        let sealed = store.find_mac_key(name).await?.ok_or(Error::NotFounded)?;
        let key = sealing.open(what, &sealed)?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &key)))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 32] {
        let mut mac = [0; 32];
        mac.copy_from_slice(hmac::sign(&self.0, message).as_ref());
        mac
    }

    /// Whether `mac` is that of `message`; in constant time.
    pub(crate) fn verifies(&self, message: &[u8], mac: &[u8]) -> bool {
        hmac::verify(&self.0, message, mac).is_ok()
    }

    #[cfg(test)]
    pub(crate) fn random() -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &entropy::bytes::<32>()))
    }
}
