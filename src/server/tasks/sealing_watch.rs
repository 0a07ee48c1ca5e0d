//! Follows the file of the sealing key, so that a new key is known before texts are sealed with it, and reports which keys this server has.

use std::{convert::Infallible, time::Duration};

use tokio::time::timeout;

use crate::{
    clock::{SharedClock, Timestamp},
    server::{
        keys::{self, SealingKeys},
        parts::Parts,
        process::Task,
        store::{RunningServer, Store},
    },
};

/// How often the file is read.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often this server reports that it runs. `key reseal` counts it as running for three times as long.
const REPORT_EVERY: Duration = Duration::from_secs(60);
/// Time limit of one access to the database.
const TIME_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(in crate::server) struct SealingWatch {
    clock: SharedClock,
    store: Store,
    sealing: SealingKeys,
    /// Identifies this server among those on the database.
    id: String,
    name: String,
    /// What was reported last, and when, by the steady clock.
    reported: Option<(Vec<String>, Timestamp)>,
    /// Why the file cannot be used. It is reported when that begins and when it ends.
    unusable: Option<String>,
}

impl SealingWatch {
    pub(in crate::server) fn new(parts: &Parts, name: String) -> Self {
        Self {
            clock: parts.clock.clone(),
            store: parts.store.clone(),
            sealing: parts.sealing.clone(),
            id: parts.server_id.clone(),
            name,
            reported: None,
            unusable: None,
        }
    }

    async fn look(&mut self) {
        match timeout(TIME_LIMIT, self.sealing.refresh(&self.store)).await {
            Ok(Ok(changed)) => {
                let was_unusable = self.unusable.take().is_some();
                if changed || was_unusable {
                    tracing::info!(sealing.kids = self.sealing.kids().join(" "), "the sealing key was read again");
                }
            }
            // Outages of the database are reported elsewhere.
            Err(_) | Ok(Err(keys::Error::Store(_))) => {}
            Ok(Err(error)) => {
                let why = error.to_string();
                if self.unusable.as_ref() != Some(&why) {
                    tracing::error!(error = why, "the sealing key cannot be read again; the one in memory stays in use");
                    self.unusable = Some(why);
                }
            }
        }
        let (kids, now) = (self.sealing.kids(), self.clock.steady());
        if self.reported.as_ref().is_some_and(|(reported, at)| *reported == kids && now.since(*at) < REPORT_EVERY) {
            return;
        }
        let server = RunningServer { name: self.name.clone(), sealing_kids: kids.clone(), seen_at: self.clock.now() };
        if matches!(timeout(TIME_LIMIT, self.store.report_server(&self.id, &server)).await, Ok(Ok(()))) {
            self.reported = Some((kids, now));
        }
    }
}

impl Task for SealingWatch {
    const NAME: &'static str = "sealing watch";
    const WHEN_IT_ENDS: &'static str = "a new sealing key is not noticed, and `key reseal` waits for this server in vain";

    async fn run(mut self) -> Infallible {
        loop {
            self.look().await;
            self.clock.sleep_until(Self::NAME, self.clock.now() + LOOK_EVERY).await;
        }
    }
}
