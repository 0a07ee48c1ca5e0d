//! Goes on with withdrawals that a command has not brought to all logins, because it was killed or lost the database.

use std::{convert::Infallible, sync::Arc, time::Duration};

use tokio::time::timeout;

use super::Task;
use crate::{
    clock::SharedClock,
    server::{
        parts::Parts,
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
    /// Whether the last round failed. That is reported when it begins.
    failed: bool,
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
        Self { clock: Arc::clone(&parts.clock), store: parts.store.clone(), failed: false }
    }

    /// Finishes all that there are. One that fails does not stop the others.
    async fn round(&mut self) {
        // Outages of the database are reported elsewhere.
        let Ok(Ok(open)) = timeout(TIME_LIMIT, self.store.list_withdrawals()).await else { return };
        let mut failure = None;
        for withdrawal in &open {
            if let Err(error) = self.finish(withdrawal).await {
                failure.get_or_insert(error);
            }
        }
        if let Some(error) = failure.as_ref().filter(|_| !self.failed) {
            tracing::warn!(%error, "what was withdrawn has not reached all logins; retrying");
        }
        self.failed = failure.is_some();
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
