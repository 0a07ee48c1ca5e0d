//! Memory for requests whose body is still arriving or whose client is not authenticated yet: one budget for all of them, and a
//! share of it for each source.
//!
//! When a share or the whole is nearly used up, the request that has waited longest for its body gives up its place. An honest
//! body arrives within milliseconds, so this is a request that holds its last byte back, not one of its honest neighbours.

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

use super::places::neighbourhood;

/// What a request costs besides its headers and its body, as measured: the futures of its handler and of the layers around it, its span, and
/// its stream if it came over HTTP/2.
const REQUEST_COST: usize = 40 * 1024;
/// What a header costs besides its bytes (RFC 9113 section 6.5.2 counts the same).
const HEADER_COST: usize = 32;
/// One source has no more than this part of the budget.
const SOURCES: usize = 4;
/// Above this part of a limit, in eighths, the oldest request that waits for its body has to go.
const CROWDED: usize = 4;
/// Shares that the search for the heaviest looks at, on average, each time: a scan of all is made once per so many of them.
const LOOKS: usize = 128;
/// Bodies grow up to this part of a limit, in eighths. The rest is for the beginnings of requests, so that small ones always find room,
/// and for what is not counted: holes in the heap, and requests that gave up and whose task has not run yet.
const BODIES: usize = 5;

/// The budget. A handle.
#[derive(Debug, Clone)]
pub(crate) struct MemoryBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    used: AtomicUsize,
    shares: Mutex<HashMap<IpAddr, Weak<Share>>>,
    /// Locked before `shares`.
    heaviest: Mutex<Heaviest>,
    refused: Counter,
}

/// The shares that use most among those with a waiting request, as the last scan found them.
#[derive(Debug, Default)]
struct Heaviest {
    shares: Vec<Weak<Share>>,
    /// How often these serve before the next scan.
    uses: usize,
}

/// What one source uses of the budget.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Inner>,
    source: IpAddr,
    used: AtomicUsize,
    waiting: Mutex<Waiting>,
}

/// Requests whose body has not arrived, the oldest first.
#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    requests: BTreeMap<u64, Arc<Held>>,
}

/// What a request holds, seen by itself and by whoever makes it give up.
#[derive(Debug, Default)]
struct Held {
    bytes: AtomicUsize,
    evicted: Notify,
}

/// There is no memory left for this request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exhausted;

impl MemoryBudget {
    pub(crate) fn new(limit: usize, refused: Counter) -> Self {
        Self(Arc::new(Inner { limit, used: AtomicUsize::new(0), shares: Mutex::default(), heaviest: Mutex::default(), refused }))
    }

    /// The share of a source; in IPv6, of its /64.
    pub(super) fn share(&self, source: IpAddr) -> Arc<Share> {
        let source = neighbourhood(source);
        let mut shares = self.0.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(&source).and_then(Weak::upgrade) {
            return share;
        }
        let share = Share { budget: Arc::clone(&self.0), source, used: AtomicUsize::new(0), waiting: Mutex::default() };
        let share = Arc::new(share);
        shares.insert(source, Arc::downgrade(&share));
        share
    }
}

impl Inner {
    /// Tells the request that has waited longest in the source that uses most to give up. Only sources with a waiting request count.
    ///
    /// A scan of all shares takes 75 us with 4096 of them, and this is called for every 4 KiB while the budget is crowded. So with more
    /// than [`LOOKS`] shares, a scan finds the heaviest for several calls.
    fn evict_from_heaviest(&self) {
        let mut heaviest = self.heaviest.lock().unwrap_or_else(PoisonError::into_inner);
        if heaviest.uses == 0 {
            *heaviest = self.scan();
        }
        heaviest.uses -= 1;
        // To drop the last handle of a share locks `shares`, which is not locked here.
        let mut shares: Vec<_> = heaviest.shares.iter().filter_map(Weak::upgrade).collect();
        drop(heaviest);
        // Cached, as the figures change meanwhile.
        shares.sort_by_cached_key(|share| Reverse(share.used.load(Relaxed)));
        // A request may have left the line since.
        let _ = shares.iter().any(|share| share.evict());
    }

    fn scan(&self) -> Heaviest {
        // They outlive the lock: to drop the last handle of a share takes it.
        let all: Vec<_> = {
            let shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
            shares.values().filter_map(Weak::upgrade).collect()
        };
        let uses = all.len() / LOOKS + 1;
        let mut waiting: Vec<_> = all.iter().filter(|share| !share.waiting().requests.is_empty()).collect();
        waiting.sort_by_cached_key(|share| Reverse(share.used.load(Relaxed)));
        // Each use takes one request, so these are enough even if each has only one.
        Heaviest { shares: waiting.into_iter().take(uses).map(Arc::downgrade).collect(), uses }
    }
}

impl Share {
    /// Whether this is the share of `source`.
    pub(super) fn is_of(&self, source: IpAddr) -> bool {
        self.source == neighbourhood(source)
    }

    /// The share of another source, in the same budget.
    pub(super) fn of_another(&self, source: IpAddr) -> Arc<Self> {
        MemoryBudget(Arc::clone(&self.budget)).share(source)
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the oldest waiting request give up, if there is one. What it holds counts as free at once: its task runs next, and whoever
    /// needs the memory now must not be refused meanwhile.
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

impl Drop for Share {
    fn drop(&mut self) {
        let mut shares = self.budget.shares.lock().unwrap_or_else(PoisonError::into_inner);
        // Another may stand there already.
        if shares.get(&self.source).is_some_and(|share| share.strong_count() == 0) {
            shares.remove(&self.source);
        }
    }
}

/// What one request uses of the budget, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    share: Arc<Share>,
    held: Arc<Held>,
}

impl Charge {
    /// Charges a request with these headers to `share`.
    pub(super) fn request(share: Arc<Share>, headers: &HeaderMap) -> Result<Self, Exhausted> {
        let headers: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + HEADER_COST).sum();
        let charge = Self { share, held: Arc::default() };
        charge.grow_up_to(8, REQUEST_COST + headers)?;
        Ok(charge)
    }

    /// Charges more of the body; `first` is the first that is charged of it.
    pub(super) fn grow(&self, bytes: usize, first: bool) -> Result<(), Exhausted> {
        self.grow_up_to(if first { 8 } else { BODIES }, bytes)
    }

    /// Charges up to this part of the limits, in eighths.
    fn grow_up_to(&self, part: usize, bytes: usize) -> Result<(), Exhausted> {
        let budget = &self.share.budget;
        let (limit, share_limit) = (budget.limit, budget.limit / SOURCES);
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

    pub(super) fn give_back(&self, bytes: usize) {
        // Less than was charged if the request was made to give up meanwhile.
        let taken = |held: usize| Some(held.saturating_sub(bytes));
        if let Ok(before) = self.held.bytes.fetch_update(Relaxed, Relaxed, taken) {
            self.share.release(before.min(bytes));
        }
    }

    /// Enters the line of those whose body has not arrived.
    pub(super) fn wait(&self) -> Wait {
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

/// A request in the line of those whose body has not arrived; it leaves the line when this is dropped.
#[derive(Debug)]
pub(super) struct Wait {
    share: Arc<Share>,
    turn: u64,
    held: Arc<Held>,
}

impl Wait {
    /// Returns when the request has to give up, for the sake of others.
    pub(super) async fn evicted(&self) {
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
    fn hd2_a_source_gets_its_share_and_no_more() {
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
        assert!(request(&budget, "2001:db8::1").is_ok(), "what is dropped is given back");
        assert_eq!(budget.0.used.load(Relaxed), 0);
        assert!(budget.0.shares.lock().unwrap().is_empty(), "a source without requests takes no memory");
    }

    #[test]
    fn hd2_sources_that_come_and_go_do_not_stop_the_search_for_the_heaviest() {
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
    fn hd2_the_request_that_has_waited_longest_gives_way_and_its_neighbours_do_not() {
        let budget = MemoryBudget::new(4 * MIB, Counter::default());
        let share = budget.share(ip("192.0.2.1"));
        let charges: Vec<_> = (0..12).map(|_| request(&budget, "192.0.2.1").unwrap()).collect();
        let waits: Vec<_> = charges.iter().map(Charge::wait).collect();
        let given_up = || waits.iter().map(|wait| wait.evicted().now_or_never().is_some()).collect::<Vec<_>>();
        assert!(!given_up().contains(&true));
        let one_more = request(&budget, "192.0.2.1").unwrap();
        let told = given_up();
        assert!(told[0] && !told[1..].contains(&true), "{told:?}");
        drop((one_more, charges, waits));
        assert_eq!(share.used.load(Relaxed), 0);
        assert!(share.waiting().requests.is_empty());
    }

    #[test]
    fn hd2_when_all_is_used_the_source_that_uses_most_gives_way() {
        let budget = MemoryBudget::new(4 * MIB, Counter::default());
        let attackers = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"];
        let held: Vec<_> = attackers.iter().flat_map(|source| (0..12).map(|_| request(&budget, source).unwrap())).collect();
        let waits: Vec<_> = held.iter().map(Charge::wait).collect();
        let good: Vec<_> = (0..8).map(|_| request(&budget, "198.51.100.1").unwrap()).collect();
        let told = waits.iter().filter(|wait| wait.evicted().now_or_never().is_some()).count();
        assert!((1..=8).contains(&told), "{told}");
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
    fn hd2_of_many_sources_the_heaviest_give_way_without_a_scan_each_time() {
        let budget = MemoryBudget::new(1024 * MIB, Counter::default());
        let hold = |address: u32, bytes: usize| {
            let charge = request(&budget, &std::net::Ipv4Addr::from_bits(address).to_string()).unwrap();
            charge.grow(bytes, true).unwrap();
            let wait = charge.wait();
            (charge, wait)
        };
        let scans_after = 8 + 1;
        let held: Vec<_> = (0..LOOKS * 8).map(|number| hold(u32::try_from(number).unwrap(), number)).collect();
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
