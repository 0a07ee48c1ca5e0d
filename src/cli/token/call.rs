//! One call of `token get` that uses the cache.

use std::time::Duration;

use super::{cache::Cache, entry::Entry, unusable::Unusable, wanted::Wanted};
use crate::{
    cli::{error::Error, output::warn},
    client::{SingleFetch, StoredToken},
    clock::Clock,
};

/// Time limit of a request.
pub(super) const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// How long to wait for another process that requests the same token: longer than its request takes.
const LOCK_LIMIT: Duration = Duration::from_secs(30);

/// A call, and what it needs.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) wanted: &'a Wanted<'a>,
    pub(super) cache: &'a Cache,
    pub(super) fetch: &'a SingleFetch,
    /// The token that is stored now is of no use: an API refused it.
    pub(super) renew: bool,
    pub(super) clock: &'a dyn Clock,
}

impl Call<'_> {
    /// The cached token, or a new one if four fifths of its life have passed. Of several processes, one requests the new token.
    pub(super) async fn token(&self) -> Result<StoredToken, Error> {
        let not_used = |why: Unusable| {
            warn(&format!("the cached token is not used: {why}"));
            None
        };
        let seen = self.cache.read().unwrap_or_else(not_used).unwrap_or_default();
        if let Some(answer) = self.answer(&seen, None) {
            return answer;
        }
        let usable = seen.token().filter(|token| !self.renew && token.is_usable(self.clock.now()));
        // A process that has a usable token does not wait for the one that requests another.
        let limit = if usable.is_some() { Duration::ZERO } else { LOCK_LIMIT };
        let lock = match (self.cache.lock(limit, self.clock).await, usable) {
            (Ok(Some(lock)), _) => Ok(lock),
            (Ok(None), Some(token)) => return Ok(token.clone()),
            (Ok(None), None) => {
                Err(format!("another process has held the lock {} for {} s", self.cache.lock_path().display(), LOCK_LIMIT.as_secs()))
            }
            (Err(why), _) => Err(why.to_string()),
        };
        if let Err(why) = &lock {
            if self.wanted.user.is_some() {
                return self.or_valid(seen.token(), why, Error::NeedsCache);
            }
            warn(&format!("this process requests a token of its own: {why}"));
        }
        let stored = self.cache.read().ok().flatten();
        if let Some(answer) = stored.as_ref().and_then(|entry| self.answer(entry, Some(&seen))) {
            return answer;
        }
        self.request(stored.unwrap_or_default(), seen.token(), lock.is_ok()).await
    }

    /// What is stored, if it makes a request unnecessary: a token, or a failure after which no attempt is due. `seen` is what was stored when
    /// this call began to wait for the lock. What another process has stored since then is the outcome of this call too.
    fn answer(&self, entry: &Entry, seen: Option<&Entry>) -> Option<Result<StoredToken, Error>> {
        let now = self.clock.now();
        let is_newer =
            |token: &StoredToken| seen.is_some_and(|seen| seen.token().is_none_or(|before| before.access_token() != token.access_token()));
        let current = entry.token().filter(|token| token.is_valid(now) && !token.is_due(now));
        if let Some(token) = current.filter(|token| !self.renew || is_newer(token)) {
            return Some(Ok(token.clone()));
        }
        let failure = entry.failure()?;
        let why = match failure.pause(now) {
            _ if seen.is_some_and(|seen| seen.failure() != Some(failure)) => failure.why().to_owned(),
            Some(left) => format!("{}; the next attempt is due in {} s", failure.why(), left.as_millis().div_ceil(1000)),
            None => return None,
        };
        Some(self.or_valid(entry.token(), &why, Error::NoToken))
    }

    /// Requests a token and stores it, or why there is none. `seen` is a token that was stored before.
    async fn request(&self, mut entry: Entry, seen: Option<&StoredToken>, has_lock: bool) -> Result<StoredToken, Error> {
        // Without the lock, another process may be using the refresh token.
        let refresh = if has_lock { entry.begin_refresh(self.clock.now()) } else { None };
        // Stored first: if the answer is lost, or this process ends before it arrives, the next one must know. And a login that could not be stored
        // must not begin.
        if (refresh.is_some() || self.wanted.user.is_some())
            && let Err(why) = self.cache.write(&entry, self.clock.now())
        {
            return self.or_valid(entry.token().or(seen), &why.to_string(), Error::NeedsCache);
        }
        let limit = refresh.as_ref().map_or(REQUEST_LIMIT, |(_, limit)| REQUEST_LIMIT.min(*limit));
        let previous = refresh.as_ref().map(|(token, _)| token);
        match self.fetch.token(previous, entry.failures(), limit, self.clock).await {
            Ok(token) => {
                self.store(&Entry::of(token.clone()));
                Ok(token)
            }
            Err(failed) => {
                let why = self.wanted.why_none(&failed.error);
                // Without the lock, another process may have stored a token.
                if has_lock {
                    entry.fail(why.clone(), failed.pause, self.clock.now());
                    self.store(&entry);
                }
                self.or_valid(entry.token().or(seen), &why, Error::NoToken)
            }
        }
    }

    fn store(&self, entry: &Entry) {
        if let Err(why) = self.cache.write(entry, self.clock.now()) {
            warn(&format!("the outcome is not cached: {why}"));
        }
    }

    /// The cached token while it is valid, and otherwise the error: a good token is never replaced with an error.
    fn or_valid(&self, token: Option<&StoredToken>, why: &str, error: fn(String) -> Error) -> Result<StoredToken, Error> {
        let now = self.clock.now();
        let Some(token) = token.filter(|token| !self.renew && token.is_valid(now)) else { return Err(error(why.to_owned())) };
        let left = token.expires_in(now).as_secs();
        warn(&format!("the token is from the cache and expires in {left} s, because there is no new one: {why}"));
        Ok(token.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, net::TcpListener};

    use tempfile::TempDir;
    use tokio::task::yield_now;

    use super::{super::wanted::tests::WANTED, *};
    use crate::{
        cli::token::cache_folder::Folder,
        clock::{ManualClock, Timestamp},
    };

    const NOON: i64 = 1_795_500_000;
    /// More than the pause between two attempts to get the lock.
    const MOMENT: Duration = Duration::from_millis(100);

    /// An issuer that does not answer, and a folder for the cache.
    struct World {
        folder: TempDir,
        _silent: TcpListener,
        issuer: String,
        clock: ManualClock,
    }

    impl World {
        fn at(seconds: i64) -> Self {
            let silent = TcpListener::bind("127.0.0.1:0").unwrap();
            let issuer = format!("http://{}", silent.local_addr().unwrap());
            let clock = ManualClock::at(Timestamp::from_seconds(NOON + seconds));
            Self { folder: tempfile::tempdir().unwrap(), _silent: silent, issuer, clock }
        }

        fn wanted(&self) -> Wanted<'_> {
            Wanted { issuer: &self.issuer, ..WANTED }
        }

        fn cache(&self) -> Cache {
            Cache::within(Folder::at(&self.folder.path().join("tokens")).unwrap(), &self.wanted())
        }

        /// Stores a token that lives from noon for ten minutes.
        fn store(&self) {
            let token = serde_json::json!({
                "access_token": "a", "refresh_token": null, "scope": null, "requested_at": NOON, "expires_at": NOON + 600,
            });
            self.cache().write(&Entry::of(serde_json::from_value(token).unwrap()), self.clock.now()).unwrap();
        }

        /// The outcome of a call.
        async fn token(&self) -> Result<String, String> {
            let (wanted, cache) = (self.wanted(), self.cache());
            let fetch = wanted.fetch().unwrap();
            let token = Call { wanted: &wanted, cache: &cache, fetch: &fetch, renew: false, clock: &self.clock }.token().await;
            token.map(|token| token.access_token().to_owned()).map_err(|error| error.to_string())
        }

        async fn asleep(&self, sleepers: &[&str]) {
            while self.clock.sleepers() != sleepers {
                yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn processes_that_wait_for_one_that_fails_fail_with_it() {
        let world = World::at(0);
        let done = Cell::new(false);
        let calls = async {
            let outcomes = tokio::join!(world.token(), world.token(), world.token());
            done.set(true);
            outcomes
        };
        let time = async {
            world.asleep(&["lock", "lock", "single fetch"]).await;
            world.clock.advance(REQUEST_LIMIT);
            while !done.get() {
                world.clock.advance(MOMENT);
                yield_now().await;
            }
        };
        let ((first, second, third), ()) = tokio::join!(calls, time);
        for outcome in [first, second, third] {
            let error = outcome.unwrap_err();
            assert!(error.starts_with("no token: the issuer cannot be reached"), "{error}");
        }
        let taken = world.clock.now().since(Timestamp::from_seconds(NOON));
        assert!(taken < 2 * REQUEST_LIMIT, "no request of their own: {taken:?}");
    }

    #[tokio::test]
    async fn a_token_that_is_due_is_returned_without_waiting_for_another_process() {
        let world = World::at(569);
        world.store();
        let held = world.cache().lock(Duration::ZERO, &world.clock).await.unwrap().unwrap();
        assert_eq!(world.token().await.unwrap(), "a");
        drop(held);
        let (token, ()) = tokio::join!(world.token(), async {
            world.asleep(&["single fetch"]).await;
            world.clock.advance(REQUEST_LIMIT);
        });
        assert_eq!(token.unwrap(), "a", "a good token is not replaced with an error");
    }

    #[tokio::test]
    async fn a_token_about_to_expire_is_returned_only_if_no_other_arrives() {
        let world = World::at(571);
        world.store();
        let held = world.cache().lock(Duration::ZERO, &world.clock).await.unwrap().unwrap();
        let (token, ()) = tokio::join!(world.token(), async {
            world.asleep(&["lock"]).await;
            drop(held);
            world.clock.advance(MOMENT);
            world.asleep(&["single fetch"]).await;
            world.clock.advance(REQUEST_LIMIT);
        });
        assert_eq!(token.unwrap(), "a");
    }

    #[tokio::test]
    async fn a_token_that_expires_while_the_issuer_does_not_answer_is_not_returned() {
        let world = World::at(595);
        world.store();
        let (token, ()) = tokio::join!(world.token(), async {
            world.asleep(&["single fetch"]).await;
            world.clock.advance(REQUEST_LIMIT);
        });
        assert!(token.unwrap_err().starts_with("no token: the issuer cannot be reached"));
    }
}
