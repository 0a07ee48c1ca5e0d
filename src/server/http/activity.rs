//! What a connection is doing, and when it has to end.
//!
//! What counts is requests, not bytes: a connection that only sends PING, SETTINGS, WINDOW_UPDATE or half of a header is idle.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::sync::Notify;

use crate::clock::Stopwatch;

/// How long a connection may take to its first request, its TLS handshake included.
const FIRST_REQUEST_LIMIT: Duration = Duration::from_secs(20);
/// How long the headers of an HTTP/1.1 request may take from their first byte.
const HEADER_LIMIT: Duration = Duration::from_secs(10);
/// How long a connection with requests may go without finishing one, and how long one that has to go may take. A request has 30 s; the
/// rest is for its answer to be taken.
const STALL_LIMIT: Duration = Duration::from_secs(60);
/// How long an idle connection lives after GOAWAY was sent on it, for a request that is already on its way and for an answer that is not
/// sent whole.
const FAREWELL: Duration = Duration::from_secs(5);

/// How many connections there may be, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionLimits {
    /// In all. When they are used up, the one that has been idle longest is closed for a new one.
    pub(crate) total: usize,
    /// From one address, and in IPv6 from one /64, unless it is a trusted proxy. The same holds within them.
    pub(crate) per_source: usize,
    /// How long a connection may stay without a request.
    pub(crate) idle: Duration,
    /// How long a connection may be used.
    pub(crate) age: Duration,
}

/// What a connection is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Order {
    Stay,
    /// Finish the requests under way and accept no more of them.
    Finish,
    /// Its place is needed: the same, and a TLS handshake is not continued.
    MakeRoom,
    Close,
}

/// What a connection is doing. Times are milliseconds since its listener began.
#[derive(Debug)]
pub(super) struct Activity {
    pub(super) source: IpAddr,
    clock: Stopwatch,
    opened: u64,
    /// When its last request ended, or the first of those under way began.
    pub(super) changed: AtomicU64,
    under_way: AtomicU32,
    /// When a byte came that belongs to no request yet; 0 is none.
    heard: AtomicU64,
    requested: AtomicBool,
    http2: AtomicBool,
    /// Its next answer is the last.
    last: AtomicBool,
    order: AtomicU8,
    /// When it was given its last order.
    pub(super) ordered: AtomicU64,
    told: Notify,
}

/// Connections that may be open beyond [`ConnectionLimits::total`], at most; see [`ConnectionLimits::leaving`].
const LEAVING_LIMIT: usize = 64;

impl ConnectionLimits {
    /// How many connections may be open beyond `total`: those that gave up their place and are not closed yet.
    pub(super) fn leaving(self) -> usize {
        (self.total / 8).clamp(8, LEAVING_LIMIT)
    }

    /// As many connections as the process may have file descriptors for, less those that it needs itself.
    pub(crate) fn affordable(self) -> Self {
        /// The database's connections and files, the log, the listeners, and what libraries open for a moment.
        const OWN: usize = 256;
        let Some(descriptors) = descriptor_limit() else { return self };
        let total = self.total.min(descriptors.saturating_sub(OWN + LEAVING_LIMIT).max(descriptors / 2)).max(1);
        if total == self.total {
            return self;
        }
        tracing::warn!(
            descriptors,
            wanted = self.total,
            connections = total,
            "fewer connections than wanted: raise the limit of open files"
        );
        Self { total, per_source: self.per_source.min(total.div_ceil(2)), ..self }
    }
}

impl Activity {
    pub(super) fn new(source: IpAddr, clock: Stopwatch) -> Self {
        let now = millis(clock.elapsed());
        Self {
            source,
            clock,
            opened: now,
            changed: AtomicU64::new(now),
            under_way: AtomicU32::new(0),
            heard: AtomicU64::new(0),
            requested: AtomicBool::new(false),
            http2: AtomicBool::new(false),
            last: AtomicBool::new(false),
            order: AtomicU8::new(Order::Stay as u8),
            ordered: AtomicU64::new(0),
            told: Notify::new(),
        }
    }

    fn now(&self) -> u64 {
        millis(self.clock.elapsed())
    }

    /// Notes that a request has begun: its headers are here.
    pub(super) fn begin(self: &Arc<Self>, http2: bool) -> UnderWay {
        // The time first: who looks in between must not take a request that has just begun for one that stalls.
        if self.is_idle() {
            self.changed.store(self.now(), SeqCst);
        }
        self.under_way.fetch_add(1, SeqCst);
        self.heard.store(0, SeqCst);
        if !self.requested.load(SeqCst) {
            self.http2.store(http2, SeqCst);
            self.requested.store(true, SeqCst);
        }
        UnderWay(Arc::clone(self))
    }

    /// Notes that bytes have come.
    pub(super) fn hear(&self) {
        if self.is_idle() && self.heard.load(SeqCst) == 0 {
            self.heard.store(self.now().max(1), SeqCst);
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.under_way.load(SeqCst) == 0
    }

    /// Whether an answer on this connection has to say that it is the last.
    pub(super) fn is_last(&self) -> bool {
        self.last.load(SeqCst)
    }

    pub(super) fn tell(&self, order: Order) {
        if self.order.fetch_max(order as u8, SeqCst) < order as u8 {
            self.ordered.store(self.now(), SeqCst);
            self.told.notify_one();
        }
    }

    /// What the connection was told last.
    pub(super) fn order(&self) -> Order {
        let order = self.order.load(SeqCst);
        [Order::Finish, Order::MakeRoom, Order::Close].into_iter().find(|known| *known as u8 == order).unwrap_or(Order::Stay)
    }

    /// Returns when the connection is told something new.
    pub(super) async fn told(&self) -> Order {
        self.told.notified().await;
        self.order()
    }

    pub(super) fn review(&self, now: u64, limits: ConnectionLimits) {
        let over = |since: u64, limit: Duration| now.saturating_sub(since) > millis(limit);
        let (idle, changed, heard) = (self.is_idle(), self.changed.load(SeqCst), self.heard.load(SeqCst));
        let http2 = self.http2.load(SeqCst);
        let (order, ordered) = (self.order(), self.ordered.load(SeqCst));
        let requested = self.requested.load(SeqCst);
        if order != Order::Stay && over(ordered, STALL_LIMIT) {
            // However many requests it finishes: a client may ignore GOAWAY.
            self.tell(Order::Close);
        } else if !idle {
            if over(changed, STALL_LIMIT) {
                self.tell(Order::Close);
            }
        } else if !http2 && heard != 0 && over(heard, HEADER_LIMIT) {
            // What is not known to be HTTP/2 is treated alike: half a preface is no request either.
            self.tell(Order::Close);
        } else if order == Order::MakeRoom || order == Order::Finish && requested {
            if over(ordered.max(changed), FAREWELL) {
                self.tell(Order::Close);
            }
        } else if !requested {
            if over(self.opened, FIRST_REQUEST_LIMIT.min(limits.idle)) {
                self.tell(Order::Close);
            }
        } else if over(changed, limits.idle) {
            self.tell(Order::Finish);
        }
        if over(self.opened, limits.age) {
            self.last.store(true, SeqCst);
            // HTTP/1.1 has no word for it but in an answer: closing an idle connection now could cut a request off.
            if http2 {
                self.tell(Order::Finish);
            }
        }
    }
}

/// A request under way, until its answer has been sent.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Activity>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.changed.store(self.0.now(), SeqCst);
        self.0.under_way.fetch_sub(1, SeqCst);
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How many files this process may have open, after asking for as many as it may ask for.
#[cfg(unix)]
fn descriptor_limit() -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    // What cannot be raised stays as it is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok())
}

#[cfg(not(unix))]
fn descriptor_limit() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ConnectionLimits =
        ConnectionLimits { total: 3, per_source: 2, idle: Duration::from_secs(75), age: Duration::from_secs(3600) };

    fn activity() -> Arc<Activity> {
        Arc::new(Activity::new("192.0.2.1".parse().unwrap(), Stopwatch::start()))
    }

    #[test]
    fn hd3_idle_is_measured_by_requests() {
        let activity = activity();
        let after = |seconds: u64| {
            activity.review(activity.changed.load(SeqCst) + seconds * 1000, LIMITS);
            activity.order()
        };
        drop(activity.begin(true));
        activity.hear();
        assert_eq!((after(60), after(75), after(76)), (Order::Stay, Order::Stay, Order::Finish), "what it hears does not count");
        activity.ordered.store(0, SeqCst);
        let request = activity.begin(true);
        assert_eq!(after(59), Order::Finish, "a request is finished");
        drop(request);
        assert_eq!((after(5), after(6)), (Order::Finish, Order::Close));
    }

    #[test]
    fn hd3_a_connection_without_a_request_and_one_that_finishes_none_are_closed() {
        let (silent, stalled) = (activity(), activity());
        let after = |activity: &Activity, seconds: u64| {
            activity.review(activity.changed.load(SeqCst) + seconds * 1000, LIMITS);
            activity.order()
        };
        assert_eq!((after(&silent, 20), after(&silent, 21)), (Order::Stay, Order::Close));
        let _request = stalled.begin(true);
        assert_eq!((after(&stalled, 60), after(&stalled, 61)), (Order::Stay, Order::Close));
    }

    #[test]
    fn hd3_a_connection_that_has_to_go_does_not_stay_by_sending_requests() {
        for order in [Order::Finish, Order::MakeRoom] {
            let activity = activity();
            let (mut request, ordered) = (activity.begin(true), activity.changed.load(SeqCst));
            activity.tell(order);
            activity.ordered.store(ordered, SeqCst);
            for seconds in 1..=61 {
                assert_eq!(activity.order(), order, "{seconds}");
                let next = activity.begin(true);
                drop(std::mem::replace(&mut request, next));
                activity.changed.store(ordered + seconds * 1000, SeqCst);
                activity.review(ordered + seconds * 1000, LIMITS);
            }
            assert_eq!(activity.order(), Order::Close);
        }
    }

    #[test]
    fn hd3_room_is_made_within_5_s_also_by_a_connection_that_never_asked() {
        let activity = activity();
        activity.tell(Order::MakeRoom);
        let ordered = activity.ordered.load(SeqCst);
        activity.review(ordered + 5_000, LIMITS);
        assert_eq!(activity.order(), Order::MakeRoom);
        activity.review(ordered + 5_001, LIMITS);
        assert_eq!(activity.order(), Order::Close);
    }

    #[test]
    fn op7_an_idle_connection_outlives_a_proxys_60_s_and_headers_still_have_10_s() {
        let activity = activity();
        drop(activity.begin(false));
        let began = activity.changed.load(SeqCst);
        activity.review(began + 70_000, LIMITS);
        assert_eq!(activity.order(), Order::Stay);
        activity.hear();
        let heard = activity.heard.load(SeqCst);
        activity.review(heard + 10_000, LIMITS);
        assert_eq!(activity.order(), Order::Stay);
        activity.review(heard + 10_001, LIMITS);
        assert_eq!(activity.order(), Order::Close);
    }

    #[test]
    fn hd3_an_old_connection_says_that_its_next_answer_is_the_last() {
        let (one, two) = (activity(), activity());
        drop(one.begin(false));
        let (first, second) = (one.begin(false), two.begin(true));
        for activity in [&one, &two] {
            activity.changed.store(3_601_000, SeqCst);
            activity.review(activity.opened + 3_601_000, LIMITS);
        }
        assert!(one.is_last() && two.is_last());
        assert_eq!((one.order(), two.order()), (Order::Stay, Order::Finish));
        drop((first, second));
    }
}
