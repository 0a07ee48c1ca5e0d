//! Every write goes through [`Store::write`]. SQLite runs what is waiting in one transaction, a savepoint each, and answers
//! after the commit: one fsync serves them all. PostgreSQL groups commits by itself and runs each write in its own.

use futures_util::future::BoxFuture;
use sqlx::{AnyConnection, AnyPool, Connection};
use tokio::sync::{mpsc, oneshot};

use super::{Error, Store};

/// A write that waits for its turn.
trait Waiting: Send {
    /// Takes its turn, in a savepoint of its own.
    fn run(self: Box<Self>, connection: &mut AnyConnection) -> BoxFuture<'_, Box<dyn Done>>;

    /// Its turn never came.
    fn refuse(self: Box<Self>, error: Error);
}

/// A write that had its turn.
trait Done: Send {
    /// What went wrong in it.
    fn error(&self) -> Option<&Error>;

    /// Tells who waits for it what became of the transaction.
    fn tell(self: Box<Self>, committed: Result<(), Error>);
}

struct Write<F, T> {
    write: F,
    answer: oneshot::Sender<Result<T, Error>>,
}

struct Written<T> {
    outcome: Result<T, Error>,
    answer: oneshot::Sender<Result<T, Error>>,
}

impl<F, T> Waiting for Write<F, T>
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
        // Who asked may have gone away meanwhile; so below.
        let _ = self.answer.send(Err(error));
    }
}

impl<T: Send> Done for Written<T> {
    fn error(&self) -> Option<&Error> {
        self.outcome.as_ref().err()
    }

    fn tell(self: Box<Self>, committed: Result<(), Error>) {
        let _ = self.answer.send(committed.and(self.outcome));
    }
}

#[derive(Debug, Clone)]
pub(super) struct Writer {
    pool: AnyPool,
    /// SQLite's alone. The task at its other end stops when the last `Store` is gone.
    queue: Option<mpsc::Sender<Box<dyn Waiting>>>,
}

impl Writer {
    /// Writes that wait at most; one more is refused.
    const QUEUE: usize = 1024;
    /// Writes that share one transaction at most.
    const GROUP: usize = 256;
    /// How often PostgreSQL may undo a write for the sake of another's before the caller hears of it. Each time another write has come
    /// through, so as many equal writes at once succeed.
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
        Self { pool, queue }
    }

    async fn serve(pool: AnyPool, mut waiting: mpsc::Receiver<Box<dyn Waiting>>) {
        let mut group = Vec::new();
        while waiting.recv_many(&mut group, Self::GROUP).await > 0 {
            let mut done = Vec::with_capacity(group.len());
            let mut turns = group.drain(..);
            let committed = Self::commit(&pool, &mut turns, &mut done).await;
            for written in done {
                written.tell(committed.clone());
            }
            // Those whose turn did not come any more.
            if let Err(error) = committed {
                turns.for_each(|waiting| waiting.refuse(error.clone()));
            }
        }
    }

    async fn commit(
        pool: &AnyPool,
        turns: &mut (impl Iterator<Item = Box<dyn Waiting>> + Send),
        done: &mut Vec<Box<dyn Done>>,
    ) -> Result<(), Error> {
        let mut connection = pool.acquire().await?;
        let committed = Self::commit_on(&mut connection, turns, done).await;
        if committed.is_err() {
            // SQLite may have ended the transaction by itself, and sqlx not know: this connection could begin no other.
            connection.close_on_drop();
        }
        committed
    }

    async fn commit_on(
        connection: &mut AnyConnection,
        turns: &mut (impl Iterator<Item = Box<dyn Waiting>> + Send),
        done: &mut Vec<Box<dyn Done>>,
    ) -> Result<(), Error> {
        // IMMEDIATE: a transaction that begins by reading could not become a writer later (SQLITE_BUSY_SNAPSHOT).
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        for waiting in turns {
            let written = waiting.run(&mut transaction).await;
            let fatal = written.error().filter(|error| undoes_the_transaction(error)).cloned();
            done.push(written);
            if let Some(error) = fatal {
                return Err(error);
            }
        }
        Ok(transaction.commit().await?)
    }
}

/// Whether SQLite may have rolled back the whole transaction because of this error, and not the statement alone: out of
/// memory, interrupted, input or output failed, damaged, disk full. What the neighbours wrote is gone then as well.
fn undoes_the_transaction(error: &Error) -> bool {
    const CODES: [i32; 5] = [7, 9, 10, 11, 13];
    let Error::Database(error) = error else { return false };
    match error.as_database_error() {
        // The lowest byte of an extended result code is the primary one.
        Some(error) => error.code().and_then(|code| code.parse::<i32>().ok()).is_none_or(|code| CODES.contains(&(code & 0xff))),
        None => true,
    }
}

impl Store {
    /// Runs `write` in a transaction that is on disk when this returns. An error that `write` returns undoes what it did,
    /// and nothing that others did.
    ///
    /// `write` holds the database's one turn to write: it waits for nothing but its own statements.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(super) async fn write<T: Send + 'static>(
        &self,
        write: impl for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, Error>> + Clone + Send + 'static,
    ) -> Result<T, Error> {
        let outcome = match &self.writer.queue {
            Some(queue) => Self::write_in_turn(queue, write).await,
            None => self.write_alone(write).await,
        };
        self.write_health.note_write(&outcome);
        outcome
    }

    async fn write_in_turn<T: Send + 'static>(
        queue: &mpsc::Sender<Box<dyn Waiting>>,
        write: impl for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        queue.try_send(Box::new(Write { write, answer })).map_err(|_| Error::Busy)?;
        answered.await.map_err(|_| Error::Busy)?
    }

    /// Runs a write in a transaction of its own, and again when PostgreSQL undoes it for the sake of another.
    async fn write_alone<T: Send + 'static>(
        &self,
        write: impl for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, Error>> + Clone + Send + 'static,
    ) -> Result<T, Error> {
        let mut retries = 0;
        loop {
            let write = write.clone();
            let attempt = async {
                let mut transaction = self.writer.pool.begin().await?;
                let done = write(&mut transaction).await?;
                transaction.commit().await?;
                Ok::<_, Error>(done)
            };
            match attempt.await {
                Err(error) if error.is_conflict() && retries < Writer::RETRIES => retries += 1,
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
        let policy = Policy { url, connections: 4, actor: "test".to_owned() };
        Store::open(&policy, Opening::Found, std::sync::Arc::new(crate::clock::SystemClock)).await.unwrap()
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
                    return Err(Error::Refused("meant to".to_owned()));
                }
                if number == 9 {
                    // Two rows of one key: an error of the database, and of this statement alone.
                    sqlx::query(sql).bind("r9").execute(connection).await?;
                }
                // What others see at this moment.
                Ok(count(&outside).await)
            })
        })
    }

    #[tokio::test]
    async fn writes_that_wait_together_share_a_transaction_and_one_that_fails_undoes_itself_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let outcomes = join_all((0..32).map(|number| insert(&store, number))).await;
        for (number, outcome) in outcomes.iter().enumerate() {
            assert_eq!(outcome.is_err(), [7, 9].contains(&number), "{number}: {outcome:?}");
        }
        assert_eq!(outcomes.last().unwrap().as_ref().ok(), Some(&0), "nothing was committed before the last had written");
        assert_eq!(count(&store).await, 30);
    }

    #[tokio::test]
    async fn who_never_got_a_turn_is_told_why() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        store.pool.close().await;
        let outcomes = join_all((0..3).map(|number| insert(&store, number))).await;
        for outcome in outcomes {
            assert!(matches!(outcome, Err(Error::Database(_))), "{outcome:?}");
        }
    }
}
