//! What is counted. The metrics endpoint of a later issue reads these.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn increment(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// How much was counted since the process started.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Everything that this process counts.
#[derive(Debug, Default)]
pub struct Meters {
    /// Digests of client secrets computed: one for every attempt, whatever its outcome.
    pub secret_digests: Counter,
    /// Passwords checked by hashing: one for every attempt that got that far, whatever its outcome.
    pub password_hashes: Counter,
    /// Clients read from the database, because the cache had none of them.
    pub client_reads: Counter,
    /// Looks at the epochs that succeeded.
    pub epoch_looks: Counter,
    /// Tokens signed.
    pub tokens_issued: Counter,
}
