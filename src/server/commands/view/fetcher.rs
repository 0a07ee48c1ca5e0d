use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    server::{
        keys::{Fetcher, JwksFetchers, KeyRing, PublishedKey},
        model::rfc3339,
    },
};

/// The sources that have fetched the JWKS from one node.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FetchersView {
    /// When the node began to record them: it knows of no earlier fetch.
    pub(crate) since: String,
    /// The published keys, the newest first.
    pub(crate) keys: Vec<PublishedKeyView>,
    /// The last one to fetch first.
    pub(crate) fetchers: Vec<FetcherView>,
    /// How many sources are not listed because there were too many.
    pub(crate) dropped: u64,
}

/// A key that verifiers may know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PublishedKeyView {
    pub(crate) kid: String,
    pub(crate) alg: String,
    pub(crate) state: String,
    pub(crate) published_at: String,
    pub(crate) activates_at: String,
}

/// A source that has fetched the JWKS. What it says of itself is not verified.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FetcherView {
    pub(crate) address: String,
    pub(crate) user_agent: String,
    /// The name that a verifier of ours sent.
    pub(crate) name: Option<String>,
    pub(crate) first_fetch: String,
    pub(crate) last_fetch: String,
    pub(crate) fetches: u64,
    /// The mean time between its fetches in seconds, if it fetches regularly.
    pub(crate) period_s: Option<u64>,
    /// Whether it used to fetch regularly and has not done so for much longer than usual.
    pub(crate) silent: bool,
    /// The published keys that it does not have.
    pub(crate) missing: Vec<String>,
    /// The keys that it may still have although they are no longer published.
    pub(crate) withdrawn: Vec<String>,
}

impl FetchersView {
    /// The sources as of `now`, by the steady clock; `wall` is the wall clock's time, by which keys have their states.
    pub(crate) fn new(fetchers: &JwksFetchers, keys: &KeyRing, now: Timestamp, wall: Timestamp) -> Self {
        let published = keys.published(wall);
        let (listed, dropped) = fetchers.list(now);
        let kids: Vec<&str> = published.iter().map(|key| key.kid.as_str()).collect();
        let view = |key: &PublishedKey| PublishedKeyView {
            kid: key.kid.clone(),
            alg: key.algorithm.to_string(),
            state: key.state.to_string(),
            published_at: rfc3339(key.published_at),
            activates_at: rfc3339(key.activates_at),
        };
        Self {
            since: rfc3339(fetchers.since()),
            keys: published.iter().map(view).collect(),
            fetchers: listed.into_iter().map(|fetcher| FetcherView::new(fetcher, &kids, now)).collect(),
            dropped,
        }
    }
}

impl FetcherView {
    fn new(fetcher: Fetcher, published: &[&str], now: Timestamp) -> Self {
        let has = |kid: &str| fetcher.kids.iter().any(|known| known == kid);
        Self {
            missing: published.iter().filter(|kid| !has(kid)).map(|kid| (*kid).to_owned()).collect(),
            withdrawn: fetcher.kids.iter().filter(|kid| !published.contains(&kid.as_str())).cloned().collect(),
            silent: fetcher.is_silent(now),
            period_s: fetcher.period.map(|period| period.as_secs()),
            address: fetcher.address.to_string(),
            user_agent: fetcher.user_agent,
            name: fetcher.name,
            first_fetch: rfc3339(fetcher.first_fetch),
            last_fetch: rfc3339(fetcher.last_fetch),
            fetches: fetcher.fetches,
        }
    }
}
