use std::{fmt, time::Duration};

/// The lifetime of an access token: 1 minute to 24 hours, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenLifetime(Duration);

impl TokenLifetime {
    /// Keys stay published this long after their last signature; tokens with a longer lifetime would outlive their key.
    pub(crate) const MAX: Self = Self(Duration::from_secs(24 * 3600));
    const MIN: Duration = Duration::from_secs(60);

    /// The allowed range, for messages.
    pub(crate) const RANGE: &'static str = "a duration from 1m to 24h, such as 10m";

    /// `None` if it is out of range or not a number of whole seconds.
    #[must_use]
    pub fn new(duration: Duration) -> Option<Self> {
        let whole = Duration::from_secs(duration.as_secs());
        (whole == duration && (Self::MIN..=Self::MAX.0).contains(&whole)).then_some(Self(whole))
    }

    pub(crate) const fn seconds(self) -> u64 {
        self.0.as_secs()
    }

    pub(crate) const fn duration(self) -> Duration {
        self.0
    }
}

impl fmt::Display for TokenLifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}
