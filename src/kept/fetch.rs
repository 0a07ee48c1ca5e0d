//! The interface of a value that can be fetched, and the result of one attempt.

use std::{fmt::Display, future::Future, sync::Arc, time::Duration};

use tracing::Span;

use super::schedule::{Outcome, RefreshPolicy};
use crate::clock::Timestamp;

/// Fetches one kind of value from one issuer.
pub(crate) trait Fetch: Send + Sync + 'static {
    type Value: Send + Sync + 'static;
    type Error: Clone + Display + Send + Sync + 'static;
    /// State that makes the next attempt cheaper, such as an `ETag`. Lost when the background task ends with its runtime.
    type State: Send;

    /// The name of the value, for the log.
    const WHAT: &'static str;

    fn policy(&self) -> RefreshPolicy;

    /// The state before the first attempt.
    fn initial_state(&self) -> Self::State;

    fn issuer(&self) -> &str;

    /// The span of an attempt. Its field `outcome` is recorded by the refresher.
    fn span(&self) -> Span;

    /// The time limit of a whole attempt.
    fn timeout(&self) -> Duration;

    /// The error of an attempt that did not finish in time, or whose task was dropped.
    fn unfinished(&self, reason: String) -> Self::Error;

    /// Makes one attempt. With `forced`, a caller needs the issuer's current value, so caches on the way must not answer.
    fn fetch(
        &self,
        state: &mut Self::State,
        forced: bool,
        cached: Option<Arc<Self::Value>>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Fetched<Self::Value>, FetchError<Self::Error>>> + Send;

    /// Called after each attempt that ended with an outcome, before its callers go on. `error` is `None` if it succeeded.
    fn ended(&self, _error: Option<&Self::Error>) {}
}

/// A fetched value and its lifetimes.
#[derive(Debug)]
pub(crate) struct Fetched<T> {
    pub(crate) value: Arc<T>,
    /// How long the value is fresh. It is refreshed at four fifths of this.
    pub(crate) fresh: Duration,
    /// How long the value may be used.
    pub(crate) usable: Duration,
}

/// Why an attempt failed, and how that affects the next one.
#[derive(Debug)]
pub(crate) struct FetchError<E> {
    pub(crate) error: E,
    pub(crate) outcome: Outcome,
}
