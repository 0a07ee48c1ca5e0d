//! A value in memory, and its time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::source::Fetched;
use crate::clock::Timestamp;

/// A value, and until when it is good.
#[derive(Debug)]
pub(crate) struct Held<T> {
    pub(crate) value: Arc<T>,
    pub(crate) fetched_at: Timestamp,
    renew_at: Timestamp,
    fresh_until: Timestamp,
    usable_until: Timestamp,
    used: AtomicBool,
    given_up: AtomicBool,
}

impl<T> Held<T> {
    pub(super) fn new(fetched: Fetched<T>, since: Timestamp, until_renewal: Duration) -> Self {
        Self {
            value: fetched.value,
            fetched_at: since,
            renew_at: since + until_renewal,
            fresh_until: since + fetched.fresh,
            usable_until: since + fetched.usable,
            used: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_fresh(&self, now: Timestamp) -> bool {
        now < self.fresh_until
    }

    pub(crate) fn is_usable(&self, now: Timestamp) -> bool {
        now < self.usable_until && !self.given_up.load(Ordering::Relaxed)
    }

    /// Whether it is to be fetched anew by now.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        now >= self.renew_at
    }

    pub(crate) const fn usable_until(&self) -> Timestamp {
        self.usable_until
    }

    /// It is worth being fetched ahead. Written once only, so that readers on many cores share the line.
    pub(crate) fn note_use(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn was_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    /// It must not be used any more, whatever its time.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }
}
