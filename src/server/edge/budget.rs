//! Memory for requests whose body is still arriving or whose client is not authenticated yet: one budget for all, and a share of it for
//! each source.
//!
//! When a share or the budget is nearly used up, the request that has waited longest for its body is evicted. A legitimate body arrives
//! within milliseconds, so this hits a request that holds back its last byte, and not a legitimate one of the same source.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use axum::http::HeaderMap;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Notify;

use super::places::source_network;

/// Measured memory of a request besides its headers and its body: the futures of its handler and of the layers around it, its span, and its
/// HTTP/2 stream.
const REQUEST_COST: usize = 40 * 1024;
/// Memory of a header besides its bytes (the same as in RFC 9113 section 6.5.2).
const HEADER_COST: usize = 32;
/// A source gets at most one part in this many of the budget.
const SHARE_DIVISOR: usize = 4;
/// Above this part of a limit, in eighths, the oldest request that waits for its body is evicted.
const CROWDED: usize = 4;
/// Average number of shares that one search for the heaviest share examines: one scan of n shares serves n divided by this many searches.
const SHARES_PER_SCAN: usize = 128;
/// Bodies may use up to this part of a limit, in eighths. The rest is for new requests, so that there is always room for small ones, and
/// for memory that is not counted: heap fragmentation, and evicted requests whose task has not run yet.
const BODIES: usize = 5;

/// The budget. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct MemoryBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    used: AtomicUsize,
    shares: Mutex<HashMap<IpAddr, Weak<MemoryShare>>>,
    /// Lock order: before `shares`.
    heaviest: Mutex<Heaviest>,
    refused: Counter,
}

/// The heaviest shares with a waiting request, as of the last scan.
#[derive(Debug, Default)]
struct Heaviest {
    shares: Vec<Weak<MemoryShare>>,
    /// The number of searches until the next scan.
    uses: usize,
}

/// The memory that one source uses of the budget.
#[derive(Debug)]
pub(crate) struct MemoryShare {
    budget: Arc<Inner>,
    source: IpAddr,
    used: AtomicUsize,
    waiting: Mutex<WaitingRequests>,
}

/// Requests that wait for their body, the oldest first.
#[derive(Debug, Default)]
struct WaitingRequests {
    next: u64,
    requests: BTreeMap<u64, Arc<RequestBytes>>,
}

/// The memory that a request has charged. Shared with the eviction.
#[derive(Debug, Default)]
struct RequestBytes {
    bytes: AtomicUsize,
    evicted: Notify,
}

/// There is no memory left for a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exhausted;

impl MemoryBudget {
    pub(crate) fn new(limit: usize, refused: Counter) -> Self {
        Self(Arc::new(Inner { limit, used: AtomicUsize::new(0), shares: Mutex::default(), heaviest: Mutex::default(), refused }))
    }

    /// The share of a source, or of its /64 in IPv6.
    pub(crate) fn share(&self, source: IpAddr) -> Arc<MemoryShare> {
        let source = source_network(source);
        let mut shares = self.0.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(&source).and_then(Weak::upgrade) {
            return share;
        }
        let share = MemoryShare { budget: Arc::clone(&self.0), source, used: AtomicUsize::new(0), waiting: Mutex::default() };
        let share = Arc::new(share);
        shares.insert(source, Arc::downgrade(&share));
        share
    }
}

impl Inner {
    /// Evicts the request that has waited longest in the heaviest share that has a waiting request.
    ///
    /// A scan of 4096 shares takes 75 us, and this is called for every 4 KiB while the budget is crowded. So with more than
    /// [`SHARES_PER_SCAN`] shares, one scan serves several calls.
    fn evict_from_heaviest(&self) {
        let mut heaviest = self.heaviest.lock().unwrap_or_else(PoisonError::into_inner);
        if heaviest.uses == 0 {
            *heaviest = self.scan();
        }
        heaviest.uses -= 1;
        // Dropping the last reference to a share locks `shares`, so `shares` must not be locked here.
        let mut shares: Vec<_> = heaviest.shares.iter().filter_map(Weak::upgrade).collect();
        drop(heaviest);
        // With cached keys, because the values change during the sort.
        shares.sort_by_cached_key(|share| Reverse(share.used.load(Relaxed)));
        // A request may have stopped waiting since the scan.
        let _ = shares.iter().any(|share| share.evict());
    }

    fn scan(&self) -> Heaviest {
        // Kept until after the lock is released: dropping the last reference to a share takes the lock.
        let all: Vec<_> = {
            let shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
            shares.values().filter_map(Weak::upgrade).collect()
        };
        let uses = all.len() / SHARES_PER_SCAN + 1;
        let mut waiting: Vec<_> = all.iter().filter(|share| !share.waiting().requests.is_empty()).collect();
        waiting.sort_by_cached_key(|share| Reverse(share.used.load(Relaxed)));
        // Each call evicts one request, so these shares suffice even if each has only one.
        Heaviest { shares: waiting.into_iter().take(uses).map(Arc::downgrade).collect(), uses }
    }
}

impl MemoryShare {
    /// Whether this is the share of `source`.
    pub(super) fn is_of(&self, source: IpAddr) -> bool {
        self.source == source_network(source)
    }

    /// The share of another source, in the same budget.
    pub(super) fn of_another(&self, source: IpAddr) -> Arc<Self> {
        MemoryBudget(Arc::clone(&self.budget)).share(source)
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, WaitingRequests> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Evicts the oldest waiting request, if there is one. Its memory counts as free at once: its task runs soon, and the request that
    /// needs the memory must not be refused until then.
    fn evict(&self) -> bool {
        let oldest = self.waiting().requests.pop_first();
        if let Some((_, oldest)) = &oldest {
            self.release(oldest.bytes.swap(0, Relaxed));
            oldest.evicted.notify_one();
        }
        oldest.is_some()
    }

    fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Relaxed);
        self.budget.used.fetch_sub(bytes, Relaxed);
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        let mut shares = self.budget.shares.lock().unwrap_or_else(PoisonError::into_inner);
        // A new share may have taken its place already.
        if shares.get(&self.source).is_some_and(|share| share.strong_count() == 0) {
            shares.remove(&self.source);
        }
    }
}

/// The memory that one request uses of the budget. Released when this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    share: Arc<MemoryShare>,
    held: Arc<RequestBytes>,
}

impl Charge {
    /// Charges a request with these headers to `share`.
    pub(crate) fn request(share: Arc<MemoryShare>, headers: &HeaderMap) -> Result<Self, Exhausted> {
        let headers: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + HEADER_COST).sum();
        let charge = Self { share, held: Arc::default() };
        charge.grow_up_to(8, REQUEST_COST + headers)?;
        Ok(charge)
    }

    /// Charges a block of the body. `first` says whether it is the first one.
    pub(crate) fn grow(&self, bytes: usize, first: bool) -> Result<(), Exhausted> {
        self.grow_up_to(if first { 8 } else { BODIES }, bytes)
    }

    /// Charges memory if the total stays below this part of the limits, in eighths.
    fn grow_up_to(&self, part: usize, bytes: usize) -> Result<(), Exhausted> {
        let budget = &self.share.budget;
        let (limit, share_limit) = (budget.limit, budget.limit / SHARE_DIVISOR);
        self.held.bytes.fetch_add(bytes, Relaxed);
        let own = self.share.used.fetch_add(bytes, Relaxed) + bytes;
        let all = budget.used.fetch_add(bytes, Relaxed) + bytes;
        if own > share_limit / 8 * CROWDED {
            self.share.evict();
        } else if all > limit / 8 * CROWDED {
            budget.evict_from_heaviest();
        }
        if self.share.used.load(Relaxed) > share_limit / 8 * part || budget.used.load(Relaxed) > limit / 8 * part {
            self.give_back(bytes);
            self.share.budget.refused.inc();
            return Err(Exhausted);
        }
        Ok(())
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        // Less than was charged if the request has been evicted meanwhile.
        let taken = |held: usize| Some(held.saturating_sub(bytes));
        if let Ok(before) = self.held.bytes.fetch_update(Relaxed, Relaxed, taken) {
            self.share.release(before.min(bytes));
        }
    }

    /// Registers the request as waiting for its body.
    pub(crate) fn wait(&self) -> Wait {
        let held = Arc::clone(&self.held);
        let mut waiting = self.share.waiting();
        let turn = waiting.next;
        waiting.next += 1;
        waiting.requests.insert(turn, Arc::clone(&held));
        drop(waiting);
        Wait { share: Arc::clone(&self.share), turn, held }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.give_back(usize::MAX);
    }
}

/// The registration of a request that waits for its body. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Wait {
    share: Arc<MemoryShare>,
    turn: u64,
    held: Arc<RequestBytes>,
}

impl Wait {
    /// Returns when the request is evicted.
    pub(crate) async fn evicted(&self) {
        self.held.evicted.notified().await;
        self.share.budget.refused.inc();
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.share.waiting().requests.remove(&self.turn);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const MIB: usize = 1024 * 1024;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn request(budget: &MemoryBudget, source: &str) -> Result<Charge, Exhausted> {
        Charge::request(budget.share(ip(source)), &HeaderMap::new())
    }

    #[test]
    fn hd2_a_source_is_limited_to_its_share() {
        let budget = MemoryBudget::new(4 * MIB, Counter::default());
        let mut held = Vec::new();
        let refused = loop {
            match request(&budget, "2001:db8::1") {
                Ok(charge) => held.push(charge),
                Err(Exhausted) => break held.len() * REQUEST_COST,
            }
        };
        assert!((MIB - REQUEST_COST..=MIB).contains(&refused), "a quarter of the budget: {refused}");
        assert!(request(&budget, "2001:db8::ffff:1").is_err(), "the same /64");
        assert!(request(&budget, "2001:db8:0:1::1").is_ok());
        held.clear();
        assert!(request(&budget, "2001:db8::1").is_ok(), "a dropped charge is released");
        assert_eq!(budget.0.used.load(Relaxed), 0);
        assert!(budget.0.shares.lock().unwrap().is_empty(), "a source without requests takes no memory");
    }

    #[test]
    fn hd2_the_search_for_the_heaviest_share_does_not_deadlock_with_short_lived_shares() {
        let budget = MemoryBudget::new(4 * MIB, Counter::default());
        std::thread::scope(|scope| {
            for source in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
                let budget = &budget;
                scope.spawn(move || (0..20_000).for_each(|_| drop(budget.share(ip(source)))));
            }
            scope.spawn(|| (0..20_000).for_each(|_| budget.0.evict_from_heaviest()));
        });
        assert!(budget.0.shares.lock().unwrap().is_empty());
    }

    #[test]
    fn hd2_only_the_request_that_has_waited_longest_is_evicted() {
        let budget = MemoryBudget::new(4 * MIB, Counter::default());
        let share = budget.share(ip("192.0.2.1"));
        let charges: Vec<_> = (0..12).map(|_| request(&budget, "192.0.2.1").unwrap()).collect();
        let waits: Vec<_> = charges.iter().map(Charge::wait).collect();
        let given_up = || waits.iter().map(|wait| wait.evicted().now_or_never().is_some()).collect::<Vec<_>>();
        assert!(!given_up().contains(&true));
        let one_more = request(&budget, "192.0.2.1").unwrap();
        let evicted = given_up();
        assert!(evicted[0] && !evicted[1..].contains(&true), "{evicted:?}");
        drop((one_more, charges, waits));
        assert_eq!(share.used.load(Relaxed), 0);
        assert!(share.waiting().requests.is_empty());
    }

    #[test]
    fn hd2_when_the_budget_is_used_up_the_heaviest_source_loses_a_request() {
        let budget = MemoryBudget::new(4 * MIB, Counter::default());
        let attackers = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"];
        let held: Vec<_> = attackers.iter().flat_map(|source| (0..12).map(|_| request(&budget, source).unwrap())).collect();
        let waits: Vec<_> = held.iter().map(Charge::wait).collect();
        let good: Vec<_> = (0..8).map(|_| request(&budget, "198.51.100.1").unwrap()).collect();
        let evicted = waits.iter().filter(|wait| wait.evicted().now_or_never().is_some()).count();
        assert!((1..=8).contains(&evicted), "{evicted}");
        drop((good, held, waits));
    }

    #[test]
    fn hd2_a_source_without_a_waiting_request_does_not_protect_those_that_use_less() {
        let budget = MemoryBudget::new(4 * MIB, Counter::default());
        let sources = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"];
        let heavier: Vec<_> = sources.iter().flat_map(|source| (0..12).map(|_| request(&budget, source).unwrap())).collect();
        let lighter = request(&budget, "198.51.100.1").unwrap();
        let wait = lighter.wait();
        let more: Vec<_> = (0..4).map(|_| request(&budget, "198.51.100.2").unwrap()).collect();
        assert!(wait.evicted().now_or_never().is_some());
        drop((more, wait, lighter, heavier));
        assert_eq!(budget.0.used.load(Relaxed), 0);
    }

    #[test]
    fn hd2_one_scan_of_many_sources_serves_several_evictions() {
        let budget = MemoryBudget::new(1024 * MIB, Counter::default());
        let hold = |address: u32, bytes: usize| {
            let charge = request(&budget, &std::net::Ipv4Addr::from_bits(address).to_string()).unwrap();
            charge.grow(bytes, true).unwrap();
            let wait = charge.wait();
            (charge, wait)
        };
        let scans_after = 8 + 1;
        let held: Vec<_> = (0..SHARES_PER_SCAN * 8).map(|number| hold(u32::try_from(number).unwrap(), number)).collect();
        let given_up = |(_, wait): &(Charge, Wait)| wait.evicted().now_or_never().is_some();
        budget.0.evict_from_heaviest();
        let later = hold(u32::MAX, 100_000);
        assert!(given_up(held.last().unwrap()));
        for expected in held.iter().rev().skip(1).take(scans_after - 1) {
            budget.0.evict_from_heaviest();
            assert!(given_up(expected));
            assert!(!given_up(&later), "it came after the scan");
        }
        budget.0.evict_from_heaviest();
        assert!(given_up(&later));
        assert!(!held[..held.len() - scans_after].iter().any(given_up));
    }
}
