//! Goes on with withdrawals that a command has not brought to all logins, because it was killed or lost the database.

use std::{collections::BTreeSet, convert::Infallible, mem, sync::Arc, time::Duration};

use super::failures::Failures;
use crate::{
    clock::SharedClock,
    server::{
        meters::Meters,
        parts::Parts,
        process::Task,
        store::{self, Store, Withdrawal, within},
    },
};

const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Time limit of the look, and of each batch.
const TIME_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(in crate::server) struct Withdrawals {
    clock: SharedClock,
    store: Store,
    meters: Arc<Meters>,
    /// What the last look found.
    seen: Vec<Withdrawal>,
    /// Why the last round did not finish everything.
    failures: Failures,
}

impl Withdrawals {
    pub(in crate::server) fn new(parts: &Parts) -> Self {
        let (clock, store, meters) = (Arc::clone(&parts.clock), parts.store.clone(), Arc::clone(&parts.meters));
        Self { clock, store, meters, seen: Vec::new(), failures: Failures::default() }
    }

    /// Finishes those that have not gone on since the last look: a command or another server works on the others. One that fails, or that cannot be
    /// read, does not stop the others.
    async fn round(&mut self) {
        let mut failures = BTreeSet::new();
        match within(TIME_LIMIT, self.store.list_withdrawals()).await {
            Ok(rows) => {
                self.meters.withdrawals_open.set(i64::try_from(rows.len()).unwrap_or(i64::MAX));
                let (mut open, seen) = (Vec::new(), mem::take(&mut self.seen));
                for row in rows {
                    match row {
                        Ok(withdrawal) => open.push(withdrawal),
                        Err(damaged) => {
                            failures.insert(format!("a row of the table withdrawals is damaged: {}", damaged.0));
                        }
                    }
                }
                for withdrawal in open.iter().filter(|withdrawal| seen.contains(withdrawal)) {
                    match self.finish(withdrawal).await {
                        Ok(()) => drop(self.meters.withdrawals_open.dec()),
                        Err(error) => drop(failures.insert(error.to_string())),
                    }
                }
                self.seen = open;
            }
            // Outages of the database are reported elsewhere.
            Err(store::Error::Silent(_)) => return,
            Err(error) => {
                failures.insert(error.to_string());
            }
        }
        self.failures.replace(failures, |error| tracing::error!(error, "what was withdrawn has not reached all logins; retrying"));
    }

    async fn finish(&self, withdrawal: &Withdrawal) -> Result<(), store::Error> {
        while within(TIME_LIMIT, self.store.continue_withdrawal(withdrawal)).await? {
            tokio::time::sleep(Withdrawal::PAUSE).await;
        }
        Ok(())
    }
}

impl Task for Withdrawals {
    const NAME: &'static str = "withdrawals";
    const WHEN_IT_ENDS: &'static str =
        "what a command leaves that is killed while it ends many logins is not finished, and some of their access tokens go on";

    async fn run(mut self) -> Infallible {
        loop {
            self.round().await;
            self.clock.sleep_until(Self::NAME, self.clock.now() + LOOK_EVERY).await;
        }
    }
}
