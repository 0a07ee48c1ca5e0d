/// What a change of a client or of users took back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TakenBack {
    /// Whether access tokens were revoked that a client got for itself.
    pub own_tokens: bool,
    /// Whether access tokens of logins were revoked, of those that ended or of those that go on.
    pub login_tokens: bool,
    /// How many logins ended before their time.
    pub logins: u64,
    /// How many logins ended that had expired. The last access tokens of one may be valid for longer than the login.
    pub expired_logins: u64,
}

impl TakenBack {
    /// How many logins ended.
    #[must_use]
    pub const fn all_logins(self) -> u64 {
        self.logins.saturating_add(self.expired_logins)
    }
}
