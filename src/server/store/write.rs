//! Every write goes through [`Store::write`]. SQLite runs what is waiting in one transaction, a savepoint each, and answers
//! after the commit: one fsync serves them all. PostgreSQL groups commits by itself and runs each write in its own.

use futures_util::future::BoxFuture;
use sqlx::{Acquire, AnyConnection, AnyPool};
use tokio::sync::{mpsc, oneshot};

use super::{Error, Store};

/// A write that waits for its turn; what it gives back is told what became of the commit.
type Job = Box<dyn for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Reply> + Send>;
type Reply = Box<dyn FnOnce(Result<(), Error>) + Send>;

#[derive(Debug, Clone)]
pub(super) struct Writer {
    pool: AnyPool,
    /// SQLite's alone. The task at its other end stops when the last `Store` is gone.
    queue: Option<mpsc::Sender<Job>>,
}

impl Writer {
    /// Writes that wait at most; one more is refused.
    const QUEUE: usize = 1024;
    /// Writes that share one transaction at most.
    const GROUP: usize = 256;

    pub(super) fn new(pool: AnyPool, sqlite: bool) -> Self {
        let queue = sqlite.then(|| {
            let (queue, jobs) = mpsc::channel(Self::QUEUE);
            tokio::spawn(Self::serve(pool.clone(), jobs));
            queue
        });
        Self { pool, queue }
    }

    async fn serve(pool: AnyPool, mut jobs: mpsc::Receiver<Job>) {
        let mut group = Vec::new();
        while jobs.recv_many(&mut group, Self::GROUP).await > 0 {
            let mut replies = Vec::with_capacity(group.len());
            let committed = Self::commit(&pool, &mut group, &mut replies).await.map_err(Error::from);
            // Without a connection nobody's turn came: dropping their jobs tells them.
            group.clear();
            for reply in replies {
                reply(committed.clone());
            }
        }
    }

    async fn commit(pool: &AnyPool, group: &mut Vec<Job>, replies: &mut Vec<Reply>) -> Result<(), sqlx::Error> {
        // IMMEDIATE: a transaction that begins by reading could not become a writer later (SQLITE_BUSY_SNAPSHOT).
        let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
        for job in group.drain(..) {
            replies.push(job(&mut transaction).await);
        }
        transaction.commit().await
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
        write: impl for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let Some(queue) = &self.writer.queue else {
            let mut transaction = self.writer.pool.begin().await?;
            let done = write(&mut transaction).await?;
            transaction.commit().await?;
            return Ok(done);
        };
        let (tell, told) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            Box::pin(async move {
                let done = async {
                    let mut savepoint = connection.begin().await?;
                    let done = write(&mut savepoint).await?;
                    savepoint.commit().await?;
                    Ok(done)
                }
                .await;
                Box::new(move |committed: Result<(), Error>| {
                    // Who asked may have gone away meanwhile.
                    let _ = tell.send(committed.and(done));
                }) as Reply
            })
        });
        queue.try_send(job).map_err(|_| Error::Busy)?;
        told.await.map_err(|_| Error::Busy)?
    }
}
