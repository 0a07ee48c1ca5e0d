use std::{fmt, str::FromStr, time::Duration};

use super::UserId;
use crate::{
    clock::Timestamp,
    entropy,
    protocol::{Audience, ClientId, Malformed, Scope},
};

/// The name of a login: 128 random bits in base64url.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LoginId(String);

impl LoginId {
    pub(crate) const LEN: usize = 22;

    /// It does not begin with a hyphen, which a command line takes for a flag.
    pub(crate) fn generate() -> Self {
        loop {
            let id = entropy::unique_id();
            if !id.starts_with('-') {
                return Self(id);
            }
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LoginId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let lawful = text.len() == Self::LEN && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        lawful.then(|| Self(text.to_owned())).ok_or(Malformed { what: "login id", rule: "it is 22 characters of base64url" })
    }
}

impl fmt::Display for LoginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What one password grant began: a chain of refresh tokens, of which the row knows only how many there have been
/// (RFC 9700 section 4.14).
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) id: LoginId,
    pub(crate) user: UserId,
    pub(crate) client: ClientId,
    pub(crate) audience: Audience,
    /// What was granted at its beginning; a refresh gives that or less.
    pub(crate) scope: Scope,
    /// The generation of the current refresh token; the first is 1.
    pub(crate) generation: i64,
    pub(crate) created_at: Timestamp,
    /// When the current generation began.
    pub(crate) stepped_at: Timestamp,
    pub(crate) idle_ends_at: Timestamp,
    pub(crate) absolute_ends_at: Timestamp,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) ended_because: Option<String>,
}

/// How a genuine refresh token stands to its login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The current one: the login takes a step, to the next.
    Current,
    /// The one before, soon after the step: its answer may have been lost, so the current one is given again.
    Repeat,
    /// One that was used up: somebody has a copy.
    Replay,
    /// The login has ended, by somebody's will or by time.
    Over,
    /// The one before, and the age of the step is unknown: it lies in the future by the clock of this node.
    Unclear,
}

impl Login {
    /// How long the token before the current one is answered by the current one again.
    pub(crate) const REPEAT: Duration = Duration::from_secs(30);
    /// How far the clocks of two nodes may lie apart.
    const SKEW: Duration = Duration::from_secs(60);

    /// How the token of `generation` stands at `now`, which is a steady time. If the last step lies in the future, the clock of this
    /// node is behind: the current token is not given again, and the login is not ended either.
    pub(crate) fn standing(&self, generation: i64, now: Timestamp) -> Standing {
        if self.is_over(now) || generation > self.generation {
            // A generation that is yet to come was issued by a database that has since been set back.
            Standing::Over
        } else if generation == self.generation {
            Standing::Current
        } else if generation == self.generation - 1 && self.stepped_at > now + Self::SKEW {
            Standing::Unclear
        } else if generation == self.generation - 1 && now.seconds() <= (self.stepped_at + Self::REPEAT).seconds() {
            Standing::Repeat
        } else {
            Standing::Replay
        }
    }

    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.ended_at.is_some() || self.idle_ends_at <= now || self.absolute_ends_at <= now
    }
}

/// Why a login ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Replay,
    Revoked,
    Operator,
    UserDisabled,
    UserDeleted,
    PasswordSet,
    ClientDisabled,
    ClientDeleted,
    GrantWithdrawn,
    /// The user had too many logins by the same client, and began another.
    Displaced,
    /// The database was restored from a copy.
    Restored,
}

impl Ending {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Revoked => "revoked",
            Self::Operator => "operator",
            Self::UserDisabled => "user_disabled",
            Self::UserDeleted => "user_deleted",
            Self::PasswordSet => "password_set",
            Self::ClientDisabled => "client_disabled",
            Self::ClientDeleted => "client_deleted",
            Self::GrantWithdrawn => "grant_withdrawn",
            Self::Displaced => "displaced",
            Self::Restored => "restored",
        }
    }
}
