//! Worker threads with a fair queue, for expensive work that unauthenticated users can cause.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use super::{
    Job, WorkError,
    fair_queue::{FairQueue, Pushed, QueueShare},
    job_of, work,
};
use crate::server::meters::WorkMeters;

/// Like [`Workers`](super::Workers), with a queue that no client, and no source of a client, can fill at the expense of others.
#[derive(Debug)]
pub(crate) struct FairWorkers<W> {
    last: Arc<Closing<W>>,
    meters: WorkMeters,
}

impl<W> Clone for FairWorkers<W> {
    fn clone(&self) -> Self {
        Self { last: Arc::clone(&self.last), meters: self.meters.clone() }
    }
}

struct Shared<W> {
    queue: Mutex<Queue<W>>,
    changed: Condvar,
}

struct Queue<W> {
    jobs: FairQueue<Job<W>>,
    closed: bool,
}

/// Closes the queue when the last handle is dropped. The threads end when it is empty.
struct Closing<W>(Arc<Shared<W>>);

impl<W> std::fmt::Debug for Closing<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} waiting", self.0.queue().jobs.len())
    }
}

impl<W> Drop for Closing<W> {
    fn drop(&mut self) {
        self.0.queue().closed = true;
        self.0.changed.notify_all();
    }
}

impl<W> Shared<W> {
    fn queue(&self) -> MutexGuard<'_, Queue<W>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next job. `None` once the queue is closed and empty.
    fn next(&self) -> Option<Job<W>> {
        let mut queue = self.queue();
        loop {
            if let Some(job) = queue.jobs.pop() {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<W: Default + 'static> FairWorkers<W> {
    /// Starts `count` threads with a queue of at most `waiting` jobs.
    pub(crate) fn start(name: &str, count: usize, waiting: usize, meters: WorkMeters) -> io::Result<Self> {
        let queue = Queue { jobs: FairQueue::new(waiting), closed: false };
        let shared = Arc::new(Shared { queue: Mutex::new(queue), changed: Condvar::new() });
        let last = Arc::new(Closing(Arc::clone(&shared)));
        for index in 0..count {
            let shared = Arc::clone(&shared);
            let jobs = std::iter::from_fn(move || shared.next());
            thread::Builder::new().name(format!("{name}-{index}")).spawn(move || work(jobs))?;
        }
        Ok(Self { last, meters })
    }

    /// The number of jobs that wait for a thread.
    pub(crate) fn waiting(&self) -> usize {
        self.last.0.queue().jobs.len()
    }

    /// Runs `job` on one of the threads, like [`Workers::run`](super::Workers::run), queued for `share`.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        share: &QueueShare,
        job: impl FnOnce(&mut W) -> T + Send + 'static,
    ) -> Result<T, WorkError> {
        let done = self.attempt(share, job).await;
        self.count(&done);
        done
    }

    /// Like [`run`](Self::run). If the queue is full, tries once more for `other`. `other` is a future, so that it costs a look-up only
    /// when the queue is full.
    pub(crate) async fn run_or_else<T: Send + 'static, J: FnOnce(&mut W) -> T + Send + 'static>(
        &self,
        share: &QueueShare,
        other: impl Future<Output = Option<QueueShare>>,
        job: impl Fn() -> J,
    ) -> Result<T, WorkError> {
        let mut done = self.attempt(share, job()).await;
        if matches!(done, Err(WorkError::QueueFull))
            && let Some(other) = other.await
        {
            done = self.attempt(&other, job()).await;
        }
        self.count(&done);
        done
    }

    async fn attempt<T: Send + 'static>(&self, share: &QueueShare, job: impl FnOnce(&mut W) -> T + Send + 'static) -> Result<T, WorkError> {
        let (job, answered) = job_of(job, self.meters.clone());
        let pushed = self.last.0.queue().jobs.push(share, job);
        match pushed {
            Pushed::Waits => self.last.0.changed.notify_one(),
            Pushed::Instead(refused) | Pushed::Refused(refused) => refused(Err(WorkError::QueueFull)),
        }
        answered.await.map_err(|_| WorkError::Failed)?
    }

    fn count<T>(&self, done: &Result<T, WorkError>) {
        if matches!(done, Err(WorkError::QueueFull)) {
            self.meters.shed.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn share(client: &str) -> QueueShare {
        QueueShare { client: client.to_owned(), ..QueueShare::default() }
    }

    #[tokio::test]
    async fn hd6_a_flood_of_one_client_delays_another_by_one_job_and_only_the_flood_is_refused() {
        let workers = FairWorkers::<Vec<&'static str>>::start("test", 1, 8, WorkMeters::default()).unwrap();
        assert_eq!(workers.run(&share("other"), |_| -> u8 { panic!("meant to") }).await, Err(WorkError::Failed));
        let (started, has_started) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let run = |client: &'static str| {
            let workers = workers.clone();
            tokio::spawn(async move {
                let done = move |order: &mut Vec<&'static str>| {
                    order.push(client);
                    order.clone()
                };
                workers.run(&share(client), done).await
            })
        };
        let busy = tokio::spawn({
            let workers = workers.clone();
            async move {
                let wait = move |_: &mut Vec<&str>| {
                    started.send(()).unwrap();
                    released.recv().unwrap();
                };
                workers.run(&share("flood"), wait).await
            }
        });
        tokio::task::spawn_blocking(move || has_started.recv().unwrap()).await.unwrap();
        let mut flood = Vec::new();
        for _ in 0..20 {
            flood.push(run("flood"));
            tokio::task::yield_now().await;
        }
        let other = run("other");
        tokio::task::yield_now().await;
        assert_eq!(workers.waiting(), 8);
        release.send(()).unwrap();
        assert_eq!(busy.await.unwrap(), Ok(()));
        assert_eq!(other.await.unwrap().as_deref(), Ok(&["flood", "other"][..]));
        let mut refused = 0;
        for one in flood {
            refused += usize::from(one.await.unwrap() == Err(WorkError::QueueFull));
        }
        assert_eq!(refused, 13, "one of the eight in the queue was displaced");
    }
}
