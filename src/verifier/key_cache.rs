//! The keys of an issuer, kept fresh, and used for a bounded time when the issuer is gone.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tracing::{Span, field::Empty};

use super::{
    Error,
    fetch::{Fetcher, Source},
    signature::KeySet,
};
use crate::{
    clock::Timestamp,
    kept::{self, Ahead, Fetched, Kept, Manners, Outcome},
    outbound,
};

/// The keys of one issuer.
pub(super) type KeyCache = Kept<Source>;

const MANNERS: Manners = Manners {
    cool_down: Duration::from_secs(10),
    shortest_life: Duration::from_secs(10),
    quiet: (Duration::from_secs(10), Duration::from_secs(30)),
    // An issuer that is slow must not pile up what strangers send.
    waiting: 4096,
    patient: false,
    ahead: Ahead::Always,
    counts_from_request: false,
};

/// The answer when there are no keys that are good.
pub(super) fn unavailable(keys: &KeyCache, now: Timestamp) -> Error {
    Error::KeysUnavailable { retry_after: keys.retry_after(now) }
}

impl kept::Source for Source {
    type Value = KeySet;
    type Error = String;
    type Memory = Fetcher;

    const WHAT: &'static str = "the issuer's keys";

    fn manners(&self) -> Manners {
        MANNERS
    }

    fn memory(&self) -> Fetcher {
        Fetcher::new()
    }

    fn issuer(&self) -> &str {
        self.issuer.as_str()
    }

    fn span(&self) -> Span {
        tracing::info_span!("fetch_keys", issuer = %self.issuer, outcome = Empty)
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn came_to_no_end(&self, why: String) -> String {
        why
    }

    async fn fetch(
        &self,
        fetcher: &mut Fetcher,
        forced: bool,
        held: Option<Arc<KeySet>>,
        now: Timestamp,
    ) -> Result<Fetched<KeySet>, kept::Failure<String>> {
        let answer = fetcher.fetch(self, forced, now).await.map_err(|failure| self.judge(failure))?;
        let keys = match (answer.keys, &held) {
            (Some(keys), _) => Arc::new(keys),
            (None, Some(before)) => Arc::clone(before),
            // A task that began anew sends no tag, so this is an issuer that says "unchanged" to nobody.
            (None, None) => return Err(self.judge(outbound::Failure::Unreachable("it answers 304 to who holds nothing".to_owned()))),
        };
        if !held.is_some_and(|before| keys.is_same_as(&before)) {
            tracing::info!(issuer = %self.issuer, kids = ?keys.kids().collect::<BTreeSet<_>>(), "the issuer's keys changed");
            keys.log_skipped(&self.issuer);
        }
        // However short their life is said to be: until the issuer may be asked again, and has had its time to answer.
        let shortest = MANNERS.cool_down + self.timeout;
        Ok(Fetched { value: keys, fresh: answer.ttl, usable: answer.ttl.saturating_add(self.max_stale).max(shortest) })
    }
}

impl Source {
    fn judge(&self, failure: outbound::Failure) -> kept::Failure<String> {
        use outbound::Failure;
        let (why, outcome) = match failure {
            Failure::Unreachable(why) => (why, Outcome::Unreachable),
            Failure::Status { retry_after, why, .. } => (why, Outcome::Useless(retry_after.unwrap_or_default())),
            Failure::Unlawful(why) => (why, Outcome::Useless(Duration::ZERO)),
            Failure::OtherIssuer { url, told } => {
                let why = format!("{url}: it is the metadata of {told:?}, not of {:?}", self.issuer.as_str());
                (why, Outcome::Useless(Duration::ZERO))
            }
        };
        kept::Failure { why, outcome }
    }
}
