//! The assertions that clients have used: each is accepted once, on all nodes.
//!
//! Assertions that wait are written by one statement, one group after the other: with many requests per second, that costs each of them a share of
//! a statement instead of a transaction.

use std::collections::HashSet;

use sqlx::Row;
use tokio::sync::{mpsc, oneshot};

use super::{Error, Store, write::Writer};
use crate::clock::Timestamp;

/// An assertion that is being used.
#[derive(Debug)]
struct Use {
    /// It stands for one `jti` of one client.
    digest: String,
    /// When no node accepts the assertion any more.
    expires_at: Timestamp,
    answer: oneshot::Sender<Result<bool, Error>>,
}

/// The queue of assertions that are being used. The task that serves it stops when the last `Store` is dropped.
#[derive(Debug, Clone)]
pub(super) struct UsedAssertions(mpsc::Sender<Use>);

/// One statement for a number of rows. Of those that another node has written, nothing is returned.
macro_rules! insert {
    ($values:literal) => {
        concat!("INSERT INTO used_assertions (digest, expires_at) VALUES ", $values, " ON CONFLICT DO NOTHING RETURNING digest")
    };
}

/// The statements, each with the number of its rows.
const INSERTS: [(usize, &str); 3] = [
    (1, insert!("($1, $2)")),
    (8, insert!("($1, $2), ($3, $4), ($5, $6), ($7, $8), ($9, $10), ($11, $12), ($13, $14), ($15, $16)")),
    (
        64,
        insert!(
            "($1, $2), ($3, $4), ($5, $6), ($7, $8), ($9, $10), ($11, $12), ($13, $14), ($15, $16), ($17, $18), ($19, $20), ($21, $22), \
             ($23, $24), ($25, $26), ($27, $28), ($29, $30), ($31, $32), ($33, $34), ($35, $36), ($37, $38), ($39, $40), ($41, $42), \
             ($43, $44), ($45, $46), ($47, $48), ($49, $50), ($51, $52), ($53, $54), ($55, $56), ($57, $58), ($59, $60), ($61, $62), \
             ($63, $64), ($65, $66), ($67, $68), ($69, $70), ($71, $72), ($73, $74), ($75, $76), ($77, $78), ($79, $80), ($81, $82), \
             ($83, $84), ($85, $86), ($87, $88), ($89, $90), ($91, $92), ($93, $94), ($95, $96), ($97, $98), ($99, $100), ($101, $102), \
             ($103, $104), ($105, $106), ($107, $108), ($109, $110), ($111, $112), ($113, $114), ($115, $116), ($117, $118), \
             ($119, $120), ($121, $122), ($123, $124), ($125, $126), ($127, $128)"
        ),
    ),
];

impl UsedAssertions {
    /// Maximum number of assertions that wait; another one is refused.
    const QUEUE: usize = 1024;

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
        let sent = self.used_assertions.0.try_send(Use { digest, expires_at, answer });
        sent.map_err(|_| Error::Busy)?;
        answered.await.map_err(|_| Error::Busy)?
    }
}

async fn serve(writer: Writer, mut waiting: mpsc::Receiver<Use>) {
    let (mut group, longest) = (Vec::new(), INSERTS.last().map_or(1, |(rows, _)| *rows));
    while waiting.recv_many(&mut group, longest).await > 0 {
        // In one order on all nodes, so that none waits for a row of another that waits for one of its own. Equal ones are next to each other.
        group.sort_by(|one, other| one.digest.cmp(&other.digest));
        let mut rows: Vec<(String, Timestamp)> = group.iter().map(|used| (used.digest.clone(), used.expires_at)).collect();
        rows.dedup_by(|later, earlier| later.0 == earlier.0);
        let inserted = writer.write(move |connection| Box::pin(insert(connection, rows))).await;
        match inserted {
            Ok(mut inserted) => {
                for Use { digest, answer, .. } in group.drain(..) {
                    // Of equal ones, one is the first. The caller may be gone; the assertion is used all the same.
                    let _ = answer.send(Ok(inserted.remove(&digest)));
                }
            }
            Err(error) => group.drain(..).for_each(|used| drop(used.answer.send(Err(error.clone())))),
        }
    }
}

/// Inserts rows, and returns the digests of those that were not there.
async fn insert(connection: &mut sqlx::AnyConnection, rows: Vec<(String, Timestamp)>) -> Result<HashSet<String>, Error> {
    let Some((places, sql)) = INSERTS.iter().find(|(places, _)| *places >= rows.len()) else { return Err(Error::Busy) };
    // The places that are left repeat the last row, which is then there.
    let last = rows.last().cloned();
    let mut statement = sqlx::query(*sql);
    for (digest, expires_at) in rows.into_iter().map(Some).chain(std::iter::repeat(last)).flatten().take(*places) {
        statement = statement.bind(digest).bind(expires_at.seconds());
    }
    let inserted = statement.fetch_all(connection).await?;
    inserted.iter().map(|row| Ok(row.try_get("digest")?)).collect()
}
