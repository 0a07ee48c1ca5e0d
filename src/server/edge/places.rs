//! The open connections of a listener: their limits, and which of them is closed to make room.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::SeqCst},
    time::Duration,
};

use tokio::sync::{Notify, futures::Notified};

use super::{
    activity::{Activity, Order, millis},
    limits::ConnectionLimits,
};
use crate::{clock::Stopwatch, server::meters::ConnectionMeters};

/// The open connections of a listener. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: ConnectionLimits,
    meters: ConnectionMeters,
    since: Stopwatch,
    open: Mutex<Open>,
    /// Notified when a connection has closed.
    left: Notify,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    connections: BTreeMap<u64, Arc<Activity>>,
    /// Connections that were ordered to make room and are not closed yet.
    leaving: BTreeMap<u64, Arc<Activity>>,
    /// The number of `connections` per source.
    sources: HashMap<IpAddr, usize>,
}

/// Whether a new connection gets a place.
#[derive(Debug)]
pub(super) enum Entry {
    Place(Place),
    /// Its source has the maximum number of connections, each with a request under way that has not stalled.
    SourceFull,
    /// All places are taken by connections with a request under way that has not stalled or are spared, or too many connections are closing.
    Full,
}

/// The place of a connection. It is freed when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    id: u64,
    pub(super) activity: Arc<Activity>,
}

impl Open {
    fn all(&self) -> impl Iterator<Item = &Arc<Activity>> {
        self.connections.values().chain(self.leaving.values())
    }

    /// Removes a connection from those that have a place.
    fn remove(&mut self, id: u64) -> Option<Arc<Activity>> {
        let activity = self.connections.remove(&id)?;
        if let Some(count) = self.sources.get_mut(&activity.source) {
            *count -= 1;
            if *count == 0 {
                self.sources.remove(&activity.source);
            }
        }
        Some(activity)
    }
}

impl Places {
    pub(super) fn new(limits: ConnectionLimits, meters: ConnectionMeters) -> Self {
        Self(Arc::new(Inner { limits, meters, since: Stopwatch::start(), open: Mutex::default(), left: Notify::new() }))
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a connection from `source`. If none is free, an idle connection is closed to make room.
    pub(super) fn enter(&self, source: IpAddr, limited: bool) -> Entry {
        self.enter_at(millis(self.0.since.elapsed()), source, limited)
    }

    /// Like `enter`, at the time `now` in milliseconds since the listener started.
    pub(super) fn enter_at(&self, now: u64, source: IpAddr, limited: bool) -> Entry {
        let source = source_network(source);
        let mut open = self.open();
        if limited
            && open.sources.get(&source).is_some_and(|count| *count >= self.0.limits.per_source)
            && let Err(entry) = self.make_room(&mut open, Some(source), None, now)
        {
            return entry;
        }
        if open.connections.len() >= self.0.limits.total
            && let Err(entry) = self.make_room(&mut open, None, (!limited).then_some(source), now)
        {
            return entry;
        }
        let id = open.next;
        open.next += 1;
        let activity = Arc::new(Activity::new(source, self.0.since, self.0.limits.traffic));
        open.connections.insert(id, Arc::clone(&activity));
        *open.sources.entry(source).or_default() += 1;
        self.0.meters.open.inc();
        Entry::Place(Place { places: self.clone(), id, activity })
    }

    /// Orders the connection that has been idle longest, of `source` if one is given, to make room. If none is idle, closes the longest
    /// stalled connection of the source with most connections: a client that does not read its answer keeps a request under way, and must
    /// not keep everyone else out. A new connection of `spared` stays: its source has no limit, may open many at once, and would lose the
    /// first request of each to the next.
    fn make_room(&self, open: &mut Open, source: Option<IpAddr>, spared: Option<IpAddr>, now: u64) -> Result<(), Entry> {
        let changed = |activity: &Activity| activity.changed.load(SeqCst);
        let candidates = || open.connections.iter().filter(|(_, activity)| source.is_none_or(|source| activity.source == source));
        let idle = candidates().filter(|(_, activity)| activity.is_idle());
        // A busy machine notices late which connections were closed: those rather than one whose first request is on its way.
        let idle = idle.min_by_key(|(_, activity)| (activity.is_new(now), changed(activity)));
        let limit = millis(self.0.limits.traffic.eviction_limit());
        let stalled = || {
            let stalled = candidates().filter(|(_, activity)| now.saturating_sub(changed(activity)) > limit);
            stalled.max_by_key(|(_, activity)| (open.sources.get(&activity.source), Reverse(changed(activity))))
        };
        let idle = idle.filter(|(_, one)| Some(one.source) != spared || !one.is_new(now)).map(|one| (one, Order::MakeRoom));
        let Some(((&id, _), order)) = idle.or_else(|| stalled().map(|one| (one, Order::Close))) else {
            return Err(if source.is_some() { Entry::SourceFull } else { Entry::Full });
        };
        if open.leaving.len() >= self.0.limits.leaving() {
            return Err(Entry::Full);
        }
        if let Some(activity) = open.remove(id) {
            activity.give_order(order);
            open.leaving.insert(id, activity);
            self.close_one_leaving(open);
            self.0.meters.evicted.inc();
        }
        Ok(())
    }

    /// Closes a leaving connection that still sends an answer, when more than half of the places for leaving connections are taken by such.
    /// The other half is for connections whose task has not yet noticed that they are closed. The source with most of them loses one.
    fn close_one_leaving(&self, open: &Open) {
        let sending = || open.leaving.values().filter(|activity| activity.order() < Order::Close);
        if sending().count() <= self.0.limits.leaving() / 2 {
            return;
        }
        let mut sources = HashMap::<_, usize>::new();
        sending().for_each(|activity| *sources.entry(activity.source).or_default() += 1);
        let ordered = |activity: &Activity| activity.ordered.load(SeqCst);
        // Of equal ones, `min_by_key` returns the first, which is the oldest connection.
        let first = sending().min_by_key(|one| (Reverse(sources.get(&one.source).copied()), !one.is_idle(), ordered(one)));
        if let Some(activity) = first {
            activity.give_order(Order::Close);
        }
    }

    /// Returns when a connection has closed since the call.
    pub(super) fn left(&self) -> Notified<'_> {
        self.0.left.notified()
    }

    /// Returns when no connection is open, including leaving ones.
    pub(super) async fn empty(&self) {
        loop {
            let left = self.left();
            if self.open().all().next().is_none() {
                return;
            }
            left.await;
        }
    }

    /// Gives every connection an order, and returns their activities.
    pub(super) fn order_all(&self, order: Order) -> Vec<Arc<Activity>> {
        self.open().all().inspect(|activity| activity.give_order(order)).cloned().collect()
    }

    /// Reviews every connection periodically and ends those that exceed a time limit.
    pub(super) async fn watch(self) {
        let pause = (self.0.limits.idle.min(self.0.limits.age) / 8).clamp(Duration::from_millis(50), Duration::from_secs(1));
        loop {
            tokio::time::sleep(pause).await;
            let now = millis(self.0.since.elapsed());
            self.open().all().for_each(|activity| activity.review(now, self.0.limits));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.places.open();
        if open.leaving.remove(&self.id).is_none() {
            open.remove(self.id);
        }
        drop(open);
        self.places.0.meters.open.dec();
        self.places.0.left.notify_waiters();
    }
}

/// The address, or the /64 of an IPv6 address, because one subscriber has a whole /64.
pub(crate) fn source_network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::server::edge::traffic::Traffic;

    const LIMITS: ConnectionLimits = ConnectionLimits {
        total: 3,
        per_source: 2,
        idle: Duration::from_secs(75),
        age: Duration::from_secs(3600),
        traffic: Traffic::Messages,
    };
    const STALLED_AFTER: Duration = LIMITS.traffic.eviction_limit();

    fn places() -> Places {
        Places::new(LIMITS, ConnectionMeters::default())
    }

    fn enter(places: &Places, source: &str) -> Place {
        match places.enter(source.parse().unwrap(), true) {
            Entry::Place(place) => place,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn hd3_a_connection_whose_first_request_is_on_its_way_gives_way_last() {
        let places = places();
        let (new, used) = (enter(&places, "192.0.2.1"), enter(&places, "192.0.2.1"));
        drop(used.activity.begin(false));
        used.activity.changed.store(new.activity.changed.load(SeqCst) + 500, SeqCst);
        let now = new.activity.changed.load(SeqCst) + 600;
        let third = places.enter_at(now, "192.0.2.1".parse().unwrap(), true);
        assert_eq!((new.activity.order(), used.activity.order()), (Order::Stay, Order::MakeRoom));
        let fourth = places.enter_at(now + 1000, "192.0.2.1".parse().unwrap(), true);
        assert_eq!(new.activity.order(), Order::MakeRoom, "after a second it is idle like any other");
        drop((third, fourth, new, used));
    }

    #[test]
    fn hd3_a_source_without_a_limit_does_not_lose_its_first_requests_to_its_own_connections() {
        let places = Places::new(ConnectionLimits { total: 1, ..LIMITS }, ConnectionMeters::default());
        let new = enter(&places, "192.0.2.1");
        let again = |after: u64| places.enter_at(new.activity.changed.load(SeqCst) + after, "192.0.2.1".parse().unwrap(), false);
        assert!(matches!((again(999), new.activity.order()), (Entry::Full, Order::Stay)));
        assert!(matches!((again(1000), new.activity.order()), (Entry::Place(_), Order::MakeRoom)));
    }

    #[test]
    fn hd3_the_connection_that_has_been_idle_longest_is_closed_to_make_room() {
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
        assert!(places.open().sources.is_empty(), "a source without connections takes no memory");
        assert_eq!(places.0.meters.open.get(), 0);
    }

    /// The time at which a request that has begun on the connection of `place` has just stalled.
    fn stalled_at(place: &Place) -> u64 {
        place.activity.changed.load(SeqCst) + millis(STALLED_AFTER) + 1
    }

    #[test]
    fn hd3_the_longest_stalled_connection_of_the_source_with_most_connections_is_closed() {
        let places = places();
        let [first, second, other] = ["192.0.2.1", "192.0.2.1", "192.0.2.2"].map(|source| enter(&places, source));
        let _busy = [&first, &second, &other].map(|place| place.activity.begin(true));
        for (place, changed) in [(&first, 2), (&second, 1), (&other, 0)] {
            place.activity.changed.store(changed, SeqCst);
        }
        let orders = || [&first, &second, &other].map(|place| place.activity.order());
        let enter_at = |now| places.enter_at(now, "192.0.2.3".parse().unwrap(), true);
        assert!(matches!(enter_at(millis(STALLED_AFTER)), Entry::Full), "nothing has stalled");
        assert_eq!(orders(), [Order::Stay; 3]);
        assert!(matches!(enter_at(stalled_at(&first)), Entry::Place(_)));
        assert_eq!(orders(), [Order::Stay, Order::Close, Order::Stay], "the other source has stalled longer and has fewer");
        assert_eq!(places.0.meters.evicted.get(), 1);
    }

    #[test]
    fn hd3_a_connection_whose_request_has_not_stalled_is_never_closed() {
        let places = places();
        let [fresh, stalled, another] = ["192.0.2.1", "192.0.2.2", "192.0.2.1"].map(|source| enter(&places, source));
        let _busy = [&fresh, &stalled, &another].map(|place| place.activity.begin(true));
        for (place, changed) in [(&fresh, 1000), (&stalled, 0), (&another, 1000)] {
            place.activity.changed.store(changed, SeqCst);
        }
        let now = stalled_at(&stalled);
        assert!(matches!(places.enter_at(now, "192.0.2.3".parse().unwrap(), true), Entry::Place(_)));
        assert_eq!(stalled.activity.order(), Order::Close, "its source has fewer connections");
        assert_eq!([fresh.activity.order(), another.activity.order()], [Order::Stay; 2]);
    }

    #[test]
    fn gd2_a_stream_is_closed_to_make_room_only_if_it_is_quiet_for_longer_than_a_healthy_one() {
        let traffic = Traffic::Streams { quiet: Duration::from_secs(120) };
        let places = Places::new(ConnectionLimits { total: 1, traffic, ..LIMITS }, ConnectionMeters::default());
        let stream = enter(&places, "192.0.2.1");
        let _request = stream.activity.begin(false);
        stream.activity.changed.store(0, SeqCst);
        assert!(matches!(places.enter_at(120_000, "192.0.2.2".parse().unwrap(), true), Entry::Full));
        assert!(matches!(places.enter_at(120_001, "192.0.2.2".parse().unwrap(), true), Entry::Place(_)));
    }

    #[test]
    fn hd3_a_source_at_its_limit_loses_its_own_stalled_connection() {
        let places = places();
        let [other, first, second] = ["192.0.2.2", "192.0.2.1", "192.0.2.1"].map(|source| enter(&places, source));
        let _busy = [&other, &first, &second].map(|place| place.activity.begin(true));
        for (place, changed) in [(&other, 0), (&first, 2), (&second, 1000)] {
            place.activity.changed.store(changed, SeqCst);
        }
        let enter_at = |now| places.enter_at(now, "192.0.2.1".parse().unwrap(), true);
        assert!(matches!(enter_at(stalled_at(&other)), Entry::SourceFull), "only another's has stalled");
        assert!(matches!(enter_at(stalled_at(&first)), Entry::Place(_)));
        assert_eq!([&other, &first, &second].map(|place| place.activity.order()), [Order::Stay, Order::Close, Order::Stay]);
    }

    #[test]
    fn hd3_a_connection_that_makes_room_counts_until_it_is_closed() {
        let places = Places::new(ConnectionLimits { total: 1, ..LIMITS }, ConnectionMeters::default());
        let first = enter(&places, "192.0.2.1");
        first.activity.changed.store(0, SeqCst);
        let second = enter(&places, "192.0.2.2");
        assert_eq!(first.activity.order(), Order::MakeRoom);
        assert_eq!(places.0.meters.open.get(), 2);
        drop(second);
        assert!(places.empty().now_or_never().is_none(), "a drain waits for it");
        let later = first.activity.ordered.load(SeqCst) + 5_001;
        places.open().all().for_each(|activity| activity.review(later, LIMITS));
        assert_eq!(first.activity.order(), Order::Close, "its time is limited");
        drop(first);
        assert!(places.empty().now_or_never().is_some());
        assert_eq!(places.0.meters.open.get(), 0);
    }

    #[test]
    fn hd3_leaving_connections_are_limited_and_the_source_with_most_of_them_loses_one() {
        let limits = ConnectionLimits { total: 32, per_source: 32, ..LIMITS };
        let places = Places::new(limits, ConnectionMeters::default());
        let mut open: Vec<_> = ["192.0.2.1", "192.0.2.2", "192.0.2.2"].map(|source| enter(&places, source)).into();
        open.extend((3..32).map(|_| enter(&places, "192.0.2.3")));
        for (place, changed) in open.iter().zip(0..) {
            place.activity.changed.store(changed, SeqCst);
        }
        let source: IpAddr = "198.51.100.1".parse().unwrap();
        let mut entered = Vec::new();
        let mut enter_more = |count: usize| {
            while entered.len() < count
                && let Entry::Place(place) = places.enter(source, true)
            {
                place.activity.changed.store(u64::MAX, SeqCst);
                entered.push(place);
            }
            let orders: Vec<_> = open[..9].iter().map(|place| place.activity.order()).collect();
            (entered.len(), orders)
        };
        let (leaves, closed, stays) = (Order::MakeRoom, Order::Close, Order::Stay);
        let orders = |closed_ones: &[usize], gone: usize| -> Vec<Order> {
            let of_gone = |at: usize| if closed_ones.contains(&at) { closed } else { leaves };
            (0..gone).map(of_gone).chain(std::iter::repeat(stays)).take(9).collect()
        };
        assert_eq!(enter_more(4), (4, orders(&[], 4)), "half of the places for leaving connections");
        assert_eq!(enter_more(5), (5, orders(&[1], 5)), "192.0.2.2 and 192.0.2.3 have two");
        assert_eq!(enter_more(6), (6, orders(&[1, 3], 6)), "192.0.2.3 has three");
        assert_eq!(enter_more(32), (8, orders(&[1, 3, 4, 5], 8)), "the next waits until one is closed");
        drop(open.remove(1));
        assert!(matches!(places.enter(source, true), Entry::Place(_)));
    }
}
