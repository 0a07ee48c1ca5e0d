//! Goes on with withdrawals that a command has not brought to all logins, because it was killed or lost the database.

use std::{collections::BTreeSet, convert::Infallible, mem, sync::Arc, time::Duration};

use tokio::time::timeout;

use crate::{
    clock::SharedClock,
    server::{
        parts::Parts,
        process::Task,
        store::{self, Store, Withdrawal},
    },
};

const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Time limit of the look, and of each batch.
const TIME_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(in crate::server) struct Withdrawals {
    clock: SharedClock,
    store: Store,
    /// What the last look found.
    seen: Vec<Withdrawal>,
    /// Why the last round did not finish everything. A failure is reported when it begins.
    failures: BTreeSet<String>,
}

#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("the database did not answer within {} s", TIME_LIMIT.as_secs())]
    Slow(#[from] tokio::time::error::Elapsed),
}

impl Withdrawals {
    pub(in crate::server) fn new(parts: &Parts) -> Self {
        Self { clock: Arc::clone(&parts.clock), store: parts.store.clone(), seen: Vec::new(), failures: BTreeSet::new() }
    }

    /// Finishes those that have not gone on since the last look: a command or another server works on the others. One that fails, or that cannot be
    /// read, does not stop the others.
    async fn round(&mut self) {
        let mut failures = BTreeSet::new();
        match timeout(TIME_LIMIT, self.store.list_withdrawals()).await {
            Ok(Ok(rows)) => {
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
                    if let Err(error) = self.finish(withdrawal).await {
                        failures.insert(error.to_string());
                    }
                }
                self.seen = open;
            }
            Ok(Err(error)) => {
                failures.insert(error.to_string());
            }
            // Outages of the database are reported elsewhere.
            Err(_) => return,
        }
        for error in failures.difference(&self.failures) {
            tracing::error!(error, "what was withdrawn has not reached all logins; retrying");
        }
        self.failures = failures;
    }

    async fn finish(&self, withdrawal: &Withdrawal) -> Result<(), Stopped> {
        while timeout(TIME_LIMIT, self.store.continue_withdrawal(withdrawal)).await?? {
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
