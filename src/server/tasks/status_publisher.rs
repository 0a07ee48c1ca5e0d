//! Keeps the published status lists current. A revocation is published within two seconds: this node notices it within half a second, and signs the list
//! within one and a quarter after that.

use std::{convert::Infallible, sync::Arc, time::Duration};

use crate::{
    clock::SharedClock,
    server::{parts::Parts, process::Task, revocation::Publisher},
};

/// The interval between looks for changed lists. Each list is signed at most once a second.
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(in crate::server) struct StatusPublisher {
    clock: SharedClock,
    publisher: Publisher,
    /// Whether the last look failed. A failure is reported when it begins and when it ends.
    failing: bool,
}

impl StatusPublisher {
    pub(in crate::server) fn new(parts: &Parts) -> Self {
        Self { clock: Arc::clone(&parts.clock), publisher: parts.publisher.clone(), failing: false }
    }
}

impl Task for StatusPublisher {
    const NAME: &'static str = "status publisher";
    const WHEN_IT_ENDS: &'static str = "status lists do not show new revocations, and expire within the hour";

    async fn run(mut self) -> Infallible {
        loop {
            self.clock.sleep_until(Self::NAME, self.clock.now() + LOOK_EVERY).await;
            let outcome = self.publisher.refresh().await;
            match &outcome {
                Ok(()) if self.failing => tracing::info!("status lists are signed again"),
                Err(error) if !self.failing => tracing::error!(%error, "a status list could not be signed; the old one is served"),
                _ => {}
            }
            self.failing = outcome.is_err();
        }
    }
}
