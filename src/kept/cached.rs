//! A value in memory and its lifetime.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::fetch::Fetched;
use crate::clock::Timestamp;

/// A value with the times at which it is refreshed, becomes stale and expires.
#[derive(Debug)]
pub(crate) struct Cached<T> {
    pub(crate) value: Arc<T>,
    pub(crate) fetched_at: Timestamp,
    refresh_at: Timestamp,
    fresh_until: Timestamp,
    usable_until: Timestamp,
    used: AtomicBool,
    discarded: AtomicBool,
}

impl<T> Cached<T> {
    pub(super) fn new(fetched: Fetched<T>, since: Timestamp, until_refresh: Duration) -> Self {
        Self {
            value: fetched.value,
            fetched_at: since,
            refresh_at: since + until_refresh,
            fresh_until: since + fetched.fresh,
            usable_until: since + fetched.usable,
            used: AtomicBool::new(false),
            discarded: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_fresh(&self, now: Timestamp) -> bool {
        now < self.fresh_until
    }

    pub(crate) fn is_usable(&self, now: Timestamp) -> bool {
        now < self.usable_until && !self.discarded.load(Ordering::Relaxed)
    }

    /// Whether the time of its refresh has come.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        now >= self.refresh_at
    }

    pub(crate) const fn usable_until(&self) -> Timestamp {
        self.usable_until
    }

    /// Marks the value as used, so that it is refreshed ahead of time. Writes only once, so that readers on many cores share the
    /// cache line.
    pub(crate) fn mark_used(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn was_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    /// Makes the value unusable before its time.
    pub(crate) fn discard(&self) {
        self.discarded.store(true, Ordering::Relaxed);
    }
}
