//! Work that takes a fraction of a millisecond, on the threads that answer requests: to pass it to other threads and back would cost a seventh of that.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use tokio::{sync::Semaphore, task::yield_now};
use tracing::Span;

use super::WorkError;
use crate::{clock::Stopwatch, server::meters::WorkMeters};

/// Bounds how much work is done at once and how much waits, and lets everything else go first. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct BoundedWork(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    turns: Semaphore,
    waiting: AtomicUsize,
    queue: usize,
    meters: WorkMeters,
}

/// A place in the queue.
struct Place<'w>(&'w Inner);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

impl BoundedWork {
    /// At most `at_once` jobs run at once, and at most `queue` wait.
    pub(crate) fn new(at_once: usize, queue: usize, meters: WorkMeters) -> Self {
        Self(Arc::new(Inner { turns: Semaphore::new(at_once), waiting: AtomicUsize::new(0), queue, meters }))
    }

    /// The number of jobs that wait for their turn.
    pub(crate) fn waiting(&self) -> usize {
        self.0.waiting.load(Relaxed)
    }

    /// Fails if the queue is full, as [`Self::run`] would now. For a caller that would do other work first.
    pub(crate) fn require_place(&self) -> Result<(), WorkError> {
        if self.waiting() >= self.0.queue { Err(self.shed()) } else { Ok(()) }
    }

    /// Runs `job` on this thread when it is its turn, and when whatever else is ready to run on this thread has run. The field `queued_us` of the
    /// caller's span records how long that took. Fails at once if the queue is full. If the caller is dropped meanwhile, the job does not run.
    pub(crate) async fn run<T>(&self, job: impl FnOnce() -> T) -> Result<T, WorkError> {
        let queueing = Stopwatch::start();
        let turn = match self.0.turns.try_acquire() {
            Ok(turn) => turn,
            Err(_) => {
                let place = self.place()?;
                let turn = self.0.turns.acquire().await.map_err(|_| WorkError::Failed)?;
                drop(place);
                turn
            }
        };
        // The runtime comes back to a task that yields when nothing else is ready, or, so that it does not starve, after some dozens of others. It looks
        // for what has arrived before it does, and then prefers the task to that. So the task yields once more: a request that takes microseconds
        // waits for one job, however many are queued.
        yield_now().await;
        yield_now().await;
        let queued = queueing.elapsed();
        self.0.meters.queued.observe(queued.as_secs_f64());
        Span::current().record("queued_us", i64::try_from(queued.as_micros()).unwrap_or(i64::MAX));
        let done = self.work(job);
        drop(turn);
        Ok(done)
    }

    /// Runs a job that is too short to wait for a turn. It counts as one that did not wait.
    pub(crate) fn run_now<T>(&self, job: impl FnOnce() -> T) -> T {
        self.0.meters.queued.observe(0.0);
        Span::current().record("queued_us", 0_i64);
        self.work(job)
    }

    fn work<T>(&self, job: impl FnOnce() -> T) -> T {
        let working = Stopwatch::start();
        let done = job();
        self.0.meters.worked.observe(working.elapsed().as_secs_f64());
        done
    }

    fn place(&self) -> Result<Place<'_>, WorkError> {
        // Constructed first: a place that is not to be had is given back.
        let before = self.0.waiting.fetch_add(1, Relaxed);
        let place = Place(&self.0);
        if before >= self.0.queue { Err(self.shed()) } else { Ok(place) }
    }

    fn shed(&self) -> WorkError {
        self.0.meters.shed.inc();
        WorkError::QueueFull
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        os::unix::net::UnixStream,
        sync::Mutex,
        task::{Context, Poll, Waker},
    };

    use tokio::{io::AsyncReadExt, join, spawn};

    use super::*;

    fn bounded(at_once: usize, queue: usize) -> BoundedWork {
        BoundedWork::new(at_once, queue, WorkMeters::default())
    }

    /// Polls a future once.
    fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn whatever_is_ready_runs_before_the_next_job_however_many_wait() {
        let (work, order) = (bounded(1, 8), Arc::new(Mutex::new(Vec::new())));
        let short = |order: &Arc<Mutex<Vec<_>>>| {
            let order = Arc::clone(order);
            spawn(async move { order.lock().unwrap().push("short") })
        };
        let jobs: Vec<_> = (0..3)
            .map(|_| {
                let (work, order) = (work.clone(), Arc::clone(&order));
                spawn(async move {
                    let job = || {
                        order.lock().unwrap().push("job");
                        short(&order)
                    };
                    work.run(job).await.unwrap().await.unwrap();
                })
            })
            .collect();
        let first = short(&order);
        for job in jobs {
            job.await.unwrap();
        }
        first.await.unwrap();
        assert_eq!(*order.lock().unwrap(), ["short", "job", "short", "job", "short", "job", "short"]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_arrives_during_a_job_is_handled_before_the_next_one() {
        let (work, order) = (bounded(1, 8), Arc::new(Mutex::new(Vec::new())));
        let (caller, connection) = UnixStream::pair().unwrap();
        connection.set_nonblocking(true).unwrap();
        let mut connection = tokio::net::UnixStream::from_std(connection).unwrap();
        let request = {
            let order = Arc::clone(&order);
            spawn(async move {
                connection.read_u8().await.unwrap();
                order.lock().unwrap().push("request");
            })
        };
        let caller = Arc::new(Mutex::new(Some(caller)));
        let job = || {
            let (work, order, caller) = (work.clone(), Arc::clone(&order), Arc::clone(&caller));
            async move {
                let job = || {
                    order.lock().unwrap().push("job");
                    // The one that is first calls.
                    caller.lock().unwrap().take().into_iter().for_each(|mut caller| caller.write_all(b"1").unwrap());
                };
                work.run(job).await
            }
        };
        let (one, other) = (job(), job());
        let (one, other) = spawn(async move { (spawn(one), spawn(other)) }).await.unwrap();
        assert_eq!((one.await.unwrap(), other.await.unwrap()), (Ok(()), Ok(())));
        request.await.unwrap();
        assert_eq!(*order.lock().unwrap(), ["job", "request", "job"]);
    }

    #[tokio::test]
    async fn a_job_that_panics_gives_its_turn_back() {
        let work = bounded(1, 1);
        let panics = spawn({
            let work = work.clone();
            async move { work.run(|| -> u8 { panic!("meant to") }).await }
        });
        assert!(panics.await.unwrap_err().is_panic());
        assert_eq!(work.run(|| 7).await, Ok(7));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_a_caller_that_gives_up_leaves_its_place() {
        let work = bounded(1, 1);
        let (mut runs, mut waits) = (Box::pin(work.run(|| 1)), Box::pin(work.run(|| 2)));
        assert!(poll(&mut runs).is_pending() && work.require_place().is_ok());
        assert!(poll(&mut waits).is_pending());
        assert_eq!((work.waiting(), work.require_place()), (1, Err(WorkError::QueueFull)));
        assert_eq!((work.run(|| 3).await, work.0.meters.shed.get()), (Err(WorkError::QueueFull), 2));

        drop(waits);
        assert_eq!((work.waiting(), work.require_place()), (0, Ok(())));
        let mut waits = Box::pin(work.run(|| 4));
        assert!(poll(&mut waits).is_pending());
        assert_eq!(join!(runs, waits), (Ok(1), Ok(4)));
        assert_eq!(work.run(|| 5).await, Ok(5), "its turn was given back");
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_gives_its_turn_back() {
        let work = bounded(1, 1);
        let mut has_its_turn = Box::pin(work.run(|| 1));
        assert!(poll(&mut has_its_turn).is_pending());
        drop(has_its_turn);
        assert_eq!(work.run(|| 2).await, Ok(2));
    }
}
