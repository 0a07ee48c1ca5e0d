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
    /// What the requests of its listener are like.
    listener: Traffic,
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
    /// Whether one of its requests has been passed on.
    streams: AtomicBool,
    upgraded: AtomicBool,
    /// Whether its next answer is the last one.
    last: AtomicBool,
    order: AtomicU8,
    /// When it got its last order.
    pub(super) ordered: AtomicU64,
    order_changed: Notify,
}

impl Activity {
    pub(super) fn new(source: IpAddr, clock: Stopwatch, now: u64, listener: Traffic) -> Self {
        Self {
            source,
            clock,
            listener,
            opened: now,
            served_since: AtomicU64::new(u64::MAX),
            changed: AtomicU64::new(now),
            under_way: AtomicU32::new(0),
            partial_since: AtomicU64::new(0),
            requested: AtomicBool::new(false),
            http2: AtomicBool::new(false),
            streams: AtomicBool::new(false),
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

    /// Records that a request is passed on to what is behind the listener.
    pub(super) fn begin_stream(&self) {
        self.changed.store(self.now(), SeqCst);
        self.streams.store(true, SeqCst);
    }

    /// What its requests are like. Until one is passed on, the answers are small ones of this process, which a client has to read soon: a
    /// stranger whose requests are refused must not keep its place for as long as a stream may pause.
    pub(super) fn traffic(&self) -> Traffic {
        if self.streams.load(SeqCst) { self.listener } else { Traffic::Messages }
    }

    /// Records that the connection has been upgraded. It is under way until its stream is closed.
    pub(super) fn upgrade(self: &Arc<Self>) -> UnderWay {
        self.begin_stream();
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
        let streams = self.traffic().streams() && matches!(order, Order::Finish | Order::MakeRoom) && !idle;
        if order != Order::Stay && over(ordered, END_LIMIT) && !streams {
            // Even if it finishes requests: a client may ignore GOAWAY.
            self.give_order(Order::Close);
        } else if !idle {
            if over(changed, self.traffic().stall_limit()) {
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
        if self.0.traffic().streams() {
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
mod tests;
