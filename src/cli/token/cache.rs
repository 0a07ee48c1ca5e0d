//! The cache of `token get`: one file per kind of token, and locks by which processes that need the same token make one request.

use std::{
    collections::BTreeSet,
    fmt,
    fs::{File, TryLockError},
    time::Duration,
};

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use super::{
    cache_folder::{Folder, TOKEN},
    unusable::Unusable,
};
use crate::{
    client::StoredToken,
    clock::{Clock, Timestamp},
};

/// The name under which this room sleeps.
const LOCK: &str = "lock";
/// The pause between two attempts to get a lock: no system call waits for one with a time limit.
const PAUSE: Duration = Duration::from_millis(50);

/// Everything that decides which token the issuer returns.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) issuer: &'a str,
    pub(super) client: &'a str,
    pub(super) secret: &'a str,
    pub(super) resource: Option<&'a str>,
    pub(super) scopes: &'a [String],
    /// The name and the password of a user.
    pub(super) user: Option<(&'a str, &'a str)>,
}

impl fmt::Debug for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wanted").field("issuer", &self.issuer).field("client", &self.client).finish_non_exhaustive()
    }
}

impl Wanted<'_> {
    /// A digest of all of it: a token is found only with the secret and the password with which it was requested.
    ///
    /// The digest is the name of a file. A password could be guessed from a plain digest. The client's secret, which is random and not
    /// stored here, is the key, so that only those who have it can try.
    fn digest(&self) -> [u8; 32] {
        const FORMAT: &str = "sealwright token get 1";
        let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes()));
        let mut add = |name: &str, value: &str| {
            // With their lengths, so that no two lists of parts look the same.
            for part in [name, value] {
                mac.update(&(part.len() as u64).to_be_bytes());
                mac.update(part.as_bytes());
            }
        };
        add("format", FORMAT);
        add("issuer", self.issuer);
        add("client", self.client);
        if let Some(resource) = self.resource {
            add("resource", resource);
        }
        // A scope is a set (RFC 6749 section 3.3).
        for scope in self.scopes.iter().collect::<BTreeSet<_>>() {
            add("scope", scope);
        }
        if let Some((username, password)) = self.user {
            add("username", username);
            add("password", password);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(mac.sign().as_ref());
        digest
    }
}

/// The place of one token in the cache.
#[derive(Debug)]
pub(super) struct Cache {
    folder: Folder,
    /// The file of the token.
    token: String,
    /// The file that a process locks while it requests the token. Tokens share 256 of them, because they are never deleted.
    lock: String,
}

impl Cache {
    pub(super) fn open(wanted: &Wanted<'_>) -> Result<Self, Unusable> {
        Ok(Self::within(Folder::open()?, wanted))
    }

    fn within(folder: Folder, wanted: &Wanted<'_>) -> Self {
        let digest = wanted.digest();
        let token = format!("{}{TOKEN}", BASE64_URL_SAFE_NO_PAD.encode(digest));
        Self { folder, token, lock: format!("{:02x}.lock", digest[0]) }
    }

    /// The token, which may have expired. `None` if there is none, or if the file does not contain one.
    pub(super) fn read(&self) -> Result<Option<StoredToken>, Unusable> {
        Ok(self.folder.read(&self.token)?.and_then(|content| StoredToken::read(&content)))
    }

    pub(super) fn write(&self, token: &StoredToken, now: Timestamp) -> Result<(), Unusable> {
        let failed = |error: serde_json::Error| Unusable::Failed { path: self.token.clone().into(), source: error.into() };
        self.folder.replace(&self.token, &token.to_json().map_err(failed)?)?;
        self.folder.delete_old(now);
        Ok(())
    }

    /// Takes the lock, which lasts until the file is dropped or the process ends. `None` if another process holds it for longer than `limit`.
    pub(super) async fn lock(&self, limit: Duration, clock: &dyn Clock) -> Result<Option<File>, Unusable> {
        let file = self.folder.lock_file(&self.lock)?;
        let until = clock.steady() + limit;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(TryLockError::WouldBlock) if clock.steady() < until => clock.sleep_until(LOCK, clock.now() + PAUSE).await,
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(source)) => return Err(Unusable::Failed { path: self.lock.clone().into(), source }),
            }
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::{collections::HashSet, path::Path};

    use super::*;
    use crate::clock::ManualClock;

    const WANTED: Wanted<'_> =
        Wanted { issuer: "https://auth.example", client: "billing", secret: "sw_1", resource: None, scopes: &[], user: None };

    #[test]
    fn the_name_of_a_cached_token_depends_on_all_that_decides_which_token_it_is() {
        let scopes = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let (read, write, both) = (scopes(&["read"]), scopes(&["write"]), scopes(&["read", "write"]));
        let different = [
            WANTED,
            Wanted { issuer: "https://auth.example/", ..WANTED },
            Wanted { client: "billing2", ..WANTED },
            Wanted { secret: "sw_2", ..WANTED },
            Wanted { resource: Some("https://orders.example"), ..WANTED },
            Wanted { resource: Some("read"), ..WANTED },
            Wanted { scopes: &read, ..WANTED },
            Wanted { scopes: &write, ..WANTED },
            Wanted { scopes: &both, ..WANTED },
            Wanted { user: Some(("alice", "a")), ..WANTED },
            Wanted { user: Some(("alice", "b")), ..WANTED },
            Wanted { user: Some(("alic", "ea")), ..WANTED },
        ];
        let digests: HashSet<_> = different.iter().map(Wanted::digest).collect();
        assert_eq!(digests.len(), different.len());
        let (reversed, twice) = (scopes(&["write", "read"]), scopes(&["read", "write", "read"]));
        for same in [&reversed, &twice] {
            assert_eq!(Wanted { scopes: same, ..WANTED }.digest(), Wanted { scopes: &both, ..WANTED }.digest());
        }
    }

    fn cache(folder: &Path) -> Cache {
        Cache::within(Folder::at(&folder.join("sealwright")).unwrap(), &WANTED)
    }

    /// Waits until a caller waits for the lock.
    async fn waited_for(clock: &ManualClock) {
        while clock.sleepers() != [LOCK] {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_lock_that_another_process_holds_is_waited_for_up_to_a_limit() {
        const LIMIT: Duration = Duration::from_secs(30);
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::from_seconds(1_795_500_000));
        let cache = cache(folder.path());
        let held = cache.lock(LIMIT, &clock).await.unwrap().unwrap();
        assert!(cache.lock(Duration::ZERO, &clock).await.unwrap().is_none());

        let (locked, ()) = tokio::join!(cache.lock(LIMIT, &clock), async {
            waited_for(&clock).await;
            clock.advance(LIMIT);
        });
        assert!(locked.unwrap().is_none(), "the limit has passed");

        let (locked, ()) = tokio::join!(cache.lock(LIMIT, &clock), async {
            waited_for(&clock).await;
            drop(held);
            clock.advance(PAUSE);
        });
        assert!(locked.unwrap().is_some(), "the other process has released it");
    }
}
