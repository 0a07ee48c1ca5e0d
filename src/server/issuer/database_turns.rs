//! The turns of clients at the database, where they could take connections from the requests of others for as long as they like.

use std::time::Duration;

use tokio::time::timeout;

use super::Fault;
use crate::server::{
    model::Client,
    workers::{FairTurns, QueueShare, Turn},
};

/// How long a request waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(2);
/// How many wait at most.
const WAITING: usize = 1024;

/// How many revocations use an SQLite file at once. Its writes wait in a queue, without a connection, and one fsync serves as many as this.
const REVOCATIONS_OF_FILE: usize = 256;

/// How many introspections and revocations use the database at once. What is left of it is for other requests, such as those for tokens.
#[derive(Debug)]
pub(crate) struct DatabaseTurns {
    introspections: FairTurns,
    revocations: FairTurns,
}

impl DatabaseTurns {
    /// Each kind has at most half of the connections. Revocations of one client wait for each other there, but introspections lock nothing, so
    /// that other requests get a connection even if both kinds use their halves.
    pub(crate) fn new(connections: u32, file: bool) -> Self {
        let half = usize::try_from(connections / 2).unwrap_or(usize::MAX).max(1);
        let revocations = if file { REVOCATIONS_OF_FILE } else { half };
        Self { introspections: FairTurns::new(half, WAITING), revocations: FairTurns::new(revocations, WAITING) }
    }

    pub(super) async fn to_introspect(&self, client: &Client) -> Result<Turn, Fault> {
        take(&self.introspections, client, "too many introspections wait for the database").await
    }

    pub(super) async fn to_revoke(&self, client: &Client) -> Result<Turn, Fault> {
        take(&self.revocations, client, "too many revocations wait for the database").await
    }
}

async fn take(turns: &FairTurns, client: &Client, full: &str) -> Result<Turn, Fault> {
    let share = QueueShare { client: client.id.to_string(), ..QueueShare::default() };
    let turn = timeout(TURN_WAIT, turns.take(&share)).await.ok().and_then(Result::ok);
    turn.ok_or_else(|| Fault { transient: true, cause: full.to_owned() })
}
