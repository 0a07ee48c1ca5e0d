use std::{fmt, time::Duration};

use serde::Serialize;
use strum::Display;

use super::super::Cause;
use crate::{clock::Timestamp, protocol::Algorithm};

/// Something that will happen to a signing key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyEvent {
    pub(crate) at: Timestamp,
    pub(crate) algorithm: Algorithm,
    /// `None` if the row of the key is damaged.
    pub(crate) generation: Option<i64>,
    /// `None` if the key does not exist yet.
    pub(crate) kid: Option<String>,
    pub(crate) kind: KeyEventKind,
    pub(crate) why: Why,
}

/// What happens to a key. At the same time, they happen in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub(crate) enum KeyEventKind {
    /// It is created and published.
    Publish,
    /// It signs from now on.
    Activate,
    /// It signs no more.
    Retire,
    /// It is not published any more.
    Expire,
    /// Its row is deleted.
    Delete,
}

/// Why it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    Created {
        cause: Cause,
        lead: Duration,
    },
    /// It has been published for longer than a verifier may cache the keys.
    Known(Duration),
    /// It signs although caches may lack it.
    AtOnce,
    /// A later key signs.
    Succeeded {
        algorithm: Algorithm,
        generation: i64,
    },
    /// No resource uses the algorithm any more.
    Unused {
        algorithm: Algorithm,
    },
    TokensExpired,
    /// The row was kept for this long.
    Old(Duration),
}

impl Why {
    pub(super) fn published_for(duration: Duration, longest_max_age: Duration) -> Self {
        if duration >= longest_max_age { Self::Known(duration) } else { Self::AtOnce }
    }
}

/// For people.
impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |duration: Duration| humantime::format_duration(duration);
        match *self {
            Self::Created { cause: Cause::First, .. } => f.write_str("the issuer has no key"),
            Self::Created { cause: Cause::NewAlgorithm, .. } => f.write_str("a resource uses the algorithm, which has no key"),
            Self::Created { cause: Cause::Rotation, lead } => write!(f, "the next key; it signs in {}", text(lead)),
            Self::Created { cause: Cause::Lost, .. } => f.write_str("those that should sign are damaged, revoked or deleted"),
            Self::Known(duration) => write!(f, "published {} ago: no cached JWKS lacks it", text(duration)),
            Self::AtOnce => f.write_str("no other key can sign, so it does not wait until every verifier knows it"),
            Self::Succeeded { algorithm, generation } => write!(f, "{algorithm} #{generation} signs"),
            Self::Unused { algorithm } => write!(f, "no resource uses {algorithm}"),
            Self::TokensExpired => f.write_str("the last token that it signed has expired everywhere"),
            Self::Old(kept) => write!(f, "it expired {} ago", text(kept)),
        }
    }
}
