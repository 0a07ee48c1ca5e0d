//! The connections that are open: how many there may be, what each is doing, and which of them has to go.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::SeqCst},
    time::Duration,
};

use tokio::sync::Notify;

use super::activity::{Activity, ConnectionLimits, Order, millis};
use crate::{clock::Stopwatch, server::meters::Meters};

/// How long nothing has to begin or end on a connection with a request under way before it can be closed for another: longer than a
/// body may take to arrive.
const STALLED: Duration = Duration::from_secs(12);

/// The open connections of a listener. A handle.
#[derive(Debug, Clone)]
pub(super) struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: ConnectionLimits,
    meters: Arc<Meters>,
    since: Stopwatch,
    open: Mutex<Open>,
    /// A connection has gone.
    left: Notify,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    connections: BTreeMap<u64, Arc<Activity>>,
    sources: HashMap<IpAddr, usize>,
}

/// What becomes of a new connection.
#[derive(Debug)]
pub(super) enum Entry {
    Place(Place),
    /// Its source has as many as it may have, each with a request under way that has not stalled.
    SourceFull,
    /// All places are taken by connections with a request under way that has not stalled.
    Full,
}

/// The place of one connection, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    id: u64,
    pub(super) activity: Arc<Activity>,
}

impl Places {
    pub(super) fn new(limits: ConnectionLimits, meters: Arc<Meters>) -> Self {
        Self(Arc::new(Inner { limits, meters, since: Stopwatch::start(), open: Mutex::default(), left: Notify::new() }))
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a connection from `source`; an idle connection gives way if there is none.
    pub(super) fn enter(&self, source: IpAddr, limited: bool) -> Entry {
        let source = neighbourhood(source);
        let mut open = self.open();
        if limited
            && open.sources.get(&source).is_some_and(|count| *count >= self.0.limits.per_source)
            && !self.make_room(&mut open, Some(source))
        {
            return Entry::SourceFull;
        }
        if open.connections.len() >= self.0.limits.total && !self.make_room(&mut open, None) {
            return Entry::Full;
        }
        let id = open.next;
        open.next += 1;
        let activity = Arc::new(Activity::new(source, self.0.since));
        open.connections.insert(id, Arc::clone(&activity));
        *open.sources.entry(source).or_default() += 1;
        self.0.meters.connections.inc();
        Entry::Place(Place { places: self.clone(), id, activity })
    }

    /// Tells the connection that has been idle longest, of `source` if one is given, to give its place up. If none is idle, the
    /// source with most connections loses the one whose request has stalled longest: an answer that is not taken keeps a request
    /// under way, and must not keep everyone else out.
    fn make_room(&self, open: &mut Open, source: Option<IpAddr>) -> bool {
        let now = millis(self.0.since.elapsed());
        let changed = |activity: &Activity| activity.changed.load(SeqCst);
        let candidates = || open.connections.iter().filter(|(_, activity)| source.is_none_or(|source| activity.source == source));
        let idle = candidates().filter(|(_, activity)| activity.is_idle()).min_by_key(|(_, activity)| changed(activity));
        let stalled = || {
            let stalled = candidates().filter(|(_, activity)| now.saturating_sub(changed(activity)) > millis(STALLED));
            stalled.max_by_key(|(_, activity)| (open.sources.get(&activity.source), Reverse(changed(activity))))
        };
        let idle = idle.map(|one| (one, Order::MakeRoom));
        let Some(((&id, activity), order)) = idle.or_else(|| stalled().map(|one| (one, Order::Close))) else { return false };
        activity.tell(order);
        self.remove(open, id);
        self.0.meters.connections_evicted.inc();
        true
    }

    fn remove(&self, open: &mut Open, id: u64) {
        let Some(activity) = open.connections.remove(&id) else { return };
        if let Some(count) = open.sources.get_mut(&activity.source) {
            *count -= 1;
            if *count == 0 {
                open.sources.remove(&activity.source);
            }
        }
        self.0.meters.connections.dec();
    }

    /// Returns when another connection has gone.
    pub(super) async fn left(&self) {
        self.0.left.notified().await;
    }

    /// Returns when no connection is open.
    pub(super) async fn empty(&self) {
        loop {
            let left = self.0.left.notified();
            if self.open().connections.is_empty() {
                return;
            }
            left.await;
        }
    }

    /// Tells every connection to finish.
    pub(super) fn finish(&self) {
        self.open().connections.values().for_each(|activity| activity.tell(Order::Finish));
    }

    /// Looks at every connection now and then, and ends those whose time is over.
    pub(super) async fn watch(self) {
        let pause = (self.0.limits.idle.min(self.0.limits.age) / 8).clamp(Duration::from_millis(50), Duration::from_secs(1));
        loop {
            tokio::time::sleep(pause).await;
            let now = millis(self.0.since.elapsed());
            self.open().connections.values().for_each(|activity| activity.review(now, self.0.limits));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.remove(&mut self.places.open(), self.id);
        self.places.0.left.notify_waiters();
    }
}

/// The address, or in IPv6 its /64: whoever has one address of it has all of them.
pub(super) fn neighbourhood(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ConnectionLimits =
        ConnectionLimits { total: 3, per_source: 2, idle: Duration::from_secs(75), age: Duration::from_secs(3600) };

    fn places() -> Places {
        Places::new(LIMITS, Arc::default())
    }

    fn enter(places: &Places, source: &str) -> Place {
        match places.enter(source.parse().unwrap(), true) {
            Entry::Place(place) => place,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn hd3_the_connection_that_has_been_idle_longest_gives_way() {
        let places = places();
        let one = enter(&places, "2001:db8::1");
        let neighbour = enter(&places, "2001:db8::ffff:1");
        one.activity.changed.store(10, SeqCst);
        neighbour.activity.changed.store(5, SeqCst);
        let third = enter(&places, "2001:db8::2");
        assert_eq!((one.activity.order(), neighbour.activity.order()), (Order::Stay, Order::MakeRoom), "of the same /64");
        let other = enter(&places, "2001:db8:0:1::1");
        let busy: Vec<_> = [&one, &third, &other].map(|place| place.activity.begin(true)).into();
        assert!(matches!(places.enter("2001:db8::3".parse().unwrap(), true), Entry::SourceFull));
        assert!(matches!(places.enter("192.0.2.1".parse().unwrap(), true), Entry::Full));
        assert!(matches!(places.enter("2001:db8::3".parse().unwrap(), false), Entry::Full), "a trusted proxy");
        drop(busy);
        enter(&places, "192.0.2.1");
        drop((one, neighbour, third, other));
        assert!(places.open().sources.is_empty(), "a source that is gone takes no memory");
        assert_eq!(places.0.meters.open_connections(), 0);
    }
}
