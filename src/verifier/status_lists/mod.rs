//! The issuer's status lists: which of its tokens were revoked. The check of a token reads memory only; lists are fetched in the background.
//!
//! Only a token whose every other check has passed gets here, so the issuer alone decides which lists there are.

mod claim;
mod known_list;
mod list;
mod missing;
mod source;
mod uri;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use url::Url;

pub(super) use claim::StatusClaim;
pub(super) use known_list::KnownList;

use super::{Error, Revocation, key_cache::KeyCache, status::StatusListState};
use crate::{
    clock::{SharedClock, Timestamp},
    protocol::StatusReference,
};
use claim::NoReference;
use source::Origin;

/// Maximum number of lists of one issuer. Beyond it, the list that was not used for the longest time is forgotten.
const MAX_LISTS: usize = 4096;

/// The lists of one issuer.
#[derive(Debug)]
pub(super) struct StatusLists {
    rules: Rules,
    origin: Arc<Origin>,
    /// By URI. Replaced as a whole, so that readers take no lock. There are few, so that comparing texts is faster than hashing one.
    known: ArcSwap<BTreeMap<Arc<str>, Arc<KnownList>>>,
    /// Held while the map is replaced.
    changing: Mutex<()>,
    /// The attempts, and the failed ones, to fetch lists that are forgotten.
    past_attempts: (AtomicU64, AtomicU64),
    /// Whether it was logged that tokens name no list here, although they have the claim.
    logged_foreign: AtomicBool,
}

/// How a list that is not fresh is used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) mode: Revocation,
    /// Whether the API chose the mode. If not, a claim that is not about a status list of the issuer is ignored: tokens of an issuer that has given
    /// the name `status` to something else were accepted before this verifier knew of lists.
    pub(super) chosen: bool,
    /// How long a list is used after it was last confirmed.
    pub(super) max_stale: Duration,
}

impl StatusLists {
    pub(super) fn new(rules: Rules, keys: Arc<KeyCache>, leeway: i64, clock: SharedClock) -> Self {
        Self {
            rules,
            origin: Arc::new(Origin { keys, accepted: list::accepted(), leeway, clock }),
            known: ArcSwap::default(),
            changing: Mutex::new(()),
            past_attempts: Default::default(),
            logged_foreign: AtomicBool::new(false),
        }
    }

    pub(super) const fn mode(&self) -> Revocation {
        self.rules.mode
    }

    /// Looks up the status of a token whose every other check has passed. Does not wait. If an attempt to fetch the list may change the result,
    /// `wait_for` is set to the list. `now` is of the wall clock.
    pub(super) fn check(
        self: &Arc<Self>,
        claim: Option<StatusClaim>,
        now: Timestamp,
        wait_for: &mut Option<Arc<KnownList>>,
    ) -> Result<(), Error> {
        let Some(claim) = claim else {
            return match self.rules.mode {
                Revocation::Strict => Err(Error::BadStatus("it names no status list, and this API requires one")),
                Revocation::Off | Revocation::Lenient => Ok(()),
            };
        };
        let StatusReference { idx, uri } = match claim.reference() {
            Ok(reference) => reference,
            Err(NoReference::Foreign(why)) => return self.foreign(why),
            Err(NoReference::Malformed(why)) => return Err(Error::BadStatus(why)),
        };
        // A wall clock that is set back must not make a list fresh.
        let now = self.origin.clock.steady_at(now);
        if let Some(list) = self.known.load().get(uri.as_str()) {
            return list.check(idx, self.rules, now, wait_for);
        }
        match uri::under_issuer(&uri, &self.origin.keys_source().issuer) {
            Some(url) => self.add(&uri, url, now).check(idx, self.rules, now, wait_for),
            None => self.foreign("its status list does not lie below its issuer"),
        }
    }

    /// The result for a token whose claim is not about a status list of the issuer.
    fn foreign(&self, why: &'static str) -> Result<(), Error> {
        if self.rules.chosen {
            return Err(Error::BadStatus(why));
        }
        if !self.logged_foreign.load(Relaxed) && !self.logged_foreign.swap(true, Relaxed) {
            let issuer = &self.origin.keys_source().issuer;
            tracing::warn!(%issuer, "a token is accepted without being looked up: {why}; `.revocation(..)` refuses such tokens; logged once");
        }
        Ok(())
    }

    fn add(self: &Arc<Self>, uri: &str, url: Url, now: Timestamp) -> Arc<KnownList> {
        let list = Arc::new(KnownList::new(Arc::clone(&self.origin), url, Arc::downgrade(self), now));
        self.change(|known| {
            if let Some(list) = known.get(uri) {
                return Arc::clone(list);
            }
            if known.len() >= MAX_LISTS
                && let Some(oldest) = known.iter().min_by_key(|(_, list)| list.used_at()).map(|(uri, _)| Arc::clone(uri))
            {
                self.remove(known, &oldest);
            }
            known.insert(uri.into(), Arc::clone(&list));
            list
        })
    }

    /// Forgets a list: the next token that names it has it fetched again.
    fn forget(&self, uri: &str) {
        self.change(|known| self.remove(known, uri));
    }

    fn remove(&self, known: &mut BTreeMap<Arc<str>, Arc<KnownList>>, uri: &str) {
        if let Some(list) = known.remove(uri) {
            let (fetches, failures) = list.attempts();
            self.past_attempts.0.fetch_add(fetches, Relaxed);
            self.past_attempts.1.fetch_add(failures, Relaxed);
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<Arc<str>, Arc<KnownList>>) -> T) -> T {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = BTreeMap::clone(&self.known.load());
        let result = change(&mut known);
        self.known.store(Arc::new(known));
        result
    }

    /// The state of each list, in the order of their URIs.
    pub(super) fn states(&self) -> Vec<StatusListState> {
        self.known.load().values().map(|list| list.state()).collect()
    }

    /// The attempts to fetch lists so far, and those that failed.
    pub(super) fn attempts(&self) -> (u64, u64) {
        let past = (self.past_attempts.0.load(Relaxed), self.past_attempts.1.load(Relaxed));
        let lists = self.known.load();
        lists.values().map(|list| list.attempts()).fold(past, |sum, list| (sum.0 + list.0, sum.1 + list.1))
    }
}
