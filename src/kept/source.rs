//! What is kept, where it comes from, and how an attempt ends.

use std::{fmt::Display, future::Future, sync::Arc, time::Duration};

use tracing::Span;

use super::pace::{Manners, Outcome};
use crate::clock::Timestamp;

/// Where a value comes from.
pub(crate) trait Source: Send + Sync + 'static {
    type Value: Send + Sync + 'static;
    type Error: Clone + Display + Send + Sync + 'static;
    /// What makes the next attempt cheaper. Forgotten when the task goes with its runtime.
    type Memory: Send;

    /// What it is asked for, for the log.
    const WHAT: &'static str;

    /// How the issuer is asked.
    fn manners(&self) -> Manners;

    /// The memory of no attempt.
    fn memory(&self) -> Self::Memory;

    fn issuer(&self) -> &str;

    /// The span of an attempt; its field `outcome` is recorded here.
    fn span(&self) -> Span;

    /// How long an attempt may take in all.
    fn timeout(&self) -> Duration;

    /// Why an attempt failed that was not over in time, or whose task went away amid it.
    fn came_to_no_end(&self, why: String) -> Self::Error;

    /// One attempt. `forced`: somebody needs what the issuer has now, not what a cache on the way has.
    fn fetch(
        &self,
        memory: &mut Self::Memory,
        forced: bool,
        held: Option<Arc<Self::Value>>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Fetched<Self::Value>, Failure<Self::Error>>> + Send;
}

/// A value, and for how long it is good.
#[derive(Debug)]
pub(crate) struct Fetched<T> {
    pub(crate) value: Arc<T>,
    /// For how long it is as young as it should be; it is fetched anew at four fifths of that.
    pub(crate) fresh: Duration,
    /// For how long it may be used.
    pub(crate) usable: Duration,
}

/// Why there is no value, and when to come again.
#[derive(Debug)]
pub(crate) struct Failure<E> {
    pub(crate) why: E,
    pub(crate) outcome: Outcome,
}
