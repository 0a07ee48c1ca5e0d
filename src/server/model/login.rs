use std::{fmt, str::FromStr, time::Duration};

use super::{Client, StatusIndex, User, UserId};
use crate::{
    clock::Timestamp,
    entropy,
    protocol::{Audience, ClientId, Malformed, Scope},
};

/// The id of a login: 128 random bits in base64url.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LoginId(String);

impl LoginId {
    pub(crate) const LEN: usize = 22;

    /// Never begins with a hyphen, because a command line would parse it as a flag.
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
        let valid = text.len() == Self::LEN && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        valid.then(|| Self(text.to_owned())).ok_or(Malformed { what: "login id", rule: "it must be 22 characters of base64url" })
    }
}

impl fmt::Display for LoginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The chain of refresh tokens that began with one password grant (RFC 9700 section 4.14). Only the number of refresh tokens is stored.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) id: LoginId,
    pub(crate) user: UserId,
    pub(crate) client: ClientId,
    pub(crate) audience: Audience,
    /// The scope granted at the beginning; a refresh grants that or less.
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
    /// The position of its tokens in a status list. `None`: it gets one at its next refresh.
    pub(crate) status: Option<StatusIndex>,
}

/// By which rights of its client and its user a request was decided: by those of the time since these numbers were last raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokensSince {
    pub(crate) client: i64,
    pub(crate) user: i64,
}

impl TokensSince {
    pub(crate) const fn of(client: &Client, user: &User) -> Self {
        Self { client: client.tokens_since, user: user.tokens_since }
    }
}

/// The access token that a refresh of a login brings, as far as it depends on the login.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoginToken<'a> {
    /// Its position in a status list.
    pub(crate) status: Option<&'a StatusIndex>,
    /// The rights by which it was decided.
    pub(crate) since: TokensSince,
    pub(crate) expires_at: Timestamp,
}

/// Selects logins.
#[derive(Debug, Clone)]
pub(crate) enum LoginFilter {
    Id(LoginId),
    /// Those of the user with this `sub`, which may be damaged.
    User(String),
    Client(ClientId),
}

impl LoginFilter {
    /// The id of the login, the user or the client.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Id(id) => id.to_string(),
            Self::User(sub) => sub.clone(),
            Self::Client(client) => client.to_string(),
        }
    }
}

/// The relation of a genuine refresh token to its login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The current token: the login advances to the next.
    Current,
    /// The previous token, soon after the step: its response may have been lost, so the current token is returned again.
    Repeat,
    /// A token that was used up: it has been copied.
    Replay,
    /// The login was ended or has expired.
    Over,
    /// The previous token, and the age of the step is unknown: it is in the future according to this node's clock.
    Unclear,
}

impl Login {
    /// How long the previous token is answered with the current one.
    pub(crate) const REPEAT: Duration = Duration::from_secs(30);
    /// Maximum difference between the clocks of two nodes.
    pub(crate) const SKEW: Duration = Duration::from_secs(60);
    /// By how much a repeated token may expire later than the one of the step.
    pub(crate) const AFTER_STEP: Duration = Self::REPEAT.saturating_add(Self::SKEW);

    /// The standing of the token of `generation` at `now`, a steady time. If the last step is in the future, this node's clock is behind:
    /// then the current token is not repeated, and the login is not ended either.
    pub(crate) fn standing(&self, generation: i64, now: Timestamp) -> Standing {
        if self.is_over(now) || generation > self.generation {
            // A future generation was issued before the database was restored from an older copy.
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

    /// A login whose end is not after this time has expired for every node: their clocks may be behind.
    pub(crate) fn surely_over(now: Timestamp) -> Timestamp {
        now - Self::SKEW
    }

    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.ended_at.is_some() || self.idle_ends_at <= now || self.absolute_ends_at <= now
    }
}

/// Why a login was ended before it expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
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
    /// The user had too many logins with the same client and began another.
    Displaced,
    /// The database was restored from a copy.
    Restored,
    /// The key of refresh tokens was replaced, because it may be known.
    KeyReplaced,
}

impl Ending {
    pub(crate) fn as_str(self) -> &'static str {
        self.into()
    }
}
