//! Whether the issuer says that it has no such list.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::clock::Timestamp;

/// How long it must say so before a token is refused for it. The answer is not signed: a proxy gives it too, and so does a node that has not
/// heard of a new list.
const CERTAIN_AFTER: Duration = Duration::from_secs(60);

/// What an attempt to fetch a list says about whether it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Exists,
    Missing,
    /// There was no answer, or another one.
    Nothing,
}

/// What the last answers said. Read by every token, so without a lock.
#[derive(Debug, Default)]
pub(super) struct Missing {
    /// The first of the answers in a row that said so.
    first_at: Mutex<Option<Timestamp>>,
    said: AtomicBool,
    certain: AtomicBool,
}

impl Missing {
    /// Notes what an attempt said. One that said nothing ends the row, but does not bring back a list that is gone for certain.
    pub(super) fn note(&self, said: Said, now: Timestamp) {
        let was_certain = self.is_certain() && said != Said::Exists;
        let is_missing = said == Said::Missing;
        let mut first_at = self.first_at.lock().unwrap_or_else(PoisonError::into_inner);
        *first_at = is_missing.then(|| first_at.unwrap_or(now));
        let is_certain = was_certain || first_at.is_some_and(|first_at| now >= first_at + CERTAIN_AFTER);
        self.certain.store(is_certain, Relaxed);
        self.said.store(is_missing, Relaxed);
    }

    /// Whether the last attempt had this answer.
    pub(super) fn is_said(&self) -> bool {
        self.said.load(Relaxed)
    }

    /// Whether every attempt of a minute or longer had this answer, two at least, and the list has not been fetched since.
    pub(super) fn is_certain(&self) -> bool {
        self.certain.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sl3_a_list_is_gone_when_the_issuer_says_so_again_after_a_minute_and_until_it_is_fetched() {
        let after = |seconds| Timestamp::from_seconds(1_795_500_000_i64 + seconds);
        let missing = Missing::default();
        for (second, answer, said, certain) in [
            (0, Said::Missing, true, false),
            (59, Said::Missing, true, false),
            (60, Said::Missing, true, true),
            // A failed attempt does not say that it is there again.
            (61, Said::Nothing, false, true),
            (62, Said::Missing, true, true),
            (63, Said::Exists, false, false),
            // The minute begins again, also after an attempt that said nothing.
            (64, Said::Missing, true, false),
            (120, Said::Nothing, false, false),
            (124, Said::Missing, true, false),
            (183, Said::Missing, true, false),
            (900, Said::Missing, true, true),
        ] {
            missing.note(answer, after(second));
            assert_eq!((missing.is_said(), missing.is_certain()), (said, certain), "after {second} s");
        }
    }
}
