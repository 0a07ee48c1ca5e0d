//! Worker threads with a fair queue, for expensive work that unauthenticated users can cause.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use tokio::sync::oneshot;
use tracing::Span;

use super::{
    WorkError,
    fair_queue::{FairQueue, Pushed, QueueShare},
};
use crate::{clock::Stopwatch, server::meters::WorkMeters};

/// A job that reports its result to the caller. It gets the state of its thread, or the reason why it does not run.
type Job<W> = Box<dyn FnOnce(Result<&mut W, WorkError>) + Send>;

type Outcome<T> = oneshot::Receiver<Result<T, WorkError>>;

/// Threads that run one job at a time. No client, and no source of a client, can fill their queue at the expense of others. The threads end when the
/// last handle is dropped and the queue is empty.
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

    /// Runs `job` on one of the threads, queued for `share`, in the caller's span, whose field `queued_us` records the time in the queue. Fails at once
    /// if the queue is full and no other share has more in it. If the caller is dropped meanwhile, the job does not run.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        share: &QueueShare,
        job: impl FnOnce(&mut W) -> T + Send + 'static,
    ) -> Result<T, WorkError> {
        let done = self.attempt(share, job).await;
        self.count(&done);
        done
    }

    /// Like [`run`](Self::run), but queues the job for `other` if that is a share. `other` is a future, so that its look-up costs nothing
    /// while no job waits: it is polled only when other jobs wait, or when `job` lost its place.
    pub(crate) async fn run_or_else<T: Send + 'static, J: FnOnce(&mut W) -> T + Send + 'static>(
        &self,
        share: &QueueShare,
        other: impl Future<Output = Option<QueueShare>>,
        job: impl Fn() -> J,
    ) -> Result<T, WorkError> {
        let others_wait = self.waiting() > 0;
        let mut done = if others_wait { Err(WorkError::QueueFull) } else { self.attempt(share, job()).await };
        if matches!(done, Err(WorkError::QueueFull)) {
            match other.await {
                Some(other) => done = self.attempt(&other, job()).await,
                None if others_wait => done = self.attempt(share, job()).await,
                None => {}
            }
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

/// Wraps `work` into a job that runs in the caller's span, and returns the receiver of its outcome.
fn job_of<W, T: Send + 'static>(work: impl FnOnce(&mut W) -> T + Send + 'static, meters: WorkMeters) -> (Job<W>, Outcome<T>) {
    let (answer, answered) = oneshot::channel();
    let (span, queueing) = (Span::current(), Stopwatch::start());
    let job = move |own: Result<&mut W, WorkError>| {
        let done = match own {
            Ok(own) => {
                let queued = queueing.elapsed();
                meters.queued.observe(queued.as_secs_f64());
                if answer.is_closed() {
                    return;
                }
                span.record("queued_us", i64::try_from(queued.as_micros()).unwrap_or(i64::MAX));
                let working = Stopwatch::start();
                let done = span.in_scope(|| work(own));
                meters.worked.observe(working.elapsed().as_secs_f64());
                Ok(done)
            }
            Err(error) => Err(error),
        };
        // The caller may have been dropped while the job ran.
        let _ = answer.send(done);
    };
    (Box::new(job), answered)
}

fn work<W: Default>(jobs: impl Iterator<Item = Job<W>>) {
    let_others_run_first();
    let mut own = W::default();
    for job in jobs {
        // A panic ends only its own job. The panic hook has reported it, and the dropped sender notifies the caller. The thread's state
        // may be inconsistent, so it is replaced.
        if catch_unwind(AssertUnwindSafe(|| job(Ok(&mut own)))).is_err() {
            own = W::default();
        }
    }
}

/// Lowers the priority of this thread below that of the threads that answer requests.
#[cfg(target_os = "linux")]
fn let_others_run_first() {
    const NICE: i32 = 10;
    // On Linux, it is the priority of the calling thread alone. If it stays as it is, answers take longer.
    let _ = rustix::process::nice(NICE);
}

/// Elsewhere, a priority is one of the whole process.
#[cfg(not(target_os = "linux"))]
fn let_others_run_first() {}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn share(client: &str) -> QueueShare {
        QueueShare { client: client.to_owned(), ..QueueShare::default() }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn threads_that_compute_have_a_lower_priority_than_those_that_answer() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let workers = FairWorkers::<()>::start("test", 1, 1, WorkMeters::default()).unwrap();
        assert_eq!(workers.run(&share("any"), move |()| nice()).await, Ok((nice() + 10).min(19)));
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
