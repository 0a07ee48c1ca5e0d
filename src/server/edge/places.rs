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
    /// All places are taken by connections that have just been accepted, or have a request under way that has not stalled; or too many
    /// connections are closing.
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
            && let Err(entry) = self.make_room(&mut open, Some(source), now)
        {
            return entry;
        }
        if open.connections.len() >= self.0.limits.total
            && let Err(entry) = self.make_room(&mut open, None, now)
        {
            return entry;
        }
        let id = open.next;
        open.next += 1;
        let activity = Arc::new(Activity::new(source, self.0.since, now, self.0.limits.traffic));
        open.connections.insert(id, Arc::clone(&activity));
        *open.sources.entry(source).or_default() += 1;
        self.0.meters.open.inc();
        Entry::Place(Place { places: self.clone(), id, activity })
    }

    /// Orders the connection that has been idle longest, of `source` if one is given, to make room. If none is idle, closes the longest
    /// stalled connection of the source with most connections: a client that does not read its answer keeps a request under way, and must
    /// not keep everyone else out.
    ///
    /// Within a source that is at its limit, any idle connection gives way. Beyond that, one that has just been accepted does not: of many that
    /// arrive at once, each would lose its first request to the next. The new one waits, which it never does for long.
    fn make_room(&self, open: &mut Open, source: Option<IpAddr>, now: u64) -> Result<(), Entry> {
        let changed = |activity: &Activity| activity.changed.load(SeqCst);
        let candidates = || open.connections.iter().filter(|(_, activity)| source.is_none_or(|source| activity.source == source));
        let idle = candidates().filter(|(_, activity)| activity.is_idle() && (source.is_some() || !activity.is_just_accepted(now)));
        // A busy machine notices late which connections were closed: those rather than one whose first request is on its way.
        let idle = idle.min_by_key(|(_, activity)| (activity.is_new(now), changed(activity)));
        let has_stalled = |activity: &Activity| now.saturating_sub(changed(activity)) > millis(activity.traffic().eviction_limit());
        let stalled = || {
            let stalled = candidates().filter(|(_, activity)| has_stalled(activity));
            stalled.max_by_key(|(_, activity)| (open.sources.get(&activity.source), Reverse(changed(activity))))
        };
        let idle = idle.map(|one| (one, Order::MakeRoom));
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
mod tests;
