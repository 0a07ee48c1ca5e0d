//! A status list whose signature was checked: draft-ietf-oauth-status-list section 5.1.

use std::{cmp::Ordering, sync::Arc, time::Duration};

use reqwest::header::HeaderValue;

use crate::{
    clock::Timestamp,
    jwt::{self, Accepted, KeySet, NoMembers, Unverified, VerificationKey},
    outbound::MAX_ANSWER_LEN,
    protocol::{Algorithm, StatusListClaims, Statuses},
};

/// Maximum size of a list after it is decompressed, in bytes.
const MAX_LEN: usize = 1024 * 1024;
/// How often a list without `ttl` is fetched, and the bounds for one that has it.
pub(super) const DEFAULT_TTL: Duration = Duration::from_secs(10);
const TTL_BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

const TYPES: &[Option<&str>] = &[Some(StatusListClaims::TYPE)];

/// A list as the issuer signed it.
#[derive(Debug)]
pub(super) struct StatusList {
    statuses: Statuses,
    pub(super) order: Order,
    /// Its `exp` by the steady clock, and the same plus the leeway.
    exp: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    pub(super) ttl: Duration,
    /// The key that signed it.
    kid: String,
    algorithm: Algorithm,
}

/// When an answer arrived, by both clocks. Lists state times of the wall clock; what is kept of them is by the steady clock, because a wall clock that
/// is set back makes no list fresher.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) wall: Timestamp,
    pub(super) steady: Timestamp,
}

/// What says which of two lists is newer: the epoch, if the issuer states one, then the `iat`. By `iat` alone, a node whose clock is fast would hide
/// the revocations of others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    epoch: Option<i64>,
    iat: i64,
}

/// A list beside the one that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compared {
    Newer,
    /// Of the same epoch, so it shows the same revocations, and newer: whatever confirmed the one that is held confirms it too.
    Ahead,
    /// The same list again, or one that another node signed in the same second.
    Same,
    /// Of the same epoch, so it shows the same revocations, but confirmed earlier: another node's.
    Behind,
    /// Another node's for a moment, or one that is repeated.
    Older,
}

impl Order {
    pub(super) fn compared_with(self, held: Self) -> Compared {
        // A list without an epoch does not replace one that has it.
        match (self.epoch.cmp(&held.epoch), self.iat.cmp(&held.iat)) {
            (Ordering::Equal, Ordering::Greater) if self.epoch.is_some() => Compared::Ahead,
            (Ordering::Greater, _) | (Ordering::Equal, Ordering::Greater) => Compared::Newer,
            (Ordering::Equal, Ordering::Equal) => Compared::Same,
            (Ordering::Equal, Ordering::Less) if self.epoch.is_some() => Compared::Behind,
            (Ordering::Less, _) | (Ordering::Equal, Ordering::Less) => Compared::Older,
        }
    }
}

/// The newest list that was seen, and when the issuer confirmed it. Times are of the steady clock: a wall clock that is set back makes no list fresher.
#[derive(Debug, Clone)]
pub(in crate::verifier) struct Seen {
    pub(super) list: Arc<StatusList>,
    /// Of the answer that carried it, so that a later one can confirm it.
    pub(super) etag: Option<HeaderValue>,
    /// The time of the request, less the time for which a cache on the way held the answer.
    pub(super) confirmed_at: Timestamp,
    /// As `confirmed_at`, for the last answer that was not a cache's: to a request that caches pass on, or with a newer list.
    pub(super) confirmed_end_to_end_at: Timestamp,
    /// The time of the last request that was answered.
    pub(super) asked_at: Timestamp,
}

/// The form of a status list token. Issuers sign lists with the algorithm that is theirs, whichever this API accepts for tokens.
pub(super) fn accepted() -> Accepted {
    Accepted { algorithms: Algorithm::ALL.to_vec(), types: TYPES, max_len: MAX_ANSWER_LEN, max_header_len: 4096 }
}

impl StatusList {
    /// Checks a status list token that was fetched from `uri`. `leeway` is in seconds.
    pub(super) fn verify(unverified: Unverified<'_>, key: &VerificationKey, uri: &str, at: Arrival, leeway: i64) -> Result<Self, String> {
        let (kid, algorithm) = (unverified.kid().map_err(|error| words(error).to_owned())?.to_owned(), unverified.algorithm());
        let verified = unverified.verify(key).map_err(|error| words(error).to_owned())?;
        // Read twice: first strictly, because a duplicate member is an error at any depth, then as the claims of a list.
        let signed = verified.read::<NoMembers>().map_err(|error| words(error).to_owned())?;
        let (_, payload) = signed.into_parts();
        let claims: StatusListClaims =
            serde_json::from_slice(&payload).map_err(|_| "it does not have the claims of a status list".to_owned())?;
        if claims.sub != uri {
            return Err(format!("it is the list {:?}", claims.sub.chars().take(255).collect::<String>()));
        }
        let exp = claims.exp.map(|exp| at.steady_time_of(exp));
        let expires_at = exp.map(|exp| exp + Duration::from_secs(leeway.unsigned_abs()));
        if expires_at.is_some_and(|end| at.steady >= end) {
            return Err("it has expired".to_owned());
        }
        if claims.iat > at.wall.seconds().saturating_add(leeway) {
            return Err("it is from the future: a clock is wrong".to_owned());
        }
        let statuses = Statuses::decode(&claims.status_list, MAX_LEN).map_err(|error| error.to_string())?;
        let ttl = claims.ttl.map_or(DEFAULT_TTL, Duration::from_secs).clamp(TTL_BOUNDS.0, TTL_BOUNDS.1);
        let order = Order { epoch: claims.epoch, iat: claims.iat };
        Ok(Self { statuses, order, exp, expires_at, ttl, kid, algorithm })
    }

    /// Whether the token at a position is valid. `None` if the list has no such position.
    pub(super) fn is_valid(&self, index: u64) -> Option<bool> {
        self.statuses.get(index).map(|status| status == Statuses::VALID)
    }

    /// Whether its `exp` is past, or will be at `time`. Then an answer that it is unchanged does not help.
    pub(super) fn is_due_at(&self, time: Timestamp) -> bool {
        self.exp.is_some_and(|exp| time >= exp)
    }

    pub(super) fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| now >= end)
    }

    /// The time until it expires.
    pub(super) fn lasts(&self, now: Timestamp) -> Duration {
        self.expires_at.map_or(Duration::MAX, |end| end.since(now))
    }

    /// Whether its key is among these.
    pub(super) fn is_signed_by(&self, keys: &KeySet) -> bool {
        keys.find(&self.kid, self.algorithm).is_ok()
    }
}

impl Arrival {
    /// The time of the steady clock at which the wall clock will show this number of seconds, or has shown it.
    fn steady_time_of(&self, seconds: i64) -> Timestamp {
        let time = Timestamp::from_seconds(seconds);
        self.steady + time.since(self.wall) - self.wall.since(time)
    }
}

impl Seen {
    /// Whether the list has expired, or the issuer has not confirmed it for three times its `ttl`.
    pub(super) fn is_stale(&self, now: Timestamp) -> bool {
        now >= self.confirmed_at + self.list.ttl * 3 || self.list.has_expired(now)
    }

    /// Whether every answer of the last two `ttl` may have been a cache's. A cache that confirms an old list would otherwise do so for ever.
    pub(super) fn needs_the_issuer(&self, now: Timestamp) -> bool {
        now >= self.confirmed_end_to_end_at + self.list.ttl * 2
    }

    /// After an answer that the list is unchanged. `end_to_end`: the request was one that caches pass on.
    pub(super) fn confirmed(&self, at: Timestamp, asked_at: Timestamp, end_to_end: bool) -> Self {
        let confirmed_end_to_end_at = if end_to_end { self.confirmed_end_to_end_at.max(at) } else { self.confirmed_end_to_end_at };
        Self { confirmed_at: self.confirmed_at.max(at), confirmed_end_to_end_at, asked_at, ..self.clone() }
    }
}

/// Why a status list token is refused.
pub(super) const fn words(error: jwt::Error) -> &'static str {
    match error {
        jwt::Error::TooLarge => "it is too long",
        jwt::Error::Malformed(why) => why,
        jwt::Error::AlgorithmNotAllowed(_) => "it is not signed with a supported algorithm",
        jwt::Error::Critical => "its header requires an extension that is not supported",
        jwt::Error::WrongType => "it is not a status list",
        jwt::Error::UnknownKey => "it is signed by a key that the issuer does not publish",
        jwt::Error::BadSignature => "its signature is invalid",
    }
}

#[cfg(test)]
impl Seen {
    /// A list whose positions are all valid, confirmed at `now`.
    pub(super) fn all_valid(now: Timestamp) -> Self {
        let order = Order { epoch: None, iat: now.seconds() };
        let (statuses, kid, algorithm) = (Statuses::of_bits([0]), String::new(), Algorithm::Rs256);
        let list = StatusList { statuses, order, exp: None, expires_at: None, ttl: DEFAULT_TTL, kid, algorithm };
        Self { list: Arc::new(list), etag: None, confirmed_at: now, confirmed_end_to_end_at: now, asked_at: now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sl3_lists_are_ordered_by_their_epoch_and_within_it_by_their_iat() {
        let of = |epoch, iat| Order { epoch, iat };
        let held = of(Some(7), 1000);
        for (list, compared) in [
            (of(Some(8), 1000), Compared::Newer),
            (of(Some(8), 940), Compared::Newer),
            (of(Some(7), 1000), Compared::Same),
            // All show every revocation of the epoch.
            (of(Some(7), 1001), Compared::Ahead),
            (of(Some(7), 999), Compared::Behind),
            (of(Some(6), 1000), Compared::Older),
            // By a node whose clock is fast.
            (of(Some(6), 1060), Compared::Older),
            (of(None, 1060), Compared::Older),
        ] {
            assert_eq!(list.compared_with(held), compared, "{list:?}");
        }
        // Of an issuer that states no epoch.
        let held = of(None, 1000);
        for (list, compared) in [
            (of(None, 1001), Compared::Newer),
            (of(None, 1000), Compared::Same),
            (of(None, 999), Compared::Older),
            (of(Some(0), 999), Compared::Newer),
        ] {
            assert_eq!(list.compared_with(held), compared, "{list:?}");
        }
    }
}
