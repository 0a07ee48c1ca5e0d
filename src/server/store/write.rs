//! Every write goes through [`Store::write`]. On SQLite, all queued writes run in one transaction, each in a savepoint, and return after
//! the commit: one fsync serves them all. PostgreSQL groups commits by itself, so there each write runs in its own transaction.

use futures_util::future::BoxFuture;
use sqlx::{AnyConnection, AnyPool, Connection};
use tokio::sync::{mpsc, oneshot};

use super::{Error, Store, write_health::WriteHealth};

/// A queued write.
trait Queued: Send {
    /// Runs in a savepoint of its own.
    fn run(self: Box<Self>, connection: &mut AnyConnection) -> BoxFuture<'_, Box<dyn Done>>;

    /// Fails without having run.
    fn refuse(self: Box<Self>, error: Error);
}

/// A write that has run.
trait Done: Send {
    /// Its error, if it failed.
    fn error(&self) -> Option<&Error>;

    /// Reports the outcome of the transaction to the caller.
    fn report(self: Box<Self>, committed: Result<(), Error>);
}

struct Write<F, T> {
    write: F,
    answer: oneshot::Sender<Result<T, Error>>,
}

struct Written<T> {
    outcome: Result<T, Error>,
    answer: oneshot::Sender<Result<T, Error>>,
}

impl<F, T> Queued for Write<F, T>
where
    F: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
    T: Send + 'static,
{
    fn run(self: Box<Self>, connection: &mut AnyConnection) -> BoxFuture<'_, Box<dyn Done>> {
        Box::pin(async move {
            let Self { write, answer } = *self;
            let outcome = async {
                let mut savepoint = connection.begin().await?;
                let done = write(&mut savepoint).await?;
                savepoint.commit().await?;
                Ok(done)
            };
            let outcome = outcome.await;
            Box::new(Written { outcome, answer }) as Box<dyn Done>
        })
    }

    fn refuse(self: Box<Self>, error: Error) {
        // The caller may be gone; the same applies below.
        let _ = self.answer.send(Err(error));
    }
}

impl<T: Send> Done for Written<T> {
    fn error(&self) -> Option<&Error> {
        self.outcome.as_ref().err()
    }

    fn report(self: Box<Self>, committed: Result<(), Error>) {
        let _ = self.answer.send(committed.and(self.outcome));
    }
}

#[derive(Debug, Clone)]
pub(super) struct Writer {
    pool: AnyPool,
    /// `None` for PostgreSQL. The task that serves it stops when the last `Store` is dropped.
    queue: Option<mpsc::Sender<Box<dyn Queued>>>,
    pub(super) health: WriteHealth,
}

impl Writer {
    /// Maximum number of queued writes; another one is refused.
    const QUEUE: usize = 1024;
    /// Maximum number of writes in one transaction.
    const GROUP: usize = 256;
    /// How often a write is retried that PostgreSQL rolled back in favor of another. Each time another write has succeeded, so that as many
    /// concurrent equal writes succeed.
    const RETRIES: u32 = 32;

    pub(super) const fn is_sqlite(&self) -> bool {
        self.queue.is_some()
    }

    pub(super) fn new(pool: AnyPool, sqlite: bool) -> Self {
        let queue = sqlite.then(|| {
            let (queue, waiting) = mpsc::channel(Self::QUEUE);
            tokio::spawn(Self::serve(pool.clone(), waiting));
            queue
        });
        Self { pool, queue, health: WriteHealth::default() }
    }

    async fn serve(pool: AnyPool, mut waiting: mpsc::Receiver<Box<dyn Queued>>) {
        let mut group = Vec::new();
        while waiting.recv_many(&mut group, Self::GROUP).await > 0 {
            let mut done = Vec::with_capacity(group.len());
            let mut queued = group.drain(..);
            let committed = Self::commit(&pool, &mut queued, &mut done).await;
            for written in done {
                written.report(committed.clone());
            }
            // Those that did not run.
            if let Err(error) = committed {
                queued.for_each(|write| write.refuse(error.clone()));
            }
        }
    }

    async fn commit(
        pool: &AnyPool,
        queued: &mut (impl Iterator<Item = Box<dyn Queued>> + Send),
        done: &mut Vec<Box<dyn Done>>,
    ) -> Result<(), Error> {
        let mut connection = pool.acquire().await?;
        let committed = Self::commit_on(&mut connection, queued, done).await;
        if committed.is_err() {
            // SQLite may have ended the transaction without sqlx knowing: this connection could not begin another.
            connection.close_on_drop();
        }
        committed
    }

    async fn commit_on(
        connection: &mut AnyConnection,
        queued: &mut (impl Iterator<Item = Box<dyn Queued>> + Send),
        done: &mut Vec<Box<dyn Done>>,
    ) -> Result<(), Error> {
        // IMMEDIATE: a transaction that begins by reading may be unable to write later (SQLITE_BUSY_SNAPSHOT).
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        for write in queued {
            let written = write.run(&mut transaction).await;
            let fatal = written.error().filter(|error| rolls_back_everything(error)).cloned();
            done.push(written);
            if let Some(error) = fatal {
                return Err(error);
            }
        }
        Ok(transaction.commit().await?)
    }
}

/// Whether this error may have made SQLite roll back the whole transaction instead of the statement: out of memory, interrupted, I/O
/// error, corrupt, disk full. The other writes of the transaction are lost then too.
fn rolls_back_everything(error: &Error) -> bool {
    const CODES: [i32; 5] = [7, 9, 10, 11, 13];
    let Error::Database(error) = error else { return false };
    match error.as_database_error() {
        // The lowest byte of an extended result code is the primary one.
        Some(error) => error.code().and_then(|code| code.parse::<i32>().ok()).is_none_or(|code| CODES.contains(&(code & 0xff))),
        None => true,
    }
}

impl Store {
    /// See [`Writer::write`].
    pub(super) async fn write<T: Send + 'static>(
        &self,
        write: impl for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, Error>> + Clone + Send + 'static,
    ) -> Result<T, Error> {
        self.writer.write(write).await
    }
}

impl Writer {
    /// Runs `write` in a transaction that is on disk when this returns. If `write` fails, its own effects are rolled back, and no others.
    ///
    /// `write` blocks all other writers: it must await nothing but its own statements.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(super) async fn write<T: Send + 'static>(
        &self,
        write: impl for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, Error>> + Clone + Send + 'static,
    ) -> Result<T, Error> {
        let outcome = match &self.queue {
            Some(queue) => Self::write_queued(queue, write).await,
            None => self.write_with_retries(write).await,
        };
        self.health.note_write(&outcome);
        outcome
    }

    async fn write_queued<T: Send + 'static>(
        queue: &mpsc::Sender<Box<dyn Queued>>,
        write: impl for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        queue.try_send(Box::new(Write { write, answer })).map_err(|_| Error::Busy)?;
        answered.await.map_err(|_| Error::Busy)?
    }

    /// Runs a write in its own transaction, and retries it when PostgreSQL rolled it back in favor of another.
    async fn write_with_retries<T: Send + 'static>(
        &self,
        write: impl for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, Error>> + Clone + Send + 'static,
    ) -> Result<T, Error> {
        let mut retries = 0;
        loop {
            let write = write.clone();
            let attempt = async {
                let mut transaction = self.pool.begin().await?;
                let done = write(&mut transaction).await?;
                transaction.commit().await?;
                Ok::<_, Error>(done)
            };
            match attempt.await {
                Err(error) if error.is_conflict() && retries < Self::RETRIES => retries += 1,
                outcome => return outcome,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use sqlx::Row;

    use super::{super::Opening, *};
    use crate::server::store::Policy;

    async fn store(folder: &tempfile::TempDir) -> Store {
        let url = format!("sqlite://{}", folder.path().join("test.db").display()).parse().unwrap();
        let policy = Policy { url, connections: 4 };
        Store::open(&policy, Opening::CreateIfMissing).await.unwrap()
    }

    async fn count(store: &Store) -> i64 {
        let row = sqlx::query("SELECT COUNT(*) AS n FROM resources").fetch_one(&store.pool).await.unwrap();
        row.try_get("n").unwrap()
    }

    fn insert(store: &Store, number: usize) -> impl Future<Output = Result<i64, Error>> + '_ {
        let outside = store.clone();
        store.write(move |connection| {
            Box::pin(async move {
                let sql = "INSERT INTO resources (audience, created_at) VALUES ($1, 0)";
                sqlx::query(sql).bind(format!("r{number}")).execute(&mut *connection).await?;
                if number == 7 {
                    return Err(Error::Refused("intended".to_owned()));
                }
                if number == 9 {
                    // A duplicate key: a database error that affects only this statement.
                    sqlx::query(sql).bind("r9").execute(connection).await?;
                }
                // What other connections see at this moment.
                Ok(count(&outside).await)
            })
        })
    }

    #[tokio::test]
    async fn queued_writes_share_a_transaction_and_one_that_fails_rolls_back_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let outcomes = join_all((0..32).map(|number| insert(&store, number))).await;
        for (number, outcome) in outcomes.iter().enumerate() {
            assert_eq!(outcome.is_err(), [7, 9].contains(&number), "{number}: {outcome:?}");
        }
        assert_eq!(outcomes.last().unwrap().as_ref().ok(), Some(&0), "nothing was committed before the last write");
        assert_eq!(count(&store).await, 30);
    }

    #[tokio::test]
    async fn a_write_that_did_not_run_reports_why() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        store.pool.close().await;
        let outcomes = join_all((0..3).map(|number| insert(&store, number))).await;
        for outcome in outcomes {
            assert!(matches!(outcome, Err(Error::Database(_))), "{outcome:?}");
        }
    }
}
