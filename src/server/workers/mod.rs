//! A fixed number of threads with a bounded queue, for work that would block the runtime; and turns at what is scarce.

mod fair;
mod fair_queue;
mod turns;

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use tokio::sync::oneshot;
use tracing::Span;

pub(crate) use fair::FairWorkers;
pub(crate) use fair_queue::QueueShare;
pub(crate) use turns::{FairTurns, Turn};

use super::meters::WorkMeters;
use crate::clock::Stopwatch;

/// A job that reports its result to the caller. It gets the state of its thread, or the reason why it does not run.
type Job<W> = Box<dyn FnOnce(Result<&mut W, WorkError>) + Send>;

type Outcome<T> = oneshot::Receiver<Result<T, WorkError>>;

/// Threads that run one job at a time. They end when the last handle is dropped and the queue is empty.
#[derive(Debug, Clone)]
pub(crate) struct Workers {
    queue: Sender<Job<()>>,
    meters: WorkMeters,
}

/// Why a job has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WorkError {
    /// The maximum number of jobs wait already. A retry may succeed.
    #[error("the queue of waiting jobs is full")]
    QueueFull,
    /// The job panicked or got an unusable input.
    #[error("the job failed")]
    Failed,
}

impl Workers {
    /// Starts `count` threads with a queue of at most `waiting` jobs.
    pub(crate) fn start(name: &str, count: usize, waiting: usize, meters: WorkMeters) -> io::Result<Self> {
        let (queue, jobs) = crossbeam_channel::bounded(waiting);
        for index in 0..count {
            let jobs: Receiver<Job<()>> = jobs.clone();
            thread::Builder::new().name(format!("{name}-{index}")).spawn(move || work(jobs.into_iter()))?;
        }
        Ok(Self { queue, meters })
    }

    /// The number of jobs that wait for a thread.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Runs `job` on one of the threads, in the caller's span, whose field `queued_us` records the time in the queue. Fails at once if the
    /// queue is full. If the caller is dropped meanwhile, the job does not run.
    pub(crate) async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, WorkError> {
        let (job, answered) = job_of(|()| job(), self.meters.clone());
        self.queue.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(_) => {
                self.meters.shed.inc();
                WorkError::QueueFull
            }
            TrySendError::Disconnected(_) => WorkError::Failed,
        })?;
        answered.await.map_err(|_| WorkError::Failed)?
    }

    /// Runs a job that is shorter than passing it to another thread, on the thread of the caller. It counts as one that did not wait.
    pub(crate) fn run_here<T>(&self, job: impl FnOnce() -> T) -> T {
        self.meters.queued.observe(0.0);
        Span::current().record("queued_us", 0_i64);
        let working = Stopwatch::start();
        let done = job();
        self.meters.worked.observe(working.elapsed().as_secs_f64());
        done
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

/// Lowers the priority of this thread below that of the threads that answer requests. While all cores sign, keys and status lists are then answered
/// in 3 ms instead of 5 (99 %).
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

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn threads_that_compute_have_a_lower_priority_than_those_that_answer() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let workers = Workers::start("test", 1, 1, WorkMeters::default()).unwrap();
        assert_eq!(workers.run(nice).await, Ok((nice() + 10).min(19)));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_a_panic_costs_one_job() {
        let workers = Workers::start("test", 1, 1, WorkMeters::default()).unwrap();
        assert_eq!(workers.run(|| 7).await, Ok(7));
        assert_eq!(workers.run(|| -> u8 { panic!("meant to") }).await, Err(WorkError::Failed));

        let (started, has_started) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let busy = tokio::spawn({
            let workers = workers.clone();
            async move {
                let wait = move || {
                    started.send(()).unwrap();
                    released.recv().unwrap();
                };
                workers.run(wait).await
            }
        });
        tokio::task::spawn_blocking(move || has_started.recv().unwrap()).await.unwrap();
        // One runs, one waits, the next is refused.
        workers.queue.try_send(Box::new(|_| {})).unwrap();
        assert_eq!(workers.run(|| 7).await, Err(WorkError::QueueFull));

        release.send(()).unwrap();
        assert_eq!(busy.await.unwrap(), Ok(()));
    }
}
