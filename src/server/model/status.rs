use std::{fmt, str::FromStr, time::Duration};

use super::TokenLifetime;
use crate::{
    clock::Timestamp,
    entropy,
    protocol::{Malformed, Status, StatusReference},
};

/// The id of a status list: 128 random bits in base64url.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StatusListId(String);

impl StatusListId {
    /// The number of positions of a list.
    pub(crate) const POSITIONS: u32 = 1 << 20;
    const LEN: usize = 22;

    pub(crate) fn generate() -> Self {
        Self(entropy::unique_id())
    }
}

impl FromStr for StatusListId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let valid = text.len() == Self::LEN && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        valid.then(|| Self(text.to_owned())).ok_or(Malformed { what: "status list id", rule: "it must be 22 characters of base64url" })
    }
}

impl fmt::Display for StatusListId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A position in a status list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StatusIndex {
    pub(crate) list: StatusListId,
    /// Less than [`StatusListId::POSITIONS`].
    pub(crate) index: u32,
}

impl StatusIndex {
    /// The position that a claim names. `None` if its URI is not `prefix` with the id of a list.
    pub(crate) fn below(prefix: &str, status: &Status) -> Option<Self> {
        let StatusReference { idx, uri } = &status.status_list;
        let list = uri.strip_prefix(prefix)?.parse().ok()?;
        let index = u32::try_from(*idx).ok().filter(|index| *index < StatusListId::POSITIONS)?;
        Some(Self { list, index })
    }
}

/// Positions in a row of a status list. The width is a power of two, and the start is a multiple of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StatusSpan {
    pub(crate) list: StatusListId,
    pub(crate) start: u32,
    pub(crate) width: u32,
}

impl StatusSpan {
    /// The widest span.
    pub(crate) const WIDEST: u32 = 65_536;
    /// Maximum number of a client's spans that are not revoked as a whole. A client that has revoked half of its span gets another; if that is one too
    /// many, its oldest is revoked. So the tokens that it revokes one by one leave at most as many revocations as a list has positions, and a
    /// token of it is refused without being revoked only after it has revoked several hundred thousand later ones.
    pub(crate) const AT_ONCE: u32 = StatusListId::POSITIONS / Self::WIDEST;
    /// How long a node uses a client's span before it reads it again. So long, a token can still get a position in a span that has ended.
    pub(crate) const READ_EVERY: Duration = Duration::from_secs(300);

    /// The same positions as a range; a span ends at the end of its list at the latest.
    pub(crate) fn positions(&self) -> std::ops::Range<u32> {
        self.start..self.start.saturating_add(self.width)
    }

    /// The starts that spans which contain a position can have.
    pub(crate) fn starts_around(index: u32) -> impl Iterator<Item = u32> {
        (0..=Self::WIDEST.ilog2()).map(move |bits| index >> bits << bits)
    }
}

/// The span of a client for its next tokens, as it was read.
#[derive(Debug, Clone)]
pub(crate) struct ReadSpan {
    pub(crate) span: StatusSpan,
    /// The time just before it was read, by the steady clock.
    pub(crate) read_at: Timestamp,
}

/// The positions that a change set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Revocation {
    /// The epoch of revocations of the change.
    pub(crate) epoch: i64,
    pub(crate) span: StatusSpan,
    /// When the last token that names one of them has expired.
    pub(crate) expires_at: Timestamp,
}

impl Revocation {
    /// How long after the end of a revocation no token gets its positions: until every node has dropped it, and verifiers no longer use a list in
    /// which they are set.
    pub(crate) const REUSED_AFTER: Duration = Duration::from_secs(420);
    /// How long after its `exp` a verifier may accept a token: its leeway, and how far its clock may be behind.
    const AFTER_EXP: Duration = Duration::from_secs(300 + 120);

    /// The end of the revocation of one token.
    pub(crate) fn end_of_token(exp: Timestamp) -> Timestamp {
        exp + Self::AFTER_EXP
    }

    /// The end of the revocation of all tokens that were issued until now, or are still issued by a node that has not noticed it. A span
    /// that was replaced ends at that time too, so that its row is there as long as a token that names it can be revoked.
    pub(crate) fn end_of_all(now: Timestamp) -> Timestamp {
        now + TokenLifetime::MAX.duration() + StatusSpan::READ_EVERY + Self::AFTER_EXP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_span_that_contains_a_position_has_one_of_the_starts() {
        for index in [0, 1, 255, 256, 70_000, StatusListId::POSITIONS - 1] {
            let starts: Vec<u32> = StatusSpan::starts_around(index).collect();
            for width in (0..=16).map(|bits| 1 << bits) {
                assert!(starts.contains(&(index / width * width)), "{index} in {width}");
            }
        }
    }
}
