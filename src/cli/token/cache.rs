//! The cache of `token get`: one file per kind of token, and locks by which processes that need the same token make one request.

use std::{
    fs::{File, TryLockError},
    path::PathBuf,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::{
    cache_folder::{Folder, LOCK, TOKEN},
    entry::Entry,
    unusable::Unusable,
    wanted::Wanted,
};
use crate::clock::{Clock, Timestamp};

/// The name under which this room sleeps.
const WAIT: &str = "lock";
/// The pause between two attempts to get a lock: no system call waits for one with a time limit.
const PAUSE: Duration = Duration::from_millis(50);

/// The place of one token in the cache.
#[derive(Debug)]
pub(super) struct Cache {
    folder: Folder,
    /// The file of the token.
    token: String,
    /// The file that a process locks while it requests the token.
    lock: String,
}

impl Cache {
    pub(super) fn open(wanted: &Wanted<'_>) -> Result<Self, Unusable> {
        Ok(Self::within(Folder::open()?, wanted))
    }

    pub(super) fn within(folder: Folder, wanted: &Wanted<'_>) -> Self {
        let name = BASE64_URL_SAFE_NO_PAD.encode(wanted.digest());
        Self { folder, token: format!("{name}{TOKEN}"), lock: format!("{name}{LOCK}") }
    }

    /// What is stored. `None` if there is nothing, or if the file contains anything else.
    pub(super) fn read(&self) -> Result<Option<Entry>, Unusable> {
        Ok(self.folder.read(&self.token)?.and_then(|content| serde_json::from_slice(&content).ok()))
    }

    pub(super) fn write(&self, entry: &Entry, now: Timestamp) -> Result<(), Unusable> {
        let failed = |error: serde_json::Error| Unusable::Failed { path: self.folder.path(&self.token), source: error.into() };
        let content = serde_json::to_vec(entry).map(Zeroizing::new).map_err(failed)?;
        self.folder.replace(&self.token, &content)?;
        self.folder.delete_old(now);
        Ok(())
    }

    /// The file of the lock, for messages.
    pub(super) fn lock_path(&self) -> PathBuf {
        self.folder.path(&self.lock)
    }

    /// Takes the lock, which lasts until the file is dropped or the process ends. `None` if another process holds it for longer than `limit`.
    pub(super) async fn lock(&self, limit: Duration, clock: &dyn Clock) -> Result<Option<File>, Unusable> {
        let until = clock.steady() + limit;
        loop {
            let file = self.folder.lock_file(&self.lock)?;
            match file.try_lock() {
                Ok(()) if self.folder.holds(&self.lock, &file) => return Ok(Some(file)),
                // Another process holds it, or deleted it before it was locked here.
                Ok(()) | Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => return Err(Unusable::Failed { path: self.folder.path(&self.lock), source }),
            }
            if clock.steady() >= until {
                return Ok(None);
            }
            clock.sleep_until(WAIT, clock.now() + PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::{super::wanted::tests::WANTED, *};
    use crate::clock::ManualClock;

    fn cache(folder: &Path) -> Cache {
        Cache::within(Folder::at(&folder.join("tokens")).unwrap(), &WANTED)
    }

    /// Waits until a caller waits for the lock.
    async fn waited_for(clock: &ManualClock) {
        while clock.sleepers() != [WAIT] {
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

    #[tokio::test]
    async fn a_lock_of_a_deleted_file_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::from_seconds(1_795_500_000));
        let cache = cache(folder.path());
        let lock = async || cache.lock(Duration::ZERO, &clock).await.unwrap();
        let deleted = lock().await.unwrap();
        fs::remove_file(cache.folder.path(&cache.lock)).unwrap();
        assert!(!cache.folder.holds(&cache.lock, &deleted));
        let current = lock().await.unwrap();
        assert!(cache.folder.holds(&cache.lock, &current));
        assert!(lock().await.is_none());
        drop(deleted);
        assert!(lock().await.is_none(), "another file is locked");
    }
}
