//! Bounds for work: on threads of its own, or on those that answer; and turns at what is scarce.

mod bounded;
mod fair;
mod fair_queue;
mod turns;

pub(crate) use bounded::BoundedWork;
pub(crate) use fair::FairWorkers;
pub(crate) use fair_queue::QueueShare;
pub(crate) use turns::{FairTurns, Turn};

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
