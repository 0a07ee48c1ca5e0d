//! Deletes old rows as fast as they come: in small batches, for a share of each round, and what is left in the next round.

use std::{collections::BTreeSet, time::Duration};

use super::failures::Failures;
use crate::{
    clock::{Stopwatch, Timestamp},
    server::store::{self, OldRows, Store, within},
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long rows are kept after their end, and how long they are left alone once none is left to delete.
const ALL: [(OldRows, Duration, Duration); 8] = [
    // Longer than the lifetime of any token that a login issued.
    (OldRows::Logins, DAY.saturating_mul(7), HOUR),
    // Audits cover a year.
    (OldRows::Changes, DAY.saturating_mul(400), HOUR),
    (OldRows::SignInSources, DAY.saturating_mul(90), HOUR),
    // The position of a login is used again when its revocation is deleted. By then every node must have dropped it, and verifiers must have newer
    // lists: that takes `Revocation::REUSED_AFTER`, and the clocks of nodes differ by up to two minutes.
    (OldRows::Revocations, MINUTE.saturating_mul(10), MINUTE),
    (OldRows::CoveredRevocations, MINUTE, MINUTE),
    (OldRows::StatusSpans, MINUTE.saturating_mul(10), MINUTE),
    // Longer than the lifetime of any token that names them.
    (OldRows::StatusLists, HOUR.saturating_mul(25), MINUTE),
    // The clocks of nodes differ by up to two minutes.
    (OldRows::UsedAssertions, MINUTE.saturating_mul(3), MINUTE),
];

/// How long rows of one kind are deleted in one round. It is a small part of a round, so that requests hardly notice a backlog.
const SHARE: Duration = Duration::from_millis(500);
/// Time limit of a batch.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Deletes old rows of all kinds.
#[derive(Debug)]
pub(super) struct Purges {
    kinds: [Purge; ALL.len()],
    failures: Failures,
}

#[derive(Debug)]
struct Purge {
    rows: OldRows,
    keep: Duration,
    pause: Duration,
    /// When they are looked for again, by the steady clock.
    due: Option<Timestamp>,
}

impl Purges {
    pub(super) fn new() -> Self {
        Self { kinds: ALL.map(|(rows, keep, pause)| Purge { rows, keep, pause, due: None }), failures: Failures::default() }
    }

    /// Deletes what is due. Rows end by `now`. A kind that cannot be deleted does not stop the others.
    pub(super) async fn round(&mut self, store: &Store, now: Timestamp, steady: Timestamp) {
        let mut failures = BTreeSet::new();
        if self.kinds.iter().any(|kind| kind.is_due(steady)) {
            // A database that does not answer is waited for once, and not for each kind.
            match within(TIME_LIMIT, store.find_heartbeat()).await {
                Ok(_) => {
                    for kind in self.kinds.iter_mut().filter(|kind| kind.is_due(steady)) {
                        failures.extend(kind.round(store, now, steady).await.err().map(|error| error.to_string()));
                    }
                }
                Err(error) => {
                    failures.insert(error.to_string());
                }
            }
        }
        self.failures.replace(failures, |error| tracing::warn!(error, "old rows could not be deleted; retrying"));
    }
}

impl Purge {
    fn is_due(&self, steady: Timestamp) -> bool {
        self.due.is_none_or(|due| due <= steady)
    }

    async fn round(&mut self, store: &Store, now: Timestamp, steady: Timestamp) -> Result<(), store::Error> {
        let (begun, mut deleted) = (Stopwatch::start(), 0);
        let outcome = loop {
            match within(TIME_LIMIT, store.purge(self.rows, now - self.keep)).await {
                Ok(0) => {
                    self.due = Some(steady + self.pause);
                    break Ok(());
                }
                Ok(count) => deleted += count,
                Err(error) => break Err(error),
            }
            if begun.elapsed() >= SHARE {
                break Ok(());
            }
        };
        match (deleted, self.rows) {
            (0, _) => {}
            (count, OldRows::Logins) => tracing::info!(count, "deleted old logins"),
            (count, rows) => tracing::debug!(count, %rows, "deleted old rows"),
        }
        outcome
    }
}
