//! The spans of clients, and the order in which tokens take their positions.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use moka::future::Cache;

use super::{Error, view::View};
use crate::{
    clock::Timestamp,
    entropy,
    protocol::ClientId,
    server::{
        model::{StatusIndex, StatusSpan},
        store::Store,
    },
};

/// Maximum number of clients whose spans are cached.
const CACHED: u64 = 10_000;

/// The cached spans, by client and its `tokens_since`: a client whose tokens were revoked has another number.
pub(super) struct Spans(Cache<(ClientId, i64), Arc<Walk>>);

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spans")
    }
}

/// An order of a span's positions: from a random one, by a random odd stride. It visits all before it returns to the first, and nodes have different
/// orders, so that a position is used again as late as possible.
pub(super) struct Walk {
    span: StatusSpan,
    offset: u32,
    stride: u32,
    steps: AtomicU32,
    /// The epoch of revocations when the span was read.
    read_in: i64,
    /// When it was read, by the steady clock.
    read_at: Timestamp,
}

impl Spans {
    pub(super) fn new() -> Self {
        Self(Cache::builder().max_capacity(CACHED).build())
    }

    /// Forgets all: another database may have taken the place of the one from which they were read.
    pub(super) fn invalidate_all(&self) {
        self.0.invalidate_all();
    }

    /// The span of a client, from the cache, the database, or made. [`Error::Gone`] if the client was disabled or deleted, or a right was
    /// withdrawn from it, since it was read: with an earlier state of the client, no token gets a position that is not revoked. That is not
    /// cached.
    pub(super) async fn find(
        &self,
        store: &Store,
        (client, tokens_since): (&ClientId, i64),
        view: &View,
        width: u32,
        now: Timestamp,
        steady: Timestamp,
    ) -> Result<Arc<Walk>, Error> {
        let key = (client.clone(), tokens_since);
        if let Some(walk) = self.0.get(&key).await {
            if !walk.is_outdated(view, steady) {
                return Ok(walk);
            }
            self.0.invalidate(&key).await;
        }
        let read_in = view.epoch;
        let find = async {
            let span = match store.find_status_span(client, tokens_since).await? {
                Some(span) => Some(span),
                None => store.create_status_span(client, tokens_since, width, now).await?,
            };
            span.map(|span| Arc::new(Walk::new(span, read_in, steady))).ok_or(Error::Gone)
        };
        // Concurrent callers share the outcome.
        self.0.try_get_with(key, find).await.map_err(|error| match &*error {
            Error::Store(error) => Error::Store(error.clone()),
            Error::Gone => Error::Gone,
        })
    }
}

impl Walk {
    fn new(span: StatusSpan, read_in: i64, read_at: Timestamp) -> Self {
        let (offset, stride) = (u32::from_ne_bytes(entropy::bytes()), u32::from_ne_bytes(entropy::bytes()) | 1);
        Self { span, offset, stride, steps: AtomicU32::new(0), read_in, read_at }
    }

    /// Whether the client's span must be read again: it may have been replaced by a wider one, or its list may be gone. This node may not
    /// notice a replacement, because another node counts by another time, so it reads the span again after some time in any case.
    /// `Revocation::end_of_all` allows for that time.
    fn is_outdated(&self, view: &View, steady: Timestamp) -> bool {
        let may_be_replaced = || view.is_half_set(&self.span) || view.snapshot(&self.span.list).is_none();
        steady.since(self.read_at) >= StatusSpan::READ_EVERY || (view.epoch > self.read_in && may_be_replaced())
    }

    /// The position of the next token, which is not set. If all that were tried are set, the last of them: this node has not noticed yet that the
    /// span was replaced, or the client's tokens revoked, and a token that is refused is the safe side.
    ///
    /// A position is free again when this node has dropped its revocation. Some verifiers may then still have a list in which it is set, of
    /// a node whose clock is a minute behind, or from a cache: until the view also remembers, for at least three minutes, what it has
    /// dropped, they may refuse a token that gets it in this time.
    pub(super) fn next(&self, view: &View) -> StatusIndex {
        const TRIES: usize = 64;
        let mut index = self.step();
        for _ in 1..TRIES {
            if !view.is_set(&self.span.list, index) {
                break;
            }
            index = self.step();
        }
        StatusIndex { list: self.span.list.clone(), index }
    }

    fn step(&self) -> u32 {
        let step = self.steps.fetch_add(1, Relaxed);
        // The width is a power of two, so that overflow does no harm.
        let within = self.offset.wrapping_add(step.wrapping_mul(self.stride)) % self.span.width.max(1);
        self.span.start + within
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_walk_visits_every_position_before_it_visits_one_again() {
        for width in [1, 16, 256, 65_536] {
            let span = StatusSpan { list: "di5G35ZktxQQIXjO7RRStA".parse().unwrap(), start: 3 * width, width };
            let walk = Walk::new(span.clone(), 0, Timestamp::from_seconds(0));
            for _ in 0..3 {
                let visited: BTreeSet<u32> = (0..width).map(|_| walk.step()).collect();
                assert_eq!(visited, span.positions().collect(), "{width}");
            }
        }
    }
}
