//! The activity of a connection and its time limits.
//!
//! Only requests count as activity: a connection that only sends PING, SETTINGS, WINDOW_UPDATE or part of a header is idle. And only their
//! bodies count as progress: a client that does not read its answers cannot keep them by sending such frames.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::{limits::ConnectionLimits, traffic::Traffic};
use crate::clock::Stopwatch;

/// Time limit for the first request of a connection, including the TLS handshake.
const FIRST_REQUEST_LIMIT: Duration = Duration::from_secs(20);
/// For how long a connection without a request counts as new.
const NEW: Duration = Duration::from_secs(1);
/// For how long it counts as just accepted, from when it is served: its first request is usually there by then, or arrives in a round trip.
/// Short, because others may wait meanwhile.
const JUST_ACCEPTED: Duration = Duration::from_millis(100);
/// Time limit for the headers of an HTTP/1.1 request, from their first byte.
const HEADER_LIMIT: Duration = Duration::from_secs(10);
/// How long a connection that was ordered to end may take.
const END_LIMIT: Duration = Duration::from_secs(60);
/// How long an idle connection lives after GOAWAY, for a request that is already on its way and for an answer that is not completely sent.
const GOAWAY_GRACE: Duration = Duration::from_secs(5);

/// An order to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Order {
    Stay,
    /// Finish the requests under way and accept no more.
    Finish,
    /// Like `Finish`, because the place is needed; a TLS handshake is aborted.
    MakeRoom,
    Close,
}

/// The state of a connection. Times are milliseconds since its listener started.
#[derive(Debug)]
pub(super) struct Activity {
    pub(super) source: IpAddr,
    clock: Stopwatch,
    traffic: Traffic,
    pub(super) opened: u64,
    /// When its task began to serve it; `u64::MAX` before.
    pub(super) served_since: AtomicU64,
    /// When the last request ended, or the first of those under way began; with streams, also when one last made progress.
    pub(super) changed: AtomicU64,
    under_way: AtomicU32,
    /// When the first byte of an incomplete request arrived; 0 if there is none.
    partial_since: AtomicU64,
    requested: AtomicBool,
    http2: AtomicBool,
    upgraded: AtomicBool,
    /// Whether its next answer is the last one.
    last: AtomicBool,
    order: AtomicU8,
    /// When it got its last order.
    pub(super) ordered: AtomicU64,
    order_changed: Notify,
}

impl Activity {
    pub(super) fn new(source: IpAddr, clock: Stopwatch, now: u64, traffic: Traffic) -> Self {
        Self {
            source,
            clock,
            traffic,
            opened: now,
            served_since: AtomicU64::new(u64::MAX),
            changed: AtomicU64::new(now),
            under_way: AtomicU32::new(0),
            partial_since: AtomicU64::new(0),
            requested: AtomicBool::new(false),
            http2: AtomicBool::new(false),
            upgraded: AtomicBool::new(false),
            last: AtomicBool::new(false),
            order: AtomicU8::new(Order::Stay as u8),
            ordered: AtomicU64::new(0),
            order_changed: Notify::new(),
        }
    }

    fn now(&self) -> u64 {
        millis(self.clock.elapsed())
    }

    /// Records that its task has begun to serve it.
    pub(super) fn note_served(&self) {
        self.served_since.store(self.now(), SeqCst);
    }

    /// Records that a request has begun: its headers are complete.
    pub(super) fn begin(self: &Arc<Self>, http2: bool) -> UnderWay {
        // The time is set first, so that a concurrent review does not take a request that has just begun for a stalled one.
        if self.is_idle() {
            self.changed.store(self.now(), SeqCst);
        }
        self.under_way.fetch_add(1, SeqCst);
        self.partial_since.store(0, SeqCst);
        if !self.requested.load(SeqCst) {
            self.http2.store(http2, SeqCst);
            self.requested.store(true, SeqCst);
        }
        UnderWay(Arc::clone(self))
    }

    /// Records that the connection has been upgraded. It is under way until its stream is closed.
    pub(super) fn upgrade(self: &Arc<Self>) -> UnderWay {
        self.upgraded.store(true, SeqCst);
        self.begin(false)
    }

    /// Records that bytes have arrived.
    pub(super) fn note_bytes(&self) {
        if self.is_idle() && self.partial_since.load(SeqCst) == 0 {
            self.partial_since.store(self.now().max(1), SeqCst);
        }
        self.note_moved();
    }

    /// Records that bytes have moved, in either direction. They are progress once they belong to another protocol than HTTP.
    pub(super) fn note_moved(&self) {
        if self.upgraded.load(SeqCst) {
            self.changed.store(self.now(), SeqCst);
        }
    }

    /// Whether it was opened a moment before `now` and has had no request yet: its first request is probably on its way.
    pub(super) fn is_new(&self, now: u64) -> bool {
        !self.requested.load(SeqCst) && now.saturating_sub(self.opened) < millis(NEW)
    }

    /// Whether it had no time yet to receive its first request. On a busy machine, its task may have to wait.
    pub(super) fn is_just_accepted(&self, now: u64) -> bool {
        self.is_new(now) && now.saturating_sub(self.served_since.load(SeqCst)) < millis(JUST_ACCEPTED)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.under_way.load(SeqCst) == 0
    }

    /// Whether the next answer on this connection is the last one and has to say so.
    pub(super) fn is_last(&self) -> bool {
        self.last.load(SeqCst)
    }

    pub(super) fn give_order(&self, order: Order) {
        if self.order.fetch_max(order as u8, SeqCst) < order as u8 {
            self.ordered.store(self.now(), SeqCst);
            self.order_changed.notify_one();
        }
    }

    /// The last order.
    pub(super) fn order(&self) -> Order {
        let order = self.order.load(SeqCst);
        [Order::Finish, Order::MakeRoom, Order::Close].into_iter().find(|known| *known as u8 == order).unwrap_or(Order::Stay)
    }

    /// Returns when the connection gets a new order.
    pub(super) async fn new_order(&self) -> Order {
        self.order_changed.notified().await;
        self.order()
    }

    pub(super) fn review(&self, now: u64, limits: ConnectionLimits) {
        let over = |since: u64, limit: Duration| now.saturating_sub(since) > millis(limit);
        let (idle, changed, partial_since) = (self.is_idle(), self.changed.load(SeqCst), self.partial_since.load(SeqCst));
        let http2 = self.http2.load(SeqCst);
        let (order, ordered) = (self.order(), self.ordered.load(SeqCst));
        let requested = self.requested.load(SeqCst);
        // A stream ends when it ends, however old its connection is.
        let streams = limits.traffic.streams() && matches!(order, Order::Finish | Order::MakeRoom) && !idle;
        if order != Order::Stay && over(ordered, END_LIMIT) && !streams {
            // Even if it finishes requests: a client may ignore GOAWAY.
            self.give_order(Order::Close);
        } else if !idle {
            if over(changed, limits.traffic.stall_limit()) {
                self.give_order(Order::Close);
            }
        } else if !http2 && partial_since != 0 && over(partial_since, HEADER_LIMIT) {
            // Applies to anything that is not known to be HTTP/2, including an incomplete preface.
            self.give_order(Order::Close);
        } else if order == Order::MakeRoom || order == Order::Finish && requested {
            if over(ordered.max(changed), GOAWAY_GRACE) {
                self.give_order(Order::Close);
            }
        } else if !requested {
            if over(self.opened, FIRST_REQUEST_LIMIT.min(limits.idle)) {
                self.give_order(Order::Close);
            }
        } else if over(changed, limits.idle) {
            self.give_order(Order::Finish);
        }
        if over(self.opened, limits.age) {
            self.last.store(true, SeqCst);
            // HTTP/1.1 can announce it only in an answer: closing an idle connection now could cut off a request.
            if http2 {
                self.give_order(Order::Finish);
            }
        }
    }
}

/// A request under way, until its answer has been sent.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Activity>);

impl UnderWay {
    /// Records that its answer has begun, or that a piece of its body or its answer's has moved. With small messages, that is not progress:
    /// each has to end soon.
    pub(super) fn note_progress(&self) {
        if self.0.traffic.streams() {
            self.0.changed.store(self.0.now(), SeqCst);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.changed.store(self.0.now(), SeqCst);
        self.0.under_way.fetch_sub(1, SeqCst);
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits {
        total: 3,
        per_source: 2,
        idle: Duration::from_secs(75),
        age: Duration::from_secs(3600),
        traffic: Traffic::Messages,
    };

    fn activity() -> Arc<Activity> {
        with(LIMITS)
    }

    fn with(limits: ConnectionLimits) -> Arc<Activity> {
        Arc::new(Activity::new("192.0.2.1".parse().unwrap(), Stopwatch::start(), 0, limits.traffic))
    }

    #[test]
    fn hd3_idle_is_measured_by_requests() {
        let activity = activity();
        let after = |seconds: u64| {
            activity.review(activity.changed.load(SeqCst) + seconds * 1000, LIMITS);
            activity.order()
        };
        drop(activity.begin(true));
        activity.note_bytes();
        assert_eq!((after(60), after(75), after(76)), (Order::Stay, Order::Stay, Order::Finish), "received bytes do not count");
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
            activity.give_order(order);
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
    fn hd3_a_connection_without_a_request_makes_room_within_5_s() {
        let activity = activity();
        activity.give_order(Order::MakeRoom);
        let ordered = activity.ordered.load(SeqCst);
        activity.review(ordered + 5_000, LIMITS);
        assert_eq!(activity.order(), Order::MakeRoom);
        activity.review(ordered + 5_001, LIMITS);
        assert_eq!(activity.order(), Order::Close);
    }

    #[test]
    fn op7_an_idle_connection_outlives_a_proxys_60_s_while_headers_are_limited_to_10_s() {
        let activity = activity();
        drop(activity.begin(false));
        let began = activity.changed.load(SeqCst);
        activity.review(began + 70_000, LIMITS);
        assert_eq!(activity.order(), Order::Stay);
        activity.note_bytes();
        let partial_since = activity.partial_since.load(SeqCst);
        activity.review(partial_since + 10_000, LIMITS);
        assert_eq!(activity.order(), Order::Stay);
        activity.review(partial_since + 10_001, LIMITS);
        assert_eq!(activity.order(), Order::Close);
    }

    #[test]
    fn hd3_an_old_connection_announces_that_its_next_answer_is_the_last() {
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

    #[test]
    fn gd2_a_stream_is_under_way_for_as_long_as_bytes_move() {
        let limits = ConnectionLimits { traffic: Traffic::Streams { quiet: Duration::from_secs(120) }, ..LIMITS };
        let stream = with(limits);
        let _request = stream.begin(true);
        let after = |since: u64, seconds: u64| {
            stream.review(since + seconds * 1000, limits);
            stream.order()
        };
        let began = stream.changed.load(SeqCst);
        assert_eq!(after(began, 120), Order::Stay);
        for hour in 1..=3 {
            stream.changed.store(began + hour * 3_600_000, SeqCst);
            assert_eq!(after(began, hour * 3600 + 120), Order::Finish, "{hour}");
        }
        assert_eq!(after(began, 3 * 3600 + 121), Order::Close, "nothing moves any more");
    }

    #[test]
    fn gd2_a_stream_that_began_while_its_connection_made_room_is_not_cut_off_while_bytes_move() {
        let limits = ConnectionLimits { traffic: Traffic::Streams { quiet: Duration::from_secs(120) }, ..LIMITS };
        let stream = with(limits);
        stream.give_order(Order::MakeRoom);
        let (_request, ordered) = (stream.begin(true), stream.ordered.load(SeqCst));
        for minute in 1..=10 {
            stream.changed.store(ordered + minute * 60_000, SeqCst);
            stream.review(ordered + minute * 60_000 + 1000, limits);
            assert_eq!(stream.order(), Order::MakeRoom, "{minute}");
        }
        stream.review(ordered + 10 * 60_000 + 120_001, limits);
        assert_eq!(stream.order(), Order::Close);
    }

    #[test]
    fn gd2_bytes_are_progress_of_a_stream_if_they_are_of_a_body_or_of_an_upgraded_connection() {
        let limits = ConnectionLimits { traffic: Traffic::Streams { quiet: Duration::from_secs(120) }, ..LIMITS };
        let (stream, messages) = (with(limits), activity());
        let progresses = |activity: &Activity, note: &dyn Fn()| {
            activity.changed.store(u64::MAX, SeqCst);
            note();
            activity.changed.load(SeqCst) != u64::MAX
        };
        let (request, message) = (stream.begin(true), messages.begin(false));
        assert!(!progresses(&stream, &|| stream.note_bytes()), "it may be a PING");
        assert!(!progresses(&stream, &|| stream.note_moved()), "it may be the answer to one");
        assert!(progresses(&stream, &|| request.note_progress()));
        assert!(!progresses(&messages, &|| message.note_progress()), "a request that trickles has stalled");
        drop(request);
        let _upgraded = stream.upgrade();
        assert!(progresses(&stream, &|| stream.note_bytes()));
        assert!(progresses(&stream, &|| stream.note_moved()));
    }
}
