//! The assertions that clients have used: each is accepted once, on all nodes.
//!
//! Assertions that wait are written by one statement, one group after the other: with many requests per second, that costs each of them a share of
//! a statement instead of a transaction.

use std::{collections::HashSet, sync::LazyLock};

use sqlx::{AnyConnection, AssertSqlSafe, Row};
use tokio::sync::{mpsc, oneshot};

use super::{Error, Store, write::Writer};
use crate::clock::Timestamp;

/// An assertion: when no node accepts it any more, and what stands for one `jti` of one client.
type Assertion = (Timestamp, String);

/// An assertion that is being used.
#[derive(Debug)]
struct Use {
    assertion: Assertion,
    answer: oneshot::Sender<Result<bool, Error>>,
}

/// The queue of assertions that are being used. The task that serves it stops when the last `Store` is dropped.
#[derive(Debug, Clone)]
pub(super) struct UsedAssertions(mpsc::Sender<Use>);

/// The statements, by the number of their rows: few, so that each is prepared once. Of rows that are there already, nothing is returned.
static INSERTS: LazyLock<[(usize, String); 4]> = LazyLock::new(|| {
    [1, 8, 64, 256].map(|rows| {
        let values: Vec<_> = (0..rows).map(|row| format!("(${}, ${})", 2 * row + 1, 2 * row + 2)).collect();
        let values = values.join(", ");
        (
            rows,
            format!("INSERT INTO used_assertions (expires_at, digest) VALUES {values} ON CONFLICT DO NOTHING RETURNING expires_at, digest"),
        )
    })
});

impl UsedAssertions {
    /// Maximum number of assertions that wait; another one is refused.
    const QUEUE: usize = 1024;
    /// Maximum number of assertions in one statement.
    const GROUP: usize = 256;

    pub(super) fn new(writer: Writer) -> Self {
        let (queue, waiting) = mpsc::channel(Self::QUEUE);
        tokio::spawn(serve(writer, waiting));
        Self(queue)
    }
}

impl Store {
    /// Whether an assertion is used for the first time. `digest` stands for one `jti` of one client; from `expires_at` on, no node accepts the
    /// assertion.
    pub(crate) async fn use_assertion(&self, digest: String, expires_at: Timestamp) -> Result<bool, Error> {
        let (answer, answered) = oneshot::channel();
        let sent = self.used_assertions.0.try_send(Use { assertion: (expires_at, digest), answer });
        sent.map_err(|_| Error::Busy)?;
        answered.await.map_err(|_| Error::Busy)?
    }
}

async fn serve(writer: Writer, mut waiting: mpsc::Receiver<Use>) {
    let mut group = Vec::new();
    while waiting.recv_many(&mut group, UsedAssertions::GROUP).await > 0 {
        // What no caller waits for any more is not used: its caller got 503, and may send it again.
        group.retain(|used| !used.answer.is_closed());
        if group.is_empty() {
            continue;
        }
        // In one order on all nodes, so that none waits for a row of another that waits for one of its own. Equal ones are next to each other.
        group.sort_by(|one, other| one.assertion.cmp(&other.assertion));
        let mut rows: Vec<Assertion> = group.iter().map(|used| used.assertion.clone()).collect();
        rows.dedup();
        match writer.write(move |connection| Box::pin(insert(connection, rows))).await {
            Ok(mut inserted) => {
                for Use { assertion, answer } in group.drain(..) {
                    // Of equal ones, one is the first. The caller may be gone; the assertion is used all the same.
                    let _ = answer.send(Ok(inserted.remove(&assertion)));
                }
            }
            Err(error) => group.drain(..).for_each(|used| drop(used.answer.send(Err(error.clone())))),
        }
    }
}

/// Inserts rows, and returns those that were not there.
async fn insert(connection: &mut AnyConnection, rows: Vec<Assertion>) -> Result<HashSet<Assertion>, Error> {
    let Some((places, sql)) = INSERTS.iter().find(|(places, _)| *places >= rows.len()) else { return Err(Error::Busy) };
    // The places that are left repeat the last row, which is then there.
    let last = rows.last().cloned();
    let mut statement = sqlx::query(AssertSqlSafe(sql.as_str()));
    for (expires_at, digest) in rows.into_iter().map(Some).chain(std::iter::repeat(last)).flatten().take(*places) {
        statement = statement.bind(expires_at.seconds()).bind(digest);
    }
    let inserted = statement.fetch_all(connection).await?;
    inserted.iter().map(|row| Ok((Timestamp::from_seconds(row.try_get("expires_at")?), row.try_get("digest")?))).collect()
}
