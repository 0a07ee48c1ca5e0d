//! The sources that have fetched the JWKS from this node, so that an operator sees which of them do not have the next key yet.
//!
//! This is information and never a gate: a source is an address and what it says of itself, which anyone can make up. It is in memory
//! and bounded, and no single network can push out the others.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::http::HeaderValue;

use crate::{
    clock::Timestamp,
    protocol::VerifierName,
    server::{caller_text, edge::source_network},
};

/// Maximum number of sources: about 1 MB.
const MAX_SOURCES: usize = 1024;
/// Maximum number of sources of one address, or of one /64 in IPv6.
const MAX_PER_NETWORK: usize = 64;
/// Fetches that follow each other more quickly count as one visit: a person who tries a request, or a process that starts.
const VISIT_GAP: Duration = Duration::from_secs(30);
/// The number of visits from which a source is known to fetch regularly.
const REGULAR_VISITS: u64 = 3;
/// A source that has not fetched for this many times its usual period is silent.
const SILENT_PERIODS: u32 = 3;
/// How long a source is listed after its last fetch.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// The sources that have fetched the JWKS from this node.
#[derive(Debug)]
pub(crate) struct JwksFetchers {
    since: Timestamp,
    hasher: RandomState,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    networks: HashMap<IpAddr, Vec<Source>>,
    count: usize,
    dropped: u64,
}

/// A source and the hash of its whole user agent, which may contain a secret and is not kept.
#[derive(Debug, Clone)]
struct Source {
    agent_hash: u64,
    visits: u64,
    last_visit: Timestamp,
    fetcher: Fetcher,
}

/// A source that has fetched the JWKS.
#[derive(Debug, Clone)]
pub(crate) struct Fetcher {
    pub(crate) address: IpAddr,
    /// Safe to show.
    pub(crate) user_agent: String,
    /// The name that a verifier of ours sent.
    pub(crate) name: Option<String>,
    pub(crate) first_fetch: Timestamp,
    pub(crate) last_fetch: Timestamp,
    pub(crate) fetches: u64,
    /// The keys of its last fetch.
    pub(crate) kids: Arc<[String]>,
    /// The mean time between its visits, if it fetches regularly.
    pub(crate) period: Option<Duration>,
}

impl Fetcher {
    /// Whether it used to fetch regularly and has not done so for much longer than usual.
    pub(crate) fn is_silent(&self, now: Timestamp) -> bool {
        self.period.is_some_and(|period| now.since(self.last_fetch) > period * SILENT_PERIODS)
    }
}

impl Source {
    fn new(address: IpAddr, agent_hash: u64, agent: &[u8], kids: &Arc<[String]>, now: Timestamp) -> Self {
        let user_agent = caller_text::user_agent(&String::from_utf8_lossy(agent));
        let name = name_in(&user_agent);
        let (fetches, kids) = (1, Arc::clone(kids));
        let fetcher = Fetcher { address, user_agent, name, first_fetch: now, last_fetch: now, fetches, kids, period: None };
        Self { agent_hash, visits: 1, last_visit: now, fetcher }
    }

    fn fetch(&mut self, kids: &Arc<[String]>, now: Timestamp) {
        let fetcher = &mut self.fetcher;
        fetcher.fetches += 1;
        fetcher.last_fetch = now;
        fetcher.kids = Arc::clone(kids);
        if now.since(self.last_visit) >= VISIT_GAP {
            self.visits += 1;
            self.last_visit = now;
            let gaps = u32::try_from(self.visits - 1).unwrap_or(u32::MAX);
            fetcher.period = (self.visits >= REGULAR_VISITS).then(|| now.since(fetcher.first_fetch) / gaps);
        }
    }

    /// Those that do not fetch regularly are dropped first, then those that have not fetched for the longest time.
    fn worth(&self) -> (bool, Timestamp) {
        (self.fetcher.period.is_some(), self.fetcher.last_fetch)
    }
}

impl JwksFetchers {
    pub(crate) fn new(since: Timestamp) -> Self {
        Self { since, hasher: RandomState::new(), known: Mutex::default() }
    }

    /// When this node began to record them.
    pub(crate) const fn since(&self) -> Timestamp {
        self.since
    }

    /// Records that the source at `address` got these keys.
    pub(crate) fn record(&self, address: IpAddr, user_agent: Option<&HeaderValue>, kids: &Arc<[String]>, now: Timestamp) {
        let agent = user_agent.map_or(&b""[..], HeaderValue::as_bytes);
        let agent_hash = self.hasher.hash_one(agent);
        if self.lock().fetch(address, agent_hash, kids, now) {
            return;
        }
        // The text is made safe without the lock.
        let source = Source::new(address, agent_hash, agent, kids, now);
        let mut known = self.lock();
        if !known.fetch(address, agent_hash, kids, now) {
            known.add(source);
        }
    }

    /// All sources, the last one to fetch first, and how many were dropped because there were too many.
    pub(crate) fn list(&self, now: Timestamp) -> (Vec<Fetcher>, u64) {
        let mut known = self.lock();
        known.forget(now);
        let all = known.networks.values().flatten();
        let (mut fetchers, dropped) = (all.map(|source| source.fetcher.clone()).collect::<Vec<_>>(), known.dropped);
        drop(known);
        fetchers.sort_by_key(|fetcher| std::cmp::Reverse(fetcher.last_fetch));
        (fetchers, dropped)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Records a fetch of a known source.
    fn fetch(&mut self, address: IpAddr, agent_hash: u64, kids: &Arc<[String]>, now: Timestamp) -> bool {
        let network = self.networks.get_mut(&source_network(address)).into_iter().flatten();
        let found = network.into_iter().find(|source| source.agent_hash == agent_hash && source.fetcher.address == address);
        found.map(|source| source.fetch(kids, now)).is_some()
    }

    /// Adds a source. Drops another one if its network has too many, or else if there are too many in all.
    fn add(&mut self, source: Source) {
        self.forget(source.fetcher.last_fetch);
        let network = source_network(source.fetcher.address);
        if self.networks.get(&network).is_some_and(|sources| sources.len() >= MAX_PER_NETWORK) {
            self.drop_one_of(network);
        } else if self.count >= MAX_SOURCES {
            let least = |sources: &Vec<Source>| sources.iter().map(Source::worth).min();
            let network = self.networks.iter().min_by_key(|(_, sources)| least(sources)).map(|(network, _)| *network);
            network.into_iter().for_each(|network| self.drop_one_of(network));
        }
        self.networks.entry(network).or_default().push(source);
        self.count += 1;
    }

    fn drop_one_of(&mut self, network: IpAddr) {
        let Some(sources) = self.networks.get_mut(&network) else { return };
        if let Some(least) = (0..sources.len()).min_by_key(|at| sources[*at].worth()) {
            sources.swap_remove(least);
            self.count -= 1;
            self.dropped += 1;
        }
        if sources.is_empty() {
            self.networks.remove(&network);
        }
    }

    fn forget(&mut self, now: Timestamp) {
        for sources in self.networks.values_mut() {
            sources.retain(|source| now.since(source.fetcher.last_fetch) < FORGOTTEN_AFTER);
        }
        self.networks.retain(|_, sources| !sources.is_empty());
        self.count = self.networks.values().map(Vec::len).sum();
    }
}

/// The name that a verifier of ours was given, in its user agent.
fn name_in(user_agent: &str) -> Option<String> {
    let (_, comment) = user_agent.strip_prefix(VerifierName::PRODUCT)?.split_once(" (")?;
    let name: VerifierName = comment.split_once(')')?.0.parse().ok()?;
    Some(name.to_string())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_795_500_000);
    const HOUR: Duration = Duration::from_secs(3600);

    struct Recorded {
        fetchers: JwksFetchers,
        kids: Arc<[String]>,
    }

    impl Recorded {
        fn new() -> Self {
            Self { fetchers: JwksFetchers::new(NOW), kids: ["one".to_owned()].into() }
        }

        fn fetch(&self, address: impl Into<IpAddr>, agent: &str, now: Timestamp) {
            self.fetchers.record(address.into(), Some(&agent.parse().unwrap()), &self.kids, now);
        }

        fn agents(&self, now: Timestamp) -> Vec<String> {
            self.fetchers.list(now).0.into_iter().map(|fetcher| fetcher.user_agent).collect()
        }
    }

    #[test]
    fn a_source_is_regular_from_its_third_visit_and_fetches_in_a_row_are_one_visit() {
        let recorded = Recorded::new();
        let orders = Ipv4Addr::new(192, 0, 2, 1);
        let period = || recorded.fetchers.list(NOW).0[0].period;
        for millis in 0..1000 {
            recorded.fetch(orders, "orders", NOW + Duration::from_millis(millis));
        }
        assert_eq!(period(), None);
        recorded.fetch(orders, "orders", NOW + HOUR);
        assert_eq!(period(), None, "twice is not regularly");
        recorded.fetch(orders, "orders", NOW + 2 * HOUR);
        assert_eq!(period(), Some(HOUR));
        let found = &recorded.fetchers.list(NOW).0[0];
        assert_eq!((found.fetches, found.first_fetch, found.last_fetch), (1002, NOW, NOW + 2 * HOUR));
        assert!(!found.is_silent(NOW + 5 * HOUR) && found.is_silent(NOW + 5 * HOUR + Duration::from_secs(1)));
    }

    #[test]
    fn sources_that_come_once_push_out_none_that_fetches_regularly_and_memory_is_bounded() {
        let recorded = Recorded::new();
        let orders = Ipv4Addr::new(192, 0, 2, 1);
        (0..3).for_each(|hour| recorded.fetch(orders, "orders", NOW + hour * HOUR));
        let now = NOW + 3 * HOUR;
        for number in 0..5000_u32 {
            recorded.fetch(Ipv4Addr::from_bits(0xcb00_7100 + number), "flood", now);
            // A source of the same address, by another user agent each time.
            recorded.fetch(orders, &format!("flood {number}"), now);
        }
        let (listed, dropped) = recorded.fetchers.list(now);
        assert_eq!((listed.len(), dropped), (MAX_SOURCES, 10_001 - MAX_SOURCES as u64));
        let of_orders: Vec<_> = listed.iter().filter(|fetcher| fetcher.address == orders).collect();
        assert!(of_orders.len() <= MAX_PER_NETWORK && of_orders.iter().any(|fetcher| fetcher.user_agent == "orders"));
    }

    #[test]
    fn all_addresses_of_one_64_share_a_bound() {
        let recorded = Recorded::new();
        recorded.fetch(Ipv4Addr::new(192, 0, 2, 1), "once", NOW);
        for number in 0..5000 {
            recorded.fetch(std::net::Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 0, 0, 0, number), "flood", NOW + HOUR);
        }
        let agents = recorded.agents(NOW + HOUR);
        assert_eq!(agents.len(), MAX_PER_NETWORK + 1);
        assert!(agents.contains(&"once".to_owned()));
    }

    #[test]
    fn a_source_is_forgotten_a_week_after_its_last_fetch() {
        let recorded = Recorded::new();
        recorded.fetch(Ipv4Addr::new(192, 0, 2, 1), "old", NOW);
        recorded.fetch(Ipv4Addr::new(192, 0, 2, 1), "new", NOW + HOUR);
        assert_eq!(recorded.agents(NOW + 168 * HOUR), ["new"]);
        assert_eq!(recorded.agents(NOW + 169 * HOUR), [""; 0]);
    }

    #[test]
    fn the_name_of_a_verifier_is_read_from_its_user_agent_only() {
        let name: VerifierName = "orders-api".parse().unwrap();
        assert_eq!(name_in(&VerifierName::user_agent(Some(&name))).as_deref(), Some("orders-api"));
        for other in [&*VerifierName::user_agent(None), "sealwright-verifier/1 (Orders API)", "sealwright-verifier/1 (orders", "curl/8 (x)"]
        {
            assert_eq!(name_in(other), None, "{other}");
        }
    }
}
