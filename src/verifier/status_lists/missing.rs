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

/// What the last answers said. Read by every token, so without a lock.
#[derive(Debug, Default)]
pub(super) struct Missing {
    /// The first of the answers in a row that said so.
    first_at: Mutex<Option<Timestamp>>,
    said: AtomicBool,
    certain: AtomicBool,
}

impl Missing {
    /// Notes the outcome of an attempt: whether the issuer answered that it has no such list. Every other outcome ends the row.
    pub(super) fn note(&self, missing: bool, now: Timestamp) {
        let mut first_at = self.first_at.lock().unwrap_or_else(PoisonError::into_inner);
        *first_at = missing.then(|| first_at.unwrap_or(now));
        self.certain.store(first_at.is_some_and(|first_at| now >= first_at + CERTAIN_AFTER), Relaxed);
        self.said.store(missing, Relaxed);
    }

    /// Whether the last attempt had this answer.
    pub(super) fn is_said(&self) -> bool {
        self.said.load(Relaxed)
    }

    /// Whether every attempt of the last minute or longer had this answer, and there were two at least.
    pub(super) fn is_certain(&self) -> bool {
        self.certain.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sl3_a_list_is_gone_when_the_issuer_says_so_again_after_a_minute() {
        let after = |seconds| Timestamp::from_seconds(1_795_500_000_i64 + seconds);
        let missing = Missing::default();
        for (second, answer, said, certain) in [
            (0, true, true, false),
            (59, true, true, false),
            (60, true, true, true),
            (61, false, false, false),
            // The minute begins again.
            (62, true, true, false),
            (121, true, true, false),
            (900, true, true, true),
        ] {
            missing.note(answer, after(second));
            assert_eq!((missing.is_said(), missing.is_certain()), (said, certain), "after {second} s");
        }
    }
}
